"""A voice that is noticed: what opens, ends and interrupts turns by itself, and what is kept of the sound."""

from dataclasses import replace

import numpy as np
import pytest

from tests.speech import recording
from tests.web_demo.server.conversation.talk import HANDS_FREE, LONG, Talk, call, first_then, say, slow, sound, talking
from tests.web_demo.server.conversation.virtual_time import run
from web_demo.audio.samples import SPEECH_RATE, WIRE_RATE, Audio, to_int16
from web_demo.audio.vad import PADDING_S
from web_demo.server.conversation.events import (
    AnswerBegan,
    AudioIn,
    EndTurn,
    Interrupted,
    Refused,
    ReplyAudio,
    Restart,
    SpeechBegan,
    SpeechEnded,
    Start,
    TurnFull,
)
from web_demo.server.conversation.session import SessionLimits
from web_demo.server.conversation.turn import Refusal, State

PRE_ROLL_S = PADDING_S + 0.1 + 0.04  # and what it takes to notice somebody, to a frame


async def speak_live(talk: Talk, seconds: float, level: float = 0.5) -> None:
    """In its own time, as a microphone does."""
    for _ in range(round(seconds / 0.04)):
        await talk.speak(0.04, level)
        await talk.pause(0.04)


def spoken_s(audio: Audio) -> float:
    """Of the usual level."""
    return float(abs(audio.samples).sum()) / 0.5 / SPEECH_RATE


def edges(talk: Talk) -> list[type]:
    return [type(event) for event in talk.events() if isinstance(event, SpeechBegan | SpeechEnded)]


def test_the_end_of_speech_ends_the_turn_and_the_next_needs_no_start():
    async def conversation():
        async with talking(say("ok"), options=HANDS_FREE) as talk:
            end = 0
            for _ in range(3):
                await talk.speak(2.0, level=0.0)
                await talk.speak(1.0)
                await talk.speak(0.8, level=0.0)
                end = await talk.answered(end)
                await talk.session.idle()
            assert edges(talk) == [SpeechBegan, SpeechEnded] * 3
            for turn in talk.engine.turns:
                assert turn.audio.seconds == pytest.approx(PRE_ROLL_S - 0.1 + 1.0 + 0.3, abs=0.1)
                assert abs(turn.audio.samples[: int(0.2 * 16_000)]).max() == 0.0  # what came before the first word

    run(conversation())


def test_speech_has_its_place_in_the_sound_of_the_session():
    async def conversation():
        async with talking(say("ok"), options=HANDS_FREE) as talk:
            await talk.speak(2.0, level=0.0)
            await talk.speak(1.0)
            await talk.speak(0.8, level=0.0)
            (began,), (ended,) = talk.of(SpeechBegan), talk.of(SpeechEnded)
            assert began.at_s == pytest.approx(2.0, abs=0.04)
            assert ended.at_s == pytest.approx(3.0, abs=0.04)

    run(conversation())


def test_speaking_interrupts_the_answer_and_the_first_word_is_kept():
    async def conversation():
        async with talking(first_then(say(LONG), say("second")), options=HANDS_FREE) as talk:
            await talk.speak(1.0)
            await talk.speak(0.6, level=0.0)
            await talk.wait_for(ReplyAudio)
            await speak_live(talk, 2.0, level=0.0)
            assert talk.session.state is State.ANSWERING
            await speak_live(talk, 1.0)
            (cut,) = talk.of(Interrupted)
            assert cut.turn == 1
            await talk.speak(0.6, level=0.0)
            end = await talk.answered()
            assert talk.events()[end - 1].text == "second "
            assert talk.engine.turns[1].audio.seconds == pytest.approx(1.0 + PRE_ROLL_S - 0.1 + 0.3, abs=0.1)

    run(conversation())


@pytest.mark.parametrize("message_s", [0.02, 0.04, 0.5, 4.2])
def test_however_the_sound_is_cut_into_messages_nothing_of_it_is_lost(message_s):
    """A message may hold the end of one utterance and the beginning of the next, which then goes on with the first: there was no
    answer to hear between them."""
    stream = b"".join(
        sound(seconds, level) for seconds, level in [(0.6, 0.0), (1.0, 0.5), (0.6, 0.0), (1.4, 0.5), (0.6, 0.0)]
    )
    size = round(message_s * 16_000) * 2

    async def conversation():
        async with talking(say("ok"), options=HANDS_FREE) as talk:
            for start in range(0, len(stream), size):
                await talk.send(AudioIn(stream[start : start + size]))
            await talk.session.idle()
            assert edges(talk) == [SpeechBegan, SpeechEnded] * 2
            assert talk.session.turns == 2
            together = [cut.goes_on for cut in talk.of(Interrupted)] == [True]
            assert spoken_s(talk.engine.turns[-1].audio) == pytest.approx(2.4 if together else 1.4, abs=0.05)
            assert together == (message_s >= 0.5)

    run(conversation())


# --- who hears itself ---


@pytest.mark.parametrize(("name", "interrupts"), [("librivox_0870", False), ("librivox_0930", True)])
def test_the_machine_s_own_voice_in_the_microphone_does_not_interrupt_it_and_another_one_does(name, interrupts):
    said, heard = recording("librivox_0870"), recording(name)

    async def conversation():
        async with talking(say("x" * 120), options=HANDS_FREE) as talk:
            talk.synthesizer.voice = said.at(WIRE_RATE).samples * np.float32(0.9 / abs(said.samples).max())
            await speak_live(talk, 1.0)
            await speak_live(talk, 0.4, level=0.0)
            await talk.wait_for(ReplyAudio)
            level = 0.9 if interrupts else 0.25 * 0.9  # that of the user, or -12 dB
            echo = heard.samples * np.float32(level / abs(heard.samples).max())
            late = np.concatenate((np.zeros(SPEECH_RATE // 4, np.float32), echo))
            for start in range(0, 4 * SPEECH_RATE, 640):
                await talk.send(AudioIn(to_int16(late[start : start + 640]).tobytes()))
                await talk.pause(0.04)
            assert bool(talk.of(Interrupted)) == interrupts

    run(conversation())


# --- who was not done ---

EITHER = pytest.mark.parametrize("speech", [True, False], ids=["spoken", "text alone"])


@EITHER
def test_a_voice_that_comes_back_before_the_answer_was_heard_goes_on_with_the_turn(speech):
    options = replace(HANDS_FREE, speech=speech)

    async def conversation():
        async with talking(first_then(slow, say("done")), options=options) as talk:
            await speak_live(talk, 1.0, level=0.3)
            await speak_live(talk, 0.9, level=0.0)
            assert talk.session.state is State.ANSWERING
            await speak_live(talk, 1.0, level=0.6)
            assert talk.of(Interrupted) == [Interrupted(1, "", goes_on=True)]
            assert talk.engine.live == 0
            await speak_live(talk, 0.4, level=0.0)
            await talk.answered()
            first, whole = (turn.audio for turn in talk.engine.turns)
            assert (abs(whole.samples[: len(first.samples)] - first.samples) < 1e-4).all()
            assert whole.seconds == pytest.approx(first.seconds + PRE_ROLL_S - 0.1 + 1.0 + 0.3, abs=0.1)
            assert [turn.history for turn in talk.engine.turns] == [(), ()]
            await talk.works()
            assert len(talk.engine.turns[-1].history) == 1
            assert talk.problems() == []

    run(conversation())


def test_a_turn_may_go_on_again_and_again():
    async def conversation():
        async with talking(
            lambda turn: (say("done") if turn.turn_id.endswith(".6") else slow)(turn), options=HANDS_FREE
        ) as talk:
            for _ in range(6):
                await speak_live(talk, 1.0)
                await speak_live(talk, 0.4, level=0.0)
            await talk.answered()
            assert [cut.goes_on for cut in talk.of(Interrupted)] == [True] * 5
            assert edges(talk) == [SpeechBegan, SpeechEnded] * 6
            last = talk.engine.turns[-1]
            assert last.history == ()
            assert last.audio.seconds == pytest.approx(6 * 1.4 + PRE_ROLL_S - 0.1, abs=0.5)
            assert spoken_s(last.audio) == pytest.approx(6.0, abs=0.3)  # nothing is in it twice

    run(conversation())


def test_a_turn_goes_on_no_longer_than_turns_may_be():
    async def conversation():
        limits = SessionLimits(max_turn_s=4.0)
        async with talking(first_then(slow, say(LONG)), options=HANDS_FREE, limits=limits) as talk:
            await speak_live(talk, 2.0)
            await speak_live(talk, 0.4, level=0.0)
            await speak_live(talk, 3.0)
            assert talk.problems() == [TurnFull(4.0)]
            assert [(cut.turn, cut.goes_on) for cut in talk.of(Interrupted)] == [(1, True), (2, False)]
            assert talk.engine.turns[1].audio.seconds == 4.0
            assert talk.session.state is State.LISTENING

    run(conversation())


def test_who_speaks_on_while_functions_are_called_goes_on_with_the_turn():
    async def conversation():
        async with talking(first_then(call, say("done")), options=HANDS_FREE) as talk:
            await speak_live(talk, 1.0)
            await speak_live(talk, 0.8, level=0.0)
            assert talk.session.state is State.READY
            await speak_live(talk, 1.0)
            assert talk.of(Interrupted) == []  # that answer was over
            await talk.give_results()
            assert talk.problems() == [Refused(Refusal.NO_CALLS)]
            await speak_live(talk, 0.4, level=0.0)
            await talk.answered(talk.here - 1)
            assert talk.engine.turns[1].tool_exchanges == ()
            assert spoken_s(talk.engine.turns[1].audio) == pytest.approx(2.0, abs=0.1)

    run(conversation())


def test_start_begins_something_new_whatever_was_unheard():
    async def conversation():
        async with talking(first_then(call, say("done")), options=HANDS_FREE) as talk:
            await speak_live(talk, 1.0)
            await speak_live(talk, 0.8, level=0.0)
            await talk.send(Start())
            await talk.give_results()
            assert talk.problems() == [Refused(Refusal.NO_CALLS)]
            await speak_live(talk, 1.0)
            await speak_live(talk, 0.4, level=0.0)
            assert spoken_s(talk.engine.turns[1].audio) == pytest.approx(1.0, abs=0.1)

    run(conversation())


def test_a_user_who_was_not_understood_is_in_history_as_sound():
    async def conversation():
        async with talking(first_then(lambda _: [60.0], say("next"))) as talk:
            await talk.ask()
            await talk.pause(10.0)
            await talk.works()
            (exchange,) = talk.engine.turns[1].history  # so that an engine which can may listen again
            assert (exchange.user_text, exchange.assistant_text) == ("", "")
            assert exchange.user_audio is talk.engine.turns[0].audio

    run(conversation())


def test_silence_and_clicks_start_no_turn_and_fill_none():
    async def conversation():
        async with talking(say("ok"), options=HANDS_FREE, limits=SessionLimits(max_turn_s=2.0)) as talk:
            for _ in range(20):
                await talk.speak(1.0, level=0.0)
                await talk.speak(0.04)
            assert talk.events() == []
            await talk.configure(turn_detection=None)
            await talk.send(EndTurn())
            await talk.answered()
            assert talk.engine.turns[0].audio.seconds == pytest.approx(PRE_ROLL_S, abs=0.1)

    run(conversation())


@pytest.mark.parametrize("message_s", [0.04, 0.5, 7.0])
def test_speech_without_a_pause_is_cut_at_the_cap_with_one_complaint_and_interrupts_the_answer(message_s):
    """Each turn is ended and answered at the cap, who goes on speaking interrupts that answer, and nothing said is missing."""

    async def conversation():
        async with talking(say(LONG, LONG), options=HANDS_FREE, limits=SessionLimits(max_turn_s=10.0)) as talk:
            for _ in range(round(126 / message_s)):
                await talk.send(AudioIn(sound(message_s)))
                await talk.pause(message_s)
            assert talk.problems() == [TurnFull(10.0)] * 12
            assert [cut.turn for cut in talk.of(Interrupted)] == list(range(1, 13))
            assert edges(talk) == [*[SpeechBegan, SpeechEnded] * 12, SpeechBegan]
            assert talk.session.state is State.LISTENING
            await talk.speak(0.4, level=0.0)
            await talk.wait_for(ReplyAudio, talk.here)
            last = talk.engine.turns[-1]
            assert talk.session.turns == 13
            assert len(last.history) == 8
            assert last.audio.seconds == pytest.approx(126 - 120 + 0.3, abs=0.1)

    run(conversation())


@pytest.mark.parametrize("end", [EndTurn(), Restart()], ids=["end of turn", "restart"])
def test_who_speaks_on_after_a_turn_was_ended_by_hand_is_noticed_again(end):
    async def conversation():
        async with talking(say(LONG), options=HANDS_FREE) as talk:
            await talk.speak(1.0)
            await talk.send(end)
            assert edges(talk) == [SpeechBegan, SpeechEnded]
            await speak_live(talk, 0.4)
            assert edges(talk) == [SpeechBegan, SpeechEnded, SpeechBegan]
            assert talk.session.state is State.LISTENING
            assert len(talk.of(Interrupted)) == len(talk.of(AnswerBegan)) == (end == EndTurn())

    run(conversation())


def test_turning_it_off_while_somebody_speaks_keeps_the_turn_and_ends_the_speech_for_the_client():
    async def conversation():
        async with talking(say("ok"), options=HANDS_FREE) as talk:
            await talk.speak(1.0)
            await talk.configure(turn_detection=None)
            assert edges(talk) == [SpeechBegan, SpeechEnded]
            await talk.ask(1.0)
            await talk.answered()
            assert talk.engine.turns[0].audio.seconds == pytest.approx(2.0, abs=0.1)

    run(conversation())


def test_a_session_may_begin_hands_free():
    async def conversation():
        async with talking(say("ok"), begins=HANDS_FREE) as talk:
            await talk.speak(1.0)
            await talk.speak(0.6, level=0.0)
            await talk.answered()
            assert edges(talk) == [SpeechBegan, SpeechEnded]

    run(conversation())
