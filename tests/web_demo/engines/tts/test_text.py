from __future__ import annotations

import pytest

from web_demo.engines.base import Capabilities
from web_demo.engines.tts.text import pieces, voice_language
from web_demo.text.scripts import has_words


def test_pieces_are_as_long_as_the_engine_declares_and_none_is_without_words() -> None:
    text = "Hi. Now for something longer, as it is. …\n… " + "a word, " * 40
    short, long = (
        pieces(text, Capabilities(min_piece_chars=low, max_piece_chars=high)) for low, high in ((1, 40), (9, 400))
    )
    assert short[:2] == ["Hi.", "Now for something longer, as it is."]
    assert max(map(len, short)) <= 40
    assert long[0] == "Hi. Now for something longer, as it is."
    assert all(has_words(piece) for piece in short + long)


@pytest.mark.parametrize(
    ("voice", "language"),
    [
        ("中文女", "zh"),
        ("英文男", "en"),
        ("de", "de"),
        ("en-us+f3", "en"),
        ("cmn", "zh"),
        ("alloy", ""),
        ("bob", ""),
        ("", ""),
    ],
)
def test_a_voice_tells_its_language_where_its_name_does(voice: str, language: str) -> None:
    assert voice_language(voice, Capabilities(voices=("中文女", "英文男", "de", "en-us", "cmn"))) == language
