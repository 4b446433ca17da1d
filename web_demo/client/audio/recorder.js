/** A recording of the microphone as one file, in whatever format the browser writes. */

import { openStream } from "./microphone.js";

export class Recorder {
  #recorder = null;
  #chunks = [];

  get running() {
    return this.#recorder !== null;
  }

  /** Throws MicrophoneError. */
  async start(device) {
    const stream = await openStream(device);
    this.#chunks = [];
    this.#recorder = new MediaRecorder(stream);
    this.#recorder.ondataavailable = ({ data }) => this.#chunks.push(data);
    this.#recorder.start();
  }

  /** @returns {Promise<File>} */
  async stop() {
    const recorder = this.#recorder;
    this.#recorder = null;
    const stopped = new Promise((resolve) => (recorder.onstop = resolve));
    recorder.stop();
    recorder.stream.getTracks().forEach((track) => track.stop());
    await stopped;
    const type = recorder.mimeType.split(";")[0];
    return new File(this.#chunks, `recording.${type.split("/")[1] ?? "webm"}`, { type });
  }
}

/** Makes a button begin and end a recording; it shows how long it runs. */
export function recordWith(button, { device, words, onFile, onError }) {
  const recorder = new Recorder();
  let timer = null;
  const show = (seconds) => {
    button.textContent = words.of("stopRecording", { time: `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}` });
  };
  const reset = () => {
    clearInterval(timer);
    button.classList.remove("recording");
    button.textContent = words.of("record");
  };
  button.onclick = async () => {
    try {
      if (recorder.running) {
        reset();
        onFile(await recorder.stop());
        return;
      }
      await recorder.start(device());
      let seconds = 0;
      show(seconds);
      button.classList.add("recording");
      timer = setInterval(() => show((seconds += 1)), 1000);
    } catch (error) {
      reset();
      onError(error);
    }
  };
}
