import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Tape } from "../../../../web_demo/client/audio/tape.js";
import { header, wavBytes, WavStreamReader } from "../../../../web_demo/client/audio/wav.js";

const FILE = new Uint8Array(readFileSync(new URL("../../../data/speech/cards_001.wav", import.meta.url)));

function read(bytes, sliceBytes) {
  const reader = new WavStreamReader();
  const samples = [];
  for (let at = 0; at < bytes.length; at += sliceBytes) samples.push(...reader.feed(bytes.subarray(at, at + sliceBytes)));
  return [reader.rate, Float32Array.from(samples)];
}

test("a real recording is read the same, wherever the stream is cut", () => {
  const [rate, samples] = read(FILE, FILE.length);
  assert.equal(rate, 16_000);
  assert.equal(samples.length, (FILE.length - 44) / 2);
  assert.deepEqual(read(FILE, 13), [rate, samples]);
});

test("what is written is read again within half a step", () => {
  const samples = Float32Array.of(0, 0.5, -0.5, 1, -1, 2);
  const [rate, back] = read(wavBytes(samples, 24_000), 9);
  assert.equal(rate, 24_000);
  back.forEach((value, at) => assert.ok(Math.abs(value - Math.max(-1, Math.min(1, samples[at]))) < 1e-4));
});

test("a header with open sizes, as of a stream, is read; other formats are refused", () => {
  const open = header(0xffffffff - 36, 24_000);
  assert.equal(new WavStreamReader().feed(open).length, 0);
  assert.throws(() => new WavStreamReader().feed(new TextEncoder().encode('{"success": false}')), /not a WAV/);
  const stereo = header(4, 24_000);
  stereo[22] = 2;
  assert.throws(() => new WavStreamReader().feed(stereo), /mono/);
});

test("the tape mixes both sides at their times and shortens long pauses", () => {
  const tape = new Tape();
  const second = (level) => new Float32Array(48_000).fill(level);
  tape.add(48_000 * 100, second(0.5));
  tape.add(48_000 * 100.5, second(0.25)); // the answer begins while the user still speaks
  tape.add(48_000 * 200, second(0.5)); // and much later
  const [rate, mix] = read(tape.wav(), 1 << 20);
  assert.equal(rate, 24_000);
  const at = (seconds) => Math.round(mix[seconds * rate] * 100) / 100;
  assert.equal(mix.length / rate, 1.5 + 2 + 1);
  assert.deepEqual([at(0.2), at(0.7), at(1.2), at(2.5), at(4)], [0.5, 0.75, 0.25, 0, 0.5]);
});
