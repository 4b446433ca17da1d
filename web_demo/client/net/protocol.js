/**
 * The wire protocol of `/api/chat`, seen from the page: bytes to message and message to bytes. Pure.
 * The server's side of it, with its one-page description, is `web_demo/server/protocal.py`.
 */

const HANDSHAKE = 0x00;
const AUDIO = 0x01;
const TEXT = 0x02;
const CONTROL = 0x03;
const METADATA = 0x04;
const ERROR = 0x05;
const PING = 0x06;
const COLORED_TEXT = 0x07;

const ACTIONS = { start: 0, endTurn: 1, pause: 2, restart: 3 };

const utf8 = new TextDecoder("utf-8", { fatal: true });
const encoder = new TextEncoder();

/** A message that is not of the protocol. */
export class ProtocolError extends Error {}

/** @param {Uint8Array} slice bytes of an Ogg-Opus stream */
export function encodeAudio(slice) {
  return framed(AUDIO, slice);
}

/** @param {"start"|"endTurn"|"pause"|"restart"} action */
export function encodeControl(action) {
  if (!(action in ACTIONS)) throw new ProtocolError(`unknown control action ${action}`);
  return Uint8Array.of(CONTROL, ACTIONS[action]);
}

/** @param {string} text a turn of the user in writing @returns {string} a message of text, as it has no binary form */
export function encodeText(text) {
  return JSON.stringify({ type: "text", text });
}

/** @param {object} data settings of the session */
export function encodeMetadata(data) {
  return framed(METADATA, encoder.encode(JSON.stringify(data)));
}

export function encodePing() {
  return Uint8Array.of(PING);
}

/**
 * One WebSocket message from the server.
 * @param {ArrayBuffer} buffer
 * @returns {{kind: "handshake"|"ping"} | {kind: "audio", payload: Uint8Array} | {kind: "text"|"error", text: string}
 *   | {kind: "metadata", data: object}}
 */
export function decode(buffer) {
  const bytes = new Uint8Array(buffer);
  const payload = bytes.subarray(1);
  switch (bytes[0]) {
    case HANDSHAKE:
      return { kind: "handshake" };
    case AUDIO:
      return { kind: "audio", payload };
    case TEXT:
      return { kind: "text", text: text(payload) };
    case METADATA:
      return { kind: "metadata", data: object(text(payload)) };
    case ERROR:
      return { kind: "error", text: text(payload) };
    case PING:
      return { kind: "ping" };
    case COLORED_TEXT:
      return { kind: "text", text: text(payload.subarray(1)) };
    default:
      throw new ProtocolError(bytes.length ? `unknown message type ${bytes[0]}` : "an empty message");
  }
}

function framed(type, payload) {
  const message = new Uint8Array(1 + payload.length);
  message[0] = type;
  message.set(payload, 1);
  return message;
}

function text(payload) {
  try {
    return utf8.decode(payload);
  } catch (error) {
    throw new ProtocolError("the text is not valid UTF-8", { cause: error });
  }
}

function object(json) {
  let value;
  try {
    value = JSON.parse(json);
  } catch (error) {
    throw new ProtocolError("the metadata is not JSON", { cause: error });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ProtocolError("the metadata is not a JSON object");
  }
  return value;
}
