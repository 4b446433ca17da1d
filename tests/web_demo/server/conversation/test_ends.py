"""However an answer ends, and whenever: the client hangs up or is lost, the user interrupts or starts anew, the engine or the
synthesiser fails. Each at every round of the event loop, or every stage, that an answer has."""

import asyncio
import logging

import pytest

from tests.web_demo.server.conversation.talk import (
    HANDS_FREE,
    Talk,
    call,
    first_then,
    nothing_is_left,
    say,
    sing,
    sound,
    talking,
    write,
)
from tests.web_demo.server.conversation.virtual_time import run
from web_demo.engines.base import Exchange, Heard, SpeechText, TextDelta
from web_demo.errors import EngineFailed, Unavailable
from web_demo.server.conversation.answers import CANCEL_DEADLINE_S
from web_demo.server.conversation.events import (
    AnswerEnded,
    AnswerFailed,
    AudioIn,
    EndTurn,
    Interrupted,
    ReplyAudio,
    ReplyText,
    Restart,
    Start,
    Transcribed,
)
from web_demo.server.conversation.options import SessionOptions

FRAME_S = 0.2  # few rounds that differ in nothing
TEXT = "One two. Three four. "
ANSWERS = {
    "spoken": (say("One two.", "Three four."), SessionOptions(), TEXT),
    "codes": (sing, SessionOptions(), "la la"),
    "written": (write, SessionOptions(), "just text"),
    "text alone": (say("One two.", "Three four."), SessionOptions(speech=False), TEXT),
    "call": (call, SessionOptions(), ""),
    "hands-free": (say("One two.", "Three four."), HANDS_FREE, TEXT),
}


async def ask(talk: Talk) -> None:
    """As one event: the steps counted from here are those of the answer."""
    talk.post(AudioIn(sound(0.4)))
    talk.post(EndTurn())


def steps_of(kind: str) -> int:
    """Rounds of the loop from the end of the turn until the answer is over."""
    script, options, _ = ANSWERS[kind]

    async def conversation():
        async with talking(script, options=options, frame_s=FRAME_S) as talk:
            loop = asyncio.get_running_loop()
            before = loop.steps
            await ask(talk)
            await talk.answered()
            await talk.session.idle()
            return loop.steps - before

    return run(conversation())


STEPS = [(kind, step) for kind in ANSWERS for step in range(1, steps_of(kind) + 2)]
EVERY_STEP = pytest.mark.parametrize(("kind", "step"), STEPS)


def test_every_kind_of_answer_has_its_steps():
    assert {kind for kind, _ in STEPS} == set(ANSWERS)
    assert len(STEPS) > 150


@EVERY_STEP
def test_a_hang_up_at_any_step_frees_everything(kind, step):
    script, options, _ = ANSWERS[kind]

    async def conversation():
        async with talking(script, options=options, frame_s=FRAME_S) as talk:
            asyncio.get_running_loop().at_step(step, talk.hang_up)
            await ask(talk)
            await asyncio.wait({talk.running}, timeout=60.0)
            talk.hang_up()  # if it was over before that step
            await talk.running
            nothing_is_left(talk)
            assert talk.of(Interrupted) == []  # there is nobody to be told

    run(conversation())


@EVERY_STEP
def test_an_interruption_at_any_step_ends_the_answer_and_the_next_turn_works(kind, step):
    script, options, whole = ANSWERS[kind]

    async def conversation():
        async with talking(first_then(script, say("next")), options=options, frame_s=FRAME_S) as talk:
            asyncio.get_running_loop().at_step(step, lambda: talk.post(Start()))
            await ask(talk)
            await talk.pause(10.0)
            ended, cut = talk.of(AnswerEnded), talk.of(Interrupted)
            assert len(ended) + len(cut) == 1  # one or the other (check_order looks at what comes after)
            await talk.works()
            history = talk.engine.turns[-1].history
            if ended and kind == "call":
                assert history == (Exchange("?", ""),)  # its calls are forgotten with `start`
            else:
                assert len(history) == 1
            for exchange in history:
                assert exchange.user_text or exchange.user_audio
                assert exchange.assistant_text == (whole if ended else cut[0].played)
                assert whole.startswith(exchange.assistant_text)

    run(conversation())


@pytest.mark.parametrize(("kind", "step"), STEPS[::3])
def test_a_restart_at_any_step_forgets_the_answer(kind, step):
    script, options, _ = ANSWERS[kind]

    async def conversation():
        async with talking(first_then(script, say("next")), options=options, frame_s=FRAME_S) as talk:
            asyncio.get_running_loop().at_step(step, lambda: talk.post(Restart()))
            await ask(talk)
            await talk.pause(10.0)
            await talk.works()
            assert talk.engine.turns[-1].history == ()
            assert talk.engine.forgotten == [talk.session.id]

    run(conversation())


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("events", range(12))
def test_a_client_that_is_lost_at_any_event_ends_the_session(kind, events):
    script, options, _ = ANSWERS[kind]

    async def conversation():
        async with talking(script, options=options) as talk:
            talk.wire.lost_at = len(talk.wire.sent) + events
            await ask(talk)
            await talk.pause(10.0)
            if len(talk.wire.sent) == talk.wire.lost_at:
                talk.post(Restart())
                talk.post(EndTurn())  # whose refusal cannot be told any more
            talk.hang_up()
            await asyncio.wait({talk.running})
            nothing_is_left(talk)
            if (error := talk.running.exception()) is not None:
                assert isinstance(error, BaseExceptionGroup)
                assert error.split(ConnectionError)[1] is None  # nothing but the loss
                talk.lost = True

    run(conversation())


# --- failures ---


SECRET = "secret detail"
STAGES = {
    "before anything": [],
    "after the transcript": [Heard("0.4 s")],
    "after text": [Heard("0.4 s"), TextDelta("One two. ")],
    "after speech was begun": [Heard("0.4 s"), TextDelta("One two. "), SpeechText("One two.")],
    "while it is played": [Heard("0.4 s"), TextDelta("One two. "), SpeechText("One two."), 0.3],
    "when all was played": [Heard("0.4 s"), TextDelta("One two. "), SpeechText("One two."), 5.0],
}
ERRORS = {
    "its own error": (EngineFailed("out of tokens"), "out of tokens"),
    "a defect": (RuntimeError(SECRET), "the engine made a mistake"),
}
BOTH = pytest.mark.parametrize("options", [SessionOptions(), HANDS_FREE], ids=["by hand", "hands-free"])


async def fails(talk: Talk, message: str) -> None:
    """The turn ends with this problem, its history is what was played, and the next turn works."""
    await talk.ask()
    await talk.wait_for(AnswerFailed)
    await talk.session.idle()
    (problem,) = talk.problems()
    assert message in problem.message
    assert SECRET not in problem.message
    assert problem.turn == 1
    assert talk.of(AnswerEnded) == talk.of(Interrupted) == []
    assert talk.engine.live == 0
    assert talk.synthesizer.live == set()
    here = talk.here
    await talk.pause(5.0)
    assert talk.here == here, "nothing comes after the problem"
    talk.synthesizer.open_error = None
    await talk.works()


@BOTH
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("stage", STAGES)
def test_an_engine_that_fails_ends_that_turn_and_not_the_session(stage, error, options):
    raised, message = ERRORS[error]

    async def conversation():
        async with talking(first_then(lambda turn: [*STAGES[stage], raised], say("next")), options=options) as talk:
            await fails(talk, message)
            history = talk.engine.turns[1].history
            played = {"while it is played": "One", "when all was played": "One two."}.get(stage)
            assert history == (() if played is None else (Exchange("0.4 s", played),))
            assert len(talk.of(Transcribed)) == (1 if stage == "before anything" else 2)

    run(conversation())


@BOTH
@pytest.mark.parametrize(
    ("first", "open_error", "message"),
    [
        (["One two."], Unavailable("the synthesiser is restarting"), "is restarting"),
        (["One two."], RuntimeError(SECRET), "the engine made a mistake"),
        (["[fail]"], None, "told to"),
        (["One two.", "[fail]"], None, "told to"),
        (["One two.", "[fail]" + "x" * 40], None, "told to"),
        (["[defect]"], None, "the engine made a mistake"),
        (["One two.", "[defect]"], None, "the engine made a mistake"),
    ],
)
def test_a_synthesizer_that_fails_ends_that_turn_and_not_the_session(first, open_error, message, options):
    async def conversation():
        async with talking(first_then(say(*first), say("next")), options=options) as talk:
            talk.synthesizer.open_error = open_error
            await fails(talk, message)
            assert len(talk.engine.turns[1].history) <= 1

    run(conversation())


@pytest.mark.parametrize("options", [SessionOptions(speech=False)])
def test_a_synthesizer_that_fails_is_no_matter_to_a_client_that_reads(options):
    async def conversation():
        async with talking(say("One two."), options=options) as talk:
            talk.synthesizer.open_error = Unavailable("the synthesiser is restarting")
            await talk.works()
            assert talk.problems() == []

    run(conversation())


def test_a_voice_that_gives_no_sound_is_told_of():
    async def conversation():
        async with talking(say("One two.")) as talk:
            talk.synthesizer.loudness = 0.0
            await talk.ask()
            await talk.wait_for(AnswerFailed)
            assert "no sound" in talk.problems()[0].message

    run(conversation())


def test_an_answer_that_hangs_can_be_interrupted():
    async def conversation():
        async with talking(first_then(say("[hang]"), say("next"))) as talk:
            await talk.ask()
            await talk.wait_for(ReplyAudio)
            await talk.pause(600.0)
            await talk.works()

    run(conversation())


def test_an_engine_that_does_not_let_go_is_left_behind_after_a_deadline(caplog):
    async def stubborn(turn):
        try:
            yield Heard("Count")
            yield TextDelta("One")
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(60)

    async def conversation():
        loop = asyncio.get_running_loop()
        async with talking(say("next")) as talk:
            respond, talk.engine.respond = talk.engine.respond, stubborn
            await talk.ask()
            await talk.wait_for(ReplyText)
            talk.engine.respond = respond
            began = loop.time()
            await talk.works()
            assert CANCEL_DEADLINE_S <= loop.time() - began < CANCEL_DEADLINE_S + 5
            assert talk.text().startswith("One")
            (exchange,) = talk.engine.turns[-1].history  # remembered all the same, and in its place
            assert exchange == Exchange("Count", "")
            await talk.pause(120.0)
            await talk.works()
            assert talk.engine.turns[-1].history == (exchange, Exchange("0.4 s", "next "))

    with caplog.at_level(logging.ERROR):
        run(conversation())
    assert "did not end within 5 s" in caplog.text


def test_a_client_that_takes_nothing_holds_the_engine_back():
    made = []

    def flood(turn):
        for number in range(1000):
            made.append(number)
            yield TextDelta("x" * 1000)

    async def conversation():
        async with talking(flood) as talk:
            await talk.ask()
            talk.wire.taking.clear()
            await talk.pause(60.0)
            assert len(made) < 10
            talk.hang_up()
            await talk.running

    run(conversation())
