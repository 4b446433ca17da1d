"""Recordings that are longer than an engine takes: cut at silences where there are some, and their texts joined."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from web_demo.audio.recording import Recording
from web_demo.audio.samples import SPEECH_RATE, Samples
from web_demo.audio.vad import SpanFinder, has_speech

PAD_S = 0.4  # of silence kept round speech: recognisers lose words at hard edges
MAX_GAP_S = 3.0  # stretches of speech farther apart than this do not share a piece
_WINDOW = SPEECH_RATE // 10  # a cut inside speech goes into the quietest tenth of a second …
_SEARCH = 1 / 3  # … of the last third of a piece

_BLOCK = 10 * SPEECH_RATE  # what is looked at in one go of a whole recording
_LATE_S = 1.0  # speech is noticed less than this after its padded beginning

Span = tuple[int, int]  # start and end in samples


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a recording that an engine takes at once; `start` is the place of its first sample in the recording."""

    start: int
    samples: Samples


class Cutter:
    """A 16 kHz recording, block by block, to pieces with speech, each at most `max_s` long, in order, disjoint.

    A recording that fits is one piece, untouched; one without speech has none. Nothing is looked at before it is known whether the
    recording fits: then one word in it is enough to know. Keeps no more than a piece and what was not looked at yet, however long
    the recording is.
    """

    def __init__(self, max_s: float) -> None:
        self._limit = int(max_s * SPEECH_RATE)
        self._finder = SpanFinder(pad_s=PAD_S)
        self._kept = Recording()
        self._cut_at = 0  # where unbroken speech was cut last
        self._joined: Span | None = None  # neighbours, while they fit
        self._ready: list[Piece] = []

    def feed(self, samples: Samples) -> list[Piece]:
        self._kept.append(samples)
        if not self._finder.fed:
            if len(self._kept) <= self._limit:  # it may yet stay whole
                return []
            samples = self._kept.samples()
        for span in self._finder.feed(samples):
            self._speech(*span)
        begun = self._open()
        if begun is not None:
            while self._finder.fed - begun > self._limit:
                begun = self._cut(begun)
        next_start = self._finder.fed - round(_LATE_S * SPEECH_RATE) if begun is None else begun
        if self._joined is not None and (
            next_start - self._joined[1] > MAX_GAP_S * SPEECH_RATE
            or (begun is not None and self._finder.fed - self._joined[0] > self._limit)
        ):
            self._give(self._joined)
            self._joined = None
        needed = next_start if self._joined is None else self._joined[0]
        self._kept.keep_last(self._finder.fed - max(needed, 0))
        return self._taken()

    def end(self) -> list[Piece]:
        """The recording has ended: what is left of it."""
        if not self._finder.fed:
            whole = self._kept.samples()
            return [Piece(0, whole)] if has_speech(whole) else []
        for span in self._finder.end():
            self._speech(*span)
        if self._joined is not None:
            self._give(self._joined)
            self._joined = None
        return self._taken()

    def _open(self) -> int | None:
        """Where the speech that goes on now began, or was cut."""
        return None if self._finder.begun is None else max(self._finder.begun, self._cut_at)

    def _speech(self, start: int, end: int) -> None:
        start = max(start, self._cut_at)
        while end - start > self._limit:
            start = self._cut(start)
        self._join(start, end)

    def _cut(self, start: int) -> int:
        """Speech without a pause that is longer than a piece, cut where it is quietest; where it goes on."""
        begin = start + round(self._limit * (1 - _SEARCH))
        searched = self._span(begin, start + self._limit)
        windows = searched[: len(searched) // _WINDOW * _WINDOW].reshape(-1, _WINDOW)
        quietest = int(np.argmin(np.square(windows).sum(axis=1))) if len(windows) else 0
        self._cut_at = min(begin + quietest * _WINDOW + _WINDOW // 2, start + self._limit)
        self._join(start, self._cut_at)
        return self._cut_at

    def _join(self, start: int, end: int) -> None:
        joined = self._joined
        if joined and end - joined[0] <= self._limit and start - joined[1] <= MAX_GAP_S * SPEECH_RATE:
            self._joined = (joined[0], end)
            return
        if joined:
            self._give(joined)
        self._joined = (start, end)

    def _give(self, span: Span) -> None:
        self._ready.append(Piece(span[0], self._span(*span)))

    def _taken(self) -> list[Piece]:
        ready, self._ready = self._ready, []
        return ready

    def _span(self, start: int, end: int) -> Samples:
        return self._kept.samples()[start - self._kept.start : end - self._kept.start]


def cuts(samples: Samples, max_s: float) -> Iterator[Span]:
    """Where a Cutter cuts a whole recording. Lazy."""
    cutter = Cutter(max_s)
    for at in range(0, len(samples), _BLOCK):
        for piece in cutter.feed(samples[at : at + _BLOCK]):
            yield piece.start, piece.start + len(piece.samples)
    for piece in cutter.end():
        yield piece.start, piece.start + len(piece.samples)


def join_texts(texts: Iterable[str]) -> str:
    """Texts of one recording in a row: a space between them, except where Chinese or Japanese writing meets."""
    joined = ""
    for text in (text.strip() for text in texts):
        if joined and text and not (_wide(joined[-1]) and _wide(text[0])):
            joined += " "
        joined += text
    return joined


def _wide(character: str) -> bool:
    hangul = "\uac00" <= character <= "\ud7a3"  # wide, but written with spaces
    return unicodedata.east_asian_width(character) in "WF" and not hangul
