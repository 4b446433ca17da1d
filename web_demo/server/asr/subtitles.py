"""A transcript as subtitles that a person can read: cues of one or two lines, 1 to 7 seconds each. Pure.

Lengths and times are those of Netflix's timed text style guides (42 characters a line, 16 in Chinese and Japanese writing). Where
to cut is one search for the cheapest cuts of a stretch, as TeX breaks paragraphs into lines: at ends of sentences and pauses for
nothing, at commas for little, between other words for more.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from utils.sentences import CLAUSE_MARKS, CLOSERS, split_sentences
from web_demo.engines.asr.cuts import join_texts
from web_demo.engines.base import Segment, Transcript

MAX_LINES = 2
LINE_CHARS = 42
WIDE_LINE_CHARS = 16  # where a line has Chinese, Japanese or Korean writing
SPARE_CHARS = 4  # marks that close a sentence may be put to a part that is full
MIN_S = 1.0
MAX_S = 7.0
PAUSE_S = 0.5  # of silence: a good place for a cut
NEAR_PAUSE_S = 1.5  # the end of a sentence that is guessed to be so near to a pause is there
LONG_PAUSE_S = 2.0  # no cue goes over it

_CUT_COST = {"sentence": 0.0, "pause": 0.0, "clause": 0.6, "word": 2.0}
_INSIDE_COST = {"sentence": 2.0, "pause": 2.0, "clause": 0.0, "word": 0.0}
_CUE_COST = 1.0
_EMPTY_COST = 0.8  # of a cue without text, less by the square of how full it is: so that words are shared out evenly
_SHORT_COST = 6.0  # of a cue that would be shown for no time at all, less in proportion up to MIN_S

_WIDE = r"\u2e80-\u303f\u3041-\u30ff\u3400-\u9fff\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef\U00020000-\U000323af"
_IS_WIDE = re.compile(f"[{_WIDE}]")
_NO_LINE_BEGINS = re.compile(
    rf"[{re.escape(CLOSERS)}.,!?;:%…，。、！？；：）ーぁぃぅぇぉっゃゅょァィゥェォッャュョ々\u0300-\u036f\u0e31\u0e34-\u0e3a\u0e47-\u0e4e]"
)
_NO_LINE_ENDS = "“‘「『《〈【（([{«¿¡"
_TOKEN = re.compile(rf"[^\s{_WIDE}]+|[{_WIDE}]")


@dataclass(frozen=True)
class Cue:
    start_s: float
    end_s: float
    lines: tuple[str, ...]


@dataclass(frozen=True)
class _Token:
    """What no cut goes through: a word with its marks, or a character of a script without spaces."""

    text: str
    spaced: bool  # a space stands before it
    start_s: float
    end_s: float
    ends: str = "word"  # what ends after it: a key of _CUT_COST


def cues(transcript: Transcript) -> list[Cue]:
    """In order, without overlaps. Words that have no times of their own share the time in which their segment has a voice
    (`Segment.voiced`), or all of it, by their lengths."""
    found: list[Cue] = []
    for stretch in _stretches(_in_order(_tokens(transcript.segments))):
        found += (_cue(part) for part in _best_cuts(stretch))
    return _readable(found)


# --- words and their times ---


def _tokens(segments: Iterable[Segment]) -> Iterator[_Token]:
    before = ""
    for segment in segments:
        text = " ".join(segment.text.split())
        spans = _glued(text, _words(text))
        ends = _ends(text, spans)
        times = _times(segment, text, spans, ends)
        for (start, end), (start_s, end_s), kind in zip(spans, times, ends, strict=True):
            spaced = text[start - 1] == " " if start else " " in join_texts((before, text[0]))
            yield _Token(text[start:end], spaced, start_s, end_s, kind)
        before = text[-1:] or before


def _words(text: str) -> Iterator[tuple[int, int]]:
    """Spans of words and of characters of scripts without spaces; one that fits no line is cut."""
    for match in _TOKEN.finditer(text):
        start = match.start()
        whole = match.end() - start <= LINE_CHARS
        for part in (match.group(),) if whole else split_sentences(match.group(), LINE_CHARS - SPARE_CHARS):
            yield start, start + len(part)
            start += len(part)


def _glued(text: str, spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """With marks that cannot begin a line put to the token before them, and those that cannot end one to the next."""
    glued: list[tuple[int, int]] = []
    for start, end in spans:
        joins = (
            glued and glued[-1][1] == start and (_NO_LINE_BEGINS.match(text, start) or text[start - 1] in _NO_LINE_ENDS)
        )
        if joins and end - glued[-1][0] <= _limit(text[glued[-1][0] : end]):
            glued[-1] = (glued[-1][0], end)
        else:
            glued.append((start, end))
    return glued


def _ends(text: str, spans: Sequence[tuple[int, int]]) -> list[str]:
    """What ends after each token, by the sentences that a voice would make of the text too."""
    last, position = set(), 0
    for sentence in split_sentences(text, max(len(text), 1)):
        position = text.index(sentence, position) + len(sentence)
        last.add(position)
    return ["sentence" if end in last else "clause" if text[end - 1] in CLAUSE_MARKS else "word" for _, end in spans]


def _times(
    segment: Segment, text: str, spans: Sequence[tuple[int, int]], ends: Sequence[str]
) -> list[tuple[float, float]]:
    if segment.words and (found := _from_words(segment, text, spans)) is not None:
        return found
    voiced = segment.voiced or ((segment.start_s, segment.end_s),)
    voice_s = sum(end - start for start, end in voiced)
    weights = [sum(2 if _IS_WIDE.match(c) else 1 for c in text[start:end]) + 1 for start, end in spans]
    said = [share * voice_s / sum(weights) for share in itertools.accumulate(weights, initial=0)]
    evenly, really = zip((0.0, 0.0), *_anchors(said, ends, voiced), (voice_s, voice_s), strict=True)
    moments = np.interp(said, evenly, really)
    return [(_moment(voiced, start, late=True), _moment(voiced, end)) for start, end in itertools.pairwise(moments)]


def _anchors(
    said: Sequence[float], ends: Sequence[str], voiced: Sequence[tuple[float, float]]
) -> Iterator[tuple[float, float]]:
    """Pauses that are likely to be the ends of sentences or clauses near them: (where the text's lengths put the end, where the
    pause is), both in seconds of voice alone."""
    after = 0.0
    pauses = list(itertools.accumulate(end - start for start, end in voiced))[:-1]
    for (_, end_s), (start_s, _), pause in zip(voiced, voiced[1:], pauses, strict=False):
        near = [
            (abs(moment - pause) + _CUT_COST[kind] / 2, moment)
            for moment, kind in zip(said[1:-1], ends, strict=False)
            if kind != "word" and moment > after and abs(moment - pause) <= NEAR_PAUSE_S
        ]
        if start_s - end_s >= PAUSE_S and near:
            after = min(near)[1]
            yield after, pause


def _moment(voiced: Sequence[tuple[float, float]], voice_s: float, *, late: bool = False) -> float:
    """When so much voice is over; between two stretches, `late` chooses the second one."""
    left = float(voice_s)
    for start, end in voiced:
        length = end - start
        if left < length - 1e-6 or (left <= length + 1e-6 and not late):
            return start + min(max(left, 0.0), length)
        left -= length
    return voiced[-1][1]


def _from_words(segment: Segment, text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[float, float]] | None:
    """Times of the text's spans by those of the words in it; None where the words are not those of the text."""
    places: list[tuple[int, int, float, float]] = []
    position = 0
    for word in segment.words or ():
        written = " ".join(word.text.split())
        at = text.find(written, position)
        if at < 0:
            return None
        position = at + len(written)
        places.append((at, position, word.start_s, word.end_s))
    times, index = [], 0
    for start, end in spans:
        while index + 1 < len(places) and places[index + 1][0] <= start:
            index += 1
        first = last = index
        while last + 1 < len(places) and places[last + 1][0] < end:
            last += 1
        times.append((_within(places[first], start), _within(places[last], end)))
    return times


def _within(place: tuple[int, int, float, float], position: int) -> float:
    start, end, start_s, end_s = place
    share = min(max((position - start) / max(end - start, 1), 0.0), 1.0)
    return start_s + share * (end_s - start_s)


def _in_order(tokens: Iterable[_Token]) -> Iterator[_Token]:
    """Times that never run backwards, whatever an engine says; and the pauses between tokens as places to cut."""
    previous: _Token | None = None
    for token in tokens:
        start_s = max(token.start_s, previous.end_s if previous else 0.0)
        token = _Token(token.text, token.spaced, start_s, max(token.end_s, start_s), token.ends)
        if previous is not None:
            pause = token.start_s - previous.end_s >= PAUSE_S and previous.ends != "sentence"
            yield (
                _Token(previous.text, previous.spaced, previous.start_s, previous.end_s, "pause") if pause else previous
            )
        previous = token
    if previous is not None:
        yield previous


# --- cuts ---


def _stretches(tokens: Iterable[_Token]) -> Iterator[list[_Token]]:
    stretch: list[_Token] = []
    for token in tokens:
        if stretch and token.start_s - stretch[-1].end_s >= LONG_PAUSE_S:
            yield stretch
            stretch = []
        stretch.append(token)
    if stretch:
        yield stretch


class _Room:
    """Whether tokens fit a line, or a cue, in constant time."""

    def __init__(self, tokens: Sequence[_Token]) -> None:
        self._tokens = tokens
        self._chars = [0, *itertools.accumulate(len(token.text) + token.spaced for token in tokens)]
        self._wide = [0, *itertools.accumulate(bool(_IS_WIDE.search(token.text)) for token in tokens)]

    def fill(self, start: int, end: int) -> float:
        """Of one line, 1 for a full one."""
        chars = self._chars[end] - self._chars[start] - self._tokens[start].spaced
        return chars / (WIDE_LINE_CHARS if self._wide[end] > self._wide[start] else LINE_CHARS)

    def last_line(self, end: int) -> int:
        """Where the longest line begins that ends at `end`."""
        start = end - 1
        while start > 0 and self.fill(start - 1, end) <= 1:
            start -= 1
        return start


def _best_cuts(tokens: Sequence[_Token]) -> Iterator[Sequence[_Token]]:
    """The cheapest way to cut a stretch into cues that fit: shortest path over the places between tokens."""
    room = _Room(tokens)
    cost = [0.0] + [float("inf")] * len(tokens)
    came_from = [0] * (len(tokens) + 1)
    for end in range(1, len(tokens) + 1):
        last_line = room.last_line(end)
        until_s = tokens[end].start_s if end < len(tokens) else float("inf")
        after = _CUT_COST[tokens[end - 1].ends] if end < len(tokens) else 0.0
        inside = 0.0
        for start in range(end - 1, -1, -1):
            if start < end - 1:
                inside += _INSIDE_COST[tokens[start].ends]
                if tokens[end - 1].end_s - tokens[start].start_s > MAX_S:
                    break
                if start < last_line and room.fill(start, last_line) > 1:
                    break
            short = max(MIN_S - (until_s - tokens[start].start_s), 0.0) / MIN_S * _SHORT_COST
            empty = _EMPTY_COST * max(1 - room.fill(start, end) / MAX_LINES, 0.0) ** 2
            total = cost[start] + _CUE_COST + inside + short + empty + after
            if total < cost[end]:
                cost[end], came_from[end] = total, start
    cuts = [len(tokens)]
    while cuts[-1]:
        cuts.append(came_from[cuts[-1]])
    for start, end in itertools.pairwise(reversed(cuts)):
        yield tokens[start:end]


def _cue(tokens: Sequence[_Token]) -> Cue:
    return Cue(tokens[0].start_s, tokens[-1].end_s, _lines(tokens))


def _lines(tokens: Sequence[_Token]) -> tuple[str, ...]:
    """One line, or two of like lengths, the second preferably the longer one."""
    whole = _text(tokens)
    if len(whole) <= _limit(whole):
        return (whole,)
    best: tuple[float, tuple[str, str]] | None = None
    for middle in range(1, len(tokens)):
        lines = _text(tokens[:middle]), _text(tokens[middle:])
        if any(len(line) > _limit(line) for line in lines):
            continue
        unevenness = abs(len(lines[0]) - len(lines[1])) + (len(lines[0]) > len(lines[1]))
        found = unevenness + 6 * _CUT_COST[tokens[middle - 1].ends]
        if best is None or found < best[0]:
            best = found, lines
    return best[1] if best else (whole,)


def _text(tokens: Sequence[_Token]) -> str:
    return "".join(" " * token.spaced + token.text for token in tokens).strip()


def _limit(line: str) -> int:
    return WIDE_LINE_CHARS if _IS_WIDE.search(line) else LINE_CHARS


def _readable(found: Iterable[Cue]) -> list[Cue]:
    """Shown for MIN_S to MAX_S each: a short one stays into the pause after it, and where there is none the next one waits."""
    readable: list[Cue] = []
    for cue in found:
        start_s = max(cue.start_s, readable[-1].end_s if readable else 0.0)
        end_s = min(max(cue.end_s, start_s + MIN_S), start_s + MAX_S)
        readable.append(Cue(round(start_s, 3), round(end_s, 3), cue.lines))
    return readable
