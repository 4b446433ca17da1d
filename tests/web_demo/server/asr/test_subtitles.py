"""Subtitles that a person can read, whatever an engine knows about its words."""

from __future__ import annotations

import itertools
import random

import pytest

from web_demo.engines.base import Segment, Transcript, Word
from web_demo.server.asr.formats import srt, vtt
from web_demo.server.asr.subtitles import Cue, cues

ENGLISH = (
    "And then we went down to the harbour, where the old ships were lying, and Dr. Smith said: “It is 3.5 miles from here.” "
    "Nobody believed him. No. We did not wait for the others who were still somewhere in the village, drinking and singing as they "
    "had been all night long. https://example.org/a/very/long/address/that/fits/no/line/of/forty-two?characters=1 is where."
)
CHINESE = (
    "圆周率约等于３．１４１５９，价格是３．５元，请大家记住这个数字。他说：“你好，我是语音助手ChatGPT，很高兴认识你。”然后就走了，"
    "再也没有回来过，大家都觉得非常奇怪可是没有人敢说出来因为害怕。"
)
JAPANESE = "きょうはとてもいいてんきですから、こうえんへさんぽにいきましょう。ラーメンもたべたいです。"
RUSSIAN = (
    "Сегодня очень хорошая погода, и мы пойдём гулять в парк. А потом будем пить чай с вареньем и долго разговаривать."
)
THAI = "สวัสดีครับวันนี้อากาศดีมากเราไปเดินเล่นกันเถอะ" * 3


def made(*segments: Segment) -> list[Cue]:
    return cues(Transcript("", "", segments))


def spoken(text: str, start_s: float, word_s: float = 0.3, pauses: dict[int, float] | None = None) -> Segment:
    """Words of equal length in a row, with pauses before some of them."""
    words, now = [], start_s
    for index, word in enumerate(text.split()):
        now += (pauses or {}).get(index, 0.0)
        words.append(Word(word, round(now, 3), round(now + word_s, 3)))
        now += word_s
    return Segment(text, start_s, now, tuple(words))


def plain(text: str) -> str:
    return "".join(text.split())


def has_wide(line: str) -> bool:
    return any("\u2e80" <= character <= "\ud7ff" or "\uff00" <= character <= "\uffef" for character in line)


def require_readable(found: list[Cue], text: str) -> None:
    assert plain("".join(line for cue in found for line in cue.lines)) == plain(text)
    for cue in found:
        assert 1 <= len(cue.lines) <= 2
        assert all(0 < len(line) <= (16 if has_wide(line) else 42) for line in cue.lines), cue
        assert all(line == line.strip() for line in cue.lines)
        assert 0.999 <= cue.end_s - cue.start_s <= 7.001, cue
    assert all(one.end_s <= next_.start_s for one, next_ in itertools.pairwise(found))


TEXTS = (ENGLISH, CHINESE, JAPANESE, RUSSIAN, THAI, "Yes.", "字" * 200, "word " * 300)
AS_FAST_AS_PEOPLE_SPEAK = [(text, s) for text in TEXTS for s in (3.0, 12.0, 30.0) if len(text) / s <= 25]


@pytest.mark.parametrize(("text", "seconds"), AS_FAST_AS_PEOPLE_SPEAK)
def test_cues_fit_the_screen_and_the_eye_and_lose_nothing(text: str, seconds: float) -> None:
    require_readable(made(Segment(text, 5.0, 5.0 + seconds)), text)
    require_readable(made(Segment(text, 5.0, 5.0 + seconds, None, ((5.5, 6.0), (7.0, 5.0 + seconds)))), text)


def test_random_words_at_random_times_are_readable_too() -> None:
    chance = random.Random(3)
    for _ in range(60):
        text = " ".join(
            "".join(chance.choices("abcdefgh", k=chance.randint(1, 14))) + chance.choice(["", "", "", ",", ".", "?"])
            for _ in range(chance.randint(1, 80))
        )
        pauses = {index: chance.choice([0.2, 0.7, 3.0]) for index in range(80) if chance.random() < 0.2}
        require_readable(made(spoken(text, chance.random() * 100, chance.uniform(0.15, 0.9), pauses)), text)


def test_cuts_are_at_the_ends_of_sentences_and_at_commas() -> None:
    found = made(Segment(ENGLISH[: ENGLISH.index(" No. ")], 0.0, 12.0))
    assert [cue.lines[-1][-1] for cue in found] == [",", "”", "."]
    assert found[0].lines == ("And then we went down to the harbour,", "where the old ships were lying,")


def test_without_marks_cuts_are_at_pauses() -> None:
    found = made(spoken("this is the first phrase and here is another one", 2.0, pauses={5: 0.9}))
    assert [cue.lines for cue in found] == [("this is the first phrase",), ("and here is another one",)]
    assert (found[0].start_s, found[0].end_s, found[1].start_s) == (2.0, 3.5, 4.4)


def test_a_phrase_after_a_long_gap_begins_when_it_is_said() -> None:
    found = made(spoken("one two three", 0.0), spoken("four five six", 10.0))
    assert [cue.start_s for cue in found] == [0.0, 10.0]
    in_one = made(Segment("One two three. Four five six.", 0.0, 12.0, None, ((0.5, 2.0), (10.0, 12.0))))
    assert [cue.start_s for cue in in_one] == [0.5, 10.0]


def test_times_of_words_are_used_where_the_words_are_those_of_the_text() -> None:
    words = (Word(" Hello", 1.0, 1.4), Word(" world", 1.6, 2.1), Word("你好", 6.0, 6.5))
    found = made(Segment("Hello, world! 你好。", 0.0, 9.0, words))
    assert [(cue.start_s, cue.lines) for cue in found] == [(1.0, ("Hello, world!",)), (6.0, ("你好。",))]
    others = made(Segment("Hello, world!", 0.0, 2.0, (Word("Goodbye", 1.0, 1.4),)))
    assert (others[0].start_s, others[0].lines) == (0.0, ("Hello, world!",))


def test_times_that_run_backwards_are_put_in_order() -> None:
    words = (Word("one", 5.0, 4.0), Word("two", 1.0, 2.0), Word("three", 90.0, 80.0))
    require_readable(made(Segment("one two three", 0.0, 6.0, words)), "onetwothree")


def test_segments_are_joined_as_their_script_is_written() -> None:
    assert made(Segment("你好", 0.0, 0.5), Segment("世界", 0.5, 1.2))[0].lines == ("你好世界",)
    assert made(Segment("so", 0.0, 0.5), Segment("long", 0.5, 1.2))[0].lines == ("so long",)


def test_vtt_writes_markup_as_text_and_srt_as_it_is() -> None:
    transcript = Transcript("", "", (Segment("a <b> & c --> d", 0.0, 2.0),))
    assert vtt(transcript) == "WEBVTT\n\n00:00:00.000 --> 00:00:02.000\na &lt;b&gt; &amp; c --&gt; d\n"
    assert srt(transcript) == "1\n00:00:00,000 --> 00:00:02,000\na <b> & c --> d\n"
    assert vtt(Transcript("", "")) == "WEBVTT\n"


def test_ten_thousand_words_take_no_quadratic_time() -> None:
    assert len(made(spoken("these are words " * 3_333, 0.0))) > 500
