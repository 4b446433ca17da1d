/** The conversation as a list that is read aloud as it grows. */

import { byId, copyFrom, make } from "../dom.js";

const NEAR_END_PX = 80;
const PROBLEMS = { nothing_said: "nothingSaid", no_turn: "nothingSaid" }; // that the service puts for who writes a client

export class MessageList {
  #list = byId("messages");
  #scroll = byId("scroll");
  #empty = byId("empty");
  #shown = new Map(); // message id -> element
  #conversation;
  #words;

  constructor(conversation, words) {
    this.#conversation = conversation;
    this.#words = words;
    conversation.addEventListener("change", () => this.#update());
    words.addEventListener("change", () => this.#update());
  }

  #update() {
    const { messages } = this.#conversation;
    const atEnd = this.#scroll.scrollHeight - this.#scroll.scrollTop - this.#scroll.clientHeight < NEAR_END_PX;
    const ids = new Set(messages.map(({ id }) => id));
    for (const [id, element] of this.#shown) {
      if (ids.has(id)) continue;
      element.remove();
      this.#shown.delete(id);
    }
    for (const message of messages) this.#show(message);
    this.#empty.hidden = messages.length > 0;
    if (atEnd) this.#scroll.scrollTop = this.#scroll.scrollHeight;
  }

  #show(message) {
    let element = this.#shown.get(message.id);
    if (!element) {
      element = this.#make(message);
      this.#shown.set(message.id, element);
      this.#list.append(element);
    }
    element.className = `message ${message.role} ${message.status}`;
    const said = element.querySelector(".said");
    const meta = element.querySelector(".meta");
    const text = this.#said(message);
    if (said.textContent !== text) said.textContent = text;
    said.classList.toggle("pending", !message.text);
    if (meta) {
      const facts = this.#facts(message);
      if (meta.firstChild.textContent !== facts) meta.firstChild.textContent = facts;
      meta.lastChild.hidden = !message.text || message.status === "open" || !navigator.clipboard;
      meta.lastChild.textContent = this.#words.of("copy");
    }
  }

  #make(message) {
    const said = make("div", { className: "said" });
    if (message.role === "note" || message.role === "problem") return make("li", {}, said);
    const copy = make("button", { type: "button", "data-words": "copy" });
    copy.onclick = () => copyFrom(copy, message.text.trim(), this.#words);
    const name = make("span", { className: "unseen" }, `${this.#words.of(message.role === "user" ? "you" : "assistant")}: `);
    return make("li", {}, name, said, make("div", { className: "meta" }, make("span"), copy));
  }

  #said(message) {
    const words = this.#words;
    if (message.role === "note") return words.of(message.text);
    if (message.role === "problem" && message.code in PROBLEMS) return words.of(PROBLEMS[message.code]);
    if (message.text) return message.text.trim();
    if (message.role === "assistant") return message.status === "open" ? words.of("thinkingNow") : "…";
    return message.status === "open" ? words.of("speakingNow") : words.of("spoken", { seconds: message.seconds?.toFixed(1) ?? "" });
  }

  #facts(message) {
    const words = this.#words;
    const facts = [];
    if (message.latencyMs !== undefined) facts.push(words.of("firstSound", { seconds: (message.latencyMs / 1000).toFixed(2) }));
    if (message.role === "user" && message.text && message.seconds) facts.push(words.of("spoken", { seconds: message.seconds.toFixed(1) }));
    if (message.status === "interrupted") facts.push(words.of("interruptedMark"));
    if (message.status === "failed") facts.push(words.of("failedMark"));
    return facts.join(" · ");
  }
}
