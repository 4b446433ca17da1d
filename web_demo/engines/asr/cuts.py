"""Recordings that are longer than an engine takes: cut at silences where there are some, and their texts joined."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

import numpy as np

from web_demo.audio.samples import SPEECH_RATE, Samples
from web_demo.audio.vad import speech_spans

PAD_S = 0.4  # of silence kept round speech: recognisers lose words at hard edges
MAX_GAP_S = 3.0  # stretches of speech farther apart than this do not share a piece
_WINDOW = SPEECH_RATE // 10  # a cut inside speech goes into the quietest tenth of a second …
_SEARCH = 1 / 3  # … of the last third of a piece

Span = tuple[int, int]  # start and end in samples


def cuts(samples: Samples, max_s: float) -> Iterator[Span]:
    """Pieces with speech of a 16 kHz recording, each at most `max_s` long, in order, disjoint. Lazy.

    A recording that fits is one piece, untouched; one without speech has none.
    """
    limit = int(max_s * SPEECH_RATE)
    spans = speech_spans(samples, pad_s=PAD_S)
    if len(samples) <= limit:
        if next(spans, None) is not None:
            yield 0, len(samples)
        return
    yield from join((part for span in spans for part in split(samples, span, limit)), limit)


def split(samples: Samples, span: Span, limit: int) -> Iterator[Span]:
    """Speech without a pause that is longer than `limit`, cut where it is quietest."""
    start, end = span
    while end - start > limit:
        begin = start + round(limit * (1 - _SEARCH))
        windows = samples[begin : begin + (start + limit - begin) // _WINDOW * _WINDOW].reshape(-1, _WINDOW)
        quietest = int(np.argmin(np.square(windows).sum(axis=1))) if len(windows) else 0
        cut = min(begin + quietest * _WINDOW + _WINDOW // 2, start + limit)
        yield start, cut
        start = cut
    yield start, end


def join(spans: Iterator[Span], limit: int) -> Iterator[Span]:
    """Neighbours put together while they fit."""
    current: Span | None = None
    for start, end in spans:
        if current and end - current[0] <= limit and start - current[1] <= MAX_GAP_S * SPEECH_RATE:
            current = (current[0], end)
            continue
        if current:
            yield current
        current = (start, end)
    if current:
        yield current


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
