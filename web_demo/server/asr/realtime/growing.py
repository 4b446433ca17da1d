"""Partial transcripts, of which each replaces the one before, as deltas, which only append. Pure."""

from __future__ import annotations

import itertools

CJK = 0x2E80  # from here on, scripts have no spaces between words


class GrowingText:
    """One utterance's text: `partial` gives what two results in a row agree on, `final` the rest, where it goes on from there."""

    def __init__(self) -> None:
        self._sent = self._last = ""

    def partial(self, text: str) -> str:
        """What may be told now: "" where nothing new is certain."""
        agreed = whole_words(self._last, text)
        self._last = text
        return self._go_on(agreed)

    def final(self, text: str) -> str:
        """ "" also where what was told turned out wrong: the final text has the word then."""
        return self._go_on(text)

    def _go_on(self, text: str) -> str:
        if not text.startswith(self._sent):
            return ""
        delta, self._sent = text[len(self._sent) :], text
        return delta


def whole_words(one: str, other: str) -> str:
    """The longest beginning of both that ends between two words of each."""
    common = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    while common and any(_is_within_word(text, common) for text in (one, other)):
        common -= 1
    return one[:common].rstrip()


def _is_within_word(text: str, at: int) -> bool:
    """Whether a word stands on both sides of this place."""
    if at == len(text):
        return False
    before, after = text[at - 1], text[at]
    return not (before.isspace() or after.isspace() or ord(before) >= CJK or ord(after) >= CJK)
