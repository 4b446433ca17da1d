"""How long somebody is waited for who has fallen silent, by how finished that sounds."""

import asyncio
import logging
import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from tests.web_demo.server.conversation.talk import HANDS_FREE, Talk, call, say, talking
from tests.web_demo.server.conversation.test_hands_free import edges, speak_live, spoken_s
from tests.web_demo.server.conversation.virtual_time import run
from web_demo.audio.end_of_turn import CONTEXT_S
from web_demo.audio.patience import EAGERNESS, PAUSE_S, EndOfTurn
from web_demo.audio.samples import SPEECH_RATE, Samples
from web_demo.server.conversation.answers import CANCEL_DEADLINE_S
from web_demo.server.conversation.events import (
    AnswerBegan,
    Interrupted,
    ReplyAudio,
    SpeechBegan,
    SpeechEnded,
    ToolCalled,
)
from web_demo.server.conversation.turn import State
from web_demo.server.conversation.turn_task import POSTPONED_S

BY_MEANING = replace(HANDS_FREE, patience=EAGERNESS["auto"])
TIMER_S = HANDS_FREE.turn_detection.min_silence_s
STEP_S = 0.12  # two messages and a frame: what it takes to notice anything


class Opinion:
    """A model that gives these answers, one after the other, and keeps what it was asked."""

    name = "opinion"

    def __init__(self, *answers: float | Exception) -> None:
        self._answers = list(answers)
        self.asked: list[Samples] = []

    def probability(self, samples: Samples) -> float:
        self.asked.append(samples)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def silence_until_answered(talk: Talk, most_s: float = 5.0) -> float:
    """How much of it there was."""
    began = len(talk.of(AnswerBegan))
    for message in range(round(most_s / 0.04)):
        if len(talk.of(AnswerBegan)) > began:
            return message * 0.04
        await speak_live(talk, 0.04, level=0.0)
    return most_s


def times(talk: Talk, kind: type) -> list[float]:
    return [at for at, event in talk.wire.sent if isinstance(event, kind)]


# --- the rule ---


@pytest.mark.parametrize("eagerness", EAGERNESS)
def test_the_less_finished_it_sounds_the_longer_is_waited(eagerness):
    patience = EAGERNESS[eagerness]
    waits = [patience.after(percent / 100) for percent in range(101)]
    ends = [wait.end_s for wait in waits]
    assert ends == sorted(ends, reverse=True)
    assert (ends[0], ends[100]) == (patience.longest_s, PAUSE_S)
    assert all(wait.heard_s >= wait.end_s for wait in waits)


def test_by_default_200_ms_are_waited_for_who_sounds_finished_and_a_second_and_a_half_for_others():
    patience = EAGERNESS["auto"]
    assert patience.after(0.95).end_s == pytest.approx(0.2)
    assert patience.after(0.05).end_s == pytest.approx(1.5)
    assert EAGERNESS["high"].after(0.95).heard_s == pytest.approx(0.2)


def test_the_eager_wait_less():
    for probability in (0.05, 0.6, 0.95):
        low, medium, high = (EAGERNESS[name].after(probability) for name in ("low", "medium", "high"))
        assert low.heard_s >= medium.heard_s >= high.heard_s
        assert low.end_s >= medium.end_s >= high.end_s
    assert EAGERNESS["auto"] == EAGERNESS["medium"]


# --- in a conversation ---


@pytest.mark.parametrize(("probability", "wait_s"), [(0.99, 0.2), (0.6, 0.85), (0.1, 1.5)])
def test_a_turn_ends_as_soon_as_it_sounds_finished(probability, wait_s):
    async def conversation():
        async with talking(say("ok"), options=BY_MEANING, end_model=Opinion(probability)) as talk:
            await speak_live(talk, 1.0)
            assert await silence_until_answered(talk) == pytest.approx(wait_s, abs=STEP_S)
            (ended,) = talk.of(SpeechEnded)
            assert ended.at_s == pytest.approx(1.0, abs=0.04)

    run(conversation())


def test_the_model_hears_the_last_seconds_of_the_turn_and_each_pause_anew():
    model = Opinion(0.0, 0.0, 1.0)

    async def conversation():
        async with talking(say("ok"), options=BY_MEANING, end_model=model) as talk:
            for seconds in (1.0, 12.0, 1.0):
                await speak_live(talk, seconds)
                await speak_live(talk, 0.6, level=0.0)
            await talk.answered()
            assert [len(asked) / SPEECH_RATE for asked in model.asked] == pytest.approx(
                [1.0 + PAUSE_S, CONTEXT_S, CONTEXT_S], abs=0.05
            )
            assert edges(talk) == [SpeechBegan, SpeechEnded]
            assert spoken_s(talk.engine.turns[0].audio) == pytest.approx(14.0, abs=0.1)

    run(conversation())


def test_who_sounds_finished_and_was_not_may_go_on_while_the_answer_waits_to_be_heard():
    """The answer is there at once, and is held until the silence has lasted."""

    async def conversation():
        async with talking(say("ok"), options=BY_MEANING, end_model=Opinion(0.95, 0.95)) as talk:
            await speak_live(talk, 1.0)
            await speak_live(talk, 0.9, level=0.0)
            assert talk.session.state is State.ANSWERING
            assert talk.of(ReplyAudio) == []
            await speak_live(talk, 1.0)
            assert talk.of(Interrupted) == [Interrupted(1, "", goes_on=True)]
            await speak_live(talk, 2.0, level=0.0)
            await talk.answered()
            assert spoken_s(talk.engine.turns[-1].audio) == pytest.approx(2.0, abs=0.1)
            assert times(talk, ReplyAudio)[0] == pytest.approx(2.9 + EAGERNESS["auto"].heard_s, abs=STEP_S)

    run(conversation())


def test_nothing_is_heard_while_somebody_may_be_beginning_to_speak():
    """The silence is over just before the answer would be heard, and it takes a moment to notice that."""

    async def conversation():
        heard_s = EAGERNESS["auto"].heard_s
        async with talking(say("ok"), options=BY_MEANING, end_model=Opinion(0.95, 0.95)) as talk:
            await speak_live(talk, 1.0)
            await speak_live(talk, round((heard_s - 0.04) / 0.04) * 0.04, level=0.0)
            await speak_live(talk, 1.0)
            assert talk.of(Interrupted) == [Interrupted(1, "", goes_on=True)]

    run(conversation())


def test_what_only_seems_to_begin_does_not_hold_the_answer_back_for_long():
    async def conversation():
        async with talking(say("ok"), options=BY_MEANING, end_model=Opinion(0.95)) as talk:
            await speak_live(talk, 1.0)
            await speak_live(talk, 0.4, level=0.0)
            for _ in range(40):
                await talk.speak(0.04)  # clicks
                await speak_live(talk, 0.08, level=0.0)
            assert times(talk, ReplyAudio)[0] < 1.0 + EAGERNESS["auto"].heard_s + POSTPONED_S + 2 * STEP_S

    run(conversation())


def test_no_function_is_called_for_who_may_go_on():
    async def conversation():
        async with talking(call, options=BY_MEANING, end_model=Opinion(0.95)) as talk:
            await speak_live(talk, 1.0)
            await speak_live(talk, 2.0, level=0.0)
            assert times(talk, ToolCalled) == pytest.approx([1.0 + EAGERNESS["auto"].heard_s], abs=STEP_S)

    run(conversation())


def test_an_answer_that_is_read_is_begun_only_when_it_may_be_seen():
    async def conversation():
        options = replace(BY_MEANING, speech=False)
        async with talking(say("ok"), options=options, end_model=Opinion(0.95)) as talk:
            await speak_live(talk, 1.0)
            waited_s = await silence_until_answered(talk)
            assert waited_s == pytest.approx(EAGERNESS["auto"].heard_s, abs=STEP_S)

    run(conversation())


def test_an_end_by_hand_is_answered_at_once_whatever_was_thought_of_the_pause_before_it():
    async def conversation():
        async with talking(say("ok"), options=BY_MEANING, end_model=Opinion(0.95, 0.1)) as talk:
            await speak_live(talk, 1.0)
            await speak_live(talk, 0.3, level=0.0)
            await talk.works()
            assert times(talk, ReplyAudio)[0] < 2.0

    run(conversation())


# --- the timer beside it ---


@pytest.mark.parametrize("options", [HANDS_FREE, BY_MEANING], ids=["not asked for", "no model"])
def test_without_a_model_or_without_the_wish_the_timer_decides(options):
    model = Opinion()

    async def conversation():
        async with talking(say("ok"), options=options, end_model=model if options is HANDS_FREE else None) as talk:
            await speak_live(talk, 1.0)
            assert await silence_until_answered(talk) == pytest.approx(TIMER_S, abs=STEP_S)
            assert model.asked == []

    run(conversation())


def test_a_timer_shorter_than_a_pause_leaves_the_model_its_word():
    rules = replace(HANDS_FREE.turn_detection, min_silence_s=0.1)

    async def conversation():
        options = replace(BY_MEANING, turn_detection=rules)
        async with talking(say("ok"), options=options, end_model=Opinion(0.1)) as talk:
            await speak_live(talk, 1.0)
            assert await silence_until_answered(talk) == pytest.approx(1.5, abs=STEP_S)

    run(conversation())


def test_a_model_that_fails_leaves_it_to_the_timer(caplog):
    async def conversation():
        async with talking(say("ok"), options=BY_MEANING, end_model=Opinion(RuntimeError("defect"))) as talk:
            await speak_live(talk, 1.0)
            assert await silence_until_answered(talk) == pytest.approx(TIMER_S, abs=STEP_S)
            await talk.session.idle()
            assert talk.problems() == []

    with caplog.at_level(logging.ERROR):
        run(conversation())
    assert "the timer decides" in caplog.text


def test_who_flickers_between_voice_and_silence_does_not_have_the_model_for_himself():
    answers: Sequence[float] = [0.1] * 1000
    model = Opinion(*answers)

    async def conversation():
        async with talking(say("ok"), options=BY_MEANING, end_model=model) as talk:
            for _ in range(100):
                await talk.speak(0.2)
                await talk.speak(0.28, level=0.0)
            assert len(model.asked) == 10

    run(conversation())


def test_a_busy_model_is_waited_for_no_longer_than_its_deadline():
    release = threading.Event()

    class Slow:
        name = "slow"

        def probability(self, samples: Samples) -> float:
            release.wait(CANCEL_DEADLINE_S)
            return 0.5

    async def ask():
        judge = EndOfTurn(Slow(), deadline_s=0.02)
        silence = np.zeros(SPEECH_RATE, np.float32)
        try:
            assert await asyncio.gather(*(judge.ask(silence) for _ in range(20))) == [None] * 20
            release.set()
            patient = EndOfTurn(Slow(), deadline_s=CANCEL_DEADLINE_S)
            assert await patient.ask(silence) == 0.5
            patient.close()
        finally:
            release.set()
            judge.close()

    asyncio.run(ask())
