"""What the cosyvoice engine and the child that runs upstream's code say to each other, over `web_demo/children/line.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

How = Literal["zero_shot", "cross_lingual", "instruct2"]  # upstream's inference_… functions


@dataclass(frozen=True)
class Load:
    """The first message: what the child is to be. `device`: auto, cpu, cuda or cuda:N, as it was asked for; which GPU the child
    sees is set in its environment."""

    model_path: str
    device: str = "auto"
    trt: bool = False
    fp16: bool = False


@dataclass(frozen=True)
class Loaded:
    """The answer to Load. `device` is the one that upstream took: cpu or cuda."""

    sample_rate: int
    device: str


@dataclass(frozen=True)
class Speak:
    """One request. `recording` is a WAV file, and `words` what goes before the text with it. `stream`: sound as soon as there is
    some; else all of it at the end, which is less work."""

    number: int
    how: How
    text: str
    words: str
    recording: bytes
    stream: bool = True
    speed: float = 1.0


@dataclass(frozen=True)
class Abandon:
    """Nobody waits for this request any more; answered by Failed or Done."""

    number: int


@dataclass(frozen=True)
class Sound:
    """`samples`: mono float32 of this machine's byte order, at the rate of Loaded."""

    number: int
    samples: bytes


@dataclass(frozen=True)
class Progress:
    """The model works; at most one a second."""

    number: int


@dataclass(frozen=True)
class Failed:
    number: int
    reason: str


@dataclass(frozen=True)
class Done:
    number: int
