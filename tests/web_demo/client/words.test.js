import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

import { localeOf, Words } from "../../../web_demo/client/words.js";
import en from "../../../web_demo/client/words/en.js";
import zh from "../../../web_demo/client/words/zh.js";

const CLIENT = new URL("../../../web_demo/client/", import.meta.url);
const places = (text) => [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort();

test("both languages have the same words, with the same places to fill in", () => {
  assert.deepEqual(Object.keys(zh), Object.keys(en));
  for (const key of Object.keys(en)) assert.deepEqual(places(zh[key]), places(en[key]), key);
});

test("every word that the page asks for is there, and none is there for nothing", () => {
  const files = readdirSync(CLIENT, { recursive: true }).filter((name) => /\.(js|html)$/.test(name) && !name.startsWith("words/"));
  const code = files.map((name) => readFileSync(new URL(name, CLIENT), "utf8")).join("\n");
  const asked = [...code.matchAll(/data-(?:words|label|placeholder)="(\w+)"|words\.of\("(\w+)"/g)].map(([, a, b]) => a ?? b);
  for (const key of asked) assert.ok(key in en, key);
  // Put together from parts, or the words of a service's health.
  const built = /^preset\w+(Hint|Prompt)$|^hint(Idle|Listening|Thinking|Speaking)|^(healthy|loading|unhealthy|down)$/;
  for (const key of Object.keys(en)) assert.ok(built.test(key) || new RegExp(`["']${key}["']`).test(code), key);
});

test("the language is the first of the browser's that the page speaks", () => {
  assert.equal(localeOf(["fr-FR", "zh-Hant-TW", "en"]), "zh");
  assert.equal(localeOf(["fr"]), "en");
  const words = new Words();
  words.choose("auto", ["zh-CN"]);
  assert.equal(words.of("seconds", { seconds: 2 }), "2 秒");
  words.choose("en", ["zh-CN"]);
  assert.equal(words.of("seconds", { seconds: 2 }), "2 s");
  assert.throws(() => words.of("nonsense"), RangeError);
});
