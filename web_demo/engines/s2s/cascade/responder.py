"""What the cascade answers: by a language model behind any OpenAI-compatible endpoint, or else by itself."""

from __future__ import annotations

import datetime
import logging
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from web_demo.engines.asr.languages import language_name
from web_demo.engines.base import TurnRequest
from web_demo.errors import EngineFailed, SetupError

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletionMessageParam

log = logging.getLogger(__name__)

MAX_REPLY_TOKENS = 512
LLM_TIMEOUT_S = 60.0

SPOKEN_PROMPT = {
    "en": "You are a friendly voice assistant. Your words are spoken aloud: answer in one to three short, plain sentences, "
    "without lists, markup or emoji. What the user said comes from a speech recogniser and may contain mistakes.",
    "zh": "你是一个友好的语音助手。你的回答会被读出来：请用一到三个简短自然的句子回答，不要使用列表、标记或表情符号。"
    "用户的话来自语音识别，可能有错字。",
}


class Responder(Protocol):
    @property
    def name(self) -> str: ...
    async def start(self) -> None: ...
    async def close(self) -> None: ...
    def reply(self, heard: str, turn: TurnRequest) -> AsyncGenerator[str, None]:
        """The reply's text, in deltas as they come."""
        ...


@dataclass(frozen=True)
class Answers:
    """The built-in responder's words in one language. `{heard}`, `{time}`, `{date}` and `{languages}` are filled in."""

    heard: str
    stand_in: str
    other_language: str  # where the recogniser does not know the language of these words
    hello: str
    who: str
    time: str
    date: str
    help: str
    thanks: str
    goodbye: str
    time_format: str
    date_format: str


ANSWERS = {
    "en": Answers(
        heard="You said: {heard}.",
        stand_in="I am the embedded stand-in, without a language model. Say help to hear what I can do.",
        other_language="I understand {languages} only.",
        hello="Hello! I heard you say: {heard}. I am the embedded stand-in. Nice to meet you.",
        who="I am the embedded stand-in of Fun Audio Chat: a speech recogniser, a few answers, and a voice. With the real "
        "model here, you would be talking to it.",
        time="It is {time}.",
        date="Today is {date}.",
        help="I repeat what I hear, and I can say hello, who I am, the time, and the date. For real answers, give me a "
        "language model with the option L L M base U R L, or install the Fun Audio Chat model.",
        thanks="You are welcome.",
        goodbye="Goodbye! I enjoyed talking to you.",
        time_format="%-I:%M %p",
        date_format="%A, %B %-d, %Y",
    ),
    "zh": Answers(
        heard="你说的是：{heard}。",
        stand_in="我是内置的替身，没有语言模型。说 help，可以听听我会做什么。",
        other_language="我只听得懂{languages}。",
        hello="你好！我听到你说：{heard}。我是内置的替身，很高兴认识你。",
        who="我是 Fun Audio Chat 的内置替身：语音识别、几句固定的回答，再加上一个声音。装上真正的模型以后，和你说话的就是它了。",
        time="现在是{time}。",
        date="今天是{date}。",
        help="我会重复我听到的话，也能打招呼，说我是谁，报时间和日期。想要真正的回答，请给我接一个语言模型，或者安装 "
        "Fun Audio Chat 模型。",
        thanks="不客气。",
        goodbye="再见！和你聊天很开心。",
        time_format="%H点%M分",
        date_format="%Y年%-m月%-d日",
    ),
}

# First match wins. The recogniser writes lower case without punctuation.
_INTENTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\bwho\b.*\byou\b|\bwhat are you\b|\byour name\b|你是谁"), "who"),
    (re.compile(r"\bwhat time\b|\bthe time\b|几点"), "time"),
    (re.compile(r"\b(the|what) date\b|\bwhat day\b|\btoday\b|几号|星期几"), "date"),
    (re.compile(r"\bhelp\b|\bwhat can you do\b|帮助"), "help"),
    (re.compile(r"\bthank(s| you)\b|谢谢"), "thanks"),
    (re.compile(r"\b(good ?bye|bye)\b|再见"), "goodbye"),
    (re.compile(r"^(oh )?(hello|hi|hey|good (morning|afternoon|evening))\b|你好"), "hello"),
)


class BuiltInResponder:
    """Tells what it heard, answers a few things that a newcomer tries, and says that it is the stand-in. `languages`:
    codes of what the recogniser understands, empty for any."""

    name = "built-in"

    def __init__(
        self,
        now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now().astimezone(),
        languages: Sequence[str] = (),
    ) -> None:
        self._now = now
        self._languages = languages

    async def start(self) -> None:
        return

    async def close(self) -> None:
        return

    async def reply(self, heard: str, turn: TurnRequest) -> AsyncGenerator[str, None]:
        answers = ANSWERS[turn.language]
        intent = next((intent for pattern, intent in _INTENTS if pattern.search(heard.lower())), None)
        template: str = answers.heard if intent is None else getattr(answers, intent)
        now = self._now()
        time, date = now.strftime(answers.time_format), now.strftime(answers.date_format)
        yield template.format(heard=heard, time=time, date=date)
        if intent is None and not turn.history:
            yield " " + answers.stand_in
            if self._languages and turn.language not in self._languages:
                names = (language_name(code, turn.language) for code in self._languages)
                yield " " + answers.other_language.format(languages=", ".join(names))


class LlmResponder:
    """Streams from `base_url` (an OpenAI-compatible `/v1`). With no model named, it takes the first that is offered."""

    def __init__(self, base_url: str, model: str, api_key: str) -> None:
        self.name = model or base_url
        self._base_url = base_url
        self._model = model
        self._api_key = api_key
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

    async def reply(self, heard: str, turn: TurnRequest) -> AsyncGenerator[str, None]:
        import openai

        assert self._client is not None, "start() comes first"
        try:
            stream = await self._client.chat.completions.create(
                model=self._model, messages=messages(heard, turn), stream=True, max_tokens=MAX_REPLY_TOKENS
            )
            async with stream:
                async for chunk in stream:
                    if chunk.choices and (delta := chunk.choices[0].delta.content):
                        yield delta
        except openai.OpenAIError as error:
            log.warning("language model failed: %s", error)
            raise EngineFailed(f"the language model did not answer ({_reason(error)}); please ask again") from error


def messages(heard: str, turn: TurnRequest) -> list[ChatCompletionMessageParam]:
    """The conversation as a chat: answers that were never heard are left out."""
    chat: list[ChatCompletionMessageParam] = [
        {"role": "system", "content": turn.system_prompt or SPOKEN_PROMPT[turn.language]}
    ]
    for exchange in turn.history:
        chat.append({"role": "user", "content": exchange.user_text})
        if exchange.assistant_text:
            chat.append({"role": "assistant", "content": exchange.assistant_text})
    chat.append({"role": "user", "content": heard})
    return chat


def _reason(error: Exception) -> str:
    """For the user: the kind of failure, nothing of addresses or keys."""
    status = getattr(error, "status_code", None)
    return f"status {status}" if status else type(error).__name__
