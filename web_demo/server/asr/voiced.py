"""When somebody speaks in what an engine wrote down without times of its words. Pure, but for the voice-activity model."""

from __future__ import annotations

import dataclasses

from web_demo.audio.samples import SPEECH_RATE, Samples
from web_demo.audio.vad import VadRules, speech_spans
from web_demo.engines.base import Segment, Transcript

PAUSES = VadRules(min_silence_s=0.3)  # as short as people hear them
PAD_S = 0.1
NEAR_S = 0.5  # a segment's own edge stays where the voice begins, or ends, within this of it

Spans = tuple[tuple[float, float], ...]


def with_voice(transcript: Transcript, samples: Samples) -> Transcript:
    """Segments without words get `voiced`; a text without segments becomes one. `samples` are at SPEECH_RATE, from the
    time 0 of the segments on."""
    segments = transcript.segments
    if not segments and transcript.text:
        segments = (Segment(transcript.text, 0.0, round(len(samples) / SPEECH_RATE, 3)),)
    if not all(segment.words for segment in segments):
        spans = tuple((a / SPEECH_RATE, b / SPEECH_RATE) for a, b in speech_spans(samples, PAUSES, PAD_S))
        segments = tuple(
            segment if segment.words else dataclasses.replace(segment, voiced=_within(spans, segment))
            for segment in segments
        )
    return dataclasses.replace(transcript, segments=segments)


def _within(spans: Spans, segment: Segment) -> Spans:
    clipped = [(max(start, segment.start_s), min(end, segment.end_s)) for start, end in spans]
    clipped = [(start, end) for start, end in clipped if start < end]
    if clipped and clipped[0][0] - segment.start_s < NEAR_S:
        clipped[0] = (segment.start_s, clipped[0][1])
    if clipped and segment.end_s - clipped[-1][1] < NEAR_S:
        clipped[-1] = (clipped[-1][0], segment.end_s)
    return tuple(clipped)
