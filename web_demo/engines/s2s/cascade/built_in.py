"""Answers without a language model: what was heard, and a few things that a newcomer tries."""

from __future__ import annotations

import datetime
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from web_demo.engines.asr.languages import language_name
from web_demo.engines.base import ToolCall, TurnRequest


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
    follows_instructions = False

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

    async def reply(self, heard: str, turn: TurnRequest) -> AsyncGenerator[str | ToolCall, None]:
        answers = ANSWERS[turn.language]
        intent = next((intent for pattern, intent in _INTENTS if pattern.search(heard.lower())), None)
        if not heard:  # it is to speak unasked
            intent = "who"
        template: str = answers.heard if intent is None else getattr(answers, intent)
        now = self._now()
        time, date = now.strftime(answers.time_format), now.strftime(answers.date_format)
        yield template.format(heard=heard, time=time, date=date)
        if intent is None and not turn.history:
            yield " " + answers.stand_in
            if self._languages and turn.language not in self._languages:
                names = (language_name(code, turn.language) for code in self._languages)
                yield " " + answers.other_language.format(languages=", ".join(names))
