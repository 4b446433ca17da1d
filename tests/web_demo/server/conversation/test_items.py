"""What a client does beside speaking: writing, committing, asking, cancelling, and changing what was said; and all of it in any
order."""

import asyncio
import random

import pytest

from tests.web_demo.server.conversation.talk import (
    HANDS_FREE,
    LONG,
    Talk,
    call,
    first_then,
    say,
    sing,
    sound,
    talking,
    write,
)
from tests.web_demo.server.conversation.virtual_time import run
from web_demo.engines.base import Exchange, Heard, TextDelta, ToolCall, ToolResult
from web_demo.errors import EngineFailed
from web_demo.server.conversation.answers import MAX_BESIDE, MOST_WAITING
from web_demo.server.conversation.events import (
    AddItem,
    Answer,
    AnswerBegan,
    AnswerEnded,
    AnswerFailed,
    AudioIn,
    Cancel,
    Commit,
    Committed,
    DeleteItem,
    Discard,
    Discarded,
    EndTurn,
    GetItem,
    Interrupted,
    ItemAdded,
    ItemDeleted,
    ItemFound,
    ItemTruncated,
    Refused,
    ReplyAudio,
    ReplyText,
    Restart,
    SpeechBegan,
    SpeechEnded,
    Start,
    ToolCalled,
    ToolResults,
    Transcribed,
    TranscriptionFailed,
    TruncateItem,
    Write,
    WrongItem,
)
from web_demo.server.conversation.history import FunctionReturned, SystemSaid, UserSaid
from web_demo.server.conversation.options import AnswerOptions, SessionOptions
from web_demo.server.conversation.session import SessionLimits
from web_demo.server.conversation.turn import Refusal, State

BUFFERED = SessionOptions(buffered=True, answers_itself=False)


async def commit(talk: Talk, seconds: float = 0.4) -> None:
    await talk.speak(seconds)
    await talk.send(Commit())


def test_a_written_turn_is_answered_by_voice_and_remembered():
    async def conversation():
        async with talking(say("Good morning.")) as talk:
            await talk.send(Write("hello"))
            end = await talk.answered()
            assert talk.sound_s() == pytest.approx(13 * 0.05)
            await talk.send(Write("and again"))
            await talk.answered(end)
            first, second = talk.engine.turns
            assert (first.text, first.audio) == ("hello", None)
            assert second.history == (Exchange("hello", "Good morning. "),)

    run(conversation())


def test_a_written_turn_interrupts_the_answer():
    async def conversation():
        async with talking(first_then(say(LONG), say("ok"))) as talk:
            await talk.ask()
            await talk.wait_for(ReplyAudio)
            await talk.send(Write("stop"))
            (cut,) = talk.of(Interrupted)
            assert (cut.turn, cut.by_voice) == (1, False)
            await talk.answered()
            assert talk.engine.turns[1].text == "stop"
            assert talk.session.state is not State.LISTENING

    run(conversation())


def test_what_is_committed_waits_until_an_answer_is_asked_for():
    async def conversation():
        async with talking(say("ok"), options=BUFFERED) as talk:
            await commit(talk, 0.4)
            await commit(talk, 0.8)
            assert [said.seconds for said in talk.of(Committed)] == pytest.approx([0.4, 0.8])
            first, second = talk.of(Committed)
            assert (first.previous, second.previous) == (None, first.item_id)
            await talk.pause(10.0)
            assert talk.engine.turns == []
            await talk.send(Answer())
            await talk.answered()
            (turn,) = talk.engine.turns
            assert turn.audio.seconds == pytest.approx(0.8)
            assert [past.user_audio.seconds for past in turn.history] == pytest.approx([0.4])

    run(conversation())


@pytest.mark.parametrize("seconds", [0.0, 0.08])
def test_a_commit_of_nothing_is_refused_and_loses_nothing(seconds):
    async def conversation():
        async with talking(say("ok"), options=BUFFERED) as talk:
            await commit(talk, seconds)
            assert talk.problems() == [Refused(Refusal.NOTHING_SAID)]
            await commit(talk, 0.4)
            assert [said.seconds for said in talk.of(Committed)] == pytest.approx([0.4 + seconds])

    run(conversation())


def test_a_buffer_takes_sound_during_an_answer_and_forgets_it_when_told_to():
    async def conversation():
        async with talking(say(LONG), options=BUFFERED) as talk:
            await commit(talk)
            await talk.send(Answer())
            await talk.wait_for(ReplyAudio)
            await talk.speak(0.8)
            await talk.send(Discard())
            assert len(talk.of(Discarded)) == 1
            await commit(talk, 0.6)
            assert talk.session.state is State.ANSWERING
            assert talk.of(Committed)[-1].seconds == pytest.approx(0.6)
            await talk.answered()
            assert talk.of(Interrupted) == []
            await commit(talk, 0.4)  # and after it, without a start
            assert len(talk.of(Committed)) == 3

    run(conversation())


def test_a_buffer_that_is_full_is_committed_and_goes_on():
    async def conversation():
        async with talking(say("ok"), options=BUFFERED, limits=SessionLimits(max_turn_s=2.0)) as talk:
            await commit(talk, 5.0)
            assert [said.seconds for said in talk.of(Committed)] == pytest.approx([2.0, 2.0, 1.0])
            assert talk.engine.turns == []

    run(conversation())


def test_speech_is_committed_and_not_answered_where_the_client_asks_for_answers():
    async def conversation():
        async with talking(say("ok")) as talk:
            await talk.configure(turn_detection=HANDS_FREE.turn_detection, buffered=True, answers_itself=False)
            for _ in range(2):
                await talk.speak(0.8)
                await talk.speak(0.6, level=0.0)
            assert [type(event) for event in talk.events()] == [SpeechBegan, SpeechEnded, Committed] * 2
            began, ended, said = talk.events()[:3]
            assert began.item_id == ended.item_id == said.item_id
            await talk.send(Answer())
            await talk.answered()
            assert len(talk.engine.turns) == 1

    run(conversation())


def test_where_a_voice_interrupts_nothing_it_is_kept_beside_the_answer():
    async def conversation():
        async with talking(say(LONG), options=HANDS_FREE) as talk:
            await talk.configure(interrupts_itself=False, buffered=True)
            await talk.speak(0.8)
            await talk.speak(0.6, level=0.0)
            await talk.wait_for(ReplyAudio)
            await talk.speak(1.0)
            await talk.speak(0.6, level=0.0)
            assert talk.of(Interrupted) == []
            assert len(talk.of(Committed)) == 2
            await talk.answered()
            assert len(talk.engine.turns) == 1

    run(conversation())


def test_cancel_ends_the_answer_and_nothing_else():
    async def conversation():
        async with talking(first_then(say("one two three " * 20), say("ok")), options=BUFFERED) as talk:
            await commit(talk)
            await talk.send(Answer())
            await talk.wait_for(ReplyAudio)
            await talk.pause(1.0)
            await talk.send(Cancel())
            assert len(talk.of(Interrupted)) == 1
            assert talk.engine.live == 0
            assert talk.session.state is State.READY
            await talk.send(Cancel())
            assert talk.problems() == [Refused(Refusal.NOTHING_TO_CANCEL)]
            await talk.send(Answer())  # the turn was answered, as far as that was heard
            await talk.answered()
            assert talk.engine.turns[1].history[0].assistant_text == talk.of(Interrupted)[0].played

    run(conversation())


def test_an_answer_is_asked_for_once_at_a_time():
    async def conversation():
        async with talking(say("a fairly long answer"), options=BUFFERED) as talk:
            await commit(talk)
            await talk.send(Answer())
            await talk.send(Answer())
            assert talk.problems() == [Refused(Refusal.ALREADY_ANSWERING)]
            await talk.answered()
            assert talk.session.turns == 1

    run(conversation())


def test_one_answer_can_have_instructions_functions_and_silence_of_its_own():
    async def conversation():
        async with talking(say("ok"), options=SessionOptions(system_prompt="Be brief.", buffered=True)) as talk:
            await commit(talk)
            own = AnswerOptions(system_prompt="Say hello.", speech=False, tools=({"name": "f"},), tool_choice="f")
            await talk.send(Answer(own))
            end = await talk.answered()
            assert talk.of(ReplyAudio) == []
            await commit(talk)
            await talk.send(Answer())
            await talk.answered(end)
            first, second = talk.engine.turns
            assert (first.system_prompt, first.tools, first.tool_choice) == ("Say hello.", ({"name": "f"},), "f")
            assert (second.system_prompt, second.tools, second.tool_choice) == ("Be brief.", (), "")
            assert talk.sound_s(end) > 0

    run(conversation())


def test_system_messages_follow_the_system_prompt():
    async def conversation():
        async with talking(say("ok"), options=SessionOptions(system_prompt="Be brief.")) as talk:
            await talk.send(AddItem(SystemSaid("s", "It is raining.")))
            await talk.send(Write("hello"))
            await talk.answered()
            assert talk.engine.turns[0].system_prompt == "Be brief.\n\nIt is raining."

    run(conversation())


def test_answers_that_the_conversation_knows_nothing_of_run_beside_its_own():
    def script(turn):
        return [TextDelta("polite"), 5.0, TextDelta("!")] if turn.system_prompt == "Judge." else say(LONG)(turn)

    async def conversation():
        async with talking(script, options=BUFFERED) as talk:
            await commit(talk)
            await talk.send(Answer())
            await talk.wait_for(ReplyAudio)
            judge = AnswerOptions("Judge.", speech=False, remember=False, context=(UserSaid("x", "is this polite?"),))
            for _ in range(MAX_BESIDE + 1):
                await talk.send(Answer(judge))
            assert talk.problems() == [Refused(Refusal.ALREADY_ANSWERING)]
            assert talk.session.turns == 1 + MAX_BESIDE
            await talk.send(Cancel(3))
            assert [cut.turn for cut in talk.of(Interrupted)] == [3]
            await talk.session.idle()
            assert sorted(end.turn for end in talk.of(AnswerEnded)) == [1, 2, 4, 5]
            assert [item.item.id for item in talk.of(ItemAdded)] == [talk.of(AnswerBegan)[0].item_id]
            beside = talk.engine.turns[1]
            assert (beside.text, beside.audio, beside.history) == ("is this polite?", None, ())
            assert beside.conversation_id != talk.session.id
            assert beside.conversation_id in talk.engine.forgotten
            await talk.send(Answer())
            assert len(talk.engine.turns[-1].history) == 1
            talk.side_by_side = True

    run(conversation())


def test_an_answer_out_of_band_that_speaks_takes_its_place_and_leaves_no_trace():
    async def conversation():
        async with talking(say("ok"), options=BUFFERED) as talk:
            await talk.send(AddItem(UserSaid("u", "hello")))
            await talk.send(Answer(AnswerOptions(remember=False)))
            await talk.answered()
            assert talk.sound_s() > 0
            assert [added.item.id for added in talk.of(ItemAdded)] == ["u"]
            assert talk.engine.turns[0].text == "hello"

    run(conversation())


def test_items_are_added_found_truncated_and_deleted_by_their_ids():
    async def conversation():
        async with talking(say("First sentence.", "Second sentence."), options=BUFFERED) as talk:
            await talk.send(AddItem(UserSaid("a", "hello")))
            await talk.send(Answer())
            await talk.answered()
            said = talk.of(AnswerBegan)[0].item_id
            await talk.send(TruncateItem(said, 0.8))
            await talk.send(GetItem(said))
            assert talk.of(ItemTruncated) == [ItemTruncated(said, 0.8)]
            assert talk.of(ItemFound)[0].item.text == "First sentence."
            await talk.send(AddItem(UserSaid("b", "go on"), after="root"))
            await talk.send(DeleteItem("a"))
            assert talk.of(ItemDeleted) == [ItemDeleted("a")]
            await talk.send(Answer())
            await talk.answered(talk.here)
            assert talk.engine.turns[1].history == (Exchange("go on", "First sentence."),)

    run(conversation())


@pytest.mark.parametrize(
    ("event", "missing"),
    [
        (GetItem("x"), True),
        (DeleteItem("x"), True),
        (TruncateItem("x", 1.0), True),
        (TruncateItem("a", 1.0), False),
        (AddItem(UserSaid("b", "hi"), after="x"), True),
        (AddItem(UserSaid("a", "hi")), False),
    ],
)
def test_what_cannot_be_done_to_an_item_is_complained_of_and_changes_nothing(event, missing):
    async def conversation():
        async with talking(say("ok")) as talk:
            await talk.send(AddItem(UserSaid("a", "hello")))
            await talk.send(event)
            (problem,) = talk.problems()
            assert isinstance(problem, WrongItem)
            assert problem.missing is missing
            await talk.send(Answer())
            await talk.answered()
            assert talk.engine.turns[0].text == "hello"

    run(conversation())


def test_results_may_come_one_by_one_and_are_answered_when_asked():
    async def conversation():
        def script(turn):
            if turn.tool_exchanges:
                return say("done")(turn)
            return [ToolCall("1", "f", {}), ToolCall("2", "f", {})]

        async with talking(script, options=BUFFERED) as talk:
            await talk.send(AddItem(UserSaid("u", "hello")))
            await talk.send(Answer())
            end = await talk.answered()
            first, second = talk.of(ToolCalled)
            assert (first.previous, second.previous) == ("u", first.item_id)
            await talk.send(AddItem(FunctionReturned("r1", ToolResult("1", "one"))))
            await talk.send(AddItem(FunctionReturned("r2", ToolResult("2", "two"))))
            await talk.send(Answer())
            await talk.answered(end)
            (exchange,) = talk.engine.turns[1].tool_exchanges
            assert [result.content for result in exchange.results] == ["one", "two"]

    run(conversation())


def test_the_words_of_what_was_committed_come_beside_any_answer_and_once():
    async def conversation():
        async with talking(say("ok"), options=BUFFERED) as talk:
            await talk.configure(transcription=True)
            await commit(talk, 1.0)
            await talk.wait_for(Transcribed)
            await talk.send(Answer())
            await talk.answered()
            (said,), (words,) = talk.of(Committed), talk.of(Transcribed)
            assert (words.text, words.item_id, words.seconds, words.turn) == ("1.0 s", said.item_id, 1.0, None)

    run(conversation())


@pytest.mark.parametrize("fails", [EngineFailed("told to"), RuntimeError("secret")])
def test_an_engine_without_words_has_another_recogniser_whose_failure_costs_a_transcript_only(fails):
    heard = []

    async def transcriber(audio, client):
        heard.append(audio.seconds)
        await asyncio.sleep(1.0)
        if len(heard) == 2:
            raise fails
        return "words"

    async def conversation():
        async with talking(lambda turn: [TextDelta("yes")], options=BUFFERED) as talk:
            talk.engine.transcribe = no_words
            talk.session._transcripts._transcriber = transcriber
            await talk.configure(transcription=True)
            for _ in range(3):
                await commit(talk)
            await talk.send(Answer())
            await talk.answered()  # which does not wait for them
            assert talk.of(Transcribed, talk.here) == []
            await talk.pause(5.0)
            (failed,) = talk.of(TranscriptionFailed)
            assert failed.item_id == talk.of(Committed)[1].item_id
            assert "secret" not in failed.message
            assert [words.text for words in talk.of(Transcribed) if words.turn is None] == ["words"] * 2

    async def no_words(audio, client):
        return None

    run(conversation())


def test_a_flood_of_commits_has_a_bounded_number_of_transcripts_under_way():
    async def conversation():
        async with talking(say("ok"), options=BUFFERED) as talk:
            talk.engine.transcribe = for_ever
            await talk.configure(transcription=True)
            for _ in range(MOST_WAITING + 3):
                await commit(talk, 0.12)
            await talk.wait_for(TranscriptionFailed)
            await talk.pause(0.1)
            assert len(talk.of(TranscriptionFailed)) == 3

    async def for_ever(audio, client):
        await asyncio.sleep(3600)

    run(conversation())


def test_an_answer_that_failed_leaves_what_was_committed_to_a_client_that_keeps_items():
    async def conversation():
        async with talking(first_then(lambda turn: [EngineFailed("no")], say("ok")), options=BUFFERED) as talk:
            await talk.send(AddItem(UserSaid("u", "hello")))
            await talk.send(Answer())
            await talk.wait_for(AnswerFailed)
            assert talk.of(AnswerFailed)[0].code == "engine_failed"
            await talk.session.idle()
            await talk.send(Answer())
            await talk.answered()
            assert talk.engine.turns[1].text == "hello"

    run(conversation())


def test_unpaced_answers_come_as_fast_as_they_are_made():
    async def conversation():
        async with talking(say(*[LONG] * 5)) as talk:
            await talk.configure(paced=False)
            await talk.send(Write("read to me"))
            began = asyncio.get_running_loop().time()
            await talk.answered()
            assert talk.sound_s() == pytest.approx(50.0)
            assert asyncio.get_running_loop().time() - began < 1.0

    run(conversation())


def test_a_transcript_that_an_answer_brings_belongs_to_the_item_that_it_answers():
    async def conversation():
        async with talking(lambda turn: [Heard("hi"), TextDelta("ho")]) as talk:
            await talk.ask()
            await talk.answered()
            (said,), (words,) = talk.of(Committed), talk.of(Transcribed)
            assert (words.turn, words.item_id) == (1, said.item_id)
            await talk.send(GetItem(said.item_id))
            assert talk.of(ItemFound)[0].item.transcript == "hi"

    run(conversation())


def test_an_answer_s_item_is_there_as_soon_as_it_says_something():
    async def conversation():
        async with talking(say("Hello.")) as talk:
            await talk.ask()
            await talk.answered()
            kinds = [type(event) for event in talk.events()]
            assert kinds.index(ItemAdded) == min(kinds.index(ReplyText), kinds.index(ReplyAudio)) - 1

    run(conversation())


def test_nothing_of_a_call_is_added_for_an_answer_out_of_band():
    async def conversation():
        async with talking(call, options=BUFFERED) as talk:
            await talk.send(Answer(AnswerOptions(speech=False, remember=False)))
            await talk.answered()
            assert talk.of(ToolCalled)[0].previous is None
            await talk.give_results()
            assert talk.problems() == [Refused(Refusal.NO_CALLS)]

    run(conversation())


def test_sound_in_one_big_message_is_committed_whole():
    async def conversation():
        async with talking(say("ok"), options=BUFFERED) as talk:
            await talk.send(AudioIn(sound(30.0)))
            await talk.send(Commit())
            assert talk.of(Committed)[0].seconds == pytest.approx(30.0)

    run(conversation())


# --- clients that do anything at any time ---

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
