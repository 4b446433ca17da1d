/**
 * What a conversation looks like from the page: messages, and whose turn it is. Pure: events go in with their time (ms),
 * listeners are told what changed. What the server believes about the turn is kept beside it (`line`), because `start`
 * must only be sent when it means something.
 */

const PROCESSING = "[Processing...]";
const FINAL = /^\n?\[Final: ([\s\S]*)\]$/;

/**
 * @typedef {object} Message
 * @property {number} id
 * @property {"user"|"assistant"|"note"|"problem"} role
 * @property {string} text for a note, a key of the page's words
 * @property {"open"|"done"|"interrupted"|"failed"} status
 * @property {number} at ms
 * @property {number} [turn] the server's number of the turn
 * @property {number} [seconds] how long the user spoke
 * @property {number} [latencyMs] from the end of the user's turn to the first sound of the answer
 */

export class Conversation extends EventTarget {
  /** @type {Message[]} */
  messages = [];
  /** @type {"ready"|"listening"|"answering"|"waiting"} the turn, as the server sees it */
  line = "ready";
  #ids = 0;
  #user = null; // the message that the user is speaking now
  #answer = null; // the answer on its way
  #sounding = null; // the answer that is audible now
  #endedAt = null; // when the last turn of the user ended

  /** @returns {"idle"|"listening"|"thinking"|"speaking"} */
  get phase() {
    if (this.#user) return "listening";
    if (this.#sounding) return "speaking";
    return this.#answer ? "thinking" : "idle";
  }

  /** The line is new: the server knows nothing of what was said before. */
  lineOpened() {
    this.line = "ready";
    this.#stopAnswer("interrupted");
    this.#drop(this.#user);
    this.#user = null;
    this.#changed();
  }

  userBegan(now) {
    if (this.#user) return;
    this.#stopAnswer("interrupted");
    this.#user = this.#add("user", "", now);
    this.line = "listening";
    this.#changed();
  }

  userEnded(now) {
    const message = this.#user;
    if (!message) return;
    message.seconds = (now - message.at) / 1000;
    message.status = "done";
    this.#user = null;
    this.#endedAt = now;
    this.line = "answering";
    this.#answer ??= this.#add("assistant", "", now);
    this.#changed(message);
  }

  /** The user stopped the answer. Had the server not sent all of it yet, it was told `start`: a turn is open there. */
  interrupted() {
    if (this.#sounding) this.#sounding.status = "interrupted";
    this.#stopAnswer("interrupted");
    if (this.line === "answering") this.line = "listening";
    this.#changed();
  }

  /** @param {object} event a JSON event of the server */
  onEvent(event, now) {
    switch (event.event) {
      case "answer_began":
        this.#answerBegan(event.turn, now);
        break;
      case "transcript":
        this.#transcribed(event);
        break;
      case "answer_ended":
        this.#answerEnded(event.text);
        break;
      case "interrupted":
        this.#cutOff(event);
        break;
      case "speech_began":
        this.userBegan(now);
        break;
      case "speech_ended":
        this.userEnded(now);
        break;
      case "tool_call":
        this.#add("note", "toolCalled", now);
        this.#changed();
        break;
      case "problem":
        this.onProblem(event.message, now, event.turn);
        break;
    }
  }

  /** Text of the answer. Servers without events mark its beginning and its end in the text itself. */
  onText(text, now) {
    const final = FINAL.exec(text);
    if (text === PROCESSING) this.#answerBegan(undefined, now);
    else if (final) this.#answerEnded(final[1]);
    else if (this.#answer) {
      this.#answer.text += text;
      this.#changed(this.#answer);
    }
  }

  /** @param {string} message in words @param {number} [turn] the turn whose answer it ended */
  onProblem(message, now, turn) {
    if (turn !== undefined && this.#answer) {
      if (!this.#answer.text) this.#drop(this.#answer);
      this.#answer.status = "failed";
      this.#answer = null;
      this.line = "waiting";
    }
    const previous = this.messages.at(-1);
    if (previous?.role === "problem" && previous.text === message) return;
    this.#add("problem", message, now).status = "failed";
    this.#changed();
  }

  /** @param {string} key of the page's words */
  note(key, now) {
    this.#add("note", key, now);
    this.#changed();
  }

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

  clear() {
    this.messages = [];
    this.#user = this.#answer = this.#sounding = this.#endedAt = null;
    this.line = "ready";
    this.#changed();
  }

  /** The conversation as plain text; `name` gives the words for the two sides. */
  text(name) {
    return this.messages
      .filter(({ role, text }) => (role === "user" || role === "assistant") && text)
      .map(({ role, text }) => `${name(role)}: ${text.trim()}`)
      .join("\n\n");
  }

  #answerBegan(turn, now) {
    if (this.#user) this.userEnded(now);
    this.#answer ??= this.#add("assistant", "", now);
    this.#answer.turn ??= turn;
    this.line = "answering";
    const said = this.messages.findLast(({ role }) => role === "user");
    if (said && said.turn === undefined) said.turn = turn;
    this.#changed(this.#answer);
  }

  #transcribed({ turn, text }) {
    const said = this.messages.findLast((message) => message.role === "user" && (message.turn ?? turn) === turn);
    if (!said) return;
    said.turn = turn;
    said.text = text;
    this.#changed(said);
  }

  #answerEnded(text) {
    const message = this.#answer;
    if (!message) return;
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
    if (message === this.#answer) this.#answer = null;
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

  #stopAnswer(status) {
    const message = this.#answer;
    this.#answer = this.#sounding = null;
    if (!message) return;
    message.status = status;
    if (!message.text && message.turn === undefined) this.#drop(message);
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
