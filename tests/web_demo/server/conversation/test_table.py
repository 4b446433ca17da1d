"""Every cell of the turn table, with a voice that is noticed and without, as a client meets it: the session is brought to the
state, the event happens, and the wire saw what the table's command means, the next turn works and nothing is left."""

from itertools import product

import pytest

from tests.web_demo.server.conversation.talk import (
    HANDS_FREE,
    LONG,
    MESSAGE_S,
    Talk,
    call,
    first_then,
    say,
    slow,
    talking,
)
from tests.web_demo.server.conversation.virtual_time import run
from web_demo.engines.base import ToolResult
from web_demo.server.conversation.events import (
    Answer,
    AnswerBegan,
    Cancel,
    Commit,
    Committed,
    Discard,
    EndTurn,
    Interrupted,
    Problem,
    Refused,
    ReplyAudio,
    Restart,
    SpeechBegan,
    SpeechEnded,
    Start,
    ToolResults,
    Transcribed,
    TurnFull,
    Write,
)
from web_demo.server.conversation.session import SessionLimits
from web_demo.server.conversation.turn import RULES, Command, Conversation, Event, Refusal, State, Transition

MAX_TURN_S = 4.0
BRINGS_ANSWER = (Command.ANSWER, Command.REPLY, Command.REPLACE)
VAD = HANDS_FREE.turn_detection

# --- how a client brings a session to a state, and an event about ---


async def ready(talk: Talk, event: Event) -> None:
    if event in (Event.TOOLS_ANSWERED, Event.SPEECH_WENT_ON):
        await talk.configure(turn_detection=VAD)
        await answered(talk)
        await talk.configure(turn_detection=talk.wanted)
    elif event in (Event.END_TURN, Event.COMMIT):
        await talk.speak(0.8, level=0.0 if talk.wanted else 0.5)


async def listening(talk: Talk, event: Event) -> None:
    if talk.wanted:
        if event is Event.TOOLS_ANSWERED:
            await answered(talk)
        if event in (Event.HANDS_FREE_ON, Event.SPEECH_BEGAN, Event.SPEECH_BESIDE):  # a turn that was opened by hand
            await talk.configure(turn_detection=None)
            await talk.send(Start())
            if event is not Event.HANDS_FREE_ON:
                await talk.configure(turn_detection=VAD)
        else:
            await talk.speak(0.8)
    else:
        await talk.send(Start())
        if event in (Event.END_TURN, Event.COMMIT):
            await talk.speak(0.8)


async def answering(talk: Talk, event: Event) -> None:
    await talk.ask(0.8)
    if event is Event.SPEECH_WENT_ON:
        await talk.wait_for(Transcribed)
    elif event is not Event.ANSWER_OVER:
        await talk.wait_for(ReplyAudio)
    if event is Event.HANDS_FREE_ON and talk.wanted:
        await talk.configure(turn_detection=None)
    if event is Event.COMMIT:
        await talk.configure(buffered=not talk.wanted)
        await talk.speak(0.8, level=0.0 if talk.wanted else 0.5)


async def talking_over(talk: Talk, event: Event) -> None:
    if talk.wanted and event not in (Event.SPEECH_BEGAN, Event.SPEECH_WENT_ON, Event.SPEECH_BESIDE):
        await talk.ask(0.8)
        await talk.wait_for(ReplyAudio)
        await talk.configure(interrupts_itself=False)
        await talk.speak(0.4)
        if event is Event.HANDS_FREE_ON:
            await talk.configure(turn_detection=None)
    else:
        await talk.configure(turn_detection=None)
        if event is Event.SPEECH_WENT_ON:  # of a spoken turn, whose answer is not there yet
            await talk.speak(0.8)
            await talk.send(Commit())
        await talk.send(Start())
        await talk.send(Answer())
        if event not in (Event.ANSWER_OVER, Event.SPEECH_WENT_ON):
            await talk.wait_for(ReplyAudio)
        if event is Event.COMMIT:
            await talk.speak(0.8)
        await talk.configure(turn_detection=talk.wanted)


async def answered(talk: Talk, event: Event | None = None) -> None:
    await talk.ask(0.8)
    await talk.answered()
    await talk.session.idle()


TO: dict = {State.READY: ready, State.LISTENING: listening, State.ANSWERING: answering, State.WAITING: answered}
TO[State.TALKING_OVER] = talking_over


async def voice_ends(talk: Talk) -> None:
    await talk.speak(0.6, level=0.0)


async def voice_is_over(talk: Talk) -> None:
    await talk.configure(answers_itself=False)
    await voice_ends(talk)


async def voice_beside(talk: Talk) -> None:
    await talk.configure(interrupts_itself=False)
    await talk.speak(0.4)


async def turn_fills(talk: Talk) -> None:
    here = talk.here
    while not talk.of(TurnFull, here):
        await talk.speak(MESSAGE_S)


async def turn_is_cut(talk: Talk) -> None:
    await talk.configure(answers_itself=False, buffered=not talk.wanted)
    await turn_fills(talk)


async def tools_are_answered(talk: Talk) -> None:
    await talk.send(ToolResults((ToolResult("call1", "sunny"),)))


HAPPENS: dict = {
    Event.START: lambda talk: talk.send(Start()),
    Event.END_TURN: lambda talk: talk.send(EndTurn()),
    Event.EMPTY_TURN: lambda talk: talk.send(EndTurn()),
    Event.RESTART: lambda talk: talk.send(Restart()),
    Event.SPEECH_BEGAN: lambda talk: talk.speak(0.4),
    Event.SPEECH_WENT_ON: lambda talk: talk.speak(0.4),
    Event.SPEECH_ENDED: voice_ends,
    Event.TURN_FULL: turn_fills,
    Event.SPEECH_BESIDE: voice_beside,
    Event.SPEECH_OVER: voice_is_over,
    Event.TURN_CUT: turn_is_cut,
    Event.COMMIT: lambda talk: talk.send(Commit()),
    Event.EMPTY_COMMIT: lambda talk: talk.send(Commit()),
    Event.DISCARD: lambda talk: talk.send(Discard()),
    Event.WRITTEN: lambda talk: talk.send(Write("hello")),
    Event.ASKED: lambda talk: talk.send(Answer()),
    Event.CANCEL: lambda talk: talk.send(Cancel()),
    Event.ANSWER_OVER: lambda talk: talk.session.idle(),
    Event.HANDS_FREE_ON: lambda talk: talk.configure(turn_detection=VAD),
    Event.TOOLS_ANSWERED: tools_are_answered,
}


def why_not(state: State, event: Event, hands_free: bool) -> str | None:
    """Why no client can bring this cell about."""
    voices = Event.SPEECH_BEGAN, Event.SPEECH_WENT_ON, Event.SPEECH_BESIDE, Event.SPEECH_ENDED, Event.SPEECH_OVER
    voice = event in voices
    if hands_free and state is State.WAITING:
        return "a hands-free session is ready when an answer is over"
    if voice and not hands_free:
        return "nobody listens for a voice"
    if event is Event.SPEECH_WENT_ON and state is State.LISTENING:
        return "nothing is being answered"
    if event is Event.ANSWER_OVER and state not in (State.ANSWERING, State.TALKING_OVER):
        return "there is no answer"
    deaf = State.READY, State.ANSWERING, State.WAITING
    if event in (Event.TURN_FULL, Event.TURN_CUT) and hands_free and state in deaf:
        return "no turn grows"
    if (event is Event.TURN_FULL and state in deaf[1:]) or (event is Event.TURN_CUT and state is State.WAITING):
        return "no turn grows"
    if event in (Event.SPEECH_ENDED, Event.SPEECH_OVER) and state not in (State.LISTENING, State.TALKING_OVER):
        return "it has not begun"
    in_turn = hands_free and state in (State.LISTENING, State.TALKING_OVER)
    if event in (Event.EMPTY_TURN, Event.EMPTY_COMMIT) and in_turn:
        return "the voice is in the turn"
    if event is Event.HANDS_FREE_ON and not hands_free and state is not State.WAITING:
        return "it then is hands-free"
    return None


CELLS = [cell for cell in product(State, Event, (False, True)) if why_not(*cell) is None]


def label(value: object) -> str:
    return value.name if isinstance(value, State | Event) else {True: "hands-free", False: "by hand"}[value]


def test_every_rule_of_the_table_is_among_the_cells():
    assert {(state, event) for state, event, _ in CELLS} >= set(RULES)


def expected(state: State, event: Event, hands_free: bool) -> Transition:
    conversation = Conversation()
    conversation.state, conversation.hands_free = state, hands_free or event is Event.HANDS_FREE_ON
    return conversation.on(event)


@pytest.mark.parametrize(("state", "event", "hands_free"), CELLS, ids=label)
def test_a_cell(state: State, event: Event, hands_free: bool):
    """`expected` is what the table says; that the table is right is the business of test_turn.py."""
    rule = expected(state, event, hands_free)
    speaks = state in (State.ANSWERING, State.TALKING_OVER)
    tools = event in (Event.TOOLS_ANSWERED, Event.SPEECH_WENT_ON)
    first = call if tools and not speaks else say(LONG if speaks else "yes")
    if event is Event.ANSWER_OVER and state is State.ANSWERING:
        first = say("a short one")
    if event is Event.SPEECH_WENT_ON and speaks:
        first = slow

    async def conversation():
        limits = SessionLimits(max_turn_s=MAX_TURN_S)
        script = call if first is call else first_then(first, say("next"))
        async with talking(script, options=HANDS_FREE if hands_free else None, limits=limits) as talk:
            talk.wanted = VAD if hands_free else None
            await TO[state](talk, event)
            assert talk.session.state is state
            here, turns = talk.here, talk.session.turns
            await HAPPENS[event](talk)
            if rule.command in BRINGS_ANSWER:
                await talk.answered(here)
            check_command(talk, state, rule, event, here, turns)
            if rule.command not in BRINGS_ANSWER:  # an answer may be over by now
                assert talk.session.state is rule.state
            await talk.session.idle()
            await talk.works()
            if rule.command is Command.FORGET:
                assert talk.engine.turns[-1].history == ()

    run(conversation())


def check_command(talk: Talk, state: State, rule: Transition, event: Event, here: int, turns: int) -> None:
    began, cut, problems = talk.of(AnswerBegan, here), talk.of(Interrupted, here), talk.of(Problem, here)
    began_to_speak = Event.SPEECH_BEGAN, Event.SPEECH_WENT_ON, Event.SPEECH_BESIDE
    assert len(talk.of(SpeechBegan, here)) == (event in began_to_speak)
    if event in (Event.SPEECH_ENDED, Event.SPEECH_OVER):
        assert len(talk.of(SpeechEnded, here)) == 1
    match rule.command:
        case Command.ANSWER | Command.REPLY | Command.REPLACE:
            assert [answer.turn for answer in began] == [turns + 1]
            assert [answer.turn for answer in cut] == ([turns] if rule.command is Command.REPLACE else [])
            assert problems == ([TurnFull(MAX_TURN_S)] if event is Event.TURN_FULL else [])
            request = talk.engine.turns[-1]
            if event is Event.WRITTEN:
                assert (request.text, request.audio) == ("hello", None)
            elif event is not Event.ASKED:
                expected_s = MAX_TURN_S if event is Event.TURN_FULL else 0.8
                assert request.audio.seconds == pytest.approx(expected_s, abs=0.45)
            assert bool(request.tool_exchanges) == (event is Event.TOOLS_ANSWERED)
        case Command.COMMIT:
            (said,) = talk.of(Committed, here)
            cut_short = event in (Event.TURN_FULL, Event.TURN_CUT)
            assert said.seconds == pytest.approx(MAX_TURN_S if cut_short else 0.8, abs=0.5)
            assert problems == ([TurnFull(MAX_TURN_S)] if cut_short else [])
            assert (began, cut) == ([], [])
        case Command.INTERRUPT | Command.BARGE_IN | Command.CANCEL:
            assert [answer.turn for answer in cut] == [turns]
            assert talk.engine.live == 0
            assert talk.synthesizer.live == set()
            assert (began, problems) == ([], [])
        case Command.GO_ON:  # an answer that waits for calls was over already
            assert cut == [Interrupted(turns, "", goes_on=True)][: state is State.ANSWERING]
            assert talk.engine.live == 0
            assert (began, problems) == ([], [])
        case Command.FORGET:
            assert talk.engine.forgotten == [talk.session.id]
            assert talk.engine.live == 0
            assert (began, problems) == ([], [])
        case Command.REFUSE:
            assert problems == [Refused(rule.refusal)]
            assert (began, cut) == ([], [])
        case Command.NOTHING if event is Event.TOOLS_ANSWERED:
            assert problems == [Refused(Refusal.NO_CALLS)]
            assert (began, cut) == ([], [])
        case Command.NOTHING | Command.OPEN_TURN:
            assert (began, cut, problems) == ([], [], [])
