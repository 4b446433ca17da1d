"""Tokens with the time at which each begins, as words with times. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from web_demo.engines.base import Word

TOKEN_S = 0.24  # how long the last token of a word sounds where nothing follows soon
_WIDE_FROM = 0x2E80  # from here on, scripts have no spaces between words


def words_of(tokens: Sequence[str], times: Sequence[float], seconds: float) -> tuple[Word, ...]:
    """A word begins with a token that begins with a space, and with each character of a script without spaces; signs belong to the
    word before them. A word ends where the next begins, and at most TOKEN_S after its last token."""
    words: list[tuple[str, float, float]] = []  # text, start, start of the last token
    previous = " "
    for token, time in zip(tokens, times, strict=False):
        text = token.strip()
        if not text:
            previous = token or previous
            continue
        if words and _is_sign(text):
            words[-1] = (words[-1][0] + text, *words[-1][1:])
        elif words and _goes_on(previous, token):
            words[-1] = (words[-1][0] + text, words[-1][1], time)
        else:
            words.append((text, time, time))
        previous = token
    begins = [*(start for _, start, _ in words), seconds]
    return tuple(
        Word(text, round(min(start, seconds), 3), round(min(begins[index + 1], last + TOKEN_S, seconds), 3))
        for index, (text, start, last) in enumerate(words)
    )


def _goes_on(before: str, token: str) -> bool:
    """Whether a token is the next part of the word that the one before it belongs to."""
    return not (token[0].isspace() or before[-1].isspace() or _wide(token[0]) or _wide(before[-1]))


def _wide(character: str) -> bool:
    return ord(character) >= _WIDE_FROM and not "\uac00" <= character <= "\ud7a3"  # Hangul is written with spaces


def _is_sign(text: str) -> bool:
    return all(unicodedata.category(character)[0] in "PS" for character in text)
