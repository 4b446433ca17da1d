/**
 * The page's state machine against a server that follows the table of turns (`conversation/turn.py`), with both directions of the
 * line as queues: whatever the user and the server do at once, in every order of arrival.
 */
import assert from "node:assert/strict";
import { test } from "node:test";

import { Conversation } from "../../../../web_demo/client/talk/conversation.js";

const OVER = { ready: "ready", listening: "listening", answering: "waiting", waiting: "waiting" };

class Server {
  who = "ready";
  said = false; // there is sound in the turn
  announced = false; // speech_began was sent, and speech_ended not yet
  turns = 0;
  taken = 0;
  out = [];

  constructor({ handsFree, events }) {
    this.handsFree = handsFree;
    this.events = events;
  }

  take(control) {
    if (control !== "sound") this.taken += 1;
    if (control === "sound") this.said ||= this.who !== "answering" && this.who !== "waiting";
    else if (control === "start") this.#start();
    else if (control === "endTurn") this.#endTurn();
    else if (control === "restart") this.#restart();
    else this.#written();
  }

  /** What it may do by itself now: name -> deed. */
  get deeds() {
    const deeds = {};
    if (this.who === "answering") {
      deeds.writes = () => this.#text(`<${this.turns}>`);
      deeds.ends = () => this.#end();
      deeds.fails = () => this.#fail();
    }
    if (this.events && this.who === "listening" && this.said) deeds.full = () => this.#full(); // without, an error could be anything
    if (this.handsFree && !this.announced && this.who !== "listening") deeds.voice = () => this.#voice();
    if (this.announced) {
      deeds.silence = () => this.#silence();
      deeds.reconfigured = () => this.#endSpeech(); // the user moved a slider: nobody is noticed any more
    }
    if (this.events) deeds.hiccup = () => this.#problem("1 Opus packet(s) were damaged", { code: "audio_damaged" });
    return deeds;
  }

  #start() {
    if (this.who === "listening") return this.#problem("already open", { code: "already_open" });
    if (this.who === "answering") this.#interrupt();
    this.who = this.handsFree ? "ready" : "listening";
    this.said = false;
  }

  #endTurn() {
    if (this.who === "answering") this.#problem("already answering", { code: "already_answering" });
    else if (this.who === "waiting") this.#problem("no turn", { code: "no_turn" });
    else if (this.said) this.#answer();
    else {
      this.#problem("nothing said", { code: "nothing_said" });
      this.who = "ready";
    }
  }

  #restart() {
    if (this.who === "answering") this.#interrupt();
    this.#endSpeech();
    this.who = "ready";
    this.said = false;
  }

  #written() {
    if (this.who === "answering") this.#interrupt();
    this.#answer();
  }

  #voice() {
    this.announced = true;
    this.#event("speech_began");
    if (this.who === "answering") this.#interrupt();
    this.who = "listening";
    this.said = true;
  }

  #silence() {
    this.#endSpeech();
    if (this.who === "listening") this.#answer();
  }

  #full() {
    this.#problem("a turn may last 120 s", { code: "turn_full" });
    this.#answer();
  }

  #answer() {
    this.#endSpeech();
    this.said = false;
    this.turns += 1;
    this.who = "answering";
    this.#text("[Processing...]");
    this.#event("answer_began", { turn: this.turns });
  }

  #end() {
    this.#text(`\n[Final: <${this.turns}>]`);
    this.#event("answer_ended", { turn: this.turns, text: `<${this.turns}>` });
    this.who = this.handsFree ? "ready" : OVER[this.who];
  }

  #fail() {
    this.#problem(`answer ${this.turns} failed`, { code: "engine_failed", turn: this.turns });
    this.who = this.handsFree ? "ready" : OVER[this.who];
  }

  #interrupt() {
    this.#event("interrupted", { turn: this.turns, heard: "" });
  }

  #endSpeech() {
    if (this.announced) this.#event("speech_ended");
    this.announced = false;
  }

  #problem(message, about) {
    this.out.push(["onError", message]);
    this.#event("problem", { message, ...about });
  }

  #text(text) {
    this.out.push(["onText", text]);
  }

  #event(event, fields = {}) {
    if (this.events) this.out.push(["onEvent", { event, ...fields, taken: this.taken }]);
  }
}

class World {
  page = new Conversation();
  sent = [];
  now = 0;
  holding = false; // the user presses the button

  constructor(kind) {
    this.kind = kind;
    this.server = new Server(kind);
    this.page.lineChanged(kind.events);
  }

  /** What may happen next: name -> deed. */
  get steps() {
    const { page, server } = this;
    const steps = { ...server.deeds };
    if (this.sent.length > 0) steps["server hears"] = () => server.take(this.sent.shift());
    if (server.out.length > 0) steps["page hears"] = () => this.#hear();
    if (!this.kind.handsFree) {
      if (page.phase !== "listening") {
        steps.press = () => this.#send(page.begin(this.now), true);
      } else {
        steps["let go"] = () => this.#send(["sound", ...page.end(this.now)]);
        steps["let go at once"] = () => this.#send(page.end(this.now));
      }
    }
    if (page.phase === "thinking") steps.stop = () => this.#send(page.stop());
    if (this.kind.writes) steps.write = () => this.#send(page.write("hello", this.now));
    steps.restart = () => this.#send(page.restart());
    steps["line lost"] = () => this.#lose();
    return steps;
  }

  do(name) {
    this.now += 1;
    this.steps[name]();
    if (name === "full") this.holding = false;
    this.#check();
  }

  /** Deliver all that is on its way. */
  settle() {
    for (let most = 100; this.sent.length > 0 || this.server.out.length > 0; most -= 1) {
      assert.ok(most > 0, "it never settles");
      this.do(this.sent.length > 0 ? "server hears" : "page hears");
    }
    assert.equal(this.page.phase === "thinking", this.server.who === "answering", "what is waited for comes, and nothing else is");
    if (this.page.phase === "thinking") assert.deepEqual(this.#openAnswers().map(({ turn }) => turn), [this.kind.events ? this.server.turns : undefined]);
  }

  /** Whatever went before, the user can talk, and is answered. */
  talk() {
    if (this.kind.handsFree) {
      if (!this.server.announced && this.server.who === "listening") this.server.who = "ready";
      if (!this.server.announced) this.do("voice");
      this.settle();
      assert.equal(this.page.phase, "listening");
      this.do("silence");
    } else {
      if (this.page.phase !== "listening") this.do("press");
      this.do("let go");
    }
    this.settle();
    assert.equal(this.page.phase, "thinking");
    this.do("writes");
    this.do("ends");
    this.settle();
    const last = this.page.messages.findLast(({ role }) => role === "assistant");
    assert.deepEqual([last.text, last.status], [`<${this.server.turns}>`, "done"]);
    assert.equal(this.page.phase, "idle");
  }

  #send(controls, holding = false) {
    this.sent.push(...controls);
    this.holding = holding;
  }

  #hear() {
    const [method, what] = this.server.out.shift();
    this.page[method](what, this.now);
  }

  #lose() {
    this.sent = [];
    this.server = new Server(this.kind);
    this.page.lineChanged(this.kind.events);
    this.holding = false;
  }

  #openAnswers() {
    return this.page.messages.filter(({ role, status }) => role === "assistant" && status === "open");
  }

  #check() {
    const { messages, phase } = this.page;
    assert.equal(this.#openAnswers().length, phase === "thinking" ? 1 : 0, "an answer is waited for in its message");
    const speaking = messages.filter(({ role, status }) => role === "user" && status === "open");
    assert.ok(!this.holding || phase === "listening", "who holds the button is heard");
    assert.equal(speaking.length, phase === "listening" ? 1 : 0, "what is being said is one message");
    for (const { role, text, turn } of messages) {
      if (role !== "assistant" || !this.kind.events || turn === undefined) continue;
      assert.ok(text.replaceAll(`<${turn}>`, "") === "", `answer ${turn} says ${text}`);
    }
  }
}

const KINDS = [
  { name: "push to talk", handsFree: false, events: true, writes: true },
  { name: "hands-free", handsFree: true, events: true, writes: true },
  { name: "push to talk, at a server without events", handsFree: false, events: false, writes: false },
];

function run(kind, path) {
  const world = new World(kind);
  try {
    for (const name of path) world.do(name);
    const next = Object.keys(world.steps);
    world.settle();
    world.talk();
    return next;
  } catch (error) {
    error.message = `${path.join(", ")}: ${error.message}`;
    throw error;
  }
}

for (const kind of KINDS) {
  test(`${kind.name}: every order of up to five steps leads on`, () => {
    const explore = (path) => {
      const next = run(kind, path);
      if (path.length < 5) next.forEach((name) => explore([...path, name]));
    };
    explore([]);
  });

  if (!kind.events) continue; // what an error is about cannot always be told there
  test(`${kind.name}: long walks lead on`, () => {
    let seed = 20;
    const random = (most) => (seed = (seed * 48271) % 2147483647) % most;
    for (let walk = 0; walk < 4000; walk += 1) {
      const world = new World(kind);
      const path = [];
      try {
        for (let step = 0; step < 30; step += 1) {
          const names = Object.keys(world.steps);
          path.push(names[random(names.length)]);
          world.do(path.at(-1));
        }
        world.settle();
        world.talk();
      } catch (error) {
        error.message = `${path.join(", ")}: ${error.message}`;
        throw error;
      }
    }
  });
}
