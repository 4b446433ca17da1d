"""What a session takes in and what it gives out, in no wire's format: a protocol translates to and from these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from web_demo.audio.opus import Decoded, Page
from web_demo.audio.samples import Samples
from web_demo.engines.base import ToolCall, ToolResult
from web_demo.server.conversation.options import SessionOptions

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
    """What the recogniser heard the user say."""

    turn: int
    text: str


@dataclass(frozen=True)
class ReplyText:
    turn: int
    delta: str


@dataclass(frozen=True)
class ReplyAudio:
    turn: int
    page: Page


@dataclass(frozen=True)
class AnswerEnded:
    """Everything was sent; `text` is the whole reply."""

    turn: int
    text: str


@dataclass(frozen=True)
class Interrupted:
    """The answer was cut off; `heard` is what the user can have heard of it. Throw away what still waits to be played."""

    turn: int
    heard: str


@dataclass(frozen=True)
class SpeechBegan:
    """Hands-free: the user has begun to speak."""


@dataclass(frozen=True)
class SpeechEnded:
    pass


@dataclass(frozen=True)
class ToolCalled:
    turn: int
    call: ToolCall


@dataclass(frozen=True)
class Problem:
    """Something went wrong; the session goes on. `turn` when it ended that turn's answer."""

    message: str
    turn: int | None = None


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

# --- the wire, as a session sees it -----------------------------------------------------------------------------------


class AudioReader(Protocol):
    """The user's sound as it arrives; `web_demo.audio.opus.OpusReader` is one. `push` raises ValueError, keeping what is good."""

    @property
    def pending_ms(self) -> float: ...
    def push(self, data: bytes) -> None: ...
    def trim(self, keep_ms: float) -> None: ...
    def decode(self) -> Decoded: ...


class AudioWriter(Protocol):
    """The answer's sound on its way out; `web_demo.audio.opus.OpusWriter` is one."""

    def write(self, samples: Samples) -> list[Page]: ...
    def flush(self) -> list[Page]: ...
    def drop(self) -> None: ...


class Wire(Protocol):
    @property
    def reader(self) -> AudioReader: ...
    @property
    def writer(self) -> AudioWriter: ...

    async def send(self, event: ServerEvent) -> None:
        """Raises ConnectionError when the client is gone or too slow to be waited for."""
        ...
