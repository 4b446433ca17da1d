"""Functions that a client offers to a model, and calls of them in what a model writes. Pure."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from web_demo.engines.base import ToolCall, TurnRequest

log = logging.getLogger(__name__)

MAX_TOOL_ROUNDS = 4  # of function calls in one turn; then the model has to answer with what it has


def function_of(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """The function's own object: name, description, parameters. Three forms are in use: {"name": …}, the same with a "type"
    beside it (OpenAI's Realtime), and {"type": "function", "function": {"name": …}}."""
    function = tool.get("function", tool)
    return {key: value for key, value in function.items() if key != "type"} if isinstance(function, Mapping) else {}


def written_calls(bodies: Iterable[str], turn: TurnRequest) -> list[ToolCall]:
    """The calls in texts that should be {"name": …, "arguments": …}. What is no such JSON, or names no function that the
    client offers, is left out and logged."""
    calls = []
    for number, body in enumerate(bodies, 1):
        try:
            value = json.loads(body)
        except ValueError as error:
            log.warning("turn=%s wrote a function call that is no JSON: %s", turn.turn_id, error)
            continue
        found = value if isinstance(value, dict) else {}
        call = offered_call(found.get("name"), found.get("arguments", {}), f"{turn.turn_id}.call{number}", turn)
        if call is not None:
            calls.append(call)
    return calls


def offered_call(name: object, arguments: object, call_id: str, turn: TurnRequest) -> ToolCall | None:
    """The call, with `arguments` as an object or as its JSON (blank: none). None, and a line in the log, where they are
    neither or `name` is no function that the client offers."""
    if not isinstance(name, str) or name not in {function_of(tool).get("name") for tool in turn.tools}:
        log.warning("turn=%s calls a function that was not offered", turn.turn_id)
        return None
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments) if arguments.strip() else {}
        except ValueError as error:
            log.warning("turn=%s calls a function with arguments that are no JSON: %s", turn.turn_id, error)
            return None
    if not isinstance(arguments, dict):
        log.warning("turn=%s calls a function with arguments that are no object", turn.turn_id)
        return None
    return ToolCall(call_id, name, arguments)
