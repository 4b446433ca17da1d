import assert from "node:assert/strict";
import { test } from "node:test";

import { JitterBuffer } from "../../../../web_demo/client/audio/jitter.js";

const RATE = 1000;

function ramp(length, from = 1) {
  return Float32Array.from({ length }, (_, at) => (from + at) / 10_000);
}

function pulled(buffer, length) {
  const out = new Float32Array(length);
  return [buffer.pull(out), out];
}

test("nothing sounds before the target is buffered, then every sample once and in order", () => {
  const buffer = new JitterBuffer(RATE, { targetS: 0.1 });
  buffer.push(ramp(60));
  assert.equal(pulled(buffer, 10)[0], 0);
  buffer.push(ramp(60, 61));
  const heard = [];
  for (let step = 0; step < 12; step += 1) heard.push(...pulled(buffer, 10)[1]);
  assert.deepEqual(heard, [...ramp(120)]);
});

test("a short answer sounds at once when its end is known", () => {
  const buffer = new JitterBuffer(RATE, { targetS: 0.1 });
  buffer.push(ramp(20));
  buffer.end();
  assert.equal(pulled(buffer, 20)[0], 20);
  assert.equal(pulled(buffer, 20)[0], 0);
  assert.equal(buffer.underruns, 0);
});

test("running dry mid-answer is counted and makes the next start more careful", () => {
  const buffer = new JitterBuffer(RATE, { targetS: 0.1 });
  buffer.push(ramp(100));
  pulled(buffer, 100);
  assert.equal(pulled(buffer, 10)[0], 0);
  assert.equal(buffer.underruns, 1);
  assert.ok(buffer.targetS > 0.1);
  buffer.push(ramp(110));
  assert.equal(pulled(buffer, 10)[0], 0, "the old target is not enough any more");
});

test("the target grows no further than its bound and shrinks again in calm", () => {
  const buffer = new JitterBuffer(RATE, { targetS: 0.1, maxS: 0.2, minS: 0.1 });
  for (let gap = 0; gap < 10; gap += 1) {
    buffer.push(ramp(250));
    pulled(buffer, 250);
    pulled(buffer, 10);
  }
  assert.equal(buffer.targetS, 0.2);
  buffer.push(ramp(200));
  for (let second = 0; second < 200; second += 1) {
    buffer.push(ramp(1000));
    pulled(buffer, 1000);
  }
  assert.equal(buffer.targetS, 0.1);
});

test("a flush silences at once, without a click and without counting as a gap", () => {
  const buffer = new JitterBuffer(RATE, { targetS: 0.01 });
  buffer.push(new Float32Array(500).fill(0.5));
  pulled(buffer, 100);
  buffer.flush();
  const [written, out] = pulled(buffer, 500);
  assert.equal(written, 0);
  assert.equal(buffer.bufferedS, 0);
  assert.equal(buffer.underruns, 0);
  for (let at = 1; at < out.length; at += 1) assert.ok(out[at - 1] - out[at] < 0.02, "no jump");
  assert.equal(out[499], 0);
});

test("after a flush the next answer is not cut by what was thrown away", () => {
  const buffer = new JitterBuffer(RATE, { targetS: 0.05 });
  buffer.push(ramp(75));
  pulled(buffer, 30);
  buffer.flush();
  buffer.push(ramp(50, 500));
  assert.deepEqual([...pulled(buffer, 50)[1]], [...ramp(50, 500)]);
});
