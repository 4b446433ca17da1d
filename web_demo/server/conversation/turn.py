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
    TALKING_OVER = "talking over"  # the same, and the user's next turn is open beside it
    WAITING = "waiting"  # the answer is over; audio is ignored until `start`


class Event(Enum):
    START = "start"
    END_TURN = "end of turn"  # endTurn and pause
    EMPTY_TURN = "end of an empty turn"  # the same, when nothing was said
    RESTART = "restart"
    SPEECH_BEGAN = "speech began"  # voice activity, hands-free
    SPEECH_WENT_ON = "speech went on"  # the same, before anything of the last turn's answer was heard
    SPEECH_ENDED = "speech ended"
    SPEECH_BESIDE = "speech beside"  # as SPEECH_BEGAN, where that interrupts nothing
    SPEECH_OVER = "speech over"  # as SPEECH_ENDED, where the client asks for the answer
    TURN_FULL = "turn full"  # the cap on a turn's audio is reached
    TURN_CUT = "turn cut"  # the same, where the client asks for the answer
    COMMIT = "commit"
    EMPTY_COMMIT = "commit of nothing"
    DISCARD = "discard"
    WRITTEN = "written"  # a turn in writing
    ASKED = "asked"  # for an answer to what is committed
    CANCEL = "cancel"
    ANSWER_OVER = "answer over"
    HANDS_FREE_ON = "hands-free on"
    TOOLS_ANSWERED = "tools answered"  # the client has sent what the called functions gave


class Command(Enum):
    NOTHING = "nothing"
    OPEN_TURN = "open turn"  # collect from now on
    COMMIT = "commit"  # what was collected is an item of the conversation
    ANSWER = "answer"  # commit what was collected, if there is any, and reply
    REPLY = "reply"  # to the conversation as it stands
    REPLACE = "replace"  # cancel the answer, then reply
    CANCEL = "cancel"  # end the answer, and no more
    INTERRUPT = "interrupt"  # cancel the answer, then open a turn
    BARGE_IN = "barge in"  # cancel the answer: what was just noticed, and its pre-roll, are the turn
    GO_ON = (
        "go on"  # cancel the answer and remember nothing of it: the last turn was not over, and is this one's beginning
    )
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
    NOTHING_TO_CANCEL = "no answer is under way"
    NO_CALLS = "no answer waits for results of its calls"


@dataclass(frozen=True)
class Transition:
    state: State
    command: Command
    refusal: Refusal | None = None  # with Command.REFUSE


def _stay(state: State, refusal: Refusal) -> Transition:
    return Transition(state, Command.REFUSE, refusal)


# Where the user's sound may be kept, and whose turn it is once it is committed.
AFTER_COMMIT = {
    State.READY: State.READY,
    State.LISTENING: State.READY,
    State.ANSWERING: State.ANSWERING,
    State.TALKING_OVER: State.ANSWERING,
}

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
    (State.TALKING_OVER, Event.START): Transition(State.LISTENING, Command.CANCEL),
    (State.TALKING_OVER, Event.END_TURN): _stay(State.TALKING_OVER, Refusal.ALREADY_ANSWERING),
    (State.TALKING_OVER, Event.EMPTY_TURN): _stay(State.TALKING_OVER, Refusal.ALREADY_ANSWERING),
    (State.TALKING_OVER, Event.SPEECH_BEGAN): Transition(State.LISTENING, Command.CANCEL),
    (State.TALKING_OVER, Event.SPEECH_WENT_ON): Transition(State.LISTENING, Command.CANCEL),
    (State.TALKING_OVER, Event.SPEECH_ENDED): Transition(State.ANSWERING, Command.COMMIT),
    (State.TALKING_OVER, Event.TURN_FULL): Transition(State.ANSWERING, Command.COMMIT),
    (State.TALKING_OVER, Event.ANSWER_OVER): Transition(State.LISTENING, Command.NOTHING),
    (State.READY, Event.SPEECH_BESIDE): Transition(State.LISTENING, Command.NOTHING),
    (State.LISTENING, Event.SPEECH_BESIDE): Transition(State.LISTENING, Command.NOTHING),
    (State.ANSWERING, Event.SPEECH_BESIDE): Transition(State.TALKING_OVER, Command.NOTHING),
    **{
        (before, event): Transition(after, Command.COMMIT)
        for before, after in AFTER_COMMIT.items()
        for event in (Event.SPEECH_OVER, Event.TURN_CUT, Event.COMMIT)
        if event is not Event.SPEECH_OVER or before in (State.LISTENING, State.TALKING_OVER)  # else it is over already
    },
    (State.WAITING, Event.COMMIT): _stay(State.WAITING, Refusal.NO_TURN),
    (State.WAITING, Event.EMPTY_COMMIT): _stay(State.WAITING, Refusal.NO_TURN),
    **{(state, Event.EMPTY_COMMIT): _stay(state, Refusal.NOTHING_SAID) for state in AFTER_COMMIT},
    **{(before, Event.DISCARD): Transition(after, Command.OPEN_TURN) for before, after in AFTER_COMMIT.items()},
    (State.READY, Event.WRITTEN): Transition(State.ANSWERING, Command.REPLY),
    (State.LISTENING, Event.WRITTEN): Transition(State.ANSWERING, Command.ANSWER),  # both together are the turn
    (State.ANSWERING, Event.WRITTEN): Transition(State.ANSWERING, Command.REPLACE),
    (State.TALKING_OVER, Event.WRITTEN): Transition(State.TALKING_OVER, Command.REPLACE),
    (State.WAITING, Event.WRITTEN): Transition(State.ANSWERING, Command.REPLY),
    (State.READY, Event.ASKED): Transition(State.ANSWERING, Command.REPLY),
    (State.LISTENING, Event.ASKED): Transition(State.TALKING_OVER, Command.REPLY),
    (State.ANSWERING, Event.ASKED): _stay(State.ANSWERING, Refusal.ALREADY_ANSWERING),
    (State.TALKING_OVER, Event.ASKED): _stay(State.TALKING_OVER, Refusal.ALREADY_ANSWERING),
    (State.WAITING, Event.ASKED): Transition(State.ANSWERING, Command.REPLY),
    (State.READY, Event.CANCEL): _stay(State.READY, Refusal.NOTHING_TO_CANCEL),
    (State.LISTENING, Event.CANCEL): _stay(State.LISTENING, Refusal.NOTHING_TO_CANCEL),
    (State.ANSWERING, Event.CANCEL): Transition(State.WAITING, Command.CANCEL),
    (State.TALKING_OVER, Event.CANCEL): Transition(State.LISTENING, Command.CANCEL),
    (State.WAITING, Event.CANCEL): _stay(State.WAITING, Refusal.NOTHING_TO_CANCEL),
    (State.WAITING, Event.HANDS_FREE_ON): Transition(State.READY, Command.OPEN_TURN),
    (State.READY, Event.TOOLS_ANSWERED): Transition(State.ANSWERING, Command.REPLY),  # hands-free
    (State.WAITING, Event.TOOLS_ANSWERED): Transition(State.ANSWERING, Command.REPLY),
    **{(state, Event.RESTART): Transition(State.READY, Command.FORGET) for state in State},
}


class Conversation:
    """Whose turn it is. `hands_free` sessions, and `buffered` ones, listen again by themselves when an answer is over."""

    def __init__(self) -> None:
        self.state = State.READY
        self.hands_free = False
        self.buffered = False

    def on(self, event: Event) -> Transition:
        """Move to the next state. An event that no rule names in this state changes nothing (`Command.NOTHING`)."""
        transition = RULES.get((self.state, event), Transition(self.state, Command.NOTHING))
        waits = transition.state is State.WAITING and self.state is not State.WAITING
        if (self.hands_free or self.buffered) and waits:
            transition = Transition(State.READY, transition.command)
        elif self.hands_free and event is Event.START and self.state not in (State.LISTENING, State.TALKING_OVER):
            transition = Transition(State.READY, transition.command)  # the next turn opens when somebody speaks
        self.state = transition.state
        return transition

    @property
    def keep(self) -> Keep:
        if self.state in (State.LISTENING, State.TALKING_OVER):
            return Keep.ALL
        if self.hands_free:
            return Keep.PRE_ROLL
        return Keep.ALL if self.buffered or self.state is State.READY else Keep.NOTHING
