from __future__ import annotations

import pytest

from web_demo.text.scripts import Script, has_words, script_runs


def test_mixed_text_is_cut_where_the_script_changes_and_loses_nothing() -> None:
    text = "你好 world, 3 cats. こんにちは 안녕 123"
    runs = script_runs(text)
    assert [script for script, _ in runs] == [Script.HAN, Script.OTHER, Script.KANA, Script.HANGUL]
    assert "".join(run for _, run in runs) == text


def test_digits_and_punctuation_stay_with_the_run_before_them() -> None:
    assert script_runs("我有3个苹果！") == [(Script.HAN, "我有3个苹果！")]
    assert script_runs("“Hi,” 他说") == [(Script.OTHER, "“Hi,” "), (Script.HAN, "他说")]
    assert script_runs("12:30") == [(None, "12:30")]
    assert script_runs("") == []


def test_the_mark_of_repetition_and_the_chinese_zero_are_han() -> None:
    assert script_runs("人々と二〇二五") == [(Script.HAN, "人々"), (Script.KANA, "と"), (Script.HAN, "二〇二五")]


@pytest.mark.parametrize(
    ("text", "has"), [("", False), ("!? …，。", False), ("a", True), ("3", True), ("Ⅳ", True), ("好", True)]
)
def test_letters_and_digits_are_words(text: str, has: bool) -> None:
    assert has_words(text) is has
