/** WAV files (RIFF, 16-bit PCM, mono): written whole, and read as they stream in. Pure. */

const HEADER_BYTES = 44;
const PCM = 1;

/** @param {Float32Array} samples in -1..1 @returns {Uint8Array} */
export function wavBytes(samples, rate) {
  const bytes = new Uint8Array(HEADER_BYTES + samples.length * 2);
  bytes.set(header(samples.length * 2, rate));
  const view = new DataView(bytes.buffer);
  samples.forEach((sample, index) => view.setInt16(HEADER_BYTES + index * 2, toInt16(sample), true));
  return bytes;
}

/** The 44 bytes in front of `dataBytes` bytes of mono PCM. */
export function header(dataBytes, rate) {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  const ascii = (at, text) => [...text].forEach((letter, index) => view.setUint8(at + index, letter.charCodeAt(0)));
  ascii(0, "RIFF");
  view.setUint32(4, 36 + dataBytes, true);
  ascii(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, PCM, true);
  view.setUint16(22, 1, true); // channel
  view.setUint32(24, rate, true);
  view.setUint32(28, rate * 2, true);
  view.setUint16(32, 2, true); // bytes a sample
  view.setUint16(34, 16, true); // bits a sample
  ascii(36, "data");
  view.setUint32(40, dataBytes, true);
  return bytes;
}

/**
 * Reads a WAV that is still being written: its sizes may be 0 or 0xFFFFFFFF. `rate` is known once the header is whole.
 */
export class WavStreamReader {
  #rest = new Uint8Array(0);
  rate = null;

  /** @param {Uint8Array} data @returns {Float32Array} the samples that became whole. Throws Error on other formats. */
  feed(data) {
    let bytes = new Uint8Array(this.#rest.length + data.length);
    bytes.set(this.#rest);
    bytes.set(data, this.#rest.length);
    if (this.rate === null) {
      const start = this.#readHeader(bytes);
      if (start === null) {
        this.#rest = bytes;
        return new Float32Array(0);
      }
      bytes = bytes.subarray(start);
    }
    const whole = bytes.length - (bytes.length % 2);
    this.#rest = bytes.slice(whole);
    const view = new DataView(bytes.buffer, bytes.byteOffset, whole);
    return Float32Array.from({ length: whole / 2 }, (_, index) => view.getInt16(index * 2, true) / 32768);
  }

  /** Where the samples begin, or null when more bytes are needed. */
  #readHeader(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const name = (at) => String.fromCharCode(...bytes.subarray(at, at + 4));
    if (bytes.length < 12) return null;
    if (name(0) !== "RIFF" || name(8) !== "WAVE") throw new Error("the answer is not a WAV file");
    let rate = null;
    for (let at = 12; at + 8 <= bytes.length; at += 8 + view.getUint32(at + 4, true)) {
      if (name(at) === "data") {
        this.rate = rate;
        return at + 8;
      }
      if (name(at) !== "fmt ") continue;
      if (at + 24 > bytes.length) return null;
      if (view.getUint16(at + 8, true) !== PCM || view.getUint16(at + 10, true) !== 1 || view.getUint16(at + 22, true) !== 16) {
        throw new Error("the WAV is not mono 16-bit PCM");
      }
      rate = view.getUint32(at + 12, true);
    }
    return null;
  }
}

function toInt16(sample) {
  return Math.max(-32768, Math.min(32767, Math.round(sample * 32767)));
}
