"""The nouns of the engine. No torch: the scheduler and its tests need none."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from web_demo.models.funaudiochat.settings import GenerationSettings

if TYPE_CHECKING:
    from web_demo.models.funaudiochat.processor import Prompt


class Status(Enum):
    WAITING = auto()  # for a slot and pages
    PREFILLING = auto()
    RUNNING = auto()
    FINISHED = auto()


class EndReason(Enum):
    EOS = "eos"
    LENGTH = "length"
    ABORTED = "aborted"
    FAILED = "failed"


@dataclass(frozen=True, eq=False)
class Request:
    """One turn. `conversation_id` names what may be reused between turns; "" keeps nothing. `live`: somebody listens in real
    time, so the answer is made a few seconds ahead of that, not as fast as can be."""

    request_id: str
    prompt: Prompt
    settings: GenerationSettings
    conversation_id: str = ""
    live: bool = False


def prefix_keys(prompt: Prompt, audio_id: int) -> tuple[Hashable, ...]:
    """One key a prompt position; equal keys from the start on mean equal caches: slots carry their audio's digest."""
    slots = ((audio.key, slot) for audio in prompt.audios for slot in range(audio.slots))
    return tuple(next(slots) if token == audio_id else token for token in prompt.ids)


def common_length(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    return next(
        (index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


@dataclass(eq=False)
class Turn:
    """A request on its way through the engine, and all that the host keeps for it.

    The last prompt token is not prefilled: it is the input of the first frame, which makes that frame like any other.
    """

    request: Request
    keys: tuple[Hashable, ...]
    status: Status = Status.WAITING
    slot: int = -1
    pages: list[int] = field(default_factory=list)
    prefilled: int = 0  # prompt positions whose caches are filled
    reused: int = 0  # of those, taken over from the conversation's earlier turn
    generated: int = 0
    began: float | None = None  # when its first frame was scheduled
    first_window: float | None = None  # when its first window of codes was seen to be whole
    end: EndReason | None = None
    error: str = ""

    @property
    def prefill_length(self) -> int:
        return len(self.keys) - 1

    @property
    def max_positions(self) -> int:
        """Positions that the longest possible answer fills; its last token is never fed back."""
        return self.prefill_length + self.request.settings.max_new_tokens


@dataclass(frozen=True)
class PrefillChunk:
    """Prompt positions [start, end) of one turn."""

    turn: Turn
    start: int
    end: int


@dataclass(frozen=True)
class Plan:
    """One iteration: the chunks first, then one frame of the turns that are due, those of finished prefills included."""

    prefill: tuple[PrefillChunk, ...]
    decode: tuple[Turn, ...]


@dataclass(frozen=True)
class Frame:
    """What one turn made in one iteration: a text id, and a group of codes while it speaks."""

    request_id: str
    text_id: int  # as a listener gets it
    codes: tuple[int, ...] = ()
    end: EndReason | None = None
    error: str = ""  # with FAILED: what happened, for a log; text_id is -1 then
