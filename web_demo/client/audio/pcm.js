/** What `codec.js` does, without a codec: 16-bit little-endian PCM at the rate of the sound. Pure. */

export class PcmEncoder {
  #onSlice;

  /** @param {(slice: Uint8Array) => void} onSlice */
  constructor(onSlice) {
    this.#onSlice = onSlice;
  }

  /** @param {Float32Array} samples */
  encode(samples) {
    const view = new DataView(new ArrayBuffer(samples.length * 2));
    samples.forEach((sample, at) => view.setInt16(at * 2, Math.round(Math.max(-1, Math.min(1, sample)) * 32767), true));
    this.#onSlice(new Uint8Array(view.buffer));
  }

  async flush() {} // nothing is ever held back

  close() {}
}

export class PcmDecoder {
  #onSound;

  /** @param {(samples: Float32Array) => void} onSound */
  constructor(onSound) {
    this.#onSound = onSound;
  }

  /** @param {Uint8Array} slice whole samples @param {boolean} wanted false: it is not played */
  feed(slice, wanted) {
    if (!wanted) return;
    const view = new DataView(slice.buffer, slice.byteOffset, slice.byteLength);
    this.#onSound(Float32Array.from({ length: slice.byteLength >> 1 }, (_, at) => view.getInt16(at * 2, true) / 32768));
  }

  drop() {}

  async flush() {}

  close() {}
}
