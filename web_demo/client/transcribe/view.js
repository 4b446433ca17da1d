/** Transcribe: a file, a recording or what is being said in, text with times out, as it comes. */

import { recordWith } from "../audio/recorder.js";
import { fillLanguages } from "../choices.js";
import { byId, copyFrom, dated, make, save, showTrouble } from "../dom.js";
import { chunksOf, serverEvents } from "../net/events.js";
import { ServiceError } from "../net/services.js";
import { Captions } from "./captions.js";
import { cuesOf, lengthInWords, shortTime, subRip, webVtt } from "./subtitles.js";

const FILES = {
  txt: ({ text }) => [text, "text/plain"],
  srt: ({ cues }) => [subRip(cues), "application/x-subrip"],
  vtt: ({ cues }) => [webVtt(cues), "text/vtt"],
};

export class TranscribeView {
  #services;
  #settings;
  #words;
  #transcript = null; // what came last, or so far: segments, partial, and at the end text, cues and what else the service says
  #running = null; // {abort}: the request under way, or the captions

  constructor({ services, settings, words }) {
    this.#services = services;
    this.#settings = settings;
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
    byId("live-microphone").onclick = () => this.#listen("microphone");
    byId("live-tab").onclick = () => this.#listen("tab");
    byId("live-tab").hidden = !navigator.mediaDevices?.getDisplayMedia;
    byId("asr-cancel").onclick = () => this.#running?.abort();
    this.#acceptDrops(byId("drop"));
    byId("transcript-copy").onclick = ({ currentTarget }) => copyFrom(currentTarget, this.#transcript.text, words);
    byId("transcript-copy").hidden = !navigator.clipboard;
    for (const [name, write] of Object.entries(FILES)) {
      byId(`transcript-${name}`).onclick = () => save(`${dated("transcript")}.${name}`, ...write(this.#transcript));
    }
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
    const running = new AbortController();
    const finish = this.#begin(running, "cancel", (time) => ({ key: "transcribing", values: { name: file.name, time } }));
    const began = performance.now();
    try {
      const answer = await this.#ask(file, running);
      if (this.#running !== running) return;
      const { cues = answer.segments } = answer; // a service of an earlier version sends none
      this.#transcript = { ...answer, cues, seconds: (performance.now() - began) / 1000 };
      this.#show();
    } catch (error) {
      if (error.name !== "AbortError") this.#trouble(error);
    } finally {
      finish();
    }
  }

  /** The whole answer; segments are shown as they come. */
  async #ask(file, running) {
    const form = new FormData();
    for (const [name, value] of Object.entries(this.#choices())) if (value) form.set(name, value);
    form.set("cues", "true");
    form.set("stream", "true");
    form.set("audio", file, file.name);
    const response = await this.#services.request("api/transcribe", { method: "POST", body: form, signal: running.signal });
    if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) return response.json();
    const segments = [];
    for await (const event of serverEvents(chunksOf(response.body))) {
      if (event.error) throw new ServiceError(event.error.code, event.error.message);
      if (event.type === "done") return { ...event, segments };
      segments.push(event);
      if (this.#running !== running) continue;
      this.#transcript = { segments };
      this.#show();
    }
    throw new ServiceError("brokenOff", "");
  }

  async #listen(from) {
    const captions = new Captions(this.#services);
    const finish = this.#begin({ abort: () => captions.stop() }, "stopButton", (time) => ({ key: "captioning", values: { time } }));
    const update = () => {
      const { segments, partial } = captions.said;
      this.#transcript = { segments, partial };
      this.#show();
    };
    captions.addEventListener("change", update);
    captions.addEventListener("trouble", ({ detail }) => this.#trouble(detail));
    captions.addEventListener("ended", () => {
      finish();
      const { segments } = captions.said;
      if (!this.#transcript?.segments || this.#transcript.segments !== segments) return;
      this.#transcript = { segments, text: segments.map(({ text }) => text.trim()).join("\n"), cues: cuesOf(segments) };
      this.#show();
    });
    try {
      await captions.start(from, { device: this.#settings.get("microphone"), ...this.#choices() });
    } catch (error) {
      finish();
      this.#trouble(error);
    }
  }

  #choices() {
    return { language: byId("asr-language").value, hotwords: byId("hotwords").value.trim() };
  }

  /** Something is under way, and whatever was before no more. @returns {() => void} for its end */
  #begin(running, stop, progress) {
    this.#running?.abort();
    this.#running = running;
    this.#trouble(null);
    const began = performance.now();
    const show = () => {
      const { key, values } = progress(shortTime((performance.now() - began) / 1000));
      byId("asr-progress").textContent = this.#words.of(key, values);
      byId("asr-cancel").textContent = this.#words.of(stop);
    };
    show();
    const timer = setInterval(show, 1000);
    byId("asr-busy").hidden = false;
    return () => {
      clearInterval(timer);
      if (this.#running !== running) return;
      this.#running = null;
      byId("asr-busy").hidden = true;
      this.#show();
    };
  }

  #trouble(error) {
    showTrouble(byId("asr-trouble"), error, this.#words);
  }

  #show() {
    const transcript = this.#transcript;
    byId("transcript").hidden = !transcript;
    if (!transcript) return;
    const { segments = [], partial = "", cues = [], text, duration, seconds, warning } = transcript;
    const done = text !== undefined;
    byId("transcript-facts").textContent =
      duration === undefined ? "" : this.#words.of("tookTime", { audio: lengthInWords(duration, this.#words), seconds: seconds.toFixed(1) });
    byId("transcript-files").hidden = !done;
    for (const name of ["srt", "vtt"]) byId(`transcript-${name}`).hidden = cues.length === 0;
    const lines = segments.map(({ text: said, start }) => line(said, shortTime(start)));
    if (partial) lines.push(line(partial, "…", "partial"));
    byId("transcript-body").replaceChildren(...(lines.length > 0 ? lines : [text || (done ? this.#words.of("noSpeech") : "")]));
    const ignored = transcript.ignored_hotwords ?? [];
    const notes = ignored.length > 0 ? [this.#words.of("ignoredHotwords", { words: ignored.join(", ") })] : [];
    if (warning) notes.push(this.#words.of("audioWarning", { warning }));
    byId("transcript-note").hidden = notes.length === 0;
    byId("transcript-note").textContent = notes.join(" ");
  }
}

function line(text, time, kind = "") {
  return make("div", { className: `segment ${kind}` }, make("time", {}, time), make("span", {}, text.trim()));
}
