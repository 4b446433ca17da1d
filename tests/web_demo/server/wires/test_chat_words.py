"""What the chat protocol makes of what happens in a conversation, without a socket."""

from contextlib import suppress
from types import SimpleNamespace
from typing import get_args

import pytest

from web_demo.engines.base import ToolCall
from web_demo.server.conversation.events import (
    AnswerBegan,
    AnswerEnded,
    AnswerFailed,
    AudioDamaged,
    Interrupted,
    Problem,
    Refused,
    ReplyText,
    ServerEvent,
    SpeechBegan,
    SpeechEnded,
    ToolCalled,
    Transcribed,
    TranscriptionFailed,
    TurnFull,
    Unreadable,
    WrongItem,
    WrongToolResults,
)
from web_demo.server.conversation.turn import Refusal
from web_demo.server.protocal import (
    Action,
    AudioData,
    Control,
    Error,
    Message,
    Metadata,
    Ping,
    Text,
    UserText,
    decode,
)
from web_demo.server.wires import chat
from web_demo.server.wires.chat import ChatWire, code_of, in_words

CALL = ToolCall("c1", "weather", {"city": "Paris"})
JSON = {
    AnswerBegan(3): {"event": "answer_began", "turn": 3},
    Transcribed(3, "hi"): {"event": "transcript", "turn": 3, "text": "hi"},
    Transcribed(None, "hi"): {"event": "transcript", "text": "hi"},
    TranscriptionFailed("item", "no luck"): {"event": "transcript_failed", "message": "no luck"},
    AnswerEnded(3, "yes"): {"event": "answer_ended", "turn": 3, "text": "yes"},
    Interrupted(3, "ye"): {"event": "interrupted", "turn": 3, "heard": "ye"},
    SpeechBegan(1.5): {"event": "speech_began"},
    SpeechEnded(2.5): {"event": "speech_ended"},
    AnswerFailed(3, "no luck"): {"event": "problem", "message": "no luck", "code": "answer_failed", "turn": 3},
    Unreadable("what?"): {"event": "problem", "message": "what?", "code": "unreadable"},
}
TEXTS = {
    AnswerBegan(3): Text("[Processing...]"),
    ReplyText(3, "ye"): Text("ye"),
    AnswerEnded(3, "yes"): Text("\n[Final: yes]"),
    AnswerFailed(3, "no luck"): Error("no luck"),
}


class Line:
    """Stands in for the connection: keeps the messages."""

    def __init__(self) -> None:
        self.request = SimpleNamespace(headers={"Accept-Language": "zh-CN"}, query={"text_topk": "5"})
        self.sent: list[Message] = []

    async def send(self, data: bytes) -> None:
        self.sent.append(decode(data))


async def messages(event: ServerEvent, *, events: bool = False) -> list[Message]:
    line = Line()
    wire = ChatWire(line)
    if events:
        wire._event(Metadata({"events": True}))
    await wire.send(event)
    return line.sent


@pytest.mark.parametrize("event", TEXTS, ids=lambda event: type(event).__name__)
async def test_an_event_is_a_message_of_its_own(event):
    assert await messages(event) == [TEXTS[event]]


@pytest.mark.parametrize("event", JSON, ids=lambda event: type(event).__name__)
async def test_a_client_that_asked_for_events_gets_them_as_json_too(event):
    sent = await messages(event, events=True)
    assert sent[-1] == Metadata(JSON[event] | {"taken": 0})
    assert sent[:-1] == ([TEXTS[event]] if event in TEXTS else await messages(event))


async def test_calls_are_told_without_asking_for_events():
    (message,) = await messages(ToolCalled(3, CALL))
    assert message == Metadata(
        {"event": "tool_call", "turn": 3, "id": "c1", "name": "weather", "arguments": {"city": "Paris"}}
    )


async def test_an_event_says_how_many_controls_and_written_turns_were_taken_before_it():
    line = Line()
    wire = ChatWire(line)
    for message in (Metadata({"events": True}), Control(Action.START), AudioData(b"x"), UserText("hi"), Ping()):
        with suppress(chat._NothingToDo):
            wire._event(message)
    await wire.send(AnswerBegan(1))
    assert line.sent[-1] == Metadata({"event": "answer_began", "turn": 1, "taken": 2})


@pytest.mark.parametrize("refusal", Refusal)
def test_every_refusal_has_its_words(refusal):
    assert len(in_words(Refused(refusal))) > 20


def test_every_problem_has_its_words_and_a_code_for_programs():
    said = {
        Refused(Refusal.NO_TURN): "until you send start",
        WrongItem("no such item", missing=True): "no such item",
        WrongToolResults(("a", "b")): "one result for each of a, b",
        AudioDamaged(2): "2 Opus packet(s) were damaged",
        TurnFull(120.0): "a turn may last 120 s",
        Unreadable("what?"): "what?",
        AnswerFailed(1, "no luck"): "no luck",
    }
    assert {type(problem) for problem in said} == set(get_args(Problem))
    assert all(words in in_words(problem) for problem, words in said.items())
    assert len({code_of(problem) for problem in said}) == len(said)
    assert code_of(AnswerFailed(1, "no luck", "nothing_heard")) == "nothing_heard"
    assert code_of(Refused(Refusal.NO_TURN)) == "no_turn"


def test_a_session_begins_with_what_the_address_and_the_browser_say():
    options = ChatWire(Line()).options
    assert (options.language, options.sampling.top_k) == ("zh", 5)
