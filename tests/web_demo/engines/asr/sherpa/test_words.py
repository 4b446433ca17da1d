"""Tokens with times as words with times."""

from web_demo.engines.asr.sherpa.words import words_of
from web_demo.engines.base import Word


def test_pieces_of_a_word_are_one_word_and_characters_are_one_each():
    tokens = ["▁", "他", "说", " hel", "lo", " wor", "ld", "吗", "？"]
    tokens = [token.replace("▁", " ") for token in tokens]
    times = [0.0, 0.06, 0.3, 0.6, 0.72, 1.2, 1.32, 1.8, 1.86]
    assert words_of(tokens, times, 2.5) == (
        Word("他", 0.06, 0.3),
        Word("说", 0.3, 0.54),
        Word("hello", 0.6, 0.96),
        Word("world", 1.2, 1.56),
        Word("吗？", 1.8, 2.04),
    )


def test_hangul_is_written_with_spaces():
    assert [word.text for word in words_of([" 안녕", "하세요", " 여러", "분"], [0.0, 0.2, 0.5, 0.7], 1.0)] == [
        "안녕하세요",
        "여러분",
    ]


def test_no_word_ends_behind_the_sound_or_where_the_next_has_begun():
    assert words_of(["好", "的"], [0.9, 0.98], 1.0) == (Word("好", 0.9, 0.98), Word("的", 0.98, 1.0))
    assert words_of(["好"], [1.2], 1.0) == (Word("好", 1.0, 1.0),)


def test_nothing_is_no_word_and_a_sign_alone_is_kept():
    assert words_of([], [], 1.0) == ()
    assert [word.text for word in words_of(["。"], [0.1], 1.0)] == ["。"]
