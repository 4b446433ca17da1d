import assert from "node:assert/strict";
import { test } from "node:test";

import { shortTime, subRip } from "../../../../web_demo/client/transcribe/subtitles.js";

test("segments become numbered subtitles with hours, minutes, seconds and milliseconds", () => {
  const segments = [
    { text: " one ", start: 0, end: 1.5 },
    { text: "二", start: 3661.0004, end: 3725.9999 },
  ];
  assert.equal(
    subRip(segments),
    "1\n00:00:00,000 --> 00:00:01,500\none\n\n2\n01:01:01,000 --> 01:02:06,000\n二\n",
  );
});

test("times for people are short", () => {
  assert.deepEqual([0, 61.9, 3725].map(shortTime), ["0:00", "1:01", "1:02:05"]);
});
