/** The settings as a dialog; every change takes effect, and is kept, at once. */

import { byId, make } from "./dom.js";
import { chatAddress } from "./settings.js";
import { showPresets } from "./talk/presets.js";

export class SettingsView {
  #settings;
  #words;
  #dialog = byId("settings");

  constructor({ settings, words }) {
    this.#settings = settings;
    this.#words = words;
    byId("open-settings").onclick = () => this.open();
    this.#dialog.addEventListener("click", (event) => event.target === this.#dialog && this.#dialog.close());
    showPresets(byId("preset-chips"), settings, words, { hints: false });

    this.#bind("set-prompt", "prompt", "change");
    this.#bind("set-speech", "speech", "change", { read: Boolean, write: Boolean, property: "checked" });
    this.#bind("set-locale", "locale", "change");
    this.#bind("set-theme", "theme", "change");
    this.#bind("set-microphone", "microphone", "change");
    this.#bind("set-speaker", "speaker", "change");
    this.#bind("set-key", "key", "change");
    this.#bind("set-sensitivity", "threshold", "input", { read: (value) => (100 - value) / 100, write: (value) => Math.round(100 - value * 100) });
    this.#bind("set-turn-end", "turnEnd", "change");
    this.#bind("set-silence", "silenceMs", "input", { read: Number, write: String });
    byId("set-server").onchange = ({ target }) => this.#setServer(target);
    byId("field-speaker").hidden = !("setSinkId" in AudioContext.prototype);
    settings.addEventListener("change", () => this.#show());
    words.addEventListener("change", () => this.#show());
    navigator.mediaDevices?.addEventListener("devicechange", () => this.#listDevices());
    this.#listDevices();
    this.#show();
  }

  /** @param {string} [id] of the field to begin with */
  open(id) {
    byId("set-server").value = this.#settings.get("server");
    this.#dialog.showModal();
    if (id) byId(id).focus();
    this.#listDevices();
  }

  #bind(id, name, event, { read = String, write = String, property = "value" } = {}) {
    const element = byId(id);
    element[property] = write(this.#settings.get(name));
    element.addEventListener(event, () => this.#settings.set(name, read(element[property])));
    this.#settings.addEventListener("change", ({ detail }) => {
      if (detail === name && document.activeElement !== element) element[property] = write(this.#settings.get(name));
    });
  }

  #setServer(input) {
    const before = this.#settings.get("server");
    input.setCustomValidity("");
    try {
      chatAddress({ get: (name) => (name === "server" ? input.value : "") }, document.baseURI);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      input.setCustomValidity(this.#words.of("badAddress"));
      input.reportValidity();
      return;
    }
    if (input.value.trim() !== before) this.#settings.set("server", input.value.trim());
  }

  #show() {
    byId("set-sensitivity-value").textContent = `${Math.round(100 - this.#settings.get("threshold") * 100)} %`;
    byId("field-silence").hidden = this.#settings.get("turnEnd") !== "timer";
    byId("set-silence-value").textContent = this.#words.of("seconds", { seconds: (this.#settings.get("silenceMs") / 1000).toFixed(1) });
  }

  /** Browsers tell the devices' names once the microphone was allowed. */
  async #listDevices() {
    const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    for (const [id, kind, name] of [
      ["set-microphone", "audioinput", "microphone"],
      ["set-speaker", "audiooutput", "speaker"],
    ]) {
      const usable = devices.filter((device) => device.kind === kind && device.label && device.deviceId !== "default");
      byId(id).replaceChildren(
        make("option", { value: "" }, this.#words.of("deviceUsual")),
        ...usable.map(({ deviceId, label }) => make("option", { value: deviceId }, label)),
      );
      byId(id).value = this.#settings.get(name);
      if (byId(id).selectedIndex < 0) byId(id).value = "";
    }
  }
}
