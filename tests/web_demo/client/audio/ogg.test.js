import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { checksum, OggDemuxer, OggWriter } from "../../../../web_demo/client/audio/ogg.js";
import { OpusStreamReader, OpusStreamWriter, packetSeconds } from "../../../../web_demo/client/audio/opus.js";

const STREAM = new Uint8Array(readFileSync(new URL("../data/cards_001.opus", import.meta.url)));

function pageOf(stream, start) {
  const segments = stream[start + 26];
  const size = stream.subarray(start + 27, start + 27 + segments).reduce((sum, part) => sum + part, 27 + segments);
  return stream.slice(start, start + size);
}

function fed(sliceBytes, stream = STREAM, reader = new OpusStreamReader()) {
  const packets = [];
  for (let at = 0; at < stream.length; at += sliceBytes) packets.push(...reader.feed(stream.subarray(at, at + sliceBytes)));
  return packets;
}

test("the checksum of a real page is the one that it carries", () => {
  const page = pageOf(STREAM, 0);
  const carried = new DataView(page.buffer).getUint32(22, true);
  page.fill(0, 22, 26);
  assert.equal(checksum(page), carried);
});

test("a real stream gives its packets, wherever it is sliced", () => {
  const whole = fed(STREAM.length);
  const seconds = whole.reduce((sum, packet) => sum + packetSeconds(packet), 0);
  assert.ok(Math.abs(seconds - 1.16) < 0.041, `${seconds} s`);
  for (const size of [1, 7, 100, 4096]) assert.deepEqual(fed(size), whole);
});

test("bytes that are no page are skipped and the stream goes on", () => {
  const junk = new TextEncoder().encode("OggSnotapage--OggS");
  const broken = new Uint8Array([...junk, ...STREAM]);
  assert.deepEqual(fed(50, broken), fed(50));
});

test("a lost page costs its packets only", () => {
  const whole = fed(STREAM.length);
  const first = pageOf(STREAM, 0).length;
  const second = pageOf(STREAM, first).length;
  const third = pageOf(STREAM, first + second).length;
  const rest = STREAM.slice(first + second + third);
  assert.deepEqual(fed(64, rest), whole.slice(1));
});

test("what the writer writes, the demuxer reads, at every segment boundary", () => {
  const packets = [1, 254, 255, 256, 510, 700].map((size) => Uint8Array.from({ length: size }, (_, at) => at % 251));
  const page = new OggWriter(7).page(packets, 960);
  assert.deepEqual(new OggDemuxer().feed(page), packets);
});

test("a packet that goes on in the next page is put together, and dropped when its beginning is lost", () => {
  const writer = new OggWriter(1);
  const body = new Uint8Array(255).fill(3);
  const first = writer.page([body], 0);
  first[26] = 1; // only the 255 segment: the packet is open
  const open = new Uint8Array([...first.subarray(0, 28), ...body]);
  const tail = writer.page([Uint8Array.of(4, 4)], 960);
  tail[5] = 1;
  const demuxer = new OggDemuxer();
  assert.deepEqual(demuxer.feed(open), []);
  assert.deepEqual(demuxer.feed(tail), [new Uint8Array([...body, 4, 4])]);
  assert.deepEqual(new OggDemuxer().feed(tail), []);
});

test("an own Opus stream has both headers, a right granule and our packets", () => {
  const packets = fed(STREAM.length).slice(0, 3);
  const writer = new OpusStreamWriter(42);
  const pages = packets.map((packet) => writer.page(packet));
  assert.deepEqual(new OggDemuxer().feed(writer.header).map((packet) => String.fromCharCode(...packet.subarray(0, 8))), [
    "OpusHead",
    "OpusTags",
  ]);
  assert.equal(new DataView(pages[2].buffer).getBigInt64(6, true), 5760n); // three times 40 ms at 48 kHz
  assert.deepEqual(fed(10, new Uint8Array([...writer.header, ...pages.flatMap((page) => [...page])])), packets);
});

test("the length of a packet is read from its first bytes", () => {
  assert.equal(packetSeconds(Uint8Array.of(0b01100_000)), 0.01); // hybrid, 10 ms
  assert.equal(packetSeconds(Uint8Array.of(0b11111_001)), 0.04); // CELT 20 ms, two frames
  assert.equal(packetSeconds(Uint8Array.of(0b00011_000)), 0.06); // SILK 60 ms
  assert.equal(packetSeconds(Uint8Array.of(0b11100_011, 3)), 0.0075); // CELT 2.5 ms, three frames
  assert.throws(() => packetSeconds(new Uint8Array(0)), RangeError);
});
