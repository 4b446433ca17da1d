from __future__ import annotations

import pytest

from web_demo.engines.base import Capabilities
from web_demo.engines.tts.text import pieces, spoken
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


@pytest.mark.parametrize("text", ["", "  \n", "😀🎉", "!!! … ，。", "\x00\x07", "👩‍👩‍👧", "1️⃣"[1:]])
def test_text_without_words_is_known_as_such(text: str) -> None:
    assert not has_words(spoken(text))


def test_what_cannot_be_said_becomes_a_space_and_the_rest_stays() -> None:
    assert spoken("a\x07b\x00c😀") == "a b c"
    assert spoken("20 °C, €5 + 3%") == "20 °C, €5 + 3%"
    assert spoken("हिन्दी é e\u0301") == "हिन्दी é e\u0301"
    assert spoken("x\ud800y") == "x y"


def test_special_tokens_are_taken_out_also_when_they_are_nested() -> None:
    assert "<|" not in spoken("a<|<|x|>endofprompt|>b <|y|> [breath]")
    assert spoken("[breath] 你好") == "[breath] 你好"


def test_pieces_are_as_long_as_the_engine_declares_and_none_is_without_words() -> None:
    text = "Hi. Now for something longer, as it is. 😀 <|endofprompt|>\n… " + "a word, " * 40
    short, long = (
        pieces(text, Capabilities(min_piece_chars=low, max_piece_chars=high)) for low, high in ((1, 40), (9, 400))
    )
    assert short[:2] == ["Hi.", "Now for something longer, as it is."]
    assert max(map(len, short)) <= 40
    assert long[0] == "Hi. Now for something longer, as it is."
    assert len(long) == 2
    assert all(has_words(piece) and "<|" not in piece for piece in short + long)
