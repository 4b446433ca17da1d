/**
 * What a conversation looks like from the page: messages, and whose turn it is. Pure: what the user does and what the server says
 * goes in with its time (ms), listeners are told what changed, and what the user does comes back as the controls to send.
 *
 * Both sides speak at once, so what arrives may be of an answer that the user has ended meanwhile. The server's events say how
 * many controls it had taken before (`taken`): what comes from before `#since` is of the past. An answer is waited for when this
 * page asks for one, or when the server says that it has begun; so nothing is waited for that does not come.
 */

const PROCESSING = "[Processing...]";
const FINAL = /^\n?\[Final: ([\s\S]*)\]$/;
const REFUSALS = ["nothing_said", "no_turn", "already_answering"]; // codes of problems: of what was asked for
const OF_NO_INTEREST = ["already_answering", "already_open", "no_turn"]; // both sides did the same at once

/**
 * @typedef {object} Message
 * @property {number} id
 * @property {"user"|"assistant"|"note"|"problem"} role
 * @property {string} text for a note, a key of the page's words
 * @property {"open"|"done"|"interrupted"|"failed"} status
 * @property {number} at ms
 * @property {boolean} [written] by the user, not spoken
 * @property {string} [code] of a problem
 * @property {number} [turn] the server's number of the answer that this belongs to
 * @property {number} [seconds] how long the user spoke
 * @property {number} [latencyMs] from the end of the user's turn to the first sound of the answer
 */

/** @typedef {"start"|"endTurn"|"restart"|{text: string}} Control */

export class Conversation extends EventTarget {
  /** @type {Message[]} */
  messages = [];
  /** @type {"ready"|"listening"|"answering"|"waiting"} the turn, as the server will see it once it has all that was sent */
  line = "ready";
  /** What arrives, sound too, belongs to an answer that the user has ended. */
  deaf = false;
  #ids = 0;
  #user = null; // the message that the user is speaking now
  #answer = null; // the answer that was asked for, or is under way
  #begun = false; // the server has said that it is
  #sounding = null; // the answer that is audible now
  #endedAt = null; // when the last turn of the user ended
  #sent = 0; // controls
  #since = 0; // of them, up to the one by which the user went past what was before
  #events = false; // the server sends them
  #owed = 0; // without: answers that will begin, to what the user went past

  /** @returns {"idle"|"listening"|"thinking"|"speaking"} */
  get phase() {
    if (this.#user) return "listening";
    if (this.#sounding) return "speaking";
    return this.#answer ? "thinking" : "idle";
  }

  // --- what the user does ---

  /** The user begins to speak. @returns {Control[]} */
  begin(now) {
    if (this.#user) return [];
    const controls = this.line === "listening" ? [] : ["start"];
    this.#leave();
    this.#listen(now);
    return this.#send(controls, { past: true });
  }

  /** The user has spoken. @returns {Control[]} */
  end(now) {
    if (!this.#user) return [];
    this.#said(now);
    this.#ask(now);
    return this.#send(["endTurn"]);
  }

  /** A turn in writing, together with what is being said. @returns {Control[]} */
  write(text, now) {
    this.#leave();
    this.#said(now);
    Object.assign(this.#add("user", text, now), { status: "done", written: true });
    this.#endedAt = now;
    this.#ask(now);
    return this.#send([{ text }], { past: true });
  }

  /** The user wants no more of the answer. If the server still makes it, it is told so, and a turn is open there. @returns {Control[]} */
  stop() {
    if (this.#sounding) this.#sounding.status = "interrupted";
    const underWay = this.line === "answering";
    this.#leave();
    if (underWay) this.line = "listening";
    this.#changed();
    return underWay ? this.#send(["start"], { past: true }) : [];
  }

  /** Forget all of it. @returns {Control[]} */
  restart() {
    this.#leave();
    this.messages = [];
    this.#user = this.#endedAt = null;
    this.line = "ready";
    this.#changed();
    return this.#send(["restart"], { past: true });
  }

  /** The line is lost, or new: the server knows nothing of what was said before. @param {boolean} [events] it is known to send them */
  lineChanged(events = false) {
    this.line = "ready";
    this.#stopAnswer();
    this.#drop(this.#user);
    this.#user = null;
    this.deaf = false;
    this.#sent = this.#since = this.#owed = 0;
    this.#events = events;
    this.#changed();
  }

  // --- what the server says ---

  /** @param {object} event a JSON event of the server */
  onEvent(event, now) {
    this.#events = true;
    const past = event.taken < this.#since;
    switch (event.event) {
      case "answer_began":
        this.#number(event.turn);
        if (!past) this.#answerBegan(event.turn, now);
        break;
      case "transcript":
        this.#transcribed(event);
        break;
      case "answer_ended":
        if (!past) this.#answerEnded(event.text, event.turn);
        break;
      case "interrupted":
        if (!past) this.deaf = false;
        this.#cutOff(event);
        break;
      case "speech_began":
        if (!this.#user) this.#listen(now); // whatever the user did since: its end comes too
        break;
      case "speech_ended":
        this.#said(now);
        this.#changed();
        break;
      case "tool_call":
        this.note("toolCalled", now);
        break;
      case "problem":
        this.#onProblem(event, past, now);
        break;
    }
  }

  /** Text of the answer. Servers without events mark its beginning and its end in the text itself. */
  onText(text, now) {
    const final = FINAL.exec(text);
    if (text === PROCESSING) {
      if (this.#events) return;
      if (this.#owed > 0) this.#owed -= 1;
      else this.#answerBegan(undefined, now);
    } else if (this.deaf) return;
    else if (final) {
      if (!this.#events) this.#answerEnded(final[1]);
    } else {
      if (!this.#answer && !this.#events && !this.#user) this.#answerBegan(undefined, now); // it goes on after all
      if (!this.#answer) return;
      this.#answer.text += text;
      this.#changed(this.#answer);
    }
  }

  /** @param {string} message of the server, in words; where it sends events, one about the same follows */
  onError(message, now) {
    if (!this.#events) {
      if (this.#owed > 0) this.#owed -= 1;
      else if (this.#answer) this.#fail();
    }
    this.#complain(message, now);
  }

  /** @param {string} key of the page's words */
  note(key, now) {
    this.#add("note", key, now);
    this.#changed();
  }

  // --- what is heard ---

  /** The first sound of an answer is audible. */
  soundBegan(now) {
    const message = this.#answer ?? this.messages.findLast(({ role }) => role === "assistant");
    if (!message || this.#user) return;
    if (message.latencyMs === undefined && this.#endedAt !== null) message.latencyMs = now - this.#endedAt;
    this.#sounding = message;
    this.#changed(message);
  }

  /** All that was sent has been played. */
  soundEnded() {
    if (!this.#sounding) return;
    this.#sounding = null;
    this.#changed();
  }

  /** The conversation as plain text; `name` gives the words for the two sides. */
  text(name) {
    return this.messages
      .filter(({ role, text }) => (role === "user" || role === "assistant") && text)
      .map(({ role, text }) => `${name(role)}: ${text.trim()}`)
      .join("\n\n");
  }

  // --- steps ---

  #send(controls, { past = false } = {}) {
    this.#sent += controls.length;
    if (past) this.#since = this.#sent;
    return controls;
  }

  /** The user wants nothing more of whatever was asked for. */
  #leave() {
    this.deaf = true;
    if (this.line === "answering" && !this.#begun) this.#owed += 1;
    this.#stopAnswer();
  }

  #listen(now) {
    this.#stopAnswer();
    this.#user = this.#add("user", "", now);
    this.line = "listening";
    this.#changed();
  }

  #said(now) {
    const message = this.#user;
    if (!message) return;
    message.seconds = (now - message.at) / 1000;
    message.status = "done";
    this.#user = null;
    this.#endedAt = now;
  }

  #ask(now) {
    this.#answer = this.#add("assistant", "", now);
    this.#begun = false;
    this.line = "answering";
    this.#changed();
  }

  #answerBegan(turn, now) {
    this.deaf = false;
    this.#said(now); // the turn was longer than the server takes
    this.#answer ??= this.#add("assistant", "", now);
    this.#answer.turn = turn;
    this.#begun = true;
    this.line = "answering";
    this.#changed(this.#answer);
  }

  /** What the user said before an answer began belongs to it. */
  #number(turn) {
    for (const message of this.messages) {
      if (message.role === "user" && message.status === "done") message.turn ??= turn;
    }
  }

  #transcribed({ turn, text }) {
    const said = this.messages.findLast(
      (message) => message.role === "user" && !message.written && (message.turn ?? turn) === turn && message !== this.#user,
    );
    if (!said) return;
    said.text = text;
    this.#changed(said);
  }

  #answerEnded(text, turn) {
    const message = this.#answer;
    if (!message || !this.#begun || (turn ?? message.turn) !== message.turn) return;
    if (text) message.text = text;
    message.status = "done";
    this.#answer = null;
    this.line = "waiting";
    this.#changed(message);
  }

  #cutOff({ turn, heard, goes_on: goesOn }) {
    if (goesOn) this.#goOn(turn);
    const message = this.messages.findLast((one) => one.role === "assistant" && one.turn === turn);
    if (!message) return;
    message.status = "interrupted";
    message.text = heard || message.text;
    if (message === this.#answer) {
      this.#answer = null;
      this.line = "listening";
    }
    if (message === this.#sounding) this.#sounding = null;
    this.#changed(message);
  }

  /** The user was not done, and had heard nothing of the answer: it never was, and what is being said belongs to what was. */
  #goOn(turn) {
    const said = this.messages.findLast((one) => one.role === "user" && one.turn === turn);
    this.#drop(this.messages.findLast((one) => one.role === "assistant" && one.turn === turn));
    this.#answer = null;
    if (said && this.#user) {
      this.#user.at = said.at;
      this.#drop(said);
    }
    this.#changed();
  }

  #onProblem({ message, turn, code }, past, now) {
    const failed = turn !== undefined && (this.#answer?.turn ?? turn) === turn;
    const refused = turn === undefined && !this.#begun && (code === undefined || REFUSALS.includes(code));
    if (!past && this.#answer && (failed || refused)) this.#fail();
    if (code === "nothing_said") this.#drop(this.messages.findLast(({ role, status, turn: of }) => role === "user" && status === "done" && of === undefined));
    if (OF_NO_INTEREST.includes(code)) this.#withdraw(message);
    else this.#complain(message, now, code);
    this.#changed();
  }

  #fail() {
    const message = this.#answer;
    this.#answer = null;
    message.status = "failed";
    if (!message.text) this.#drop(message);
    this.line = "waiting";
  }

  /** Once, although it comes as an error and as an event. */
  #complain(message, now, code) {
    let problem = this.messages.at(-1);
    if (problem?.role !== "problem" || problem.text !== message) problem = this.#add("problem", message, now);
    problem.status = "failed";
    problem.code ??= code;
    this.#changed();
  }

  #withdraw(message) {
    const last = this.messages.at(-1);
    if (last?.role === "problem" && last.text === message) this.#drop(last);
  }

  #stopAnswer() {
    const message = this.#answer;
    this.#answer = this.#sounding = null;
    if (!message) return;
    message.status = "interrupted";
    if (!message.text) this.#drop(message);
  }

  #add(role, text, at) {
    this.#ids += 1;
    const message = { id: this.#ids, role, text, status: role === "note" ? "done" : "open", at };
    this.messages.push(message);
    return message;
  }

  #drop(message) {
    this.messages = this.messages.filter((one) => one !== message);
  }

  #changed(message = null) {
    this.dispatchEvent(new CustomEvent("change", { detail: message }));
  }
}
