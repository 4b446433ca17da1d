from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from web_demo.audio.samples import Audio
from web_demo.engines.base import TurnRequest
from web_demo.engines.s2s.funaudiochat.tools import may_be_tool_call, tool_calls

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
