"""What the service and the process of its speech model say to each other, beside what every child knows (children/line.py).

service -> child   Hello(spec) · Submit(request) · Abort(request) · Forget(conversation)
child -> service   Ready(limits) · Made(frames) after every step · Refused(request, why)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from web_demo.models.funaudiochat.engine.scheduler import Limits
from web_demo.models.funaudiochat.engine.sequence import Frame, Request
from web_demo.models.funaudiochat.settings import GenerationSettings

if TYPE_CHECKING:
    from web_demo.engines.s2s.funaudiochat.model import ModelSpec


@dataclass(frozen=True)
class Hello:
    spec: ModelSpec


@dataclass(frozen=True)
class Ready:
    limits: Limits


@dataclass(frozen=True, eq=False)
class SentAudio:
    """A `PromptAudio` without torch's own way of pickling."""

    codes: npt.NDArray[np.int64]
    features: npt.NDArray[np.float32] | None
    slots: int
    key: str


@dataclass(frozen=True, eq=False)
class Submit:
    request_id: str
    ids: tuple[int, ...]
    audios: tuple[SentAudio, ...]
    settings: GenerationSettings
    conversation_id: str
    live: bool

    @classmethod
    def of(cls, request: Request) -> Submit:
        audios = tuple(
            SentAudio(
                audio.codes.numpy(), None if audio.features is None else audio.features.numpy(), audio.slots, audio.key
            )
            for audio in request.prompt.audios
        )
        return cls(
            request.request_id,
            request.prompt.ids,
            audios,
            request.settings,
            request.conversation_id,
            request.live,
        )

    def request(self) -> Request:
        import torch

        from web_demo.models.funaudiochat.processor import Prompt, PromptAudio

        def tensor(values: npt.NDArray[Any]) -> torch.Tensor:
            return torch.from_numpy(values)

        audios = tuple(
            PromptAudio(
                tensor(audio.codes), None if audio.features is None else tensor(audio.features), audio.slots, audio.key
            )
            for audio in self.audios
        )
        prompt = Prompt(self.ids, audios)
        return Request(self.request_id, prompt, self.settings, self.conversation_id, self.live)


@dataclass(frozen=True)
class Abort:
    request_id: str


@dataclass(frozen=True)
class Forget:
    conversation_id: str


@dataclass(frozen=True)
class Made:
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class Refused:
    """`full`: too many turns wait; otherwise the request can never run."""

    request_id: str
    reason: str
    full: bool
