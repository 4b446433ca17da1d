"""Function calls in what the model writes: how it is made to write them, and reading them. Pure."""

from __future__ import annotations

import re

from web_demo.engines.base import ToolCall, TurnRequest
from web_demo.engines.s2s.functions import written_calls
from web_demo.models.funaudiochat.settings import GenerationSettings

TOOL_CALL_OPENS = "<tool_call>"
_TOOL_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)


def tool_settings() -> GenerationSettings:
    """How the published recipe calls functions: text alone, always the likeliest token."""
    return GenerationSettings(text_greedy=True, do_sample=False, speech=False, force_audio_bos=False)


def may_be_tool_call(text: str) -> bool:
    """Whether a text that is still being written can turn out to be a function call."""
    text = text.lstrip()
    return TOOL_CALL_OPENS.startswith(text[: len(TOOL_CALL_OPENS)])


def tool_calls(text: str, turn: TurnRequest) -> list[ToolCall]:
    """The calls in a text. What is no JSON, or names no function that the client offers, is left out and logged."""
    return written_calls(_TOOL_CALL.findall(text), turn)
