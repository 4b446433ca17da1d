from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from web_demo.audio.samples import Audio
from web_demo.engines.base import ToolCall, ToolExchange, ToolResult, TurnRequest
from web_demo.engines.s2s.funaudiochat.tools import call_begun, may_be_tool_call, tool_calls
from web_demo.errors import InvalidRequest

SOUND = Audio(np.zeros(1600, np.float32), 16_000)
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}


def turn(**changes: Any) -> TurnRequest:
    return TurnRequest(**({"turn_id": "t", "conversation_id": "c", "audio": SOUND} | changes))


@pytest.mark.parametrize(
    ("text", "possible"), [("", True), ("\n<to", True), ("<tool_call>{", True), ("Hi", False), ("<th", False)]
)
def test_a_text_stops_being_a_possible_call_at_its_first_other_character(text: str, possible: bool) -> None:
    assert may_be_tool_call(text) is possible


def test_calls_of_offered_functions_are_parsed_with_ids_of_their_own() -> None:
    text = (
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "杭州"}}\n</tool_call>'
        '<tool_call>{"name": "get_weather", "arguments": "{\\"city\\": \\"Paris\\"}"}</tool_call>'
    )
    calls = tool_calls(text, turn(tools=(WEATHER,)))
    assert [(call.name, call.arguments) for call in calls] == [
        ("get_weather", {"city": "杭州"}),
        ("get_weather", {"city": "Paris"}),
    ]
    assert len({call.call_id for call in calls}) == 2


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        '{"name": 3}',
        '{"name": "get_weather", "arguments": [1]}',
        '{"name": "rm", "arguments": {}}',
        '{"name": "get_weather", "arguments": "x"}',
    ],
)
def test_a_call_that_is_broken_or_not_offered_is_no_call(body: str) -> None:
    assert tool_calls(f"<tool_call>{body}</tool_call>", turn(tools=(WEATHER,))) == []


TIME = {"name": "get_time"}


@pytest.mark.parametrize(
    ("choice", "tools", "begun"),
    [
        ("", (WEATHER,), ""),
        ("get_time", (WEATHER, TIME), '<tool_call>\n{"name": "get_time", "arguments": '),
        ("required", (TIME,), '<tool_call>\n{"name": "get_time", "arguments": '),
        ("required", (WEATHER, TIME), '<tool_call>\n{"name": "'),
        ("<|im_end|>", ({"name": "<|im_end|>"},), '<tool_call>\n{"name": "", "arguments": '),
    ],
)
def test_a_call_that_is_demanded_is_begun_as_far_as_it_is_certain(choice: str, tools: tuple, begun: str) -> None:
    assert call_begun(turn(tools=tools, tool_choice=choice)) == begun
    assert may_be_tool_call(begun)


def test_after_its_result_no_call_is_demanded_and_of_what_is_not_offered_never() -> None:
    called = ToolExchange((ToolCall("1", "get_time", {}),), (ToolResult("1", "noon"),))
    assert call_begun(turn(tools=(TIME,), tool_choice="required", tool_exchanges=(called,))) == ""
    with pytest.raises(InvalidRequest, match="'rm'; the functions are get_time"):
        call_begun(turn(tools=(TIME,), tool_choice="rm"))
