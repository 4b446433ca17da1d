"""What of a text can be spoken, in which pieces: pure rules, shared by the service and the engines."""

from __future__ import annotations

import re
import unicodedata

from utils.sentences import split_sentences
from web_demo.engines.base import Capabilities
from web_demo.text.scripts import has_words

_SPECIAL_TOKEN = re.compile(r"<\|.*?\|>")


def spoken(text: str) -> str:
    """`text` without what cannot be said: control characters, emoji and other pictures, halves of surrogate pairs, and
    the special tokens of language models, <|…|>, which only an engine itself may write.

    Each becomes a space, so that the words around it stay apart.
    """
    while (stripped := _SPECIAL_TOKEN.sub(" ", text)) != text:  # removing one may put another together
        text = stripped
    return "".join(character if _can_be_said(character) else " " for character in text).strip()


def pieces(text: str, can: Capabilities) -> list[str]:
    """`text` cleaned and cut to what an engine speaks in one go. None of them is without words."""
    sentences = (spoken(sentence) for sentence in split_sentences(text, can.max_piece_chars, can.min_piece_chars))
    return [sentence for sentence in sentences if has_words(sentence)]


def _can_be_said(character: str) -> bool:
    category = unicodedata.category(character)
    if category == "So":
        return character in "°©®™℃℉№"
    # Cc control, Cf invisible (joiners of emoji, direction marks), Cs surrogate, Co private, Cn unassigned,
    # Sk skin tones, Mn/Me of the variation selectors and key caps
    if category[0] == "C" or category in ("Sk", "Me"):
        return False
    return not 0xFE00 <= ord(character) <= 0xFE0F
