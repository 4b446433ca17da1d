"""Function calls in what the model writes: how it is made to write them, and reading them. Pure."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from typing import Any

from web_demo.engines.base import ToolCall, TurnRequest
from web_demo.models.funaudiochat.settings import GenerationSettings

log = logging.getLogger(__name__)

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
    offered = {_tool_name(tool) for tool in turn.tools}
    calls = []
    for index, body in enumerate(_TOOL_CALL.findall(text)):
        try:
            name, arguments = _call(json.loads(body))
        except ValueError as error:  # JSONDecodeError is one
            log.warning("turn=%s wrote a function call that cannot be read: %s", turn.turn_id, error)
            continue
        if name not in offered:
            log.warning("turn=%s calls a function that was not offered", turn.turn_id)
            continue
        calls.append(ToolCall(f"{turn.turn_id}.call{index + 1}", name, arguments))
    return calls


def _tool_name(tool: Mapping[str, Any]) -> str:
    """Both forms are in use: {"name": …} and {"type": "function", "function": {"name": …}}."""
    function = tool.get("function", tool)
    return str(function.get("name", "")) if isinstance(function, Mapping) else ""


def _call(value: Any) -> tuple[str, Mapping[str, Any]]:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ValueError("expected an object with a name")
    arguments = value.get("arguments", {})
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    if not isinstance(arguments, dict):
        raise ValueError("expected the arguments as an object")
    return value["name"], arguments
