/** Transcribe: a file or a recording in, text with times out. */

import { recordWith } from "../audio/recorder.js";
import { fillLanguages } from "../choices.js";
import { byId, copyFrom, dated, make, save, showTrouble } from "../dom.js";
import { lengthInWords, shortTime, subRip } from "./subtitles.js";

export class TranscribeView {
  #services;
  #words;
  #transcript = null; // what the service answered last
  #running = null; // the AbortController of the request under way

  constructor({ services, settings, words }) {
    this.#services = services;
    this.#words = words;
    const file = byId("file");
    byId("choose-file").onclick = () => file.click();
    file.onchange = () => {
      if (file.files.length > 0) this.#transcribe(file.files[0]);
      file.value = "";
    };
    recordWith(byId("record"), {
      device: () => settings.get("microphone"),
      words,
      onFile: (recording) => this.#transcribe(recording),
      onError: (error) => this.#trouble(error),
    });
    byId("asr-cancel").onclick = () => this.#running?.abort();
    this.#acceptDrops(byId("drop"));
    byId("transcript-copy").onclick = ({ currentTarget }) => copyFrom(currentTarget, this.#transcript.text, words);
    byId("transcript-copy").hidden = !navigator.clipboard;
    byId("transcript-text").onclick = () => save(`${dated("transcript")}.txt`, this.#transcript.text, "text/plain");
    byId("transcript-srt").onclick = () => save(`${dated("transcript")}.srt`, subRip(this.#transcript.cues), "application/x-subrip");
    words.addEventListener("change", () => this.#show());
  }

  /** @param {object} health of the service */
  setHealth(health) {
    fillLanguages(byId("asr-language"), health.languages ?? [], this.#words, this.#words.of("engineDefault"));
  }

  #acceptDrops(place) {
    const over = (event, is) => {
      event.preventDefault();
      place.classList.toggle("over", is);
    };
    place.addEventListener("dragover", (event) => over(event, true));
    place.addEventListener("dragleave", (event) => over(event, false));
    place.addEventListener("drop", (event) => {
      over(event, false);
      if (event.dataTransfer.files.length > 0 && !byId("asr-tool").disabled) this.#transcribe(event.dataTransfer.files[0]);
    });
  }

  async #transcribe(file) {
    this.#running?.abort();
    const running = new AbortController();
    this.#running = running;
    this.#trouble(null);
    const began = performance.now();
    const progress = () => {
      const time = shortTime((performance.now() - began) / 1000);
      byId("asr-progress").textContent = this.#words.of("transcribing", { name: file.name, time });
    };
    progress();
    const timer = setInterval(progress, 1000);
    byId("asr-busy").hidden = false;
    try {
      const form = new FormData();
      if (byId("asr-language").value) form.set("language", byId("asr-language").value);
      if (byId("hotwords").value.trim()) form.set("hotwords", byId("hotwords").value.trim());
      form.set("cues", "true");
      form.set("audio", file, file.name);
      const answer = await this.#services.json("api/transcribe", { method: "POST", body: form, signal: running.signal });
      const segments = segmentsOf(answer);
      const cues = answer.cues ?? segments; // a service of an earlier version sends none
      this.#transcript = { ...answer, segments, cues, seconds: (performance.now() - began) / 1000 };
      this.#show();
    } catch (error) {
      if (error.name !== "AbortError") this.#trouble(error);
    } finally {
      clearInterval(timer);
      if (this.#running === running) {
        this.#running = null;
        byId("asr-busy").hidden = true;
      }
    }
  }

  #trouble(error) {
    showTrouble(byId("asr-trouble"), error, this.#words);
  }

  #show() {
    const transcript = this.#transcript;
    byId("transcript").hidden = !transcript;
    if (!transcript) return;
    const { segments, cues, text, duration, seconds } = transcript;
    byId("transcript-facts").textContent =
      duration === undefined ? "" : this.#words.of("tookTime", { audio: lengthInWords(duration, this.#words), seconds: seconds.toFixed(1) });
    byId("transcript-srt").hidden = cues.length === 0;
    const lines = segments.map(({ text: said, start }) =>
      make("div", { className: "segment" }, make("time", {}, shortTime(start)), make("span", {}, said.trim())),
    );
    byId("transcript-body").replaceChildren(...(lines.length > 0 ? lines : [text || this.#words.of("noSpeech")]));
    const ignored = transcript.ignored_hotwords ?? [];
    const notes = ignored.length > 0 ? [this.#words.of("ignoredHotwords", { words: ignored.join(", ") })] : [];
    if (transcript.warning) notes.push(this.#words.of("audioWarning", { warning: transcript.warning }));
    byId("transcript-note").hidden = notes.length === 0;
    byId("transcript-note").textContent = notes.join(" ");
  }
}

function segmentsOf({ segments }) {
  return (segments ?? []).map(({ text, start, end }) => ({ text, start, end }));
}
