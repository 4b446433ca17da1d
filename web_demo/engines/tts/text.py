"""A text as what an engine is asked for: words (`web_demo/text/frontend.py`), cut into pieces. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from utils.sentences import split_sentences
from web_demo.engines.base import Capabilities
from web_demo.text.language import language_code
from web_demo.text.scripts import has_words

CLASSIC_LANGUAGES: Mapping[str, str] = {  # of the names of CosyVoice's built-in speakers
    "中文女": "zh",
    "中文男": "zh",
    "英文女": "en",
    "英文男": "en",
    "日语男": "ja",
    "粤语女": "zh",
    "韩语女": "ko",
}


def pieces(words: str, can: Capabilities) -> list[str]:
    """Words cut to what an engine speaks in one go. None of the pieces is without a letter or a digit."""
    sentences = split_sentences(words, can.max_piece_chars, can.min_piece_chars)
    return [" ".join(sentence.split()) for sentence in sentences if has_words(sentence)]


def voice_language(voice: str, can: Capabilities) -> str:
    """The ISO 639 code of the language that a voice is made for, as far as its engine says or its name tells: the classic ones, and
    those that are a language, such as "de" or "en-us+f3"; else ""."""
    if voice in can.voice_languages:
        return can.voice_languages[voice]
    if voice in CLASSIC_LANGUAGES:
        return CLASSIC_LANGUAGES[voice]
    name = voice.partition("+")[0].lower()
    return language_code(name) if name in can.voices else ""
