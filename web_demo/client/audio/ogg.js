/**
 * Ogg pages (RFC 3533), just what a live Opus stream needs: a writer of whole packets, and a demuxer that takes slices
 * which begin and end anywhere. Pure.
 */

const HEADER_BYTES = 27;
const CONTINUED = 1;
const FIRST = 2;
const CAPTURE = [0x4f, 0x67, 0x67, 0x53]; // "OggS"

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, value) => {
  let crc = value << 24;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 0x80000000 ? (crc << 1) ^ 0x04c11db7 : crc << 1;
  return crc >>> 0;
});

/** Ogg's checksum of a page whose checksum field is zero. */
export function checksum(page) {
  let crc = 0;
  for (const byte of page) crc = (crc << 8) ^ CRC_TABLE[(crc >>> 24) ^ byte];
  return crc >>> 0;
}

/** Writes the pages of one logical stream, numbered in order. */
export class OggWriter {
  #serial;
  #sequence = 0;

  /** @param {number} serial 32 bits that tell this stream from others */
  constructor(serial) {
    this.#serial = serial >>> 0;
  }

  /**
   * One page that holds whole packets.
   * @param {Uint8Array[]} packets
   * @param {number} granule position after the last packet (48 kHz samples for Opus)
   */
  page(packets, granule) {
    const lacing = packets.flatMap((packet) => [
      ...Array(Math.floor(packet.length / 255)).fill(255),
      packet.length % 255,
    ]);
    if (lacing.length > 255) throw new RangeError(`${lacing.length} segments; a page has at most 255`);
    const size = packets.reduce((sum, packet) => sum + packet.length, HEADER_BYTES + lacing.length);
    const page = new Uint8Array(size);
    const view = new DataView(page.buffer);
    page.set(CAPTURE, 0);
    page[5] = this.#sequence === 0 ? FIRST : 0;
    view.setBigInt64(6, BigInt(granule), true);
    view.setUint32(14, this.#serial, true);
    view.setUint32(18, this.#sequence, true);
    page[26] = lacing.length;
    page.set(lacing, HEADER_BYTES);
    let position = HEADER_BYTES + lacing.length;
    for (const packet of packets) {
      page.set(packet, position);
      position += packet.length;
    }
    view.setUint32(22, checksum(page), true);
    this.#sequence += 1;
    return page;
  }
}

/** Slices in, packets out; what is no part of a page is skipped. Checksums are not enforced: the line is reliable. */
export class OggDemuxer {
  #buffer = new Uint8Array(0);
  #partial = null; // the beginning of a packet that goes on in the next page

  /** @param {Uint8Array} data @returns {Uint8Array[]} */
  feed(data) {
    const buffer = joined(this.#buffer, data);
    const packets = [];
    let position = 0;
    for (;;) {
      const start = findCapture(buffer, position);
      if (start < 0) {
        this.#buffer = buffer.slice(Math.max(position, buffer.length - CAPTURE.length + 1));
        return packets;
      }
      const end = pageEnd(buffer, start);
      if (end < 0) {
        position = start + CAPTURE.length; // the four letters, but no page
      } else if (end > buffer.length) {
        this.#buffer = buffer.slice(start);
        return packets;
      } else {
        this.#takePackets(buffer.subarray(start, end), packets);
        position = end;
      }
    }
  }

  #takePackets(page, packets) {
    const segments = page[26];
    const continued = (page[5] & CONTINUED) !== 0;
    let packet = continued ? this.#partial : new Uint8Array(0); // null: its beginning was lost
    this.#partial = null;
    let position = HEADER_BYTES + segments;
    let open = false;
    for (const size of page.subarray(HEADER_BYTES, HEADER_BYTES + segments)) {
      if (packet) packet = joined(packet, page.subarray(position, position + size));
      position += size;
      open = size === 255;
      if (open) continue;
      if (packet) packets.push(packet);
      packet = new Uint8Array(0);
    }
    if (open) this.#partial = packet;
  }
}

function findCapture(buffer, from) {
  for (let at = buffer.indexOf(CAPTURE[0], from); at >= 0; at = buffer.indexOf(CAPTURE[0], at + 1)) {
    if (CAPTURE.every((byte, index) => buffer[at + index] === byte)) return at;
  }
  return -1;
}

/** Where the page at `start` ends, beyond the buffer when it is not whole; -1 when it is not a page of version 0. */
function pageEnd(buffer, start) {
  if (buffer.length < start + HEADER_BYTES) return buffer.length + 1;
  if (buffer[start + 4] !== 0 || buffer[start + 5] > 7) return -1;
  const tableEnd = start + HEADER_BYTES + buffer[start + 26];
  if (buffer.length < tableEnd) return buffer.length + 1;
  let end = tableEnd;
  for (let at = start + HEADER_BYTES; at < tableEnd; at += 1) end += buffer[at];
  return end;
}

function joined(head, tail) {
  const whole = new Uint8Array(head.length + tail.length);
  whole.set(head);
  whole.set(tail, head.length);
  return whole;
}
