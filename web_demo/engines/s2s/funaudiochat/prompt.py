"""A turn to what the model is asked: the messages of the conversation, the sounds in them, how the answer is sampled. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

from utils.constant import (
    DEFAULT_S2M_PROMPT,
    DEFAULT_S2T_PROMPT,
    FUNCTION_CALLING_PROMPT,
    MAX_NEW_TOKENS,
    SPOKEN_S2M_PROMPT,
)
from web_demo.audio.samples import Audio
from web_demo.engines.base import Exchange, Sampling, ToolExchange, TurnRequest
from web_demo.models.funaudiochat.settings import GenerationSettings

Message = tuple[str, str]  # role, content

_SPECIAL_TOKEN = re.compile(r"<\|[^<>|]*\|>")


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

    A past user turn is heard again where its sound was kept, and read otherwise. Who said nothing has no message.
    """
    messages: list[Message] = [("system", system_message(turn, call_tools=call_tools))]
    sounds: list[Audio] = []
    for exchange in turn.history:
        if content := _user_content(exchange, audio_place, sounds):
            messages.append(("user", content))
        messages += (message for tools in exchange.tool_exchanges for message in _tool_messages(tools))
        if exchange.assistant_text:
            messages.append(("assistant", without_special_tokens(exchange.assistant_text)))
    if turn.audio is not None:
        sounds.append(turn.audio)
    if asked := (audio_place if turn.audio is not None else "") + without_special_tokens(turn.text):
        messages.append(("user", asked))
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
    sampling: Sampling, *, bad_words: tuple[tuple[int, ...], ...], speech: bool = True, max_tokens: int = 0
) -> GenerationSettings:
    """The model's defaults with what the client asked for; temperature 0 means: always the likeliest token. `max_tokens`: of text,
    each with 200 ms of speech where it speaks; 0 is the model's limit, and no more than that.

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
        max_new_tokens=min(max_tokens or MAX_NEW_TOKENS, MAX_NEW_TOKENS),
        bad_words=bad_words,
        do_sample=sampling.temperature != 0,
        speech=speech,
        force_audio_bos=speech,
        **chosen,
    )
