import assert from "node:assert/strict";
import { test } from "node:test";

import { CaptionText } from "../../../../web_demo/client/transcribe/captions.js";

test("what goes on is replaced until it is final, and complaints lose nothing of it", () => {
  const said = new CaptionText();
  const final = { type: "final", text: "go forward", start: 0.2, end: 1.1 };
  assert.equal(said.take({ type: "partial", text: "go", start: 0.2, end: 0.6 }), null);
  assert.equal(said.partial, "go");
  assert.equal(said.take({ type: "error", message: "a packet was damaged" }), "a packet was damaged");
  assert.equal(said.partial, "go");
  said.take(final);
  said.take({ type: "final", text: "", start: 2, end: 3 });
  assert.deepEqual([said.segments, said.partial], [[final], ""]);
});
