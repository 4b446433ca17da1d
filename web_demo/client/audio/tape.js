/**
 * Both sides of a conversation, kept in this page only, until somebody downloads them as one WAV. Pure.
 * Sound comes at 48 kHz with its place on the clock of the audio context and is kept at 24 kHz as 16-bit samples.
 */

import { wavBytes } from "./wav.js";

const KEPT_RATE = 24_000;
const MAX_KEPT_S = 1800; // of sound, both sides together: 86 MB
const LONGEST_PAUSE_S = 2; // longer silences between two pieces are shortened to this
const HALF_BAND = [-0.0315, 0, 0.2815, 0.5, 0.2815, 0, -0.0315]; // low-pass at half the rate, unit gain

export class Tape {
  #pieces = []; // {frame, samples}: `frame` counts at 24 kHz
  #kept = 0;

  get seconds() {
    return this.#kept / KEPT_RATE;
  }

  get isFull() {
    return this.seconds >= MAX_KEPT_S;
  }

  /** @param {number} frame position at 48 kHz @param {Float32Array} samples at 48 kHz */
  add(frame, samples) {
    if (this.isFull) return;
    const kept = Int16Array.from(halved(samples), (sample) => Math.max(-1, Math.min(1, sample)) * 32767);
    this.#pieces.push({ frame: Math.floor(frame / 2), samples: kept });
    this.#kept += kept.length;
  }

  clear() {
    this.#pieces = [];
    this.#kept = 0;
  }

  /** One mono WAV of everything, in order of time, with long pauses shortened. */
  wav() {
    const placed = this.#placed();
    const length = placed.reduce((end, { start, samples }) => Math.max(end, start + samples.length), 0);
    const mix = new Float32Array(length);
    for (const { start, samples } of placed) {
      for (let at = 0; at < samples.length; at += 1) mix[start + at] += samples[at] / 32767;
    }
    return wavBytes(mix, KEPT_RATE);
  }

  #placed() {
    const pieces = this.#pieces.toSorted((a, b) => a.frame - b.frame);
    let shift = pieces.length > 0 ? pieces[0].frame : 0;
    let end = shift;
    return pieces.map(({ frame, samples }) => {
      shift += Math.max(0, frame - end - LONGEST_PAUSE_S * KEPT_RATE);
      end = Math.max(end, frame + samples.length);
      return { start: frame - shift, samples };
    });
  }
}

/** Every second sample of the low-passed sound; the ends of the piece are repeated outwards. */
function halved(samples) {
  const last = samples.length - 1;
  return Float32Array.from({ length: samples.length >> 1 }, (_, index) =>
    HALF_BAND.reduce((sum, tap, at) => sum + tap * samples[Math.max(0, Math.min(last, index * 2 + at - 3))], 0),
  );
}
