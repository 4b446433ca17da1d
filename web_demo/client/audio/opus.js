/** Opus in Ogg (RFC 7845) and the length of a packet by its first bytes (RFC 6716, section 3.1). Pure. */

import { OggDemuxer, OggWriter } from "./ogg.js";

/** Positions in an Ogg-Opus stream always count at this rate. */
export const GRANULE_RATE = 48_000;
const PRE_SKIP = 312; // samples at 48 kHz that an encoder needs to find its feet: libopus' value
const INPUT_RATE = 24_000; // for information only
const VENDOR = "fun-audio-chat";

/** One Ogg-Opus stream: `header` goes before the first page that is sent. */
export class OpusStreamWriter {
  #ogg;
  #granule = 0;

  constructor(serial = crypto.getRandomValues(new Uint32Array(1))[0]) {
    this.#ogg = new OggWriter(serial);
    const pages = [this.#ogg.page([head()], 0), this.#ogg.page([tags()], 0)];
    this.header = new Uint8Array([...pages[0], ...pages[1]]);
  }

  /** @param {Uint8Array} packet @returns {Uint8Array} the page that carries it */
  page(packet) {
    this.#granule += Math.round(packetSeconds(packet) * GRANULE_RATE);
    return this.#ogg.page([packet], this.#granule);
  }
}

/** Slices of a stream in, sound packets out; header packets are passed over. */
export class OpusStreamReader {
  #ogg = new OggDemuxer();

  /** @param {Uint8Array} data @returns {Uint8Array[]} */
  feed(data) {
    return this.#ogg.feed(data).filter((packet) => packet.length > 0 && !isHeader(packet));
  }
}

/** How long a packet sounds. Throws RangeError for an empty one. */
export function packetSeconds(packet) {
  if (packet.length === 0) throw new RangeError("an Opus packet is empty");
  const configuration = packet[0] >> 3;
  let frameMs;
  if (configuration < 12) frameMs = [10, 20, 40, 60][configuration % 4];
  else if (configuration < 16) frameMs = [10, 20][configuration % 2];
  else frameMs = [2.5, 5, 10, 20][configuration % 4];
  const code = packet[0] & 3;
  const frames = code === 0 ? 1 : code < 3 ? 2 : (packet[1] ?? 0) & 63;
  return (frames * frameMs) / 1000;
}

function isHeader(packet) {
  const name = String.fromCharCode(...packet.subarray(0, 8));
  return name === "OpusHead" || name === "OpusTags";
}

function head() {
  const packet = new Uint8Array(19);
  const view = new DataView(packet.buffer);
  packet.set(ascii("OpusHead"));
  packet[8] = 1; // version
  packet[9] = 1; // channel
  view.setUint16(10, PRE_SKIP, true);
  view.setUint32(12, INPUT_RATE, true);
  return packet;
}

function tags() {
  const packet = new Uint8Array(8 + 4 + VENDOR.length + 4);
  packet.set(ascii("OpusTags"));
  new DataView(packet.buffer).setUint32(8, VENDOR.length, true);
  packet.set(ascii(VENDOR), 12);
  return packet;
}

function ascii(text) {
  return new TextEncoder().encode(text);
}
