import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { chatAddress, sessionMetadata, Settings } from "../../../web_demo/client/settings.js";

function storage(initial = null) {
  let kept = initial;
  return { getItem: () => kept, setItem: (_, value) => (kept = value) };
}

test("what is set is there in the next visit, and listeners are told once", () => {
  const disk = storage();
  const settings = new Settings(disk);
  const changes = [];
  settings.addEventListener("change", ({ detail }) => changes.push(detail));
  settings.set("handsFree", true);
  settings.set("handsFree", true);
  assert.deepEqual(changes, ["handsFree"]);
  assert.equal(new Settings(disk).get("handsFree"), true);
});

test("kept values that do not fit, or cannot be read, give way to the defaults", () => {
  mock.method(console, "warn", () => {});
  const odd = new Settings(storage(JSON.stringify({ threshold: 7, theme: "neon", prompt: 5, silenceMs: 300 })));
  assert.deepEqual(["threshold", "theme", "prompt", "silenceMs"].map((name) => odd.get(name)), [0.5, "auto", "", 300]);
  assert.equal(new Settings(storage("{")).get("theme"), "auto");
  assert.throws(() => odd.set("threshold", 2), RangeError);
});

test("the session's metadata turns voice activity on only when hands-free", () => {
  const settings = new Settings(storage());
  assert.deepEqual(sessionMetadata(settings, "zh"), {
    events: true,
    language: "zh",
    speech: true,
    spoken_language: "",
    system_prompt: "",
    turn_detection: null,
    voice: "",
  });
  settings.set("handsFree", true);
  settings.set("threshold", 0.7);
  const numbers = { threshold: 0.7, silence_duration_ms: 600, prefix_padding_ms: 300 };
  const detection = () => sessionMetadata(settings, "en").turn_detection;
  assert.deepEqual(detection(), { type: "semantic_vad", eagerness: "auto", ...numbers });
  settings.set("turnEnd", "low");
  assert.deepEqual(detection(), { type: "semantic_vad", eagerness: "low", ...numbers });
  const mute = sessionMetadata(settings, "en", { listens: false, speaks: false });
  assert.deepEqual([mute.turn_detection, mute.speech], [null, false], "who only writes is not listened to");
  settings.set("turnEnd", "timer");
  assert.deepEqual(detection(), { type: "server_vad", ...numbers });
  assert.throws(() => settings.set("turnEnd", "magic"), RangeError);
});

test("answers are spoken until somebody switches that off, for good", () => {
  const disk = storage(JSON.stringify({ speech: "no" }));
  const settings = new Settings(disk);
  assert.equal(sessionMetadata(settings, "en").speech, true);
  settings.set("speech", false);
  assert.equal(sessionMetadata(new Settings(disk), "en").speech, false);
});

test("the line goes to the server of the page, or to the one that was named, with the key", () => {
  const settings = new Settings(storage());
  const address = (base) => chatAddress(settings, base);
  assert.equal(address("http://localhost:8002/"), "ws://localhost:8002/api/chat");
  assert.equal(address("https://host/voice/?x=1#talk"), "wss://host/voice/api/chat");
  settings.set("key", "a b");
  settings.set("server", "box:8002");
  assert.equal(address("http://localhost/"), "ws://box:8002/api/chat?api_key=a+b");
  settings.set("server", "https://box/s2s");
  assert.equal(address("http://localhost/"), "wss://box/s2s/api/chat?api_key=a+b");
});
