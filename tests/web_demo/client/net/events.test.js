import assert from "node:assert/strict";
import { test } from "node:test";

import { chunksOf, serverEvents } from "../../../../web_demo/client/net/events.js";

test("events are read however the stream is cut, between the bytes of a sign too", async () => {
  const bytes = new TextEncoder().encode(': hello\n\ndata: {"text": "你好"}\n\ndata: {"type": "done"}\n\ndata: {"cut": ');
  for (const size of [1, 7, 1000]) {
    const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) => bytes.slice(at * size, (at + 1) * size));
    const read = [];
    for await (const event of serverEvents(chunksOf(new Blob(pieces).stream()))) read.push(event);
    assert.deepEqual(read, [{ text: "你好" }, { type: "done" }]);
  }
});
