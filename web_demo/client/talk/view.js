/** The dock below the conversation: the big button, the modes, what is going on in words. */

import { byId, dated, icon, save, showTrouble } from "../dom.js";
import { keepsake } from "./keepsake.js";
import { Levels } from "./levels.js";
import { MessageList } from "./messages.js";
import { showPresets } from "./presets.js";
import { TalkSession } from "./session.js";

const HOLD_MS = 350; // a shorter press begins a turn that the next press ends

export class TalkView {
  #session;
  #settings;
  #words;
  #services;
  #button = byId("main-button");
  #pressedAt = null; // when the press that began this turn came; null when it was let go, or began none
  #held = false; // the pointer that went down last has done its work
  #drawn = "";
  #line = "closed"; // as it was when it was looked at last
  #levels;

  constructor({ settings, words, services }) {
    this.#settings = settings;
    this.#words = words;
    this.#services = services;
    this.#session = new TalkSession(settings, () => words.locale);
    this.#levels = new Levels(byId("levels"), () => [
      this.#session.microphone?.analyser ?? null,
      this.#session.player?.analyser ?? null,
    ], () => this.#session.heard);
    new MessageList(this.#session.conversation, words);
    showPresets(byId("presets"), settings, words, { hints: true });
    this.#listen();
    this.#update();
  }

  get underruns() {
    return this.#session.player?.underruns ?? 0;
  }

  #listen() {
    const session = this.#session;
    session.addEventListener("state", () => this.#onState());
    session.addEventListener("trouble", ({ detail }) => this.#trouble(detail));
    session.conversation.addEventListener("change", () => this.#update());
    this.#words.addEventListener("change", () => this.#update());
    this.#settings.addEventListener("change", () => this.#update());

    this.#button.addEventListener("pointerdown", (event) => (this.#held = event.button === 0 && this.#hold(event)));
    this.#button.addEventListener("pointerup", () => this.#release());
    this.#button.addEventListener("pointercancel", () => this.#release());
    this.#button.addEventListener("click", (event) => this.#onClick(event));
    document.addEventListener("keydown", (event) => this.#onKey(event, true));
    document.addEventListener("keyup", (event) => this.#onKey(event, false));

    byId("mode-push").onchange = () => this.#settings.set("handsFree", false);
    byId("mode-free").onchange = () => this.#settings.set("handsFree", true);
    byId("stop-answer").onclick = () => session.interrupt();
    byId("hang-up").onclick = () => session.stop();
    byId("copy-all").onclick = ({ currentTarget }) => this.#copyAll(currentTarget);
    byId("save-all").onclick = () => this.#saveAll();
    byId("save-audio").onclick = () => save(`${dated("conversation")}.wav`, session.tape.wav(), "audio/wav");
    byId("save-text").onclick = () => save(`${dated("conversation")}.txt`, this.#text(), "text/plain");
    byId("write").onsubmit = (event) => {
      event.preventDefault();
      this.#write(byId("write-text"));
    };
    byId("restart").onclick = () => session.restart();
    byId("menu").addEventListener("click", (event) => event.target.closest(".menu-items button") && (byId("menu").open = false));
    document.addEventListener("click", (event) => byId("menu").contains(event.target) || (byId("menu").open = false));
  }

  // --- the big button ---

  /** Push-to-talk: the pointer or the space bar goes down. Returns whether that meant something by itself. */
  #hold(event) {
    const session = this.#session;
    if (session.line !== "open" || session.handsFree || !session.microphone) return false;
    if (event.pointerId !== undefined) this.#button.setPointerCapture(event.pointerId);
    if (session.conversation.phase === "listening") session.endTurn();
    else {
      this.#pressedAt = performance.now();
      session.beginTurn();
    }
    return true;
  }

  /** Of a pointer that held nothing, of the keyboard (detail 0), or of a screen reader. Only from a click on do phones let
   * a page make sound. */
  #onClick(event) {
    if (event.detail === 0 || !this.#held) this.#tap();
    this.#held = false;
  }

  #release() {
    const began = this.#pressedAt;
    this.#pressedAt = null;
    if (began !== null && performance.now() - began >= HOLD_MS) this.#session.endTurn();
  }

  /** One action: what a click means at this moment. */
  #tap() {
    const session = this.#session;
    this.#trouble(null);
    if (!session.microphone) session.start();
    else if (session.handsFree) session.setMuted(!session.muted);
    else if (session.conversation.phase === "listening") session.endTurn();
    else session.beginTurn();
  }

  /** The space bar is the button, wherever nothing else takes it; Escape stops the answer. */
  #onKey(event, down) {
    const busy = event.target.closest?.("input, select, textarea, button, summary, audio, dialog[open], [role=tab]");
    if (byId("view-talk").hidden || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && down && !busy && this.#canStop()) this.#session.interrupt();
    if (event.key !== " " || (busy && event.target !== this.#button)) return;
    event.preventDefault();
    if (!down) this.#release();
    else if (!this.#hold(event)) this.#tap();
  }

  #write(field) {
    const text = field.value.trim();
    if (!text) field.focus();
    if (!text || !this.#canWrite) return;
    field.value = "";
    this.#trouble(null);
    this.#session.write(text);
  }

  get #canWrite() {
    return !this.#session.starting && ["open", "closed"].includes(this.#session.line);
  }

  // --- what is shown ---

  #onState() {
    const { line } = this.#session;
    if (line === "open") {
      if (this.#line !== "open") this.#trouble(null);
      this.#levels.start();
    } else if (line === "closed") this.#levels.stop();
    else if (line === "retrying") this.#services.access(); // a browser does not say why a WebSocket failed
    this.#line = line;
    this.#update();
  }

  /** @param {string|null} key of the page's words */
  #trouble(key) {
    showTrouble(byId("trouble"), key && { code: key }, this.#words);
  }

  #canStop() {
    return ["thinking", "speaking"].includes(this.#session.conversation.phase);
  }

  #update() {
    const session = this.#session;
    const { conversation } = session;
    const open = session.line === "open";
    byId(session.handsFree ? "mode-free" : "mode-push").checked = true;
    byId("hint").textContent = this.#words.of(this.#hint());
    byId("stop-answer").hidden = !open || !this.#canStop();
    byId("hang-up").hidden = session.line === "closed";
    byId("menu").hidden = conversation.messages.length === 0;
    byId("copy-all").hidden = conversation.messages.length === 0 || !navigator.clipboard;
    byId("save-audio").disabled = session.tape.seconds === 0;
    byId("restart").disabled = !open;
    byId("write-send").setAttribute("aria-disabled", !this.#canWrite);
    this.#drawButton(open);
  }

  #drawButton(open) {
    const session = this.#session;
    const closed = !session.microphone;
    const { phase } = session.conversation;
    const muted = open && session.handsFree && session.muted;
    const listening = open && phase === "listening" && !session.handsFree;
    this.#button.dataset.phase = closed ? "closed" : open ? phase : "waiting";
    this.#button.dataset.muted = muted;
    this.#button.setAttribute("aria-disabled", session.starting || (session.line !== "closed" && !open)); // `disabled` would take the focus away
    const symbol = muted ? "muted" : listening ? "send" : "microphone";
    const label = closed ? "start" : session.handsFree ? (muted ? "unmuteButton" : "muteButton") : listening ? "sendButton" : "talkButton";
    const drawn = `${symbol} ${label} ${this.#words.locale}`;
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    this.#words.label(this.#button, label);
    this.#button.replaceChildren(icon(symbol), ...(closed ? [this.#words.of("start")] : []));
  }

  #hint() {
    const session = this.#session;
    if (session.starting) return "stateStarting";
    if (session.line === "closed") return "hintClosed";
    if (session.line === "connecting") return "stateConnecting";
    if (session.line === "retrying") return "stateRetrying";
    if (!session.microphone && session.conversation.phase === "idle") return "hintWriting";
    const how = session.handsFree ? "Free" : "Push";
    const { phase } = session.conversation;
    if (phase === "thinking") return "hintThinking";
    if (phase === "idle" && session.handsFree && session.muted) return "hintMuted";
    return `hint${phase[0].toUpperCase()}${phase.slice(1)}${how}`;
  }

  async #saveAll() {
    const { conversation, tape } = this.#session;
    const words = {
      title: `${this.#words.of("conversation")} · ${new Date().toLocaleString(this.#words.locale)}`,
      language: this.#words.locale,
      name: (role) => this.#words.of(role === "user" ? "you" : "assistant"),
    };
    save(`${dated("conversation")}.html`, await keepsake(conversation.messages, tape.seconds > 0 ? tape.wav() : null, words), "text/html");
  }

  #text() {
    return this.#session.conversation.text((role) => this.#words.of(role === "user" ? "you" : "assistant"));
  }

  async #copyAll(button) {
    await navigator.clipboard.writeText(this.#text());
    button.title = this.#words.of("copied");
    byId("hint").textContent = this.#words.of("copied");
  }
}
