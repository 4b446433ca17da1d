/**
 * On the audio thread: plays what it is given through a jitter buffer.
 * In: {type: "push", samples} | {type: "end"} | {type: "flush"}.
 * Out: {type: "began"} | {type: "ended", underruns} | {type: "played", position, samples}, the last for the recording.
 */

/* global AudioWorkletProcessor, currentFrame, registerProcessor, sampleRate */

import { JitterBuffer } from "./jitter.js";

class Playback extends AudioWorkletProcessor {
  #buffer = new JitterBuffer(sampleRate);

  constructor() {
    super();
    this.port.onmessage = ({ data }) => this.#onMessage(data);
  }

  process(_, [output]) {
    const wasPlaying = this.#buffer.playing;
    const written = this.#buffer.pull(output[0]);
    for (const other of output.slice(1)) other.set(output[0]);
    if (written > 0) {
      if (!wasPlaying) this.port.postMessage({ type: "began" });
      const samples = output[0].slice(0, written);
      this.port.postMessage({ type: "played", position: currentFrame, samples }, [samples.buffer]);
    }
    if (!this.#buffer.playing && (wasPlaying || written > 0)) this.#reportEnd();
    return true;
  }

  #onMessage(message) {
    if (message.type === "push") this.#buffer.push(message.samples);
    else if (message.type === "end") {
      this.#buffer.end();
      if (this.#buffer.bufferedS === 0 && !this.#buffer.playing) this.#reportEnd(); // it had run dry before it knew
    } else if (message.type === "flush") {
      this.#buffer.flush();
      this.#reportEnd();
    }
  }

  #reportEnd() {
    this.port.postMessage({ type: "ended", underruns: this.#buffer.underruns });
  }
}

registerProcessor("playback", Playback);
