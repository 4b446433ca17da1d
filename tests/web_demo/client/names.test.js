import assert from "node:assert/strict";
import { test } from "node:test";

import { Words } from "../../../web_demo/client/words.js";
import { languageName, languageOptions, voiceGroups } from "../../../web_demo/client/names.js";

function reading(locale) {
  const words = new Words();
  words.choose(locale, []);
  return words;
}

const named = (groups) => groups.map(({ label, options }) => [label, options.map(({ name }) => name)]);

test("a language has the name that its reader knows, and what is no language its own", () => {
  assert.equal(languageName("zh", "en"), "Chinese");
  assert.equal(languageName("zh", "zh"), "中文");
  assert.equal(languageName("yue", "en"), "Cantonese");
  assert.equal(languageName("en-us", "zh"), "英语（美国）");
  assert.equal(languageName("en-gb-x-rp", "en"), "English (United Kingdom) · rp");
  assert.equal(languageName("en-us-nyc", "en"), "English (United States) · nyc");
  assert.equal(languageName("cmn-latn-pinyin", "en"), "Chinese (Latin) · pinyin");
  assert.equal(languageName("en-029", "en"), "English · 029");
  assert.equal(languageName("af_bella", "en"), "af_bella");
});

test("languages of the reader come first, in the reader's order, the others by their names", () => {
  const { near, others } = languageOptions(["ar", "zh", "sv", "de", "en", "cs"], "en", ["de-AT", "en"]);
  assert.deepEqual(near.map(({ value }) => value), ["en", "de", "zh"]);
  assert.deepEqual(others.map(({ name }) => name), ["Arabic", "Czech", "Swedish"]);
});

test("voices are called by what they are in the reader's language, added ones first and its own languages next", () => {
  const voices = [
    { name: "中文女", kind: "built-in", language: "zh" },
    { name: "英文女", kind: "built-in", language: "en" },
    { name: "英文男", kind: "built-in", language: "en" },
    { name: "en-us", kind: "built-in", language: "en" },
    { name: "sv", kind: "built-in", language: "sv" },
    { name: "cs", kind: "built-in" },
    { name: "小明", kind: "added" },
  ];
  assert.deepEqual(named(voiceGroups(voices, reading("en"), [])), [
    ["Added", ["小明"]],
    ["English", ["English · female", "English · male", "English (United States)"]],
    ["Chinese", ["Chinese · female"]],
    ["Other languages", ["Czech", "Swedish"]],
  ]);
  assert.deepEqual(named(voiceGroups(voices, reading("zh"), [])).slice(1, 3), [
    ["中文", ["中文 · 女声"]],
    ["英语", ["英语 · 女声", "英语 · 男声", "英语（美国）"]],
  ]);
});

test("a voice with a name of its own keeps it, in the group of its language", () => {
  const voices = ["af_bella", "af_sky", "am_adam"].map((name) => ({ name, language: "en" }));
  assert.deepEqual(named(voiceGroups([...voices, { name: "jf_alpha", language: "ja" }, { name: "nobody", language: "" }], reading("en"), [])), [
    ["English", ["af_bella", "af_sky", "am_adam"]],
    ["Other languages", ["Japanese · jf_alpha", "nobody"]],
  ]);
});
