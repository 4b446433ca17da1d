"""What of a text can be spoken, in which pieces and in which script: pure rules, shared by the service and the engines."""

from __future__ import annotations

import re
import unicodedata
from enum import Enum

from utils.sentences import split_sentences
from web_demo.engines.base import Capabilities

_SPECIAL_TOKEN = re.compile(r"<\|.*?\|>")


class Script(Enum):
    HAN = "han"
    KANA = "kana"
    HANGUL = "hangul"
    OTHER = "other"  # every script that is written with letters and spaces between words


_RANGES = (
    (0x1100, 0x11FF, Script.HANGUL),
    (0x3040, 0x30FF, Script.KANA),
    (0x3130, 0x318F, Script.HANGUL),
    (0x31F0, 0x31FF, Script.KANA),
    (0x3400, 0x4DBF, Script.HAN),
    (0x4E00, 0x9FFF, Script.HAN),
    (0xAC00, 0xD7FF, Script.HANGUL),
    (0xF900, 0xFAFF, Script.HAN),
    (0xFF66, 0xFF9F, Script.KANA),
    (0x20000, 0x323AF, Script.HAN),
)


def script_of(character: str) -> Script | None:
    """None for what any script may hold: digits, punctuation, spaces."""
    if character == "・":  # between the words of a foreign name, in the middle of the kana block
        return None
    code = ord(character)
    for first, last, script in _RANGES:
        if first <= code <= last:
            return script
    return Script.OTHER if unicodedata.category(character)[0] == "L" else None


def script_runs(text: str) -> list[tuple[Script | None, str]]:
    """`text` cut where the script changes. Digits, punctuation and spaces stay with the run before them; a text of
    nothing else is one run of script None."""
    runs: list[tuple[Script | None, str]] = []
    for character in text:
        script = script_of(character)
        if not runs:
            runs.append((script, character))
            continue
        current, so_far = runs[-1]
        if script is None or current is None or script is current:
            runs[-1] = (current or script, so_far + character)
        else:
            runs.append((script, character))
    return runs


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


def has_words(text: str) -> bool:
    """Whether anything of `text` is a letter or a digit."""
    return any(unicodedata.category(character)[0] in "LN" for character in text)


def _can_be_said(character: str) -> bool:
    category = unicodedata.category(character)
    if category == "So":
        return character in "°©®™℃℉№"
    # Cc control, Cf invisible (joiners of emoji, direction marks), Cs surrogate, Co private, Cn unassigned,
    # Sk skin tones, Mn/Me of the variation selectors and key caps
    if category[0] == "C" or category in ("Sk", "Me"):
        return False
    return not 0xFE00 <= ord(character) <= 0xFE0F
