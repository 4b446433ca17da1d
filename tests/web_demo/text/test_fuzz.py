"""Texts of many scripts, numbers, signs and noise: nothing raises, nothing that has words becomes silence, and no letter and
no digit is lost.

"Lost" is meant exactly: whichever letter or digit of the plain text is exchanged for another one, what is said changes. By
default a part of the texts is tried; TEXTS=20000 in the environment tries them all (two minutes on one core).
"""

from __future__ import annotations

import os
import random
import re

import pytest

from utils.sentences import split_sentences
from web_demo.text.frontend import SpokenSentences, words
from web_demo.text.plain import plain
from web_demo.text.scripts import has_words

TEXTS = int(os.environ.get("TEXTS", "600"))
PARTS = 12

SCRIPTS = {
    "latin": "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZéüñßçøł",
    "han": "我有只猫天气很好的人大中国上海北京价格时间今明年月日号元点分个名",
    "kana": "あいうえおかきくけこアイウエオカキクケコのはを",
    "hangul": "가나다라마바사아자차카타파하고양이",
    "cyrillic": "абвгдежзийклмнопрстуфхцчшщыэюя",
    "greek": "αβγδεζηθικλνξορστυφχψω",
    "arabic": "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "hebrew": "אבגדהוזחטיכלמנסעפצקרשת",
    "devanagari": "कखगघचछजझटठडढणतथदधनपफबभमयरलवशषसह",
    "thai": "กขคงจฉชซญดตถทธนบปผฝพฟมยรลวศสหอฮ",
    "armenian": "աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ",
    "georgian": "აბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰ",
}
WORDS = [
    "the",
    "of",
    "and",
    "in",
    "a",
    "cats",
    "people",
    "on",
    "at",
    "is",
    "version",
    "call",
    "code",
    "order",
    "page",
    "World",
    "War",
    "King",
    "$",
    "kg",
    "km",
    "GB",
    "pm",
    "am",
    "USD",
    "No",
    "Chapter",
    "第",
    "年",
    "月",
    "电话",
    "验证码",
    "比分",
]
SIGNS = "+-*/=<>%‰#@&$€£¥°:;,.!?()[]{}|\\^_~'\"`…–—～，。！？：；、（）“”《》±×÷≤≥≠≈√π²³½①Ⅳ№℃㎡"
NOISE = (
    "👍",
    "👩‍👩‍👧",
    "\u200b",
    "\u00ad",
    "\ufe0f",
    "\x07",
    "\t",
    "\n",
    "\n\n",
    "\ud800",
    "<|x|>",
    "**",
    "```\n",
    "- ",
    "# ",
    "| ",
)
FORMS = ("{a}", "{a}.{b}", "{a},{c}", "{a}:{d}", "{a}:{d}:{e}", "{a}-{b}", "{a}/{b}", "{a}%", "${a}.{d}", "20{d}-0{f}-1{f}", "v{a}.{b}.{f}",
         "{a}.{b}.{d}.{e}", "+86 138 {c}{f} {c}{f}", "{a}~{b}", "{a}x{b}", "-{a}", "#{a}", "{a}th", "{a}0s", "A-{a}", "H{a}", "{a}km", "{a}k", "{a}e{f}", "0{a}", "{a}{c}{c}{c}{c}")  # fmt: skip


def text_of(rng: random.Random) -> str:
    out = []
    for _ in range(rng.randint(1, 12)):
        kind = rng.random()
        if kind < 0.45:
            letters = SCRIPTS[rng.choice(list(SCRIPTS))]
            out.append("".join(rng.choice(letters) for _ in range(rng.randint(1, 8))))
        elif kind < 0.7:
            digits = {
                name: str(rng.randint(*limits))
                for name, limits in {
                    "a": (0, 2500),
                    "b": (0, 99),
                    "c": (100, 999),
                    "d": (10, 59),
                    "e": (10, 59),
                    "f": (1, 9),
                }.items()
            }
            out.append(rng.choice(FORMS).format(**digits))
        elif kind < 0.8:
            out.append(rng.choice(WORDS))
        elif kind < 0.93:
            out.append("".join(rng.choice(SIGNS) for _ in range(rng.randint(1, 3))))
        else:
            out.append(rng.choice(NOISE))
        out.append(rng.choice(("", " ", " ")))
    return "".join(out)


def texts(part: int) -> list[tuple[random.Random, str]]:
    found = []
    for number in range(part, TEXTS, PARTS):
        rng = random.Random(number)
        found.append((rng, text_of(rng)))
    return found


@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_raises_and_what_has_words_is_said(part: int) -> None:
    for rng, text in texts(part):
        for markdown in (True, False):
            made = words(text, voice_language=rng.choice(("zh", "en", "", "de")), markdown=markdown)
            assert made.failures == 0, text
            assert not re.search(r"<\|.*?\|>", made.text, re.DOTALL)
            assert bool(made.text) == has_words(made.text)
        # As written. With markdown, words may stand in what is not shown.
        assert made.text or not has_words(plain(text)), text
        stream = SpokenSentences(80, voice_language="en")
        pieces = [piece for delta in text for piece in stream.push(delta)] + stream.flush()
        assert all(has_words(piece) for piece in pieces)
        assert stream.failures == 0


@pytest.mark.parametrize("part", range(PARTS))
def test_no_letter_and_no_digit_is_lost(part: int) -> None:
    for rng, text in texts(part):
        whole = plain(text)
        places = [place for place, character in enumerate(whole) if character.isalpha() or character in "0123456789"]
        for place in rng.sample(places, min(len(places), 3)):
            character = whole[place]
            other = other_than(character, rng)
            changed = whole[:place] + other + whole[place + 1 :]
            language = rng.choice(("zh", "en"))
            said, instead = (words(each, language=language, markdown=False).text for each in (whole, changed))
            assert said.lower() != instead.lower(), (whole, changed)


def other_than(character: str, rng: random.Random) -> str:
    if character.isdigit():
        return rng.choice([digit for digit in "123456789" if digit != character])
    letters = next((letters for letters in SCRIPTS.values() if character in letters), SCRIPTS["latin"])
    return rng.choice([letter for letter in letters if letter.lower() != character.lower()])


def test_the_texts_are_in_twelve_scripts_and_cut_into_sentences_that_hold_all_of_them() -> None:
    assert len(SCRIPTS) == 12
    for number in range(50):
        made = words(text_of(random.Random(number)), voice_language="en").text
        assert "".join("".join(split_sentences(made, 80)).split()) == "".join(made.split())
