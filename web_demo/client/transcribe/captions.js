/** Live captions: what the microphone or another tab says, written down as it is said (`/api/transcribe/stream`). */

import { Microphone, MicrophoneError, openStream } from "../audio/microphone.js";
import { PcmEncoder } from "../audio/pcm.js";
import { missingForTalk } from "../audio/support.js";

const HIGHEST_RATE = 48_000; // that the service takes
const MAX_BACKLOG_BYTES = 2_000_000; // 20 s that a stalled line has not taken: leave out what comes
const LAST_WORDS_MS = 10_000; // for what was said last to be recognised

/** What was said so far. Pure. */
export class CaptionText {
  /** @type {{text: string, start: number, end: number, words?: object[]}[]} */
  segments = [];
  partial = ""; // of the utterance that goes on
  /** @param {object} message of the service @returns {string|null} its complaint */
  take(message) {
    if (message.type === "error") return message.message;
    if (message.type === "partial") this.partial = message.text;
    if (message.type === "final") {
      this.partial = "";
      if (message.text) this.segments.push(message);
    }
    return null;
  }
}

/** Events: "change", "trouble" (detail: an error with a `code` of the page's words, or a message), "ended" (whatever the reason). */
export class Captions extends EventTarget {
  said = new CaptionText();
  #services;
  #context = null;
  #source = null;
  #socket = null;
  #ending = null; // the timer of the last words

  /** @param {import("../net/services.js").Services} services */
  constructor(services) {
    super();
    this.#services = services;
  }

  /** Needs a gesture of the user. Throws MicrophoneError. @param {"microphone"|"tab"} from @param {{device: string, language: string, hotwords: string}} how */
  async start(from, { device, language, hotwords }) {
    const missing = missingForTalk();
    if (missing) throw new MicrophoneError(missing);
    const stream = from === "tab" ? await soundOfTab() : await openStream(device);
    try {
      this.#context = contextFor();
      this.#source = await Microphone.of(this.#context, stream);
    } catch (error) {
      stream.getTracks().forEach((track) => track.stop());
      await this.#context?.close();
      throw error;
    }
    await this.#context.resume();
    const fields = { format: "pcm16", rate: this.#context.sampleRate, ...(language && { language }), ...(hotwords && { hotwords }) };
    this.#connect(this.#services.socket("api/transcribe/stream", fields));
    this.#source.addEventListener("lost", () => this.stop()); // the tab is shared no more
  }

  /** What was said last is still waited for. */
  stop() {
    if (this.#ending !== null) return;
    this.#source?.close();
    if (this.#socket?.readyState !== WebSocket.OPEN) {
      this.#end();
      return;
    }
    this.#socket.send(JSON.stringify({ type: "end" }));
    this.#ending = setTimeout(() => this.#end(), LAST_WORDS_MS);
  }

  #connect(address) {
    const socket = new WebSocket(address);
    const waiting = []; // said before the line was open
    const send = (slice) => {
      if (socket.readyState === WebSocket.CONNECTING) waiting.push(slice);
      else if (socket.readyState === WebSocket.OPEN && socket.bufferedAmount < MAX_BACKLOG_BYTES) socket.send(slice);
    };
    const encoder = new PcmEncoder(send);
    this.#source.addEventListener("frame", ({ detail }) => encoder.encode(detail.samples));
    socket.onopen = () => waiting.splice(0).forEach((slice) => socket.send(slice));
    socket.onmessage = ({ data }) => this.#hear(JSON.parse(data));
    socket.onclose = () => this.#lost();
    this.#socket = socket;
  }

  #hear(message) {
    if (message.type === "done") {
      this.#end();
      return;
    }
    const complaint = this.said.take(message);
    if (complaint) this.#tell("trouble", { message: complaint });
    this.#tell("change");
  }

  /** A browser does not say why. */
  async #lost() {
    this.#end();
    const trouble = await this.#services.access();
    this.#tell("trouble", { code: "captionsLost", everywhere: trouble !== null });
  }

  #end() {
    clearTimeout(this.#ending);
    this.#source?.close();
    this.#context?.close();
    if (this.#socket) {
      this.#socket.onclose = this.#socket.onmessage = null;
      this.#socket.close();
    }
    this.#source = this.#context = this.#socket = this.#ending = null;
    this.#tell("ended");
  }

  #tell(type, detail = null) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function contextFor() {
  const context = new AudioContext();
  if (context.sampleRate <= HIGHEST_RATE) return context;
  context.close();
  return new AudioContext({ sampleRate: HIGHEST_RATE });
}

/** Of a tab, a window or the screen that the user picks. Browsers share no sound without a picture: nobody looks at it. */
async function soundOfTab() {
  let stream;
  try {
    stream = await navigator.mediaDevices.getDisplayMedia({ video: true, audio: true });
  } catch (error) {
    throw new MicrophoneError("tabRefused", error);
  }
  if (stream.getAudioTracks().length > 0) return stream;
  stream.getTracks().forEach((track) => track.stop());
  throw new MicrophoneError("tabSilent");
}
