import assert from "node:assert/strict";
import { test } from "node:test";

import { PcmDecoder, PcmEncoder } from "../../../../web_demo/client/audio/pcm.js";

test("sound comes back from PCM as it went in, but for the rounding and what is too loud", () => {
  const heard = [];
  const decoder = new PcmDecoder((samples) => heard.push(...samples));
  const encoder = new PcmEncoder((slice) => decoder.feed(slice, true));
  encoder.encode(Float32Array.of(0, 0.5, -0.25, 2, -2));
  [0, 0.5, -0.25, 1, -1].forEach((sample, at) => assert.ok(Math.abs(heard[at] - sample) < 1e-4, `${heard[at]} for ${sample}`));
});

test("it is little-endian, read from wherever it lies in a message, and not played where it is not wanted", () => {
  const heard = [];
  const decoder = new PcmDecoder((samples) => heard.push(...samples));
  decoder.feed(Uint8Array.of(1, 0x00, 0x40, 0x00, 0xc0).subarray(1), true);
  decoder.feed(Uint8Array.of(0x00, 0x40), false);
  assert.deepEqual(heard, [0.5, -0.5]);
});
