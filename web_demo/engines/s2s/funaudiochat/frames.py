"""Frames of the model to steps of an answer: whole characters, and the codes that are sound. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from web_demo.engines.base import SpeechCodes, Step, TextDelta
from web_demo.engines.s2s.funaudiochat.prompt import without_special_tokens

_BROKEN = "\ufffd"
_MAX_HELD_TOKENS = 16  # a character has at most four bytes; more held tokens than this are no character at all


class TextStream:
    """Text ids to text, whole characters only: a character may be spread over several tokens.

    `decode` turns ids into text without control tokens; of those, the tokenizer knows some as plain text, and they are
    taken out here. Bytes that are no character are left out.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._held: list[int] = []

    def push(self, text_id: int) -> str:
        """The text that became whole; maybe nothing."""
        self._held.append(text_id)
        text = self._decode(self._held)
        if text.endswith(_BROKEN) and len(self._held) < _MAX_HELD_TOKENS:
            return ""
        self._held.clear()
        return without_special_tokens(text.replace(_BROKEN, ""))


class Reply:
    """Frames of a spoken answer to steps. `codes_end`: codes from here on are control codes, not sound."""

    def __init__(self, decode: Callable[[Sequence[int]], str], codes_end: int) -> None:
        self._text = TextStream(decode)
        self._codes_end = codes_end

    def push(self, text_id: int, codes: Sequence[int]) -> Iterator[Step]:
        if text := self._text.push(text_id):
            yield TextDelta(text)
        if sound := tuple(code for code in codes if code < self._codes_end):
            yield SpeechCodes(sound)
