"""In which scripts a text is written, and whether it has words at all. Pure."""

from __future__ import annotations

import unicodedata
from enum import Enum


class Script(Enum):
    HAN = "han"
    KANA = "kana"
    HANGUL = "hangul"
    OTHER = "other"  # every script that is written with letters and spaces between words


_RANGES = (
    (0x1100, 0x11FF, Script.HANGUL),
    (0x3005, 0x3007, Script.HAN),  # 々 repeats the Han character before it, 〇 is the Chinese zero
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
    if character in "・":  # between the words of a foreign name, in the middle of the kana block
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


def has_words(text: str) -> bool:
    """Whether anything of `text` is a letter or a digit."""
    return any(unicodedata.category(character)[0] in "LN" for character in text)
