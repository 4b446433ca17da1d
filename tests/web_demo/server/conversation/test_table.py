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
    AnswerBegan,
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
)
from web_demo.server.conversation.session import SessionLimits
from web_demo.server.conversation.turn import RULES, Command, Conversation, Event, Refusal, State, Transition

MAX_TURN_S = 4.0
VAD = HANDS_FREE.turn_detection

# --- how a client brings a session to a state, and an event about ---


async def ready(talk: Talk, event: Event) -> None:
    if event in (Event.TOOLS_ANSWERED, Event.SPEECH_WENT_ON):
        await talk.configure(turn_detection=VAD)
        await answered(talk)
        await talk.configure(turn_detection=talk.wanted)
    elif event is Event.END_TURN:
        await talk.speak(0.8, level=0.0 if talk.wanted else 0.5)


async def listening(talk: Talk, event: Event) -> None:
    if talk.wanted:
        if event is Event.TOOLS_ANSWERED:
            await answered(talk)
        if event in (Event.HANDS_FREE_ON, Event.SPEECH_BEGAN):  # a turn that was opened by hand
            await talk.configure(turn_detection=None)
            await talk.send(Start())
            if event is Event.SPEECH_BEGAN:
                await talk.configure(turn_detection=VAD)
        else:
            await talk.speak(0.8)
    else:
        await talk.send(Start())
        if event is Event.END_TURN:
            await talk.speak(0.8)


async def answering(talk: Talk, event: Event) -> None:
    await talk.ask(0.8)
    if event is Event.SPEECH_WENT_ON:
        await talk.wait_for(Transcribed)
    elif event is not Event.ANSWER_OVER:
        await talk.wait_for(ReplyAudio)
    if event is Event.HANDS_FREE_ON and talk.wanted:
        await talk.configure(turn_detection=None)


async def answered(talk: Talk, event: Event | None = None) -> None:
    await talk.ask(0.8)
    await talk.answered()
    await talk.session.idle()


TO: dict = {State.READY: ready, State.LISTENING: listening, State.ANSWERING: answering, State.WAITING: answered}


async def voice_ends(talk: Talk) -> None:
    await talk.speak(0.6, level=0.0)


async def turn_fills(talk: Talk) -> None:
    asked = talk.session.turns
    while talk.session.turns == asked:
        await talk.speak(MESSAGE_S)


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
    Event.ANSWER_OVER: lambda talk: talk.session.idle(),
    Event.HANDS_FREE_ON: lambda talk: talk.configure(turn_detection=VAD),
    Event.TOOLS_ANSWERED: tools_are_answered,
}


def why_not(state: State, event: Event, hands_free: bool) -> str | None:
    """Why no client can bring this cell about."""
    voice = event in (Event.SPEECH_BEGAN, Event.SPEECH_WENT_ON, Event.SPEECH_ENDED)
    if hands_free and state is State.WAITING:
        return "a hands-free session is ready when an answer is over"
    if voice and not hands_free:
        return "nobody listens for a voice"
    if event is Event.SPEECH_WENT_ON and state is State.LISTENING:
        return "nothing is being answered"
    if event is Event.ANSWER_OVER and state is not State.ANSWERING:
        return "there is no answer"
    if event is Event.TURN_FULL and (
        state in (State.ANSWERING, State.WAITING) or (hands_free and state is State.READY)
    ):
        return "no turn grows"
    if event is Event.SPEECH_ENDED and state is not State.LISTENING:
        return "it has not begun"
    if event is Event.EMPTY_TURN and hands_free and state is State.LISTENING:
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
    tools = event in (Event.TOOLS_ANSWERED, Event.SPEECH_WENT_ON)
    first = call if tools and state is not State.ANSWERING else say(LONG if state is State.ANSWERING else "yes")
    if event is Event.ANSWER_OVER:
        first = say("a short one")
    if event is Event.SPEECH_WENT_ON and state is State.ANSWERING:
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
            if rule.command in (Command.ANSWER, Command.CONTINUE):
                await talk.answered(here)
            check_command(talk, state, rule, event, here, turns)
            if rule.command not in (Command.ANSWER, Command.CONTINUE):  # an answer may be over by now
                assert talk.session.state is rule.state
            await talk.session.idle()
            await talk.works()
            if rule.command is Command.FORGET:
                assert talk.engine.turns[-1].history == ()

    run(conversation())


def check_command(talk: Talk, state: State, rule: Transition, event: Event, here: int, turns: int) -> None:
    began, cut, problems = talk.of(AnswerBegan, here), talk.of(Interrupted, here), talk.of(Problem, here)
    assert len(talk.of(SpeechBegan, here)) == (event in (Event.SPEECH_BEGAN, Event.SPEECH_WENT_ON))
    if event is Event.SPEECH_ENDED:
        assert len(talk.of(SpeechEnded, here)) == 1
    match rule.command:
        case Command.ANSWER | Command.CONTINUE:
            assert [answer.turn for answer in began] == [turns + 1]
            assert problems == ([TurnFull(MAX_TURN_S)] if event is Event.TURN_FULL else [])
            request = talk.engine.turns[-1]
            assert request.audio.seconds == pytest.approx(MAX_TURN_S if event is Event.TURN_FULL else 0.8, abs=0.45)
            assert bool(request.tool_exchanges) == (rule.command is Command.CONTINUE)
        case Command.INTERRUPT | Command.BARGE_IN:
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
