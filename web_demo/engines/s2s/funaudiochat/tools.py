"""Function calls in what the model writes: how it is made to write them, and reading them. Pure."""

from __future__ import annotations

import json
import re

from utils.constant import MAX_NEW_TOKENS
from web_demo.engines.base import ToolCall, TurnRequest
from web_demo.engines.s2s.funaudiochat.prompt import without_special_tokens
from web_demo.engines.s2s.functions import function_of, written_calls
from web_demo.errors import InvalidRequest
from web_demo.models.funaudiochat.settings import GenerationSettings

TOOL_CALL_OPENS = "<tool_call>"
_TOOL_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)


def tool_settings(max_tokens: int = 0) -> GenerationSettings:
    """How the published recipe calls functions: text alone, always the likeliest token. `max_tokens` 0 is the model's limit."""
    most = min(max_tokens or MAX_NEW_TOKENS, MAX_NEW_TOKENS)
    return GenerationSettings(
        max_new_tokens=most, text_greedy=True, do_sample=False, speech=False, force_audio_bos=False
    )


def call_begun(turn: TurnRequest) -> str:
    """The beginning of an answer that has to be a call (`tool_choice`), put into the model's mouth: as much of it as is certain. ""
    where the model may choose, and with the results, where it is to speak. Raises InvalidRequest for a function that is not
    offered."""
    if not turn.tool_choice or turn.tool_exchanges:
        return ""
    names = [name for tool in turn.tools if (name := function_of(tool).get("name"))]
    if turn.tool_choice == "required":
        chosen = names[0] if len(names) == 1 else None
    elif turn.tool_choice in names:
        chosen = turn.tool_choice
    else:
        raise InvalidRequest(
            f"tool_choice names {turn.tool_choice[:80]!r}; the functions are {', '.join(map(str, names))}"
        )
    opened = f'{TOOL_CALL_OPENS}\n{{"name": '
    if chosen is None:
        return f'{opened}"'
    return f'{opened}{without_special_tokens(json.dumps(chosen, ensure_ascii=False))}, "arguments": '


def may_be_tool_call(text: str) -> bool:
    """Whether a text that is still being written can turn out to be a function call."""
    text = text.lstrip()
    return TOOL_CALL_OPENS.startswith(text[: len(TOOL_CALL_OPENS)])


def tool_calls(text: str, turn: TurnRequest) -> list[ToolCall]:
    """The calls in a text. What is no JSON, or names no function that the client offers, is left out and logged."""
    return written_calls(_TOOL_CALL.findall(text), turn)
