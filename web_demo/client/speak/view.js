/** Speak: text in, speech out, heard while it is made. */

import { byId, dated, save, showTrouble } from "../dom.js";
import { lengthInWords } from "../transcribe/subtitles.js";
import { playWav } from "./stream.js";
import { Voices } from "./voices.js";

export class SpeakView {
  #services;
  #words;
  #running = null; // the AbortController of what is being spoken
  #file = null;
  #url = null;
  #voices;

  constructor(parts) {
    const { services, words } = parts;
    this.#services = services;
    this.#words = words;
    this.#voices = new Voices(parts, (error) => this.#trouble(error));
    byId("tts-go").onclick = () => (this.#running ? this.#running.abort() : this.#speak());
    byId("tts-text").onkeydown = (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !this.#running) this.#speak();
    };
    byId("tts-speed").oninput = ({ target }) => (byId("tts-speed-value").textContent = `${Number(target.value).toFixed(1)}×`);
    byId("tts-save").onclick = () => save(`${dated("speech")}.wav`, this.#file, "audio/wav");
    words.addEventListener("change", () => this.#update());
    this.#update();
  }

  /** @param {object} health of the service */
  setHealth(health) {
    this.#voices.setHealth(health);
  }

  async #speak() {
    const text = byId("tts-text").value.trim();
    if (!text) {
      this.#trouble({ code: "textNeeded" });
      byId("tts-text").focus();
      return;
    }
    const running = new AbortController();
    this.#running = running;
    this.#trouble(null);
    byId("tts-result").hidden = true;
    byId("tts-facts").textContent = this.#words.of("synthesizing");
    this.#update();
    try {
      await this.#run(text, running.signal);
    } catch (error) {
      byId("tts-facts").textContent = "";
      if (error.name !== "AbortError") this.#trouble(error);
    } finally {
      this.#running = null;
      this.#update();
    }
  }

  async #run(text, signal) {
    const began = performance.now();
    let firstSound = null;
    const response = await this.#services.request("api/synthesize", {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "audio/wav" },
      body: JSON.stringify({ text, stream: true, speed: Number(byId("tts-speed").value), ...(await this.#voices.fields()) }),
      signal,
    });
    const { file, seconds, played } = await playWav(response, signal, () => (firstSound = performance.now()));
    this.#show(file);
    await played;
    const waited = ((firstSound ?? performance.now()) - began) / 1000;
    byId("tts-facts").textContent = this.#words.of("spokenIn", { audio: lengthInWords(seconds, this.#words), seconds: waited.toFixed(2) });
  }

  #show(file) {
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#file = file;
    this.#url = file && URL.createObjectURL(file);
    if (file) byId("tts-audio").src = this.#url;
    byId("tts-result").hidden = !file;
  }

  #update() {
    byId("tts-go").textContent = this.#words.of(this.#running ? "stopButton" : "speakButton");
  }

  #trouble(error) {
    showTrouble(byId("tts-trouble"), error, this.#words);
  }
}
