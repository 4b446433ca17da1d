"""Times of words: the pure rules, and espeak-ng's own marks held against the sound."""

from __future__ import annotations

import numpy as np
import pytest

from web_demo.audio.samples import WIRE_RATE, Samples
from web_demo.detokenizer.backend import Mark, Window
from web_demo.engines.base import Word
from web_demo.engines.tts.espeak import SENTENCE_PAUSE_S, Espeak, EspeakBackend, EspeakVoice
from web_demo.engines.tts.word_times import marks_of, spoken_words


def times(text: str, marks: list[Mark], seconds: float, begins_s: float = 0.0) -> list[tuple[str, float, float, bool]]:
    return [
        (word.text, word.start_s, word.end_s, word.estimated)
        for word in spoken_words(text, marks, seconds, begins_s=begins_s)
    ]


def test_a_word_begins_at_its_mark_and_ends_where_the_next_begins() -> None:
    assert times('"Hello," she said.', [Mark(1, 0.1), Mark(9, 0.5), Mark(13, 0.8)], 1.5) == [
        ("Hello", 0.1, 0.5, False),
        ("she", 0.5, 0.8, False),
        ("said", 0.8, 1.5, False),
    ]


def test_words_without_a_mark_share_the_time_between_by_their_letters() -> None:
    assert times("aa b ccc dd", [Mark(0, 0.0), Mark(9, 1.2)], 2.0) == [
        ("aa", 0.0, 0.4, False),
        ("b", 0.4, 0.6, True),
        ("ccc", 0.6, 1.2, True),
        ("dd", 1.2, 2.0, False),
    ]
    assert times("one two", [], 2.0, begins_s=1.0) == [("one", 1.0, 1.5, True), ("two", 1.5, 2.0, True)]


def test_han_and_kana_are_a_word_a_character_beside_words_in_letters() -> None:
    found = spoken_words("你好, iPhone 很好。", [Mark(0, 0.0)], 6.0)
    assert [(word.text, word.position) for word in found] == [
        ("你", 0),
        ("好", 1),
        ("iPhone", 4),
        ("很", 11),
        ("好", 12),
    ]


@pytest.mark.parametrize("marks", [[Mark(0, 5.0), Mark(4, 1.0)], [Mark(-3, 1.0), Mark(4, 9.0), Mark(99, 1.0)]])
def test_marks_that_cannot_be_leave_times_that_can(marks: list[Mark]) -> None:
    found = spoken_words("one two", marks, 2.0)
    assert [word.text for word in found] == ["one", "two"]
    assert 0.0 <= found[0].start_s <= found[0].end_s == found[1].start_s <= found[1].end_s == 2.0


def test_a_text_without_words_has_none() -> None:
    assert spoken_words("?! …", [Mark(0, 0.0)], 1.0) == ()


def test_what_a_recogniser_heard_marks_the_words_that_agree() -> None:
    text = "The twenty-one Cats, here!"
    heard = [Word("the", 0.1, 0.2), Word("plenty", 0.3, 0.5), Word("one", 0.6, 0.7), Word("cats", 0.8, 1.0)]
    marks = marks_of(text, heard)
    assert [(text[mark.position :][:4], mark.start_s) for mark in marks] == [("The ", 0.1), ("Cats", 0.8)]
    assert marks_of(text, []) == ()
    assert marks_of("你好世界", [Word("你好", 0.2, 0.5), Word("世界", 0.9, 1.2)]) == (Mark(0, 0.2), Mark(2, 0.9))


@pytest.fixture(scope="module")
def espeak() -> Espeak:
    return Espeak()


def marked(espeak: Espeak, text: str, voice: str) -> tuple[Samples, list[Mark]]:
    marks: list[Mark] = []
    return np.concatenate(list(espeak.speak(text, EspeakVoice.parse(voice), marks=marks))), marks


def onsets(sound: Samples, silence_s: float) -> list[float]:
    """Where sound begins after at least so much near-silence, and at the beginning."""
    loud = np.flatnonzero(np.abs(sound) > 0.02)
    gaps = np.flatnonzero(np.diff(loud) > silence_s * WIRE_RATE)
    return [float(at) / WIRE_RATE for at in (loud[0], *loud[gaps + 1])]


@pytest.mark.parametrize(
    ("text", "voice", "pause_s", "after_pauses"),
    [
        ("Listen now: alpha. Banana, rum. Delta.", "en-us", 0.12, ["Listen", "alpha", "Banana", "rum", "Delta"]),
        ("你好。我是语音助手。", "中文女", 0.12, ["你", "我"]),
        ("Hello! 你好。", "en-us", 0.03, ["Hello", "你"]),
    ],
)
def test_marks_of_espeak_stand_where_its_sound_begins(
    espeak: Espeak, text: str, voice: str, pause_s: float, after_pauses: list[str]
) -> None:
    sound, marks = marked(espeak, text, voice)
    words = spoken_words(text, marks, len(sound) / WIRE_RATE)
    starts = [next(word.start_s for word in words if word.text == wanted) for wanted in after_pauses]
    found = onsets(sound, pause_s)
    for start in starts:
        assert min(abs(start - onset) for onset in found) < 0.08, (start, found)
    assert [word.start_s for word in words] == sorted(word.start_s for word in words)


def test_the_marks_of_a_second_window_count_the_pause_before_it() -> None:
    backend = EspeakBackend("en-us")
    backend.open("a", "")
    list(backend.decode([Window("a", 0, text="Hello.")]))
    made = [made for _, made in backend.decode([Window("a", 1, text="Hello.", last=True, marked=True)])]
    assert isinstance(made[-1], tuple)
    assert made[-1][0].start_s == pytest.approx(SENTENCE_PAUSE_S, abs=0.03)
