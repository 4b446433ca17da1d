/** On the audio thread: the microphone's sound in frames of 20 ms, each with its place on the context's clock. */

/* global AudioWorkletProcessor, currentFrame, registerProcessor, sampleRate */

const FRAME_SAMPLES = Math.round(0.02 * sampleRate);

class Capture extends AudioWorkletProcessor {
  #frame = new Float32Array(FRAME_SAMPLES);
  #filled = 0;

  process([input]) {
    const samples = input[0];
    if (!samples) return true; // no source is connected at this moment
    for (let at = 0; at < samples.length; ) {
      const part = samples.subarray(at, at + FRAME_SAMPLES - this.#filled);
      this.#frame.set(part, this.#filled);
      this.#filled += part.length;
      at += part.length;
      if (this.#filled === FRAME_SAMPLES) this.#post(currentFrame + at - FRAME_SAMPLES);
    }
    return true;
  }

  #post(position) {
    this.port.postMessage({ position, samples: this.#frame }, [this.#frame.buffer]);
    this.#frame = new Float32Array(FRAME_SAMPLES);
    this.#filled = 0;
  }
}

registerProcessor("capture", Capture);
