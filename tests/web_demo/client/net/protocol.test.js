import assert from "node:assert/strict";
import { test } from "node:test";

import {
  decode,
  encodeAudio,
  encodeControl,
  encodeMetadata,
  encodePing,
  ProtocolError,
} from "../../../../web_demo/client/net/protocol.js";

const message = (type, text) => new Uint8Array([type, ...new TextEncoder().encode(text)]).buffer;

test("client messages have the bytes of the protocol", () => {
  assert.deepEqual(encodeAudio(Uint8Array.of(9, 8)), Uint8Array.of(1, 9, 8));
  assert.deepEqual(["start", "endTurn", "pause", "restart"].map((name) => [...encodeControl(name)]), [
    [3, 0],
    [3, 1],
    [3, 2],
    [3, 3],
  ]);
  assert.deepEqual(encodePing(), Uint8Array.of(6));
  const metadata = encodeMetadata({ system_prompt: "你好" });
  assert.equal(metadata[0], 4);
  assert.deepEqual(JSON.parse(new TextDecoder().decode(metadata.subarray(1))), { system_prompt: "你好" });
  assert.throws(() => encodeControl("stop"), ProtocolError);
});

test("server messages are read", () => {
  assert.deepEqual(decode(Uint8Array.of(0, 0, 0).buffer), { kind: "handshake" });
  assert.deepEqual(decode(Uint8Array.of(1, 5, 6).buffer), { kind: "audio", payload: Uint8Array.of(5, 6) });
  assert.deepEqual(decode(message(2, "说")), { kind: "text", text: "说" });
  assert.deepEqual(decode(message(4, '{"event":"speech_began"}')), { kind: "metadata", data: { event: "speech_began" } });
  assert.deepEqual(decode(message(5, "no")), { kind: "error", text: "no" });
  assert.deepEqual(decode(Uint8Array.of(6).buffer), { kind: "ping" });
  assert.deepEqual(decode(message(7, "\u0001hi")), { kind: "text", text: "hi" });
});

test("what is not of the protocol is refused", () => {
  for (const bytes of [[], [9, 1], [2, 0xff], [4, 0x5b, 0x5d], [4, 0x7b]]) {
    assert.throws(() => decode(Uint8Array.from(bytes).buffer), ProtocolError, bytes.join());
  }
});
