/**
 * Talking: the line, the microphone, the codec, the player and the conversation, put together.
 * Events: "state" (of the line, or of what the user may do), "trouble" (detail: a key of the page's words).
 */

import { CODEC_RATE, VoiceDecoder, VoiceEncoder } from "../audio/codec.js";
import { Microphone, MicrophoneError } from "../audio/microphone.js";
import { PcmDecoder, PcmEncoder } from "../audio/pcm.js";
import { Player } from "../audio/player.js";
import { canPlay, hasOpus, missingForTalk } from "../audio/support.js";
import { Tape } from "../audio/tape.js";
import { Connection } from "../net/connection.js";
import { encodeAudio, encodeControl, encodeMetadata, encodeText } from "../net/protocol.js";
import { chatAddress, sessionMetadata } from "../settings.js";
import { Conversation } from "./conversation.js";

const MAX_BACKLOG_BYTES = 128 * 1024; // half a minute of voice that a stalled line has not taken: leave out what comes
const FLUSH_MS = 1000; // an encoder that does not come to its end holds up what is said next no longer than this
const RESUME_MS = 8000; // without a loudspeaker, Firefox waits for one for ever
const SESSION_SETTINGS = ["prompt", "spokenLanguage", "voice", "speech", "handsFree", "threshold", "turnEnd", "silenceMs", "locale"];

export class TalkSession extends EventTarget {
  conversation = new Conversation();
  tape = new Tape();
  microphone = null;
  player = null;
  muted = false;
  starting = false;
  #settings;
  #language;
  #line;
  #context = null;
  #encoder = null;
  #decoder = null;
  #opus = true; // this browser has it
  #unsent = ""; // what was written before the line was open
  #sending = false; // the microphone goes to the server
  #spoken = Promise.resolve(); // all that was said so far is on its way
  #opened = 0;

  /** @param {() => "en"|"zh"} language of the page */
  constructor(settings, language) {
    super();
    this.#settings = settings;
    this.#language = language;
    this.#line = new Connection(() => chatAddress(settings, document.baseURI, this.#opus ? {} : { audio: "pcm16", rate: CODEC_RATE }));
    this.#line.addEventListener("state", ({ detail }) => this.#onLine(detail));
    this.#line.addEventListener("message", ({ detail }) => this.#onMessage(detail));
    settings.addEventListener("change", ({ detail }) => this.#onSetting(detail));
  }

  /** @returns {"closed"|"connecting"|"open"|"retrying"} */
  get line() {
    return this.#line.state;
  }

  /** Whether the server hears the microphone at this moment. */
  get heard() {
    return this.#sending && this.line === "open";
  }

  get handsFree() {
    return this.#settings.get("handsFree");
  }

  // --- beginning and end ---

  /**
   * Needs a gesture of the user: browsers let no page make sound without one.
   * @param {{listens?: boolean}} [how] false: without the microphone; a later start adds it
   */
  async start({ listens = true } = {}) {
    if (this.starting || (this.line !== "closed" && (this.microphone || !listens))) return;
    this.starting = true;
    this.#tell("state");
    try {
      const missing = listens && missingForTalk();
      if (missing) throw new MicrophoneError(missing);
      this.#opus = await hasOpus();
      if (!this.#context && canPlay()) await this.#openSound(listens);
      if (listens) await this.#openMicrophone();
      this.#line.open();
    } catch (error) {
      if (this.line === "closed") await this.#closeSound();
      if (!(error instanceof MicrophoneError)) console.error(error);
      this.#tell("trouble", error.code ?? "soundFailed");
    } finally {
      this.starting = false;
      this.#tell("state");
    }
  }

  async stop() {
    this.#line.close();
    await this.#closeSound();
    this.#tell("state");
  }

  async #openSound(needed) {
    this.#context = new AudioContext({ sampleRate: CODEC_RATE, latencyHint: "interactive" });
    await this.#useSpeaker();
    this.player = await Player.create(this.#context);
    this.player.addEventListener("began", () => this.conversation.soundBegan(this.#heardAt()));
    this.player.addEventListener("ended", () => this.conversation.soundEnded());
    this.player.addEventListener("played", ({ detail }) => this.tape.add(detail.position, detail.samples));
    try {
      await Promise.race([this.#context.resume(), refused(RESUME_MS, "noLoudspeaker")]);
    } catch (error) {
      if (needed) throw error;
      await this.#closeSound(); // answers can be read
    }
  }

  async #openMicrophone() {
    this.microphone = await Microphone.open(this.#context, this.#settings.get("microphone"));
    this.microphone.addEventListener("frame", ({ detail }) => this.#onFrame(detail));
    this.microphone.addEventListener("lost", () => this.#tell("trouble", "microphoneMissing"));
    if (this.line === "open") this.#listen();
  }

  async #closeSound() {
    this.microphone?.close();
    this.#encoder?.close();
    this.#decoder?.close();
    await this.#context?.close();
    this.microphone = this.player = this.#encoder = this.#decoder = this.#context = null;
    this.#sending = false;
  }

  /** When a sound that begins now leaves the loudspeaker. */
  #heardAt() {
    return performance.now() + (this.#context?.outputLatency ?? 0) * 1000;
  }

  // --- what the user does ---

  /** A turn in writing; it begins a conversation without the microphone where there is none. */
  async write(text) {
    if (this.line === "open") {
      this.#sending = this.handsFree && !this.muted;
      this.#flush();
      this.#say(this.conversation.write(text, performance.now()));
      return;
    }
    this.#unsent = text;
    await this.start({ listens: false });
  }

  /** Push-to-talk: the user's turn begins; an answer under way is cut off at once. */
  beginTurn() {
    if (this.line !== "open" || !this.microphone || this.conversation.phase === "listening") return;
    this.#say(this.conversation.begin(performance.now()));
    this.#sending = true;
  }

  endTurn() {
    if (this.line !== "open" || this.conversation.phase !== "listening") return;
    this.#sending = this.handsFree && !this.muted;
    this.#flush();
    this.#say(this.conversation.end(performance.now()));
  }

  /** Stop the answer without speaking. */
  interrupt() {
    this.#say(this.conversation.stop());
  }

  /** Hands-free: keep the microphone to oneself for a while. */
  setMuted(muted) {
    this.muted = muted;
    if (this.handsFree) this.#sending = !muted;
    if (muted) this.endTurn();
    this.#tell("state");
  }

  /** Forget the conversation, here and at the server. */
  restart() {
    this.#say(this.conversation.restart());
    this.tape.clear();
  }

  /** Sends controls, in order, behind the sound that was spoken before them. */
  #say(controls) {
    if (this.conversation.deaf) this.#silence();
    const line = this.#line;
    const send = () => controls.forEach((control) => line.send(control.text === undefined ? encodeControl(control) : encodeText(control.text)));
    this.#spoken = this.#spoken.then(send);
  }

  /** What was spoken until now is sent before whatever is said next. */
  #flush() {
    const encoder = this.#encoder;
    const flushed = () => Promise.race([encoder?.flush(), new Promise((resolve) => setTimeout(resolve, FLUSH_MS))]);
    this.#spoken = this.#spoken.then(flushed).catch((error) => this.#broken(error));
  }

  #silence() {
    this.#decoder?.drop();
    this.player?.flush();
  }

  async #onSetting(name) {
    if (name === "handsFree") {
      this.endTurn();
      this.muted = false;
      this.#sending = this.handsFree && this.line === "open";
      this.#tell("state");
    }
    if (SESSION_SETTINGS.includes(name)) this.#configure();
    if (name === "speaker") await this.#useSpeaker();
    if (name === "microphone") {
      try {
        await this.microphone?.change(this.#settings.get("microphone"));
      } catch (error) {
        this.#tell("trouble", error.code);
      }
    }
    if ((name === "server" || name === "key") && this.line !== "closed") {
      this.#line.close();
      this.#line.open();
    }
  }

  async #useSpeaker() {
    const speaker = this.#settings.get("speaker");
    if (!this.#context?.setSinkId) return;
    try {
      await this.#context.setSinkId(speaker);
    } catch (error) {
      console.warn("the chosen loudspeaker is not there, the usual one is used:", error.message);
    }
  }

  // --- what the microphone and the server do ---

  #onFrame({ position, samples }) {
    if (!this.#sending || this.line !== "open" || this.#line.backlog > MAX_BACKLOG_BYTES) return;
    this.tape.add(position, samples);
    this.#encoder.encode(samples);
  }

  #onLine(state) {
    if (state === "open") this.#onOpen();
    else {
      this.#sending = false;
      this.#silence();
      this.conversation.lineChanged();
    }
    this.#tell("state");
  }

  #onOpen() {
    const broken = (error) => this.#broken(error);
    this.#decoder?.close();
    const play = (samples) => this.player.push(samples);
    this.#decoder = this.player && (this.#opus ? new VoiceDecoder(play, broken) : new PcmDecoder(play));
    this.#listen();
    this.conversation.lineChanged(!this.#settings.get("server")); // ours sends events
    if (this.#opened > 0 && this.conversation.messages.length > 0) this.conversation.note("reconnected", performance.now());
    this.#opened += 1;
    if (this.#unsent) this.write(this.#unsent);
    this.#unsent = "";
  }

  /** The line and, if there is one, the microphone are there: one leads to the other. */
  #listen() {
    this.#encoder?.close();
    this.#encoder = null;
    if (this.microphone) {
      const send = (slice) => this.#line.send(encodeAudio(slice));
      this.#encoder = this.#opus ? new VoiceEncoder(send, (error) => this.#broken(error)) : new PcmEncoder(send);
    }
    this.#sending = this.microphone !== null && this.handsFree && !this.muted;
    this.#configure();
  }

  #broken(error) {
    if (error.name === "AbortError") return; // it was closed meanwhile, as it should be
    console.error(error);
    this.#tell("trouble", "soundFailed");
  }

  #configure() {
    const can = { listens: this.microphone !== null, speaks: this.player !== null };
    this.#line.send(encodeMetadata(sessionMetadata(this.#settings, this.#language(), can)));
  }

  #onMessage(message) {
    const now = performance.now();
    switch (message.kind) {
      case "audio":
        this.#decoder?.feed(message.payload, !this.conversation.deaf);
        break;
      case "text":
        this.conversation.onText(message.text, now);
        break;
      case "error":
        this.conversation.onError(message.text, now);
        break;
      case "metadata":
        this.#onEvent(message.data, now);
        break;
    }
  }

  #onEvent(event, now) {
    if (event.event === "speech_began") this.#silence();
    this.conversation.onEvent(event, now);
    if (event.event === "interrupted") this.#silence();
    if (event.event === "answer_ended") this.#playOut();
    if (!this.handsFree && this.conversation.phase !== "listening") this.#sending = false; // the turn was cut
  }

  /** All of the answer is here: let the player finish what it holds. */
  async #playOut() {
    try {
      await this.#decoder?.flush();
    } catch (error) {
      this.#broken(error);
    }
    this.player?.end();
  }

  #tell(type, detail = null) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Never resolves; throws MicrophoneError with this code after a while. */
function refused(afterMs, code) {
  return new Promise((_, reject) => setTimeout(() => reject(new MicrophoneError(code)), afterMs));
}
