"""What the sherpa engine and its worker processes say to each other."""

from __future__ import annotations

from dataclasses import dataclass

from web_demo.audio.samples import Samples

GROWING = 32  # utterances whose state is kept; one that was dropped is heard again from its beginning


@dataclass(frozen=True, eq=False)
class Piece:
    """`language` "": whichever is spoken."""

    samples: Samples  # [n] at SPEECH_RATE
    language: str
    itn: bool
    hotwords: tuple[str, ...]


@dataclass(frozen=True)
class Recognised:
    """`tokens` as the model writes them, and when each begins in seconds; none where the model does not know."""

    text: str
    language: str  # as the model says, "" where it does not
    tokens: tuple[str, ...] = ()
    times: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class More:
    """The sound of an utterance from the sample number `at` on."""

    utterance: str
    at: int
    samples: Samples
