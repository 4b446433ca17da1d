/** Speak: text in, speech out, heard while it is made. */

import { recordWith } from "../audio/recorder.js";
import { byId, dated, inWords, make, save } from "../dom.js";
import { shortTime } from "../transcribe/subtitles.js";
import { playWav } from "./stream.js";

export class SpeakView {
  #services;
  #words;
  #running = null; // the AbortController of what is being spoken
  #file = null;
  #url = null;
  #own = null; // the reference recording
  #voicesKnown = false;

  constructor({ services, settings, words }) {
    this.#services = services;
    this.#words = words;
    byId("tts-go").onclick = () => (this.#running ? this.#running.abort() : this.#speak());
    byId("tts-text").onkeydown = (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !this.#running) this.#speak();
    };
    byId("tts-speed").oninput = ({ target }) => (byId("tts-speed-value").textContent = `${Number(target.value).toFixed(1)}×`);
    byId("tts-save").onclick = () => save(`${dated("speech")}.wav`, this.#file, "audio/wav");
    byId("own-choose").onclick = () => byId("own-file").click();
    byId("own-file").onchange = ({ target }) => this.#setOwn(target.files[0] ?? null);
    byId("own-remove").onclick = () => this.#setOwn(null);
    recordWith(byId("own-record"), {
      device: () => settings.get("microphone"),
      words,
      onFile: (recording) => this.#setOwn(recording),
      onError: (error) => this.#trouble(error),
    });
    words.addEventListener("change", () => this.#update());
    this.#update();
  }

  /** @param {object} health of the service */
  setHealth(health) {
    byId("own-voice").hidden = !health.cloning;
    if (health.status === "healthy" && !this.#voicesKnown) this.#loadVoices();
  }

  async #loadVoices() {
    this.#voicesKnown = true;
    try {
      const { speakers } = await this.#services.json("api/speakers");
      const names = speakers.map((speaker) => (typeof speaker === "string" ? speaker : speaker.name));
      byId("tts-voice").replaceChildren(...names.map((name) => make("option", { value: name }, name)));
    } catch (error) {
      this.#voicesKnown = false;
      this.#trouble(error);
    }
  }

  #setOwn(file) {
    this.#own = file;
    byId("own-file").value = "";
    byId("own-name").textContent = file?.name ?? "";
    byId("own-remove").hidden = !file;
  }

  async #speak() {
    const text = byId("tts-text").value.trim();
    if (!text) {
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
      body: JSON.stringify(await this.#body(text)),
      signal,
    });
    const { file, seconds, played } = await playWav(response, signal, () => (firstSound = performance.now()));
    this.#show(file);
    await played;
    const waited = ((firstSound ?? performance.now()) - began) / 1000;
    byId("tts-facts").textContent = this.#words.of("spokenIn", { audio: shortTime(seconds), seconds: waited.toFixed(2) });
  }

  async #body(text) {
    const body = { text, stream: true, speed: Number(byId("tts-speed").value) };
    if (byId("tts-voice").value) body.speaker_id = byId("tts-voice").value;
    if (this.#own) {
      body.prompt_wav = await dataUrl(this.#own);
      body.prompt_text = byId("own-text").value.trim();
    }
    return body;
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
    byId("tts-trouble").hidden = !error;
    byId("tts-trouble").textContent = error ? inWords(error, this.#words) : "";
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
