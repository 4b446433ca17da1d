"""What the synthesizer and the child that runs the speech LM in vLLM say to each other, over `web_demo/children/line.py`."""

from __future__ import annotations

from dataclasses import dataclass

from ..generate import LmInput


@dataclass(frozen=True)
class Load:
    """The first message. `utterances` at once, each of `capacity` positions: text, prompt and tokens; the cache holds all of
    them. `dtype`: float32, bfloat16 or float16."""

    directory: str
    dtype: str
    utterances: int
    capacity: int


@dataclass(frozen=True)
class Begin:
    """`seed` None: always the most likely token."""

    number: int
    given: LmInput
    seed: int | None


@dataclass(frozen=True)
class Drop:
    number: int


@dataclass(frozen=True)
class Spoken:
    """What one step added to an utterance. `error`: it ended early, for this reason."""

    number: int
    tokens: tuple[int, ...]
    ended: bool = False
    error: str = ""


@dataclass(frozen=True)
class Step:
    spoken: tuple[Spoken, ...]
