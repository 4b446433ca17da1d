import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { Conversation } from "../../../../web_demo/client/talk/conversation.js";

let talk;
beforeEach(() => {
  talk = new Conversation();
});

function ask(turn, { from = 0, to = 1000 } = {}) {
  talk.begin(from);
  talk.end(to);
  talk.onEvent({ event: "answer_began", turn }, to + 10);
}

const shown = () => talk.messages.map(({ role, text, status }) => [role, text, status]);

test("a whole turn: spoken, transcribed, answered, heard", () => {
  assert.equal(talk.phase, "idle");
  talk.begin(0);
  assert.equal(talk.phase, "listening");
  talk.end(2000);
  assert.equal(talk.phase, "thinking");
  talk.onText("[Processing...]", 2001);
  talk.onEvent({ event: "answer_began", turn: 1 }, 2002);
  talk.onEvent({ event: "transcript", turn: 1, text: "hello" }, 2100);
  talk.onText("Hi ", 2110);
  talk.soundBegan(2350);
  assert.equal(talk.phase, "speaking");
  talk.onText("there.", 2400);
  talk.onText("\n[Final: Hi there.]", 2500);
  talk.onEvent({ event: "answer_ended", turn: 1, text: "Hi there." }, 2500);
  assert.equal(talk.phase, "speaking", "what was sent is still being played");
  talk.soundEnded();
  assert.equal(talk.phase, "idle");
  assert.deepEqual(shown(), [
    ["user", "hello", "done"],
    ["assistant", "Hi there.", "done"],
  ]);
  assert.equal(talk.messages[0].seconds, 2);
  assert.equal(talk.messages[1].latencyMs, 350);
  assert.equal(talk.line, "waiting");
});

test("an answer in text alone is over with its final text", () => {
  const phases = [];
  talk.addEventListener("change", () => phases.at(-1) !== talk.phase && phases.push(talk.phase));
  ask(1);
  talk.onText("Hi ", 1100);
  talk.onText("there.", 1200);
  talk.onText("\n[Final: Hi there.]", 1300);
  talk.onEvent({ event: "answer_ended", turn: 1, text: "Hi there." }, 1300);
  assert.deepEqual(phases, ["listening", "thinking", "idle"]);
  assert.deepEqual(shown().at(-1), ["assistant", "Hi there.", "done"]);
  assert.equal(talk.messages.at(-1).latencyMs, undefined);
  assert.equal(talk.line, "waiting");
});

test("an interruption keeps what was heard and the late transcript stays with its turn", () => {
  ask(1);
  talk.onText("One two three four", 1100);
  talk.soundBegan(1200);
  talk.begin(1500);
  assert.equal(talk.phase, "listening");
  talk.onEvent({ event: "interrupted", turn: 1, heard: "One two" }, 1510);
  talk.end(2500);
  talk.onEvent({ event: "answer_began", turn: 2 }, 2510);
  talk.onEvent({ event: "transcript", turn: 2, text: "stop" }, 2520);
  assert.deepEqual(shown(), [
    ["user", "", "done"],
    ["assistant", "One two", "interrupted"],
    ["user", "stop", "done"],
    ["assistant", "", "open"],
  ]);
});

test("sound of the interrupted answer does not count as the answer to what is being said", () => {
  ask(1);
  talk.soundBegan(1200);
  talk.begin(1500);
  talk.soundBegan(1501);
  assert.equal(talk.phase, "listening");
});

test("stopping by button leaves a turn open at the server", () => {
  ask(1);
  talk.onText("One", 1100);
  talk.soundBegan(1200);
  talk.stop();
  assert.equal(talk.phase, "idle");
  assert.equal(talk.line, "listening");
  assert.equal(talk.messages.at(-1).status, "interrupted");
});

test("a failed turn leaves a message in words and no empty answer", () => {
  ask(1);
  talk.onError("the voice restarted", 1100);
  talk.onEvent({ event: "problem", message: "the voice restarted", turn: 1 }, 1101);
  assert.deepEqual(shown(), [
    ["user", "", "done"],
    ["problem", "the voice restarted", "failed"],
  ]);
  assert.equal(talk.phase, "idle");
  assert.equal(talk.line, "waiting");
});

test("a server without events is understood by its texts alone", () => {
  talk.begin(0);
  talk.end(1000);
  talk.onText("[Processing...]", 1001);
  talk.onText("Hel", 1100);
  talk.onText("lo", 1200);
  talk.onText("\n[Final: Hello [sic]\nyou]", 1300);
  assert.deepEqual(shown().at(-1), ["assistant", "Hello [sic]\nyou", "done"]);
});

test("hands-free: speech that the server notices is a message, also over an answer", () => {
  talk.onEvent({ event: "speech_began" }, 0);
  talk.onEvent({ event: "speech_ended" }, 900);
  talk.onEvent({ event: "answer_began", turn: 1 }, 901);
  talk.onText("A", 950);
  talk.onEvent({ event: "speech_began" }, 1000);
  talk.onEvent({ event: "interrupted", turn: 1, heard: "" }, 1001);
  assert.equal(talk.phase, "listening");
  assert.deepEqual(shown(), [
    ["user", "", "done"],
    ["assistant", "A", "interrupted"],
    ["user", "", "open"],
  ]);
});

test("hands-free: who speaks on before the answer was heard says one thing", () => {
  talk.onEvent({ event: "speech_began" }, 0);
  talk.onEvent({ event: "speech_ended" }, 900);
  talk.onEvent({ event: "answer_began", turn: 1 }, 901);
  talk.onEvent({ event: "transcript", turn: 1, text: "go forward" }, 920);
  talk.onText("A", 950);
  talk.onEvent({ event: "speech_began" }, 1000);
  talk.onEvent({ event: "interrupted", turn: 1, heard: "", goes_on: true }, 1001);
  assert.equal(talk.phase, "listening");
  assert.deepEqual(shown(), [["user", "", "open"]]);
  talk.onEvent({ event: "speech_ended" }, 2000);
  talk.onEvent({ event: "answer_began", turn: 2 }, 2001);
  talk.onEvent({ event: "transcript", turn: 2, text: "go forward ten meters" }, 2100);
  assert.deepEqual(shown(), [
    ["user", "go forward ten meters", "done"],
    ["assistant", "", "open"],
  ]);
  assert.equal(talk.messages[0].seconds, 2);
});

test("a new line forgets the turn that was under way and keeps what was said", () => {
  ask(1);
  talk.onText("Half an", 1100);
  talk.lineChanged();
  assert.equal(talk.phase, "idle");
  assert.equal(talk.line, "ready");
  assert.deepEqual(shown().at(-1), ["assistant", "Half an", "interrupted"]);
});

test("the text of the conversation has both sides and no notes", () => {
  ask(1);
  talk.onEvent({ event: "transcript", turn: 1, text: " hello " }, 1010);
  talk.onEvent({ event: "answer_ended", turn: 1, text: "Hi." }, 1200);
  talk.note("reconnected", 1300);
  assert.equal(talk.text((role) => role.toUpperCase()), "USER: hello\n\nASSISTANT: Hi.");
});
