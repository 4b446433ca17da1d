/**
 * One WebSocket line to `/api/chat` that comes back by itself. It counts as open from the server's handshake on.
 *
 * Events: "state" (detail: the new state), "message" (detail: a decoded message). The socket and the timers are passed in
 * by tests.
 */

import { decode, encodePing, ProtocolError } from "./protocol.js";

const RETRY_MS = [500, 1000, 2000, 4000, 8000];
const PING_MS = 15_000;
const SILENCE_MS = 30_000; // the server sends a ping after 8 s without anything else: it is gone, or nobody leads to it
const HANDSHAKE_TIMEOUT_MS = 10_000;

export class Connection extends EventTarget {
  /** @type {"closed"|"connecting"|"open"|"retrying"} */
  state = "closed";
  #address;
  #makeSocket;
  #socket = null;
  #failures = 0;
  #timer = null;
  #ping = null;

  /** @param {() => string} address asked anew for each attempt @param {(url: string) => WebSocket} makeSocket */
  constructor(address, makeSocket = (url) => new WebSocket(url)) {
    super();
    this.#address = address;
    this.#makeSocket = makeSocket;
  }

  open() {
    if (this.state !== "closed") return;
    this.#failures = 0;
    this.#connect();
  }

  close() {
    this.#clear();
    this.#set("closed");
  }

  /** @param {Uint8Array|string} message Dropped while the line is not open: it would belong to a session that is gone. */
  send(message) {
    if (this.state === "open") this.#socket.send(message);
  }

  /** Bytes that wait to leave this machine. */
  get backlog() {
    return this.#socket?.bufferedAmount ?? 0;
  }

  #connect() {
    this.#clear();
    this.#set("connecting");
    const socket = this.#makeSocket(this.#address());
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => this.#onMessage(data);
    socket.onclose = () => this.#onClose();
    this.#socket = socket;
    this.#timer = setTimeout(() => this.#onClose(), HANDSHAKE_TIMEOUT_MS);
  }

  #onMessage(data) {
    if (this.state === "open") this.#expectMore();
    let message;
    try {
      message = decode(data);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      console.warn("a message of the server was left out:", error.message);
      return;
    }
    if (message.kind === "handshake") this.#onHandshake();
    else this.dispatchEvent(new CustomEvent("message", { detail: message }));
  }

  #onHandshake() {
    this.#expectMore();
    this.#failures = 0;
    this.#ping = setInterval(() => this.send(encodePing()), PING_MS);
    this.#set("open");
  }

  #expectMore() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#onClose(), SILENCE_MS);
  }

  #onClose() {
    this.#clear();
    const wait = RETRY_MS[Math.min(this.#failures, RETRY_MS.length - 1)];
    this.#failures += 1;
    this.#timer = setTimeout(() => this.#connect(), wait);
    this.#set("retrying");
  }

  #clear() {
    clearTimeout(this.#timer);
    clearInterval(this.#ping);
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #set(state) {
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }
}
