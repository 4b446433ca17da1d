"""One answer after the other: what is sent, in what order and when, and what is remembered."""

import pytest

from tests.web_demo.server.conversation.talk import LONG, METRICS, call, first_then, say, sing, sound, talking, write
from tests.web_demo.server.conversation.virtual_time import run
from web_demo.audio.samples import WIRE_RATE
from web_demo.engines.base import Capabilities, Exchange, SpeechText, TextDelta, ToolResult
from web_demo.server.conversation.events import (
    AnswerBegan,
    AnswerEnded,
    AudioDamaged,
    AudioIn,
    Committed,
    EndTurn,
    Interrupted,
    Refused,
    ReplyAudio,
    ReplyText,
    Restart,
    Start,
    ToolCalled,
    ToolResults,
    Transcribed,
    Unreadable,
    WrongToolResults,
)
from web_demo.server.conversation.session import SessionLimits
from web_demo.server.conversation.turn import Refusal
from web_demo.server.conversation.turn_task import WINDOWS_AHEAD


def test_a_turn_is_its_transcript_then_text_and_sound_then_the_whole_text_last():
    async def conversation():
        async with talking(say("Hello there.", "How are you?")) as talk:
            await talk.ask(1.0)
            await talk.answered()
            said, first, second, began, *middle, last = talk.events()
            assert said == Committed(said.item_id, None, 1.0)
            assert first == AnswerBegan(1)
            assert second == Transcribed(1, "1.0 s")
            assert (began.item.id, began.previous) == (first.item_id, said.item_id)
            assert {type(event) for event in middle} == {ReplyText, ReplyAudio}
            assert isinstance(middle[-1], ReplyAudio)
            assert last == AnswerEnded(1, "Hello there. How are you? ")
            assert talk.text() == "Hello there. How are you? "
            assert talk.sound_s() == pytest.approx(len("Hello there.How are you?") * 0.05)
            assert talk.synthesizer.said == ["Hello there.", "How are you?", ()]
            (turn,) = talk.engine.turns
            assert (turn.audio.rate, turn.audio.seconds) == (16_000, 1.0)

    run(conversation())


def test_codes_are_cut_into_windows_and_spoken_to_the_last():
    async def conversation():
        async with talking(sing) as talk:
            await talk.ask()
            await talk.answered()
            assert [len(window) for window in talk.synthesizer.said] == [5, 25, 12]
            assert talk.sound_s() == pytest.approx(42 * 0.04)

    run(conversation())


@pytest.mark.parametrize("script", [say("Hello there."), sing], ids=["text", "codes"])
def test_a_client_that_wants_no_speech_gets_text_alone_until_it_wants_it_again(script):
    async def conversation():
        async with talking(script) as talk:
            await talk.configure(speech=False)
            await talk.ask()
            end = await talk.answered()
            assert talk.of(ReplyAudio) == []
            assert talk.synthesizer.said == []
            assert talk.text() != ""
            await talk.configure(speech=True)
            await talk.send(Start())
            await talk.ask()
            await talk.answered(end)
            assert talk.sound_s(end) > 0.5
            assert [turn.speech for turn in talk.engine.turns] == [False, True]
            assert talk.engine.turns[1].history[0].assistant_text == talk.text()[: len(talk.text()) // 2]

    run(conversation())


def test_a_reply_without_speech_is_text_alone():
    async def conversation():
        async with talking(write) as talk:
            await talk.ask()
            await talk.answered()
            assert talk.of(ReplyAudio) == []
            assert talk.events()[-1] == AnswerEnded(1, "just text")

    run(conversation())


@pytest.mark.parametrize("frame_s", [0.02, 0.04, 0.0], ids=["20 ms", "40 ms", "as it comes"])
@pytest.mark.parametrize("prebuffer_s", [0.0, 0.6, 3.0])
def test_sound_is_sent_no_more_than_the_prebuffer_ahead_of_its_time_and_the_engine_is_held_back(prebuffer_s, frame_s):
    made = []

    def script(turn):
        for number in range(20):
            made.append(number)
            yield SpeechText(LONG)

    async def conversation():
        async with talking(script, limits=SessionLimits(prebuffer_s=prebuffer_s), frame_s=frame_s) as talk:
            await talk.ask()
            await talk.wait_for(ReplyAudio)
            await talk.pause(30.0)
            sent = [(at, event.audio.samples) for at, event in talk.wire.sent if isinstance(event, ReplyAudio)]
            began = sent[0][0]
            assert sum(samples for _, samples in sent) / WIRE_RATE > 29.0
            position = 0
            for at, samples in sent:
                assert position / WIRE_RATE <= at - began + prebuffer_s + 1e-6
                assert at - began <= position / WIRE_RATE + 1e-6, "the listener ran dry"
                position += samples
            waiting = 10.0 * (WINDOWS_AHEAD + 3)  # in the channel, and one with each of the three tasks
            assert len(made) * 10.0 <= 30.0 + prebuffer_s + waiting

    run(conversation())


def test_the_second_turn_does_not_hold_what_was_said_between_the_turns():
    async def conversation():
        async with talking(say("ok")) as talk:
            await talk.ask(0.8)
            end = await talk.answered()
            await talk.speak(0.8)  # ignored: no turn is open
            await talk.send(Start())
            await talk.ask(1.2)
            await talk.answered(end)
            assert [turn.audio.seconds for turn in talk.engine.turns] == pytest.approx([0.8, 1.2])
            assert talk.problems() == []

    run(conversation())


def test_a_turn_of_one_big_message_is_heard_whole():
    async def conversation():
        async with talking(say("ok")) as talk:
            await talk.send(AudioIn(sound(60.0)))
            await talk.send(EndTurn())
            await talk.answered()
            assert talk.engine.turns[0].audio.seconds == pytest.approx(60.0)

    run(conversation())


def test_what_is_no_sound_is_complained_of_and_the_rest_is_kept():
    async def conversation():
        async with talking(say("ok")) as talk:
            await talk.speak(0.4)
            await talk.send(AudioIn(b"odd"))
            await talk.send(AudioIn(b"damaged!"))
            await talk.ask(0.4)
            await talk.answered()
            assert talk.engine.turns[0].audio.seconds == pytest.approx(0.8)
            assert talk.problems() == [Unreadable("an odd number of bytes"), AudioDamaged(1)]

    run(conversation())


def test_history_holds_eight_pairs_and_restart_clears_it():
    async def conversation():
        async with talking(say("yes")) as talk:
            await talk.configure(system_prompt="You are a pirate.")
            for _ in range(10):
                await talk.works()
            assert talk.engine.turns[-1].history == (Exchange("0.4 s", "yes "),) * 8
            assert {turn.system_prompt for turn in talk.engine.turns} == {"You are a pirate."}
            await talk.send(Restart())
            await talk.works()
            assert talk.engine.turns[-1].history == ()
            assert talk.engine.forgotten == [talk.session.id]

    run(conversation())


@pytest.mark.parametrize("wanted", [False, True])
def test_an_engine_that_wants_it_gets_the_sound_of_earlier_turns(wanted):
    async def conversation():
        capabilities = Capabilities(user_audio_history=wanted, max_concurrency=4)
        async with talking(say("yes"), capabilities=capabilities) as talk:
            await talk.ask(0.6)
            await talk.answered()
            await talk.works()
            first, second = talk.engine.turns
            assert second.history[0].user_audio is (first.audio if wanted else None)

    run(conversation())


def test_a_called_function_s_result_goes_back_into_the_same_turn():
    async def conversation():
        async with talking(call) as talk:
            await talk.ask(0.6)
            end = await talk.answered()
            (called,) = talk.of(ToolCalled)
            assert (called.turn, called.call.name, called.call.arguments) == (1, "weather", {"city": "Paris"})
            await talk.give_results()
            await talk.answered(end)
            returned, began = talk.events(end)[:2]
            assert returned.item.result.content == "sunny"
            assert began == AnswerBegan(2)
            assert talk.text(end) == "sunny "
            await talk.works()
            first, second, third = talk.engine.turns
            assert second.audio is first.audio
            assert third.history == (Exchange("?", "sunny ", None, second.tool_exchanges),)

    run(conversation())


def test_results_of_other_calls_are_refused_and_the_right_ones_still_taken():
    async def conversation():
        async with talking(call) as talk:
            await talk.ask()
            end = await talk.answered()
            for wrong in ((), (ToolResult("other", "x"),), (ToolResult("call1", "x"), ToolResult("call1", "y"))):
                await talk.send(ToolResults(wrong))
            assert talk.problems() == [WrongToolResults(("call1",))] * 3
            await talk.give_results()
            await talk.answered(end)
            await talk.give_results()
            assert talk.problems()[3:] == [Refused(Refusal.NO_CALLS)]

    run(conversation())


@pytest.mark.parametrize("again", [Start, Restart], ids=["start", "restart"])
def test_calls_are_forgotten_when_the_conversation_goes_on_without_their_results(again):
    async def conversation():
        async with talking(call) as talk:
            await talk.ask()
            await talk.answered()
            await talk.send(again())
            await talk.give_results()
            assert talk.problems() == [Refused(Refusal.NO_CALLS)]
            await talk.works()

    run(conversation())


def test_a_hundred_ends_of_one_turn_are_one_turn():
    async def conversation():
        async with talking(say("a fairly long answer")) as talk:
            await talk.ask()
            for _ in range(100):
                await talk.send(EndTurn())
            await talk.answered()
            assert talk.problems() == [Refused(Refusal.ALREADY_ANSWERING)] * 100
            assert talk.session.turns == 1

    run(conversation())


def test_two_users_at_once_hear_their_own_answers():
    async def conversation():
        async with talking(say("short")) as one, talking(say("a longer answer")) as two:
            await one.ask()
            await two.ask()
            await one.answered()
            await two.answered()
            assert (one.text(), two.text()) == ("short ", "a longer answer ")
            assert (one.sound_s(), two.sound_s()) == pytest.approx((0.25, 0.75))

    run(conversation())


@pytest.mark.parametrize("rest", [["And then a word."] * 10, ["word " * 60]], ids=["sentences", "a long sentence"])
@pytest.mark.parametrize("seconds", [0.0, 0.3, 1.0, 1.9, 5.0, 7.5])
def test_an_answer_that_is_cut_off_is_remembered_as_far_as_it_was_played(seconds, rest):
    sentences = ["First sentence.", *rest]

    async def conversation():
        async with talking(first_then(say(*sentences), say("second"))) as talk:
            await talk.ask()
            await talk.wait_for(ReplyAudio)
            await talk.pause(seconds)
            await talk.send(Start())
            (cut,) = talk.of(Interrupted)
            await talk.works()
            (exchange,) = talk.engine.turns[1].history
            assert exchange == Exchange("0.4 s", cut.played)
            played = round(seconds / 0.05)  # characters
            assert " ".join(sentences).startswith(cut.played)
            assert played - 5 <= len(cut.played) <= played + 6  # whole words, and the spaces between sentences

    run(conversation())


def test_a_text_answer_that_is_cut_off_was_read_as_far_as_it_came():
    async def conversation():
        async with talking(
            first_then(lambda turn: [TextDelta("Once upon "), 60.0, TextDelta("a time")], say("x"))
        ) as talk:
            await talk.configure(speech=False)
            await talk.ask()
            await talk.wait_for(ReplyText)
            await talk.works()
            first, second = talk.engine.turns
            assert second.history == (Exchange("", "Once upon ", first.audio),)  # nobody knows the words

    run(conversation())


def test_what_the_text_front_end_could_not_read_is_counted():
    async def conversation():
        before = METRICS.text_failures._value.get()
        async with talking(lambda turn: [TextDelta("Hello. "), SpeechText("Hello.", failures=2)]) as talk:
            await talk.ask(1.0)
            await talk.answered()
        assert METRICS.text_failures._value.get() == before + 2

    run(conversation())


@pytest.mark.parametrize(
    ("asked", "speeds", "given"), [(1.5, (0.5, 2.0), 1.5), (0.25, (0.5, 2.0), 0.5), (1.5, (1.0, 1.0), 1.0)]
)
def test_an_answer_is_as_fast_as_the_voice_can(asked, speeds, given):
    async def conversation():
        async with talking(say("Hello there."), capabilities=Capabilities(speeds=speeds, max_concurrency=4)) as talk:
            await talk.configure(speed=asked, voice="anybody")
            await talk.ask()
            await talk.answered()
            assert talk.sound_s() == pytest.approx(12 * 0.05 / given, abs=0.01)
            assert talk.engine.turns[0].voice == "anybody"

    run(conversation())
