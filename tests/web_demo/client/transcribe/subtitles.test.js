import assert from "node:assert/strict";
import { test } from "node:test";

import { cuesOf, lengthInWords, shortTime, subRip, webVtt } from "../../../../web_demo/client/transcribe/subtitles.js";

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

test("WebVTT has points in its times, and no mark-up that was not meant", () => {
  const cues = [{ text: "a < b & c", start: 0.1, end: 61.25 }];
  assert.equal(webVtt(cues), "WEBVTT\n\n00:00:00.100 --> 00:01:01.250\na &lt; b &amp; c\n");
  assert.equal(webVtt([]), "WEBVTT\n");
});

test("a long utterance becomes cues of at most two lines, at the times of its words", () => {
  const words = Array.from({ length: 30 }, (_, at) => ({ word: `word${at}`, start: at, end: at + 0.8 }));
  const cues = cuesOf([{ text: "ignored", start: 0, end: 30, words }]);
  assert.ok(cues.every(({ text }) => text.length <= 84));
  assert.equal(cues.map(({ text }) => text).join(" "), words.map(({ word }) => word).join(" "));
  for (const { text, start, end } of cues) {
    const said = text.split(" ").map((word) => Number(word.slice(4)));
    assert.deepEqual([start, end], [said[0], said.at(-1) + 0.8]);
  }
});

test("without times of words they are said evenly, and Chinese is cut between any two of its signs", () => {
  const cues = cuesOf([{ text: "好".repeat(64), start: 10, end: 20 }]);
  assert.deepEqual(cues.map(({ text, start, end }) => [text.length, start, end]), [[32, 10, 15], [32, 15, 20]]);
  assert.deepEqual(cuesOf([{ text: "hello there", start: 0, end: 1 }]), [{ text: "hello there", start: 0, end: 1 }]);
});

test("a length is seconds with a tenth, and a clock from a minute on", () => {
  const words = { of: (key, { seconds }) => `${seconds} s` };
  assert.deepEqual([0.44, 59.9, 61].map((seconds) => lengthInWords(seconds, words)), ["0.4 s", "59.9 s", "1:01"]);
});
