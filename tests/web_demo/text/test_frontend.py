"""What is said of a written text: cases of all kinds, pairs that mean the same, and texts in which nothing may be lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.benchmarks.said import canonical, is_right
from web_demo.text import frontend
from web_demo.text.frontend import SpokenSentences, words

CASES = json.loads((Path(__file__).resolve().parents[2] / "data" / "spoken.json").read_text("utf-8"))


def test_there_are_cases_of_every_kind_in_both_languages() -> None:
    kinds = {language: {case["kind"] for case in CASES if case["language"] == language} for language in ("en", "zh")}
    assert len(CASES) > 400
    assert kinds["en"] - kinds["zh"] == {"roman", "sign"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['language']} {case['text']}")
def test_a_written_text_is_said_as_people_read_it(case: dict[str, Any]) -> None:
    said = words(case["text"], language=case["language"]).text
    assert is_right(said, case), said
    assert words(said, language=case["language"]).text == said  # nothing is left to say otherwise
    if not is_right(case["text"], case):  # and it can be told from what was written
        assert said != case["text"]


SAME = [
    ("１２：３０", "12:30"),
    ("第１２章，共３４页", "第12章，共34页"),
    ("Ｈｅｌｌｏ world", "Hello world"),
    ("exam\u00adple of words", "example of words"),
    ("read\u200bable text", "readable text"),
    ("cafe\u0301 naive", "café naive"),
    ("房间有50㎡。", "房间有50平方米。"),
    ("今天气温25℃。", "今天气温25摄氏度。"),
    ("跑了5㎞。", "跑了5公里。"),
    ("This is **bold** text.", "This is bold text."),
    ("See [our page](https://example.org/a/b?c=1) now.", "See our page now."),
    ("# Title\n\nFirst line.", "Title.\n\nFirst line."),
    ("5pm", "5 p.m."),
    ("2½ cups", "2 1/2 cups"),
    ("5 – 10 days", "5~10 days"),
    ("①苹果", "1苹果"),
    ("第Ⅳ章", "第4章"),
]


@pytest.mark.parametrize(("text", "same"), SAME)
def test_pairs_that_mean_the_same_are_the_same_words(text: str, same: str) -> None:
    assert words(text, voice_language="zh").text == words(same, voice_language="zh").text


@pytest.mark.parametrize(
    ("text", "request_language", "voice", "language", "said"),
    [
        ("24/7", "", "en", "en", "twenty four seven"),
        ("24/7", "", "zh", "zh", "二十四七"),
        ("24/7", "en", "zh", "en", "twenty four seven"),
        ("5kg", "", "zh", "zh", "五公斤"),
        ("5kg", "", "en", "en", "five kilograms"),
        ("5km away", "", "zh", "en", "five kilometers away"),
        ("3", "", "", "", "3"),
        ("3", "fr", "zh", "fr", "3"),
        ("Ich habe 3 Äpfel und 10 Birnen.", "", "zh", "de", "Ich habe 3 Äpfel und 10 Birnen."),
        ("J'ai 3 chats et un chien.", "", "en", "fr", "J'ai 3 chats et un chien."),
        ("りんごを3個", "", "zh", "ja", "りんごを3個"),
        ("사과 3개", "", "zh", "ko", "사과 3개"),
        ("Привет 3", "", "zh", "", "Привет 3"),
        ("下线GPT-4o", "", "en", "zh", "下线GPT-四o"),
        ("I visited 北京 for 3 days", "", "zh", "en", "I visited 北京 for three days"),
        ("Hello, I have 3 cats. 我有3只猫。", "", "zh", "zh", "Hello, I have three cats. 我有三只猫。"),
        ("我有3只猫。I have 3 of them. 共4只。", "", "en", "en", "我有三只猫。I have three of them. 共四只。"),
        ("我买了手机。iPhone 15。很好用。", "", "zh", "zh", "我买了手机。iPhone 十五。很好用。"),
    ],
)
def test_the_language_is_that_of_the_text_then_of_the_request_then_of_the_voice(
    text: str, request_language: str, voice: str, language: str, said: str
) -> None:
    made = words(text, language=request_language, voice_language=voice)
    assert (made.text, made.language) == (said, language)


@pytest.mark.parametrize("text", ["", " \n", "👍", "!!! …，。", "**", "---", "\u200b", "![](x.png)"])
def test_a_text_without_words_gives_none(text: str) -> None:
    assert words(text).text == ""


def test_markdown_is_a_switch() -> None:
    assert words("[a](b.txt) 2", voice_language="en").text == "a two"
    assert words("[a](b.txt) 2", voice_language="en", markdown=False).text == "[a](b dot txt) two"


def test_rules_that_raise_leave_their_stretch_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(text: str) -> str:
        raise AssertionError(text)

    monkeypatch.setattr(frontend, "_RULES", {"en": broken, "zh": frontend.chinese})
    made = words("Only here I have 3 cats. 我这里有3只。")
    assert made.text == "Only here I have 3 cats. 我这里有三只。"
    assert made.failures == 1


def test_what_raised_in_a_text_that_is_being_written_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(text: str) -> str:
        raise AssertionError(text)

    monkeypatch.setattr(frontend, "_RULES", {"en": broken, "zh": frontend.chinese})
    stream = frontend.SpokenSentences(200, voice_language="en")
    assert [*stream.push("There are 41 ducks in here. And 42 "), *stream.flush()] == [
        "There are 41 ducks in here.",
        "And 42",
    ]
    assert (stream.take_failures(), stream.take_failures()) == (2, 0)


def test_numbers_of_any_length_are_said() -> None:
    for length in (16, 17, 100, 4999):
        assert len(words("7" * length, language="en").text.split()) == length
        assert words("7" * length, language="zh").text == "七" * length


def test_sentences_of_a_text_that_is_being_written_are_words_as_soon_as_they_are_whole() -> None:
    stream = SpokenSentences(200, voice_language="en")
    assert stream.push("**Hi** there, 3 cats. It is") == ["Hi there, three cats."]
    assert stream.push(" 12:30 now") == []
    assert stream.flush() == ["It is twelve thirty now"]


def test_a_sentence_of_numbers_alone_has_the_language_of_those_before() -> None:
    stream = SpokenSentences(200, voice_language="zh")
    assert stream.push("The answer is here. 24/7. ") + stream.flush() == ["The answer is here.", "twenty four seven."]


def test_no_sentence_is_longer_than_asked_although_words_are_longer_than_figures() -> None:
    stream = SpokenSentences(40)
    made = stream.push("It is 123456, 234567, 345678 and 456789 in all. ") + stream.flush()
    assert max(map(len, made)) <= 40
    assert canonical(" ".join(made), "en") == canonical(
        words("It is 123456, 234567, 345678 and 456789 in all.").text, "en"
    )
