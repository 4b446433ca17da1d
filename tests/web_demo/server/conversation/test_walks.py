"""Clients that do anything at any time: the order of what they are told holds, and a proper turn is answered afterwards."""

import random

import pytest

from tests.web_demo.server.conversation.talk import HANDS_FREE, Talk, call, say, sing, talking, write
from tests.web_demo.server.conversation.virtual_time import run
from web_demo.engines.base import ToolResult
from web_demo.errors import EngineFailed
from web_demo.server.conversation.events import (
    AddItem,
    Answer,
    AnswerBegan,
    Cancel,
    Commit,
    Committed,
    DeleteItem,
    Discard,
    EndTurn,
    GetItem,
    ItemAdded,
    Restart,
    SpeechBegan,
    SpeechEnded,
    Start,
    ToolCalled,
    ToolResults,
    TruncateItem,
    Write,
)
from web_demo.server.conversation.history import FunctionReturned, SystemSaid, UserSaid
from web_demo.server.conversation.options import AnswerOptions

SCRIPTS = (say("One sentence.", "Another one."), say("x" * 100), sing, write, call, lambda turn: [EngineFailed("no")])


def ids(talk: Talk) -> list[str]:
    return [
        "nobody",
        *(event.item.id for event in talk.of(ItemAdded)),
        *(event.item_id for event in talk.of(Committed)),
    ]


async def step(talk: Talk, choice: random.Random) -> None:
    some_id = choice.choice(ids(talk))
    calls = [called.call.call_id for called in talk.of(ToolCalled)] or ["nobody"]
    result = ToolResult(choice.choice(calls), "sunny")
    number = len(talk.events())
    match choice.randrange(18):
        case 0:
            await talk.speak(choice.choice((0.04, 0.4, 1.2)), level=0.5)
        case 1:
            await talk.speak(choice.choice((0.2, 0.8)), level=0.0)
        case 2 | 3:
            await talk.pause(choice.choice((0.0, 0.3, 2.0)))
        case 4:
            await talk.configure(
                turn_detection=choice.choice((None, HANDS_FREE.turn_detection)),
                buffered=choice.choice((True, False)),
                answers_itself=choice.choice((True, False)),
                interrupts_itself=choice.choice((True, False)),
                transcription=choice.choice((True, False)),
                speech=choice.choice((True, False)),
            )
        case 5:
            await talk.send(Answer(AnswerOptions(speech=choice.choice((None, False)))))
        case 6:
            await talk.send(AddItem(UserSaid(f"u{number}", "hello"), choice.choice((None, "root", some_id))))
        case 7:
            await talk.send(
                AddItem(choice.choice((SystemSaid(f"s{number}", "x"), FunctionReturned(f"f{number}", result))))
            )
        case other:
            event = (
                Start(),
                EndTurn(),
                Commit(),
                Discard(),
                Write("hello"),
                Cancel(choice.choice((None, talk.session.turns))),
                DeleteItem(some_id),
                TruncateItem(some_id, choice.random() * 2),
                choice.choice((GetItem(some_id), ToolResults((result,)))),
                choice.choice((Restart(), Answer())),
            )[other - 8]
            await talk.send(event)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_a_client_does_it_is_told_in_order_and_a_proper_turn_follows(seed):
    choice = random.Random(seed)

    def script(turn):
        return choice.choice(SCRIPTS)(turn)

    async def conversation():
        async with talking(script) as talk:
            for _ in range(60):
                await step(talk, choice)
            talk.engine._script = say("ok")
            await talk.configure(
                turn_detection=None, buffered=False, answers_itself=True, interrupts_itself=True, speech=True
            )
            await talk.send(Restart())
            await talk.works()
            assert talk.engine.turns[-1].history == ()
            edges = [type(event) for event in talk.events() if isinstance(event, SpeechBegan | SpeechEnded)]
            assert edges == [SpeechBegan, SpeechEnded] * (len(edges) // 2)
            began = {event.item_id for event in talk.of(AnswerBegan)}
            shown = [event.item.id for event in talk.of(ItemAdded) if event.item.id in began]
            assert len(shown) == len(set(shown))

    run(conversation())
