import assert from "node:assert/strict";
import { test } from "node:test";

import { keepsake } from "../../../../web_demo/client/talk/keepsake.js";

const WORDS = { title: "A & B", language: "en", name: (role) => (role === "user" ? "You" : "<It>") };
const MESSAGES = [
  { role: "user", text: " 1 < 2? " },
  { role: "note", text: "reconnected" },
  { role: "assistant", text: "</dl><script>alert(1)</script>" },
  { role: "assistant", text: "" },
];

test("what was said is in it as it was said, and cannot be anything else", async () => {
  const html = await (await keepsake(MESSAGES, null, WORDS)).text();
  assert.ok(html.includes("<dt>You</dt><dd>1 &lt; 2?</dd><dt>&lt;It&gt;</dt><dd>&lt;/dl&gt;&lt;script&gt;"));
  assert.ok(html.includes("<title>A &amp; B</title>"));
  assert.ok(!html.includes("<script") && !html.includes("<audio") && !html.includes("reconnected"));
});

test("so is the sound, to the byte", async () => {
  const wav = Uint8Array.from({ length: 50_001 }, (_, at) => at % 251);
  const html = await (await keepsake(MESSAGES, wav, WORDS)).text();
  const [, base64] = /src="data:audio\/wav;base64,([^"]+)"/.exec(html);
  assert.deepEqual(new Uint8Array(Buffer.from(base64, "base64")), wav);
});
