"""Streaming inference with Fun-Audio-Chat, the part without a model: a turn to messages, frames to steps. Pure.

No torch and no aiohttp: the S2S engine `funaudiochat` puts the model between the two halves.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from utils.constant import DEFAULT_S2M_PROMPT, DEFAULT_S2T_PROMPT, FUNCTION_CALLING_PROMPT, SPOKEN_S2M_PROMPT
from web_demo.audio.samples import Audio
from web_demo.engines.base import Exchange, Sampling, SpeechCodes, Step, TextDelta, ToolCall, ToolExchange, TurnRequest
from web_demo.models.funaudiochat.settings import GenerationSettings

log = logging.getLogger(__name__)

Message = tuple[str, str]  # role, content

TOOL_CALL_OPENS = "<tool_call>"
_TOOL_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_SPECIAL_TOKEN = re.compile(r"<\|[^<>|]*\|>")
_BROKEN = "\ufffd"
_MAX_HELD_TOKENS = 16  # a character has at most four bytes; more held tokens than this are no character at all


def without_special_tokens(text: str) -> str:
    """Text from outside with everything removed that the tokenizer would read as a control token of the chat format."""
    while (cleaned := _SPECIAL_TOKEN.sub("", text)) != text:
        text = cleaned
    return text


def system_message(turn: TurnRequest, *, call_tools: bool) -> str:
    """The model knows its modes by the first sentence of the system prompt, so a client's own prompt comes after it."""
    own = without_special_tokens(turn.system_prompt).strip()
    if call_tools:
        tools = "\n".join(without_special_tokens(json.dumps(tool, ensure_ascii=False)) for tool in turn.tools)
        prompt = FUNCTION_CALLING_PROMPT.replace("{tools_definition}", tools)
        return f"{prompt}\n\n{own}" if own else prompt
    mode = DEFAULT_S2M_PROMPT if turn.speech else DEFAULT_S2T_PROMPT
    if not own:
        return SPOKEN_S2M_PROMPT if turn.speech else mode
    return own if own.startswith(mode) else f"{mode} {own}"


def conversation(turn: TurnRequest, audio_place: str, *, call_tools: bool = False) -> tuple[list[Message], list[Audio]]:
    """The messages of a turn, and the sounds for their audio places in order.

    A past user turn is heard again where its sound was kept, and read otherwise.
    """
    messages: list[Message] = [("system", system_message(turn, call_tools=call_tools))]
    sounds: list[Audio] = []
    for exchange in turn.history:
        messages.append(("user", _user_content(exchange, audio_place, sounds)))
        messages.append(("assistant", without_special_tokens(exchange.assistant_text)))
    messages.append(("user", audio_place))
    sounds.append(turn.audio)
    for tools in turn.tool_exchanges:
        messages += _tool_messages(tools)
    return messages, sounds


def _tool_messages(exchange: ToolExchange) -> list[Message]:
    """As Qwen's chat templates write them: the calls as the model wrote them, the results as a message to it."""
    content = {result.call_id: result.content for result in exchange.results}
    calls = [
        json.dumps({"name": call.name, "arguments": dict(call.arguments)}, ensure_ascii=False)
        for call in exchange.calls
    ]
    results = [content[call.call_id] for call in exchange.calls]
    return [
        ("assistant", "\n".join(f"<tool_call>\n{without_special_tokens(call)}\n</tool_call>" for call in calls)),
        ("user", "\n".join(f"<tool_response>\n{without_special_tokens(one)}\n</tool_response>" for one in results)),
    ]


def _user_content(exchange: Exchange, audio_place: str, sounds: list[Audio]) -> str:
    if exchange.user_audio is None:
        return without_special_tokens(exchange.user_text)
    sounds.append(exchange.user_audio)
    return audio_place


def generation_settings(
    sampling: Sampling, *, bad_words: tuple[tuple[int, ...], ...], speech: bool = True
) -> GenerationSettings:
    """The model's defaults with what the client asked for; temperature 0 means: always the likeliest token.

    Without `speech` the answer is text from its first token on.
    """
    asked = {
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "repetition_penalty": sampling.repetition_penalty,
        "seed": sampling.seed,
        "temperature": sampling.temperature or None,
    }
    chosen: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    return GenerationSettings(
        bad_words=bad_words,
        do_sample=sampling.temperature != 0,
        speech=speech,
        force_audio_bos=speech,
        **chosen,
    )


def tool_settings() -> GenerationSettings:
    """How the published recipe calls functions: text alone, always the likeliest token."""
    return GenerationSettings(text_greedy=True, do_sample=False, speech=False, force_audio_bos=False)


class TextStream:
    """Text ids to text, whole characters only: a character may be spread over several tokens.

    `decode` turns ids into text without control tokens; of those, the tokenizer knows some as plain text, and they are
    taken out here. Bytes that are no character are left out.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._held: list[int] = []

    def push(self, text_id: int) -> str:
        """The text that became whole; maybe nothing."""
        self._held.append(text_id)
        text = self._decode(self._held)
        if text.endswith(_BROKEN) and len(self._held) < _MAX_HELD_TOKENS:
            return ""
        self._held.clear()
        return without_special_tokens(text.replace(_BROKEN, ""))


class Reply:
    """Frames of a spoken answer to steps. `codes_end`: codes from here on are control codes, not sound."""

    def __init__(self, decode: Callable[[Sequence[int]], str], codes_end: int) -> None:
        self._text = TextStream(decode)
        self._codes_end = codes_end

    def push(self, text_id: int, codes: Sequence[int]) -> Iterator[Step]:
        if text := self._text.push(text_id):
            yield TextDelta(text)
        if sound := tuple(code for code in codes if code < self._codes_end):
            yield SpeechCodes(sound)


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
