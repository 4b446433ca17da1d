"""What a client may set for its session, in no wire's format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from web_demo.audio.vad import PADDING_S, VadRules
from web_demo.engines.base import Sampling
from web_demo.server.conversation.end_of_turn import Patience


@dataclass(frozen=True)
class SessionOptions:
    system_prompt: str = ""  # "": the engine's own
    turn_detection: VadRules | None = None  # None: the client says when a turn ends
    patience: Patience | None = (
        None  # end of turn by meaning, where the service has a model for it; else by the timer alone
    )
    prefix_s: float = PADDING_S  # sound kept from before speech was noticed
    language: str = "en"  # of what the embedded engine itself has to say
    speech: bool = True  # False: answers are text alone
    sampling: Sampling = field(default_factory=Sampling)
    tools: tuple[Mapping[str, Any], ...] = ()  # JSON schema of functions
