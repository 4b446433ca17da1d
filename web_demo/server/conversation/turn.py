"""The rules of a conversation, as a table: state and event to the next state and what to do. Nothing here does I/O.

Everything that changes whose turn it is lives in `RULES`. A session asks `Conversation.on(event)` and carries out the
returned command; an event that is illegal in the current state changes nothing and has a reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    READY = "ready"  # the microphone is open, the client has not sent `start` (so a session begins)
    LISTENING = "listening"  # the user's turn is open
    ANSWERING = "answering"  # the answer to the last turn is on its way; only hands-free sessions listen meanwhile
    WAITING = "waiting"  # the answer is over; audio is ignored until `start`


class Event(Enum):
    START = "start"
    END_TURN = "end of turn"  # endTurn and pause
    EMPTY_TURN = "end of an empty turn"  # the same, when nothing was said
    RESTART = "restart"
    SPEECH_BEGAN = "speech began"  # voice activity, hands-free
    SPEECH_WENT_ON = "speech went on"  # the same, before anything of the last turn's answer was heard
    SPEECH_ENDED = "speech ended"
    TURN_FULL = "turn full"  # the cap on a turn's audio is reached
    ANSWER_OVER = "answer over"
    HANDS_FREE_ON = "hands-free on"
    TOOLS_ANSWERED = "tools answered"  # the client has sent what the called functions gave


class Command(Enum):
    NOTHING = "nothing"
    OPEN_TURN = "open turn"  # collect from now on
    ANSWER = "answer"  # take what was collected and answer it
    INTERRUPT = "interrupt"  # cancel the answer, then open a turn
    BARGE_IN = "barge in"  # cancel the answer: what was just noticed, and its pre-roll, are the turn
    GO_ON = (
        "go on"  # cancel the answer and remember nothing of it: the last turn was not over, and is this one's beginning
    )
    CONTINUE = "continue"  # go on with the last turn's answer
    FORGET = "forget"  # cancel the answer if there is one, clear the history, open a turn
    REFUSE = "refuse"  # tell the client why


class Keep(Enum):
    """What becomes of the user's sound at this moment."""

    ALL = "all"  # it is part of a turn
    PRE_ROLL = "pre-roll"  # its last moments, in case that somebody has begun to speak
    NOTHING = "nothing"


class Refusal(Enum):
    """Why something that a client asked for is not done. The words for it are the wire's."""

    ALREADY_ANSWERING = "the turn has ended already"
    ALREADY_OPEN = "a turn is open already, and goes on"
    NO_TURN = "no turn is open"
    NOTHING_SAID = "the turn has no audio"
    NO_CALLS = "no answer waits for results of its calls"


@dataclass(frozen=True)
class Transition:
    state: State
    command: Command
    refusal: Refusal | None = None  # with Command.REFUSE


def _stay(state: State, refusal: Refusal) -> Transition:
    return Transition(state, Command.REFUSE, refusal)


RULES: dict[tuple[State, Event], Transition] = {
    (State.READY, Event.START): Transition(State.LISTENING, Command.NOTHING),  # keeps what was said before it
    (State.READY, Event.END_TURN): Transition(State.ANSWERING, Command.ANSWER),
    (State.READY, Event.EMPTY_TURN): _stay(State.READY, Refusal.NOTHING_SAID),
    (State.READY, Event.SPEECH_BEGAN): Transition(State.LISTENING, Command.NOTHING),
    (State.READY, Event.SPEECH_WENT_ON): Transition(State.LISTENING, Command.GO_ON),  # while calls wait for results
    (State.READY, Event.TURN_FULL): Transition(State.ANSWERING, Command.ANSWER),
    (State.LISTENING, Event.START): _stay(State.LISTENING, Refusal.ALREADY_OPEN),
    (State.LISTENING, Event.END_TURN): Transition(State.ANSWERING, Command.ANSWER),
    (State.LISTENING, Event.EMPTY_TURN): _stay(State.READY, Refusal.NOTHING_SAID),
    (State.LISTENING, Event.SPEECH_BEGAN): Transition(State.LISTENING, Command.NOTHING),
    (State.LISTENING, Event.SPEECH_ENDED): Transition(State.ANSWERING, Command.ANSWER),
    (State.LISTENING, Event.TURN_FULL): Transition(State.ANSWERING, Command.ANSWER),
    (State.ANSWERING, Event.START): Transition(State.LISTENING, Command.INTERRUPT),
    (State.ANSWERING, Event.END_TURN): _stay(State.ANSWERING, Refusal.ALREADY_ANSWERING),
    (State.ANSWERING, Event.EMPTY_TURN): _stay(State.ANSWERING, Refusal.ALREADY_ANSWERING),
    (State.ANSWERING, Event.SPEECH_BEGAN): Transition(State.LISTENING, Command.BARGE_IN),
    (State.ANSWERING, Event.SPEECH_WENT_ON): Transition(State.LISTENING, Command.GO_ON),
    (State.ANSWERING, Event.ANSWER_OVER): Transition(State.WAITING, Command.NOTHING),
    (State.WAITING, Event.START): Transition(State.LISTENING, Command.OPEN_TURN),
    (State.WAITING, Event.END_TURN): _stay(State.WAITING, Refusal.NO_TURN),
    (State.WAITING, Event.EMPTY_TURN): _stay(State.WAITING, Refusal.NO_TURN),
    (State.WAITING, Event.HANDS_FREE_ON): Transition(State.READY, Command.OPEN_TURN),
    (State.READY, Event.TOOLS_ANSWERED): Transition(State.ANSWERING, Command.CONTINUE),  # hands-free
    (State.WAITING, Event.TOOLS_ANSWERED): Transition(State.ANSWERING, Command.CONTINUE),
    **{(state, Event.RESTART): Transition(State.READY, Command.FORGET) for state in State},
}


class Conversation:
    """Whose turn it is. `hands_free` sessions listen again by themselves when an answer is over."""

    def __init__(self) -> None:
        self.state = State.READY
        self.hands_free = False

    def on(self, event: Event) -> Transition:
        """Move to the next state. An event that no rule names in this state changes nothing (`Command.NOTHING`)."""
        transition = RULES.get((self.state, event), Transition(self.state, Command.NOTHING))
        if self.hands_free and event in (Event.ANSWER_OVER, Event.START) and transition.state is not self.state:
            transition = Transition(State.READY, transition.command)  # the next turn opens when somebody speaks
        self.state = transition.state
        return transition

    @property
    def keep(self) -> Keep:
        if self.state is State.LISTENING:
            return Keep.ALL
        if self.hands_free:
            return Keep.PRE_ROLL
        return Keep.ALL if self.state is State.READY else Keep.NOTHING
