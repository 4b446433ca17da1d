/** The voices that the TTS service has. What is refused is thrown as ServiceError. */
export class Speakers {
  #services;

  /** @param {import("../net/services.js").Services} services */
  constructor(services) {
    this.#services = services;
  }

  /** @returns {Promise<{name: string, kind: "built-in"|"added"}[]>} */
  async list() {
    return (await this.#services.json("api/speakers")).speakers;
  }

  /**
   * @param {File} recording @param {string} transcript what is said in it; "": the service has it written down
   * @returns {Promise<string>} the name as it is kept
   */
  async add(name, recording, transcript) {
    const body = new FormData();
    body.set("name", name);
    body.set("transcript", transcript);
    body.set("audio", recording, recording.name);
    return (await this.#services.json("api/speakers", { method: "POST", body })).speaker.name;
  }

  async remove(name) {
    await this.#services.request(`api/speakers/${encodeURIComponent(name)}`, { method: "DELETE" });
  }
}
