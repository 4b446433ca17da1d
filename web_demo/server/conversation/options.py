"""What a client may set for its session, or for one answer, in no wire's format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from web_demo.audio.patience import Patience
from web_demo.audio.vad import PADDING_S, VadRules
from web_demo.engines.base import Sampling
from web_demo.server.conversation.history import Item


@dataclass(frozen=True)
class SessionOptions:
    system_prompt: str = ""  # "": the engine's own
    turn_detection: VadRules | None = None  # None: the client says when a turn ends
    patience: Patience | None = (
        None  # end of turn by meaning, where the service has a model for it; else by the timer alone
    )
    prefix_s: float = PADDING_S  # sound kept from before speech was noticed
    language: str = "en"  # of what the embedded engine itself has to say
    spoken_language: str = ""  # as in TurnRequest
    speech: bool = True  # False: answers are text alone
    voice: str = ""  # as in TurnRequest
    speed: float = 1.0  # the engine's nearest is taken
    sampling: Sampling = field(default_factory=Sampling)
    tools: tuple[Mapping[str, Any], ...] = ()  # JSON schema of functions
    tool_choice: str = ""  # as in TurnRequest
    max_tokens: int = 0  # as in TurnRequest
    transcription: bool = False  # the user's words come even from engines that do not need them, beside the answer
    answers_itself: bool = (
        True  # the end of speech, and of what fits into a turn, brings the answer; False: the client asks for it
    )
    interrupts_itself: bool = True  # hands-free: a voice cuts the answer off
    buffered: bool = False  # sound counts whenever it comes, also during answers, until it is committed or dropped
    paced: bool = True  # False: answers are sent as fast as they are made and taken


@dataclass(frozen=True)
class AnswerOptions:
    """What one answer has of its own. None: as the session has it."""

    system_prompt: str | None = None
    speech: bool | None = None
    tools: tuple[Mapping[str, Any], ...] | None = None
    tool_choice: str | None = None
    max_tokens: int | None = None
    remember: bool = True  # False: the conversation knows nothing of it
    context: tuple[Item | str, ...] | None = (
        None  # it answers these, or items with these ids, instead of the conversation
    )
