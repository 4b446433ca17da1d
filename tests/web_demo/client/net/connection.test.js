import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { Connection } from "../../../../web_demo/client/net/connection.js";

class Socket {
  sent = [];
  closed = false;
  constructor(url) {
    this.url = url;
  }
  send(message) {
    this.sent.push([...message]);
  }
  close() {
    this.closed = true;
  }
  says(...bytes) {
    this.onmessage({ data: Uint8Array.from(bytes).buffer });
  }
}

let sockets, states, line;
beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  sockets = [];
  states = [];
  line = new Connection(
    () => `ws://host/${sockets.length}`,
    (url) => sockets[sockets.push(new Socket(url)) - 1],
  );
  line.addEventListener("state", ({ detail }) => states.push(detail));
});

test("the line is open from the handshake on, and only then sends", () => {
  line.open();
  line.send(Uint8Array.of(3, 0));
  sockets[0].says(0, 0, 0);
  line.send(Uint8Array.of(3, 1));
  assert.deepEqual(states, ["connecting", "open"]);
  assert.deepEqual(sockets[0].sent, [[3, 1]]);
});

test("a lost line comes back by itself, at a fresh address, ever more patiently", () => {
  line.open();
  sockets[0].says(0, 0, 0);
  sockets[0].onclose();
  mock.timers.tick(500);
  assert.equal(sockets[1].url, "ws://host/1");
  sockets[1].onclose();
  mock.timers.tick(999);
  assert.equal(sockets.length, 2);
  mock.timers.tick(1);
  sockets[2].says(0, 0, 0);
  assert.deepEqual(states, ["connecting", "open", "retrying", "connecting", "retrying", "connecting", "open"]);
  sockets[2].onclose();
  mock.timers.tick(500);
  assert.equal(sockets.length, 4, "after a success the patience starts anew");
});

test("a server that never shakes hands is given up and tried again", () => {
  line.open();
  mock.timers.tick(10_000);
  assert.ok(sockets[0].closed);
  mock.timers.tick(500);
  assert.equal(sockets.length, 2);
});

test("closing ends everything: no retry, no message, no ping", () => {
  line.open();
  sockets[0].says(0, 0, 0);
  line.close();
  mock.timers.tick(60_000);
  assert.ok(sockets[0].closed);
  assert.equal(sockets.length, 1);
  assert.deepEqual(sockets[0].sent, []);
  assert.equal(line.state, "closed");
});

test("an open line pings, and a message that is not of the protocol is left out", () => {
  const heard = [];
  line.addEventListener("message", ({ detail }) => heard.push(detail.kind));
  mock.method(console, "warn", () => {});
  line.open();
  sockets[0].says(0, 0, 0);
  mock.timers.tick(15_000);
  assert.deepEqual(sockets[0].sent, [[6]]);
  sockets[0].says(99);
  sockets[0].says(6);
  assert.deepEqual(heard, ["ping"]);
});

test("a line that is silent for longer than the server's pings is lost, whatever the socket says", () => {
  line.open();
  sockets[0].says(0, 0, 0);
  mock.timers.tick(29_000);
  sockets[0].says(6);
  mock.timers.tick(29_000);
  assert.equal(line.state, "open");
  mock.timers.tick(1_000);
  assert.equal(line.state, "retrying");
  assert.ok(sockets[0].closed);
});
