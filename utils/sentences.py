"""Text into sentences, also while the text is still being written. Pure.

How the text was cut into deltas never changes the sentences: a possible end is decided only when what follows it is
known. So a sentence comes out with the first character of the next one, or with `flush`.
"""

from __future__ import annotations

import re

WIDE_ENDS = "。！？｡．"  # end a sentence whatever follows
NARROW_ENDS = ".!?…؟۔।"  # end one only before a space, or before a script that writes none
CLOSERS = "\"'”’»)]}」』）】》〉"
CLAUSE_MARKS = "，、；：,;:—،؛"

_NEVER_LAST = re.compile(  # a period after these belongs to the word
    "mr|mrs|ms|mx|dr|prof|st|sr|jr|hon|rev|gen|col|capt|lt|sgt|mt|ft|figs?|eq|vol|pp|eds?|vs|cf|e\\.g|i\\.e|approx|dept|est"
    "|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec"
)
_BEFORE_A_NUMBER = frozenset(("no", "nos", "nr", "art", "p", "ch", "sec"))

_WIDE_LETTER = re.compile(r"[\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef\U00020000-\U000323af]")
_END = re.compile(f"[\n{re.escape(WIDE_ENDS)}]|[{re.escape(NARROW_ENDS)}]+")
_TAIL = re.compile(f"[{re.escape(WIDE_ENDS + NARROW_ENDS + CLOSERS)}]*")
_LAST_WORD = re.compile(r"[^\W\d_]+(?:\.[^\W\d_]+)*$")
_BARE_NUMBER = re.compile(r"\s*\d{1,3}$")


class SentenceSplitter:
    """Push text in, get whole sentences out, stripped, none of them blank.

    A sentence of more than `max_chars` is cut at a clause mark, else at a space, else between two letters of a script
    that writes no spaces; inside a word only when that word alone is longer. Ends before `min_chars` are passed over,
    for engines that speak very short texts badly.
    """

    def __init__(self, max_chars: int = 300, min_chars: int = 1) -> None:
        if not 1 <= min_chars <= max_chars:
            raise ValueError(f"min_chars must be 1 to max_chars, got {min_chars} and {max_chars}")
        self._max_chars = max_chars
        self._min_chars = min_chars
        self._text = ""

    def push(self, delta: str) -> list[str]:
        """The sentences that became certain with `delta`."""
        self._text += delta
        return self._take(final=False)

    def flush(self) -> list[str]:
        """What is left, at the end of the text; the splitter is empty afterwards."""
        rest = self._take(final=True)
        if last := self._text.strip():
            rest.append(last)
        self._text = ""
        return rest

    def _take(self, *, final: bool) -> list[str]:
        sentences, start = [], 0
        while (end := self._cut(start, final=final)) is not None:
            if sentence := self._text[start:end].strip():
                sentences.append(sentence)
            start = end
        self._text = self._text[start:].lstrip()
        return sentences

    def _cut(self, start: int, *, final: bool) -> int | None:
        """Where the sentence from `start` ends, or None: not known yet, or (`final`) with the text."""
        while start < len(self._text) and self._text[start].isspace():
            start += 1
        limit = start + self._max_chars
        for match in _END.finditer(self._text, start, min(limit, len(self._text))):
            end = _tail_end(self._text, match.end())
            if end >= len(self._text) and not final:
                return None
            if len(self._text[start:end].strip()) < self._min_chars:
                continue
            verdict = _is_end(self._text, start, match, end)
            if verdict is None and not final:
                return None
            if verdict is not False:
                return end
        return _forced_cut(self._text, start, limit) if len(self._text) > limit else None


def split_sentences(text: str, max_chars: int = 300, min_chars: int = 1) -> list[str]:
    """The sentences of a whole text; see SentenceSplitter."""
    splitter = SentenceSplitter(max_chars, min_chars)
    return splitter.push(text) + splitter.flush()


def _tail_end(text: str, position: int) -> int:
    """After the closing quotes, brackets and further marks that belong to an end."""
    if text[position - 1] == "\n":
        return position
    match = _TAIL.match(text, position)
    return match.end() if match else position


def _is_end(text: str, start: int, match: re.Match[str], end: int) -> bool | None:
    """Whether the mark at `match` ends a sentence; None when only what is still to come can tell."""
    mark = match.group()
    if mark == "\n" or mark in WIDE_ENDS or any(character in WIDE_ENDS for character in text[match.end() : end]):
        return True
    if end < len(text) and not text[end].isspace():
        return _WIDE_LETTER.match(text, end) is not None
    following = _next_visible(text, end)
    if following == "\n":
        return True
    if following is None:
        return None
    if following.islower():
        return False
    return mark != "." or not _is_abbreviation(text[start : match.start()], following)


def _next_visible(text: str, position: int) -> str | None:
    """The next character that is no space, where a line's end counts as visible."""
    while position < len(text):
        if text[position] == "\n" or not text[position].isspace():
            return text[position]
        position += 1
    return None


def _is_abbreviation(before: str, following: str) -> bool:
    """Whether the period after `before`, with `following` after it, belongs to the last word and not to the sentence."""
    if _BARE_NUMBER.fullmatch(before):
        return True  # "1. Take …": the number of an item
    word = _LAST_WORD.search(before)
    if word is None:
        return False
    name = word.group().lower()
    if name in _BEFORE_A_NUMBER and following.isdigit():
        return True
    initial = len(name) == 1 and word.group().isupper() and name != "i"
    return initial or _NEVER_LAST.fullmatch(name) is not None


def _forced_cut(text: str, start: int, limit: int) -> int:
    """A cut at `limit` or before it, at the best place in the second half of the span."""
    earliest = start + (limit - start) // 2
    for position in range(limit, earliest, -1):
        if text[position - 1] in CLAUSE_MARKS and not text[position].isdigit():
            return position
    for position in range(limit, start, -1):
        if text[position].isspace() or text[position - 1].isspace():
            return position
        if _WIDE_LETTER.match(text, position) and _WIDE_LETTER.match(text, position - 1):
            return position
    return limit
