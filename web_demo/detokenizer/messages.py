"""What the service and its detokenizer child say to each other, beside what every child knows (children/line.py).

service -> child   Hello(spec) · Open(turn) · Decode(window) · Close(turn)
child -> service   Ready(…) · Sound(turn, samples) · Marked(turn, marks) · Done(turn, window) · Failed(turn, why)
"""

from __future__ import annotations

from dataclasses import dataclass

from web_demo.audio.samples import Samples
from web_demo.detokenizer.backend import BackendSpec, Mark, Window


@dataclass(frozen=True)
class Hello:
    spec: BackendSpec


@dataclass(frozen=True)
class Open:
    turn_id: str
    voice: str


@dataclass(frozen=True)
class Decode:
    window: Window


@dataclass(frozen=True)
class Close:
    """The turn is over or cancelled: drop its windows, send nothing more for it."""

    turn_id: str


@dataclass(frozen=True)
class Ready:
    backend: str
    sample_rate: int
    hop_tokens: tuple[int, ...]
    max_turns: int


@dataclass(frozen=True, eq=False)
class Sound:
    turn_id: str
    samples: Samples  # float32 [n] at the backend's rate


@dataclass(frozen=True)
class Marked:
    """After the sound of a window: when the voice came to which of its characters."""

    turn_id: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Done:
    turn_id: str
    index: int  # of the window


@dataclass(frozen=True)
class Failed:
    turn_id: str
    reason: str


Command = Hello | Open | Decode | Close
Reply = Ready | Sound | Marked | Done | Failed
