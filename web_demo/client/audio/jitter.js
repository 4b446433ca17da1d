/**
 * An adaptive jitter buffer, as used on the audio thread: sound is pushed as it arrives and pulled at the pace of the
 * output. It begins to play once `target` is buffered, or when it is told that the end has come; every time it runs dry
 * before that, the target grows, and it shrinks again while all goes well. Pure: it counts samples and knows no clock.
 */

const GROWTH = 1.6;
const SHRINK = 0.9;
const CALM_S = 10; // of playing without a gap, before the target shrinks by one step
const DECAY = 0.98; // per sample: a sound that is cut off fades within 5 ms instead of clicking

export class JitterBuffer {
  #chunks = [];
  #offset = 0; // samples of the first chunk that were played
  #samples = 0;
  #calm = 0;
  #ended = false;
  #last = 0; // the last sample that was given out

  /** @param {number} rate samples a second */
  constructor(rate, { targetS = 0.08, minS = 0.04, maxS = 0.5 } = {}) {
    this.rate = rate;
    this.targetS = targetS;
    this.minS = minS;
    this.maxS = maxS;
    this.playing = false;
    this.underruns = 0;
  }

  get bufferedS() {
    return this.#samples / this.rate;
  }

  /** @param {Float32Array} samples owned by the buffer from here on */
  push(samples) {
    if (samples.length === 0) return;
    this.#ended = false;
    this.#chunks.push(samples);
    this.#samples += samples.length;
  }

  /** Nothing more comes for now: play what there is, and running dry is no fault. */
  end() {
    this.#ended = true;
  }

  /** Throw away all that waits. What is audible at this moment fades out. */
  flush() {
    this.#chunks = [];
    this.#offset = 0;
    this.#samples = 0;
    this.#ended = false;
    this.playing = false;
  }

  /** Fill `out`, with silence where there is nothing. Returns how many samples of sound it holds. */
  pull(out) {
    if (!this.playing && this.#samples > 0 && (this.#ended || this.bufferedS >= this.targetS)) this.playing = true;
    const written = this.playing ? this.#take(out) : 0;
    this.#fade(out, written);
    if (this.playing) this.#adapt(written, out.length);
    return written;
  }

  #take(out) {
    let written = 0;
    while (written < out.length && this.#chunks.length > 0) {
      const chunk = this.#chunks[0];
      const part = chunk.subarray(this.#offset, this.#offset + out.length - written);
      out.set(part, written);
      written += part.length;
      this.#offset += part.length;
      if (this.#offset === chunk.length) {
        this.#chunks.shift();
        this.#offset = 0;
      }
    }
    this.#samples -= written;
    return written;
  }

  #fade(out, from) {
    let level = from > 0 ? out[from - 1] : this.#last;
    for (let at = from; at < out.length; at += 1) {
      level = Math.abs(level) < 1e-4 ? 0 : level * DECAY;
      out[at] = level;
    }
    this.#last = out.length > 0 ? out[out.length - 1] : 0;
  }

  #adapt(written, wanted) {
    if (written === wanted) {
      this.#calm += written;
      if (this.#calm < CALM_S * this.rate) return;
      this.#calm = 0;
      this.targetS = Math.max(this.minS, this.targetS * SHRINK);
      return;
    }
    this.playing = false;
    this.#calm = 0;
    if (this.#ended) return;
    this.underruns += 1;
    this.targetS = Math.min(this.maxS, this.targetS * GROWTH);
  }
}
