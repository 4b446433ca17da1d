/** Whose voice speaks: one of the list, or that of a recording, which can be added to the list and deleted from it. */

import { recordWith } from "../audio/recorder.js";
import { fillVoices } from "../choices.js";
import { byId, showTrouble } from "../dom.js";
import { Speakers } from "./speakers.js";

export class Voices {
  #speakers;
  #words;
  #onError;
  #select = byId("tts-voice");
  #listed = []; // as the service lists them
  #asked = false; // the list is here, or on its way
  #keeps = false; // voices can be added and deleted
  #recording = null;

  /** @param {(error: Error) => void} onError the list cannot be had */
  constructor({ services, settings, words }, onError) {
    this.#speakers = new Speakers(services);
    this.#words = words;
    this.#onError = onError;
    this.#select.onchange = () => this.#update();
    byId("own-choose").onclick = () => byId("own-file").click();
    byId("own-file").onchange = ({ target }) => this.#setRecording(target.files[0] ?? null);
    byId("own-remove").onclick = () => this.#setRecording(null);
    recordWith(byId("own-record"), {
      device: () => settings.get("microphone"),
      words,
      onFile: (recording) => this.#setRecording(recording),
      onError: (error) => this.#trouble(error),
    });
    byId("voice-form").onsubmit = (event) => {
      event.preventDefault();
      whileOff(byId("voice-add"), () => this.#add());
    };
    byId("voice-delete").onclick = () => this.#askToDelete(this.#select.value);
    words.addEventListener("change", () => this.#draw());
  }

  /** @param {object} health of the service */
  setHealth(health) {
    const keeps = Boolean(health.keeps_voices);
    this.#keeps = keeps && health.cloning;
    byId("own-voice").hidden = !health.cloning;
    byId("voice-form").hidden = !keeps;
    byId("voices-not-kept").hidden = keeps;
    if (health.status === "healthy" && !this.#asked) this.#list();
    this.#update();
  }

  /** The voice, as fields of a request to speak. */
  async fields() {
    const fields = this.#select.value ? { speaker_id: this.#select.value } : {};
    if (!this.#recording) return fields;
    return { ...fields, prompt_wav: await dataUrl(this.#recording), prompt_text: byId("own-text").value.trim() };
  }

  /** @param {string} [chosen] what to choose then; else the choice stays */
  async #list(chosen) {
    this.#asked = true;
    try {
      this.#listed = await this.#speakers.list();
      this.#draw(chosen);
    } catch (error) {
      this.#asked = false;
      this.#onError(error);
    }
  }

  #draw(chosen = this.#select.value) {
    const hidden = this.#asked && !this.#listed.some(({ kind }) => kind === "built-in"); // it has voices, but lists none
    fillVoices(this.#select, this.#listed, this.#words, hidden ? this.#words.of("engineDefault") : null);
    if ([...this.#select.options].some(({ value }) => value === chosen)) this.#select.value = chosen;
    this.#update();
  }

  #update() {
    const chosen = this.#listed.find(({ name }) => name === this.#select.value);
    byId("voice-delete").hidden = !this.#keeps || chosen?.kind !== "added";
  }

  #setRecording(file) {
    this.#recording = file;
    byId("own-file").value = "";
    byId("own-name").textContent = file?.name ?? "";
    byId("own-remove").hidden = !file;
    byId("voice-facts").textContent = "";
    this.#trouble(null);
  }

  async #add() {
    const name = byId("voice-name").value.trim();
    if (!this.#recording || !name) {
      this.#trouble({ code: "voiceNeeds" });
      byId(this.#recording ? "voice-name" : "own-choose").focus();
      return;
    }
    this.#trouble(null);
    byId("voice-facts").textContent = this.#words.of("addingVoice", { name });
    try {
      const kept = await this.#speakers.add(name, this.#recording, byId("own-text").value.trim());
      await this.#list(kept);
      this.#setRecording(null);
      byId("own-text").value = byId("voice-name").value = "";
      byId("voice-facts").textContent = this.#words.of("voiceAdded", { name: kept });
    } catch (error) {
      byId("voice-facts").textContent = "";
      this.#trouble(error);
    }
  }

  #askToDelete(name) {
    byId("voice-ask-title").textContent = this.#words.of("deleteVoiceTitle", { name });
    showTrouble(byId("voice-ask-trouble"), null, this.#words);
    byId("voice-delete-now").onclick = ({ currentTarget }) => whileOff(currentTarget, () => this.#delete(name));
    byId("voice-ask").showModal();
  }

  async #delete(name) {
    try {
      await this.#speakers.remove(name);
      byId("voice-ask").close();
      this.#select.focus(); // the button that asked goes with the voice
    } catch (error) {
      showTrouble(byId("voice-ask-trouble"), error, this.#words);
    }
    await this.#list(); // somebody else may have changed it too
  }

  #trouble(error) {
    showTrouble(byId("own-trouble"), error, this.#words);
  }
}

/** Once at a time: meanwhile the button is off, but keeps the focus, which `disabled` would take away. */
async function whileOff(button, work) {
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  try {
    await work();
  } finally {
    button.setAttribute("aria-disabled", "false");
  }
}

function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.replace(/;codecs=[^;,]*/, ""));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
