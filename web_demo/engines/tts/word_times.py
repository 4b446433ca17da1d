"""When each word of a spoken text is said: from the marks of its voice, or from what a recogniser heard of it. Pure."""

from __future__ import annotations

import bisect
import difflib
import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from web_demo.detokenizer.backend import Mark
from web_demo.engines.base import Word
from web_demo.text.scripts import Script, script_of

_RUN = re.compile(r"\S+")
_WITHOUT_SPACES = (Script.HAN, Script.KANA)


@dataclass(frozen=True)
class SpokenWord:
    """`text` from `position` of what was spoken on; `estimated`: its start lies between those that are known."""

    text: str
    position: int
    start_s: float
    end_s: float
    estimated: bool = False


def spoken_words(text: str, marks: Sequence[Mark], seconds: float, *, begins_s: float = 0.0) -> tuple[SpokenWord, ...]:
    """The words of `text`, a Han or Kana character each or what stands between spaces, without the marks around them. Their speech
    lies between `begins_s` and `seconds`; a word ends where the next one starts. A word with no mark in it is placed by its
    letters."""
    words = _words(text)
    if not words:
        return ()
    known: dict[int, float] = {}
    for mark in sorted(marks, key=lambda mark: mark.position):
        index = bisect.bisect_right(words, mark.position, key=lambda word: word[0]) - 1
        if index >= 0 and mark.position < words[index][0] + len(words[index][1]):
            known.setdefault(index, mark.start_s)
    starts = _filled([len(word) for _, word in words], _rising(known, seconds), begins_s, seconds)
    ends = [*starts[1:], seconds]
    return tuple(
        SpokenWord(word, position, round(start, 3), round(end, 3), index not in known)
        for index, ((position, word), start, end) in enumerate(zip(words, starts, ends, strict=True))
    )


def marks_of(text: str, heard: Sequence[Word]) -> tuple[Mark, ...]:
    """Where in `text` the words that a recogniser heard begin, as far as their letters agree."""
    letters, positions = _letters(text)
    heard_letters, starts = "", dict[int, float]()
    for word in heard:
        starts.setdefault(len(heard_letters), word.start_s)
        heard_letters += _letters(word.text)[0]
    blocks = difflib.SequenceMatcher(None, letters, heard_letters, autojunk=False).get_matching_blocks()
    return tuple(
        Mark(positions[block.a + offset], starts[block.b + offset])
        for block in blocks
        for offset in range(block.size)
        if block.b + offset in starts and _is_start(text, positions[block.a + offset])
    )


def _is_start(text: str, position: int) -> bool:
    """Whether a word of `text` begins there: the middle of one tells nothing about its start."""
    return any(at == position for at, _ in _words(text))


def _letters(text: str) -> tuple[str, list[int]]:
    """The letters and digits of `text` in lower case, and where each stands in it."""
    found = [
        (lower, position)
        for position, character in enumerate(text)
        if unicodedata.category(character)[0] in "LN"
        for lower in character.casefold()
    ]
    return "".join(letter for letter, _ in found), [position for _, position in found]


def _words(text: str) -> list[tuple[int, str]]:
    """Each word with its position."""
    found: list[tuple[int, str]] = []
    for run in _RUN.finditer(text):
        start = run.start()
        for position in range(run.start(), run.end()):
            if script_of(text[position]) in _WITHOUT_SPACES:
                found += _stripped(text, start, position)
                found.append((position, text[position]))
                start = position + 1
        found += _stripped(text, start, run.end())
    return found


def _stripped(text: str, start: int, end: int) -> list[tuple[int, str]]:
    """The word between two positions without the punctuation around it; none where there is nothing else."""
    inside = [position for position in range(start, end) if unicodedata.category(text[position])[0] in "LN"]
    return [(inside[0], text[inside[0] : inside[-1] + 1])] if inside else []


def _rising(known: dict[int, float], seconds: float) -> dict[int, float]:
    """Times of words in their order, none before the one before it."""
    last = 0.0
    rising = {}
    for index in sorted(known):
        last = min(max(known[index], last), seconds)
        rising[index] = last
    return rising


def _filled(lengths: Sequence[int], known: dict[int, float], begins_s: float, seconds: float) -> list[float]:
    """A start for every word: those between two known ones share the time by their letters."""
    anchors = sorted(known.items())
    if not anchors or anchors[0][0] != 0:
        first = anchors[0][1] if anchors else seconds
        anchors.insert(0, (0, min(begins_s, first)))
    anchors.append((len(lengths), seconds))
    starts: list[float] = []
    for (index, start), (following, end) in itertools.pairwise(anchors):
        whole = sum(lengths[index:following])
        before = 0
        for length in lengths[index:following]:
            starts.append(start + (end - start) * before / whole)
            before += length
    return starts
