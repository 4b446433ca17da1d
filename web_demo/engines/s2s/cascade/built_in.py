"""Answers without a language model: what was heard, and a few things that a newcomer tries."""

from __future__ import annotations

import datetime
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from web_demo.engines import advice
from web_demo.engines.asr.languages import language_name
from web_demo.engines.base import ToolCall, TurnRequest
from web_demo.text.language import language_of


@dataclass(frozen=True)
class Answers:
    """The built-in responder's words in one language. `{heard}`, `{time}`, `{date}`, `{languages}` and `{help_word}`, which its
    recogniser understands, are filled in."""

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
    clock: Callable[[datetime.datetime], str]
    calendar: Callable[[datetime.datetime], str]


def _chinese_time(now: datetime.datetime) -> str:
    """As people say it: the part of the day, then twelve hours."""
    parts = ((5, "凌晨"), (8, "早上"), (12, "上午"), (13, "中午"), (18, "下午"), (24, "晚上"))
    part = next(name for end, name in parts if now.hour < end)
    hour = now.hour if now.hour <= 12 else now.hour - 12
    return f"{part}{hour}点{f'{now.minute}分' if now.minute else '整'}"


def _chinese_date(now: datetime.datetime) -> str:
    return f"{now.year}年{now.month}月{now.day}日，星期{'一二三四五六日'[now.weekday()]}"


ANSWERS = {
    "en": Answers(
        heard="You said: {heard}.",
        stand_in="I am the embedded stand-in, without a language model. Say {help_word} to hear what I can do.",
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
        clock=lambda now: now.strftime("%-I:%M %p"),
        calendar=lambda now: now.strftime("%A, %B %-d, %Y"),
    ),
    "zh": Answers(
        heard="你说的是：{heard}。",
        stand_in="我是内置的替身，没有语言模型。说“{help_word}”，就能听到我会做什么。",
        other_language="我只听得懂{languages}。运行 download_models.sh，加上 laptop 这个选项，我就能听懂中文。",
        hello="你好！我听到你说：{heard}。我是内置的替身，很高兴认识你。",
        who="我是 Fun Audio Chat 的内置替身：语音识别、几句固定的回答，再加上一个声音。装上真正的模型以后，和你说话的就是它了。",
        time="现在是{time}。",
        date="今天是{date}。",
        help="我会重复我听到的话，也能打招呼，说我是谁，报时间和日期。想要真正的回答，请用 L L M base U R L 这个选项给我接一个语言"
        "模型，或者安装 Fun Audio Chat 模型。",
        thanks="不客气。",
        goodbye="再见！和你聊天很开心。",
        clock=_chinese_time,
        calendar=_chinese_date,
    ),
}

# First match wins. Recognisers write in their own ways: lower case without punctuation, or sentences, simplified or traditional.
_INTENTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(
            r"\bwho\b.*\byou\b|\bwhat are you\b|\byour name\b"
            r"|[你您妳](是|到底是)(谁|誰|什么|什麼|哪位)|[你您妳](叫|的名字|贵姓)|介绍(一下|下)?(你|您)?自己|你哪位"
        ),
        "who",
    ),
    (
        re.compile(
            r"\bwhat time\b|\bthe time\b"
            r"|[几幾][点點]|(什么|什麼|啥)(时间|時間|时候|時候)|(现在|當前|当前|报|報)[的个個]?(时间|時間)"
        ),
        "time",
    ),
    (
        re.compile(
            r"\b(the|what) date\b|\bwhat day\b|\btoday\b"
            r"|[几幾](号|號|日|月)|(星期|周|礼拜|週|禮拜)[几幾]|(什么|什麼|啥)日[子期]|今天.{0,4}日期|日期.{0,3}(什么|多少)"
        ),
        "date",
    ),
    (
        re.compile(
            r"\bhelp\b|\bwhat can you do\b"
            r"|帮助|幫助|帮帮我|求助|[你您妳](都|还|又)?(会|會|能|可以)(做|干|幹|说|說|帮我|帮我做)?(点|些)?(什么|什麼|啥|哪些)|怎么用|怎麼用|有(什么|哪些)功能"
        ),
        "help",
    ),
    (re.compile(r"\bthank(s| you)\b|谢谢|謝謝|多谢|多謝|感谢|感謝|辛苦(你|您)?了"), "thanks"),
    (re.compile(r"\b(good ?bye|bye)\b|再见|再見|拜拜|回头见|回頭見|下次见|明天见|晚安"), "goodbye"),
    (
        re.compile(
            r"^(oh )?(hello|hi|hey|good (morning|afternoon|evening))\b"
            r"|[你您妳]们?好|^(哈喽|哈囉|嗨|喂)|(早上|上午|中午|下午|晚上)好|早安"
        ),
        "hello",
    ),
)
_HELP_WORDS = {"zh": "帮助", "en": "help"}
_ENDS = " 。．.！!？?，,；;"  # of what was heard, before the answer's own


class BuiltInResponder:
    """Tells what it heard, answers a few things that a newcomer tries, and says that it is the stand-in. `languages`:
    codes of what the recogniser understands, empty for any. Who speaks Chinese is answered in Chinese, all others in the language
    of the turn."""

    name = "built-in"
    better = advice.MIND
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
        language = "zh" if language_of(heard) == "zh" else turn.language
        answers = ANSWERS[language]
        intent = next((intent for pattern, intent in _INTENTS if pattern.search(heard.lower())), None)
        if not heard:  # it is to speak unasked
            intent = "who"
        template: str = answers.heard if intent is None else getattr(answers, intent)
        now = self._now()
        yield template.format(heard=heard.strip(_ENDS), time=answers.clock(now), date=answers.calendar(now))
        if intent is None and not turn.history:
            yield " " + answers.stand_in.format(
                help_word=_HELP_WORDS[language if self._understands(language) else "en"]
            )
            if not self._understands(language):
                names = (language_name(code, language) for code in self._languages)
                yield " " + answers.other_language.format(languages=", ".join(names))

    def _understands(self, language: str) -> bool:
        return not self._languages or language in self._languages
