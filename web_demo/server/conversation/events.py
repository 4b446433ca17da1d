"""What a session takes in (`ClientEvent`) and what it gives out (`ServerEvent`), in no wire's format: a wire translates to and
from these.

A turn is what the user says until it is ended. The field `turn` numbers the answers of a session, from 1; an answer that goes
on after tool results has a number of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from web_demo.audio.samples import EncodedAudio
from web_demo.engines.base import ToolCall, ToolResult
from web_demo.server.conversation.options import SessionOptions
from web_demo.server.conversation.turn import Refusal

# --- from the client --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AudioIn:
    payload: bytes


@dataclass(frozen=True)
class Start:
    """The user begins to speak; interrupts an answer."""


@dataclass(frozen=True)
class EndTurn:
    """The user has finished and wants the answer."""


@dataclass(frozen=True)
class Restart:
    """Forget the conversation."""


@dataclass(frozen=True)
class Configure:
    options: SessionOptions


@dataclass(frozen=True)
class ToolResults:
    """What the functions gave that the model had called: the answer goes on."""

    results: tuple[ToolResult, ...]


@dataclass(frozen=True)
class Malformed:
    """Something that the wire could not read."""

    reason: str


ClientEvent = AudioIn | Start | EndTurn | Restart | Configure | ToolResults | Malformed

# --- to the client ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AnswerBegan:
    turn: int


@dataclass(frozen=True)
class Transcribed:
    """What the engine understood of the user."""

    turn: int
    text: str


@dataclass(frozen=True)
class ReplyText:
    turn: int
    delta: str


@dataclass(frozen=True)
class ReplyAudio:
    """`audio` is a result of the wire's own writer."""

    turn: int
    audio: EncodedAudio


@dataclass(frozen=True)
class AnswerEnded:
    """Everything was sent; `text` is the whole reply."""

    turn: int
    text: str


@dataclass(frozen=True)
class Interrupted:
    """The answer was cut off; `played` is what the user can have heard, or read. Throw away what waits to be played.

    `goes_on`: hands-free, the user spoke on before anything of it was heard. What it was an answer to is the beginning of the
    turn that is open now, and comes with it again.
    """

    turn: int
    played: str
    goes_on: bool = False


@dataclass(frozen=True)
class SpeechBegan:
    """Hands-free: the user has begun to speak, `at_s` seconds into all the sound of the session."""

    at_s: float


@dataclass(frozen=True)
class SpeechEnded:
    """The user is done, or the turn was ended some other way while the user spoke. Follows each SpeechBegan."""

    at_s: float


@dataclass(frozen=True)
class ToolCalled:
    turn: int
    call: ToolCall


# Problems: something went wrong, and the session goes on.


@dataclass(frozen=True)
class Refused:
    """What the client asked for is not possible now; nothing changed."""

    why: Refusal


@dataclass(frozen=True)
class WrongToolResults:
    """The calls with these ids wait for a result each, in one message; they still do."""

    call_ids: tuple[str, ...]


@dataclass(frozen=True)
class Unreadable:
    """The wire, or its codec, made nothing of something that the client sent. `reason` is theirs."""

    reason: str


@dataclass(frozen=True)
class AudioDamaged:
    packets: int  # that were left out


@dataclass(frozen=True)
class TurnFull:
    """The turn reached the cap: it is ended here, and answered."""

    max_s: float


@dataclass(frozen=True)
class AnswerFailed:
    """This answer is over. `message` may be shown to a person."""

    turn: int
    message: str


Problem = Refused | WrongToolResults | Unreadable | AudioDamaged | TurnFull | AnswerFailed

ServerEvent = (
    AnswerBegan
    | Transcribed
    | ReplyText
    | ReplyAudio
    | AnswerEnded
    | Interrupted
    | SpeechBegan
    | SpeechEnded
    | ToolCalled
    | Problem
)
