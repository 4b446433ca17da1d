"""Answers by a language model behind any OpenAI-compatible endpoint."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from utils.sentences import CLOSERS, NARROW_ENDS, WIDE_ENDS
from web_demo.engines.base import LimitReached, ToolCall, ToolExchange, TurnRequest
from web_demo.engines.s2s.cascade.responder import Part
from web_demo.engines.s2s.cascade.thoughts import AnswerFilter, may_begin_a_thought
from web_demo.engines.s2s.functions import MAX_TOOL_ROUNDS, function_of, offered_call, written_calls
from web_demo.errors import EngineFailed, SetupError

if TYPE_CHECKING:
    from openai import AsyncOpenAI, AsyncStream
    from openai.types.chat import (
        ChatCompletionChunk,
        ChatCompletionMessageFunctionToolCallParam,
        ChatCompletionMessageParam,
    )
    from openai.types.chat.chat_completion_chunk import ChoiceDelta, ChoiceDeltaToolCall

log = logging.getLogger(__name__)

MAX_REPLY_TOKENS = 2048  # thoughts count, and are most of what a thinking model writes
LLM_TIMEOUT_S = 60.0  # of silence

# Models whose prompt ends with the opening tag of a thought, so that a server that leaves thoughts in the text sends the closing
# one alone: their first reply is held back until that tag, or to its end, which tells how they are here. Of other models a first
# reply that begins as thoughts do is held back too.
_OPENS_THINKING = re.compile(
    r"(?i)\bqwq|\bthinking\b|\br1\b|qwen-?3\.[5-9]|deepseek-v(?:3\.[1-9]|[4-9])|minimax-m\d|exaone-deep"
)


@dataclass(frozen=True)
class Prompt:
    """Parts of the system message in one language."""

    persona: str
    spoken: str
    heard: str


PROMPTS = {
    "en": Prompt(
        persona="You are a friendly voice assistant.",
        spoken="Your words are spoken aloud: answer in one to three short, plain sentences, without lists, markup or emoji.",
        heard="What the user said comes from a speech recogniser and may contain mistakes.",
    ),
    "zh": Prompt(
        persona="你是一个友好的语音助手。",
        spoken="你的回答会被读出来：请用一到三个简短自然的句子回答，不要使用列表、标记或表情符号。",
        heard="用户的话来自语音识别，可能有错字。",
    ),
}

LAST_WORDS = {
    "en": {
        "cut": "That is as far as I can go in one answer.",
        "only_thought": "I thought about that and came to no answer. Please ask again, perhaps in a simpler way.",
        "empty": "I have no answer to that. Please ask again.",
        "filtered": "I am not allowed to answer that.",
    },
    "zh": {
        "cut": "一次回答只能说到这里。",
        "only_thought": "我想了想，但没有得出答案。请再问一次，也许可以问得简单一些。",
        "empty": "这个问题我没有答案，请再问一次。",
        "filtered": "这个问题我不能回答。",
    },
}


class LlmResponder:
    """Streams from `base_url` (an OpenAI-compatible `/v1`). With no model named, it takes the first that is offered.

    `max_tokens` bounds one reply, thoughts and all. `extra`: fields added to each request, as the server knows them.
    """

    better: Mapping[str, str] = {}
    follows_instructions = True

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str,
        *,
        max_tokens: int = MAX_REPLY_TOKENS,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = model or base_url
        self._base_url = base_url
        self._model = model
        self._api_key = api_key
        self._max_tokens = max_tokens
        self._extra = dict(extra or {})
        self._limit_field = "max_tokens"
        self._opens_thinking: bool | None = None  # whether replies begin inside a thought; None: not seen yet
        self._client: AsyncOpenAI | None = None

    async def start(self) -> None:
        """Raises SetupError when the endpoint does not answer and no model was named."""
        import openai

        self._client = openai.AsyncOpenAI(
            base_url=self._base_url, api_key=self._api_key or "none", timeout=LLM_TIMEOUT_S, max_retries=1
        )
        if self._model:
            return
        try:
            models = await self._client.models.list()
        except openai.OpenAIError as error:
            raise SetupError(
                f"cannot ask {self._base_url} for its models ({_reason(error)}); check --llm-base-url, or name one with --llm-model"
            ) from error
        if not models.data:
            raise SetupError(f"{self._base_url} offers no model; name one with --llm-model")
        self.name = self._model = models.data[0].id
        log.info("language model %s at %s", self._model, self._base_url)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def reply(self, heard: str, turn: TurnRequest) -> AsyncGenerator[Part, None]:
        """Thoughts are left out. A reply without words, and one that the operator's limit cut off, end in words that say so."""
        import httpx2
        import openai

        answer = AnswerFilter(holds=self._opens_thinking is not False)
        calls = _StreamedCalls()
        ending = ""
        said = ""
        try:
            async with await self._stream(heard, turn) as stream:
                async for chunk in stream:
                    if not chunk.choices or chunk.choices[0].delta is None:
                        continue  # of usage, or of nothing, as some servers end
                    choice = chunk.choices[0]
                    text = ""
                    if _has_own_thoughts(choice.delta):
                        answer.thought = True
                        text = answer.release()  # the server takes thoughts out of the text
                    calls.add(choice.delta.tool_calls or ())
                    text += answer.push(_content(choice.delta))
                    if answer.holds and not self._is_known_to_think and not may_begin_a_thought(answer.held):
                        text += answer.release()
                    if text:
                        said += text
                        yield text
                    ending = choice.finish_reason or ending
        except (openai.OpenAIError, httpx2.HTTPError, json.JSONDecodeError) as error:  # the last two: in mid-stream
            log.warning("language model failed: %s", error)
            if isinstance(error, openai.BadRequestError) and turn.tools and "tool" in str(error.body).lower():
                raise EngineFailed("the language model takes no functions; this session offers it some") from error
            raise EngineFailed(f"the language model did not answer ({_reason(error)}); please ask again") from error
        if answer.holds and ending == "length" and self._is_known_to_think:
            answer.thought = True  # cut off before the tag that would have closed it
        else:
            if text := answer.flush():
                said += text
                yield text
            if answer.unopened or (said.strip() and ending != "length"):
                self._opens_thinking = answer.unopened
        called = [*calls.of(turn), *written_calls(answer.calls, turn)]
        for call in called:
            yield call
        if ending == "length" and 0 < turn.max_tokens <= self._max_tokens:
            yield LimitReached()  # the client knows what to say of it
            return
        if key := _last_words(said, ending, answer, called=bool(called)):
            yield _join(said) + LAST_WORDS[turn.language][key]

    async def _stream(self, heard: str, turn: TurnRequest) -> AsyncStream[ChatCompletionChunk]:
        """Newer models of OpenAI refuse `max_tokens`, older servers know nothing else: the one that was refused is not tried
        again."""
        import openai

        assert self._client is not None, "start() comes first"
        request: dict[str, Any] = {
            "model": self._model,
            "messages": messages(heard, turn),
            "stream": True,
            "extra_body": self._extra,
        }
        functions = [function for tool in turn.tools if (function := function_of(tool)).get("name")]
        if functions and len(turn.tool_exchanges) < MAX_TOOL_ROUNDS:
            request["tools"] = [{"type": "function", "function": function} for function in functions]
            if turn.tool_choice and not turn.tool_exchanges:  # with the results, it is to speak
                request["tool_choice"] = _tool_choice(turn.tool_choice)
        create = cast(
            "Callable[..., Awaitable[AsyncStream[ChatCompletionChunk]]]", self._client.chat.completions.create
        )
        field = self._limit_field
        most = min(turn.max_tokens or self._max_tokens, self._max_tokens)
        try:
            return await create(**request, **{field: most})
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            other = "max_completion_tokens" if field == "max_tokens" else "max_tokens"
            if other not in str(error.body or error):
                raise
            log.info("language model %s takes %s", self._model, other)
            stream = await create(**request, **{other: most})
            self._limit_field = other
            return stream

    @property
    def _is_known_to_think(self) -> bool:
        return self._opens_thinking or _OPENS_THINKING.search(self._model) is not None


class _StreamedCalls:
    """Calls of functions that come in fragments: the id and the name once, the arguments' JSON in parts."""

    def __init__(self) -> None:
        self._calls: list[dict[str, str]] = []
        self._by_index: dict[int, dict[str, str]] = {}

    def add(self, fragments: Iterable[ChoiceDeltaToolCall]) -> None:
        for fragment in fragments:
            index = fragment.index or 0  # some servers leave it out, and some number all calls 0
            call = self._by_index.get(index)
            if call is None or (fragment.id and call["id"] and fragment.id != call["id"]):
                call = {"id": "", "name": "", "arguments": ""}
                self._calls.append(call)
                self._by_index[index] = call
            call["id"] = call["id"] or fragment.id or ""
            if function := fragment.function:
                call["name"] = call["name"] or function.name or ""
                call["arguments"] += function.arguments or ""

    def of(self, turn: TurnRequest) -> list[ToolCall]:
        """Those that can be made, each with an id of its own."""
        found: dict[str, ToolCall] = {}
        for number, call in enumerate(self._calls, 1):
            call_id = call["id"] if call["id"] and call["id"] not in found else f"{turn.turn_id}.call{number}"
            if (made := offered_call(call["name"], call["arguments"], call_id, turn)) is not None:
                found[call_id] = made
        return list(found.values())


def _tool_choice(choice: str) -> str | dict[str, Any]:
    return choice if choice == "required" else {"type": "function", "function": {"name": choice}}


def messages(heard: str, turn: TurnRequest) -> list[ChatCompletionMessageParam]:
    """The conversation as a chat: who said nothing, or was never heard, is left out."""
    chat: list[ChatCompletionMessageParam] = [{"role": "system", "content": system_message(turn)}]
    for exchange in turn.history:
        if exchange.user_text:
            chat.append({"role": "user", "content": exchange.user_text})
        chat += (message for tools in exchange.tool_exchanges for message in _tool_messages(tools))
        if exchange.assistant_text:
            chat.append({"role": "assistant", "content": exchange.assistant_text})
    if heard:
        chat.append({"role": "user", "content": heard})
    for tools in turn.tool_exchanges:
        chat += _tool_messages(tools)
    return chat


def system_message(turn: TurnRequest) -> str:
    """Who the model is, as the client wants it, then how to speak, which holds whoever it is."""
    prompt = PROMPTS[turn.language]
    parts = (turn.system_prompt.strip() or prompt.persona, prompt.spoken if turn.speech else "", prompt.heard)
    return "\n\n".join(part for part in parts if part)


def _tool_messages(exchange: ToolExchange) -> list[ChatCompletionMessageParam]:
    content = {result.call_id: result.content for result in exchange.results}
    calls: list[ChatCompletionMessageFunctionToolCallParam] = [
        {
            "id": call.call_id,
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(dict(call.arguments), ensure_ascii=False)},
        }
        for call in exchange.calls
    ]
    chat: list[ChatCompletionMessageParam] = [{"role": "assistant", "content": "", "tool_calls": calls}]
    for call in exchange.calls:
        chat.append({"role": "tool", "tool_call_id": call.call_id, "content": content[call.call_id]})
    return chat


def _has_own_thoughts(delta: ChoiceDelta) -> bool:
    return any(getattr(delta, name, None) for name in ("reasoning", "reasoning_content"))


def _content(delta: ChoiceDelta) -> str:
    """The text of a delta; a refusal is one too. Mistral's thinking models send a list of parts, of text and of thoughts."""
    content: Any = delta.content or delta.refusal or ""
    if isinstance(content, str):
        return content
    parts = (part for part in content if isinstance(part, dict) and part.get("type") == "text")
    return "".join(str(part.get("text", "")) for part in parts)


def _join(said: str) -> str:
    """What goes between a text and words after it: an ellipsis where it breaks off."""
    if not said.strip():
        return ""
    if said.rstrip()[-1] in NARROW_ENDS + WIDE_ENDS + CLOSERS:
        return "" if said[-1].isspace() else " "
    return "… "


def _last_words(said: str, ending: str, answer: AnswerFilter, *, called: bool) -> str:
    """The key of LAST_WORDS for how a reply ended; "" where nothing needs to be said."""
    if said.strip():
        return "cut" if ending == "length" else ""
    if called:
        return ""
    if ending == "content_filter":
        return "filtered"
    return "only_thought" if answer.thought else "empty"


def _reason(error: Exception) -> str:
    """For the user: the kind of failure, nothing of addresses or keys."""
    status = getattr(error, "status_code", None)
    return f"status {status}" if status else type(error).__name__
