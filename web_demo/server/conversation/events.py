"""What a session takes in (`ClientEvent`) and what it gives out (`ServerEvent`), in no wire's format: a wire translates to and
from these.

A turn is what the user says until it is ended; then it is an item of the conversation. The field `turn` numbers the answers of a
session, from 1; an answer that goes on after tool results has a number of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from web_demo.audio.samples import EncodedAudio
from web_demo.engines.base import ToolCall, ToolResult
from web_demo.server.conversation.history import Item
from web_demo.server.conversation.options import AnswerOptions, SessionOptions
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
class Commit:
    """What the user said so far is an item of the conversation; nothing answers it yet."""


@dataclass(frozen=True)
class Discard:
    """What the user said, and was not committed, is forgotten."""


@dataclass(frozen=True)
class Write:
    """A turn of the user in writing, together with what is being said: it is answered, and interrupts an answer."""

    text: str


@dataclass(frozen=True)
class Answer:
    """Answer what is committed."""

    options: AnswerOptions = field(default_factory=AnswerOptions)


@dataclass(frozen=True)
class Cancel:
    """End an answer, and open no turn. `turn`: its number; None for the one of the conversation."""

    turn: int | None = None


@dataclass(frozen=True)
class AddItem:
    """`after` as in `History.add`."""

    item: Item
    after: str | None = None


@dataclass(frozen=True)
class DeleteItem:
    item_id: str


@dataclass(frozen=True)
class TruncateItem:
    """Of a spoken answer, the user has heard this much."""

    item_id: str
    heard_s: float


@dataclass(frozen=True)
class GetItem:
    item_id: str


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


ClientEvent = (
    AudioIn
    | Start
    | EndTurn
    | Commit
    | Discard
    | Write
    | Answer
    | Cancel
    | AddItem
    | DeleteItem
    | TruncateItem
    | GetItem
    | Restart
    | Configure
    | ToolResults
    | Malformed
)

# --- to the client ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Committed:
    """What the user said is an item of the conversation now, `seconds` long, after the one with the id `previous`."""

    item_id: str
    previous: str | None
    seconds: float


@dataclass(frozen=True)
class Discarded:
    pass


@dataclass(frozen=True)
class ItemAdded:
    """By the client, or because an answer has begun to say something: then it follows AnswerBegan with the same id."""

    item: Item
    previous: str | None


@dataclass(frozen=True)
class ItemDeleted:
    item_id: str


@dataclass(frozen=True)
class ItemTruncated:
    item_id: str
    heard_s: float


@dataclass(frozen=True)
class ItemFound:
    item: Item


@dataclass(frozen=True)
class AnswerBegan:
    """`item_id` is that of what it will say."""

    turn: int
    item_id: str = field(default="", compare=False)


@dataclass(frozen=True)
class Transcribed:
    """What was understood of the user's words in an item: by an answer, or, without its number, beside it."""

    turn: int | None
    text: str
    item_id: str = field(default="", compare=False)
    seconds: float = field(default=0.0, compare=False)  # of sound


@dataclass(frozen=True)
class TranscriptionFailed:
    item_id: str
    message: str


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
    """Everything was sent; `text` is the whole reply. `cut`: as much of it as the client's limit allowed."""

    turn: int
    text: str
    cut: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Interrupted:
    """The answer was cut off; `played` is what the user can have heard, or read. Throw away what waits to be played.

    `goes_on`: hands-free, the user spoke on before anything of it was heard. What it was an answer to is the beginning of the
    turn that is open now, and comes with it again. `by_voice`: because somebody was noticed, not because the client wanted it.
    """

    turn: int
    played: str
    goes_on: bool = False
    by_voice: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class SpeechBegan:
    """Hands-free: the user has begun to speak, `at_s` seconds into all the sound of the session. `item_id` is what it will have
    once it is committed."""

    at_s: float
    item_id: str = field(default="", compare=False)


@dataclass(frozen=True)
class SpeechEnded:
    """The user is done, or the turn was ended some other way while the user spoke. Follows each SpeechBegan."""

    at_s: float
    item_id: str = field(default="", compare=False)


@dataclass(frozen=True)
class ToolCalled:
    turn: int
    call: ToolCall
    item_id: str = field(default="", compare=False)
    previous: str | None = field(default=None, compare=False)


# Problems: something went wrong, and the session goes on.


@dataclass(frozen=True)
class Refused:
    """What the client asked for is not possible now; nothing changed."""

    why: Refusal


@dataclass(frozen=True)
class WrongItem:
    """There is no such item, or it is not of the kind that this can be done to; nothing changed."""

    reason: str
    missing: bool = False  # else it is not of that kind


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
    """This answer is over. `message` may be shown to a person; `code` is that of the error (`web_demo.errors`)."""

    turn: int
    message: str
    code: str = field(default="", compare=False)


Problem = Refused | WrongItem | WrongToolResults | Unreadable | AudioDamaged | TurnFull | AnswerFailed

ServerEvent = (
    Committed
    | Discarded
    | ItemAdded
    | ItemDeleted
    | ItemTruncated
    | ItemFound
    | AnswerBegan
    | Transcribed
    | TranscriptionFailed
    | ReplyText
    | ReplyAudio
    | AnswerEnded
    | Interrupted
    | SpeechBegan
    | SpeechEnded
    | ToolCalled
    | Problem
)
