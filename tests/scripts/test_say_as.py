from __future__ import annotations

import io
import json

import pytest

from scripts.examples.say_as import ENGINES, main
from web_demo.engines import registry


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["It costs $0.99 today."], "language: en\n1: It costs ninety nine cents today.\n"),
        (["24/7"], "language: zh\n1: 二十四七\n"),
        (["24/7", "--language", "en"], "language: en\n1: twenty four seven\n"),
        (["24/7", "--voice", "英文女"], "language: en\n1: twenty four seven\n"),
        (
            ["--engine", "cosyvoice3", "你好吗？" * 3 + "10%-20%。"],
            "language: zh\n1: 你好吗？你好吗？你好吗？\n2: 百分之十到百分之二十。\n",
        ),
        (["--plain", "# 3 of [these](x)"], "language: en\n1: three of [these](x)\n"),
    ],
)
def test_it_prints_language_and_pieces(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr().out == said


def test_it_reads_standard_input_and_writes_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("# Title\n\nI have 3 cats."))
    assert main(["-", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"language": "en", "pieces": ["Title. I have three cats."]}


@pytest.mark.parametrize("language", ["xx", "qqq", "klingon", "e"])
def test_a_language_that_there_is_not_is_an_error(capsys: pytest.CaptureFixture[str], language: str) -> None:
    assert main(["24/7", "--language", language]) == 1
    assert f"got {language!r}" in capsys.readouterr().err


@pytest.mark.parametrize("language", ["yue", "zh-TW", "English", "sw", "pt_BR", "auto"])
def test_a_language_that_there_is_is_none(language: str) -> None:
    assert main(["three", "--language", language]) == 0


def test_a_text_without_words_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["👍"]) == 1
    assert "nothing that can be spoken" in capsys.readouterr().err


def test_every_voice_that_there_is_can_be_asked_for() -> None:
    assert set(ENGINES) == set(registry.names("tts"))
