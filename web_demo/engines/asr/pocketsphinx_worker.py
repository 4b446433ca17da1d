"""What runs inside a worker process of the embedded recogniser: pocketsphinx with the US English model of its wheel.

The settings are narrower than the library's defaults, which take more than twice the time, and were chosen on the human
recordings under tests/data/speech; on so few words, the word errors of neighbouring settings differ by no more than chance.
Nothing of one request may change the next:
features are normalised over the whole utterance (`cmn=batch`), and a moment of silence goes before each, since the
acoustic scorer starts from the mixtures that the last frame of the utterance before preferred.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from web_demo.audio.samples import SPEECH_RATE, Samples, to_int16
from web_demo.audio.vad import speech_spans
from web_demo.engines.base import Segment, Word

log = logging.getLogger(__name__)

DECODING = {
    "beam": 1e-50,
    "wbeam": 1e-30,
    "maxhmmpf": 2000,
    "maxwpf": 8,
    "fwdflat": False,
    "bestpath": False,
    "cmn": "batch",
}
FRAME_S = 0.01
PAD_S = 0.5  # silence kept around speech: with less than 0.3 s the recogniser loses words at the edges
HYPOTHESES = 200  # how far down the list of alternatives a hotword may lift one
SETTLING = bytes(
    2 * SPEECH_RATE * 7 // 10
)  # silence, decoded before each utterance: after 0.1 s of it, words still moved by 60 ms
IMPOSSIBLE = -500_000_000  # log probability of a word that the language model does not have

_VARIANT = re.compile(r"\(\d+\)$")  # "and(2)": the second pronunciation of "and"
_MAIN = "_default"


@dataclass(frozen=True, eq=False)
class DecodeTask:
    samples: Samples  # [n] at SPEECH_RATE
    hotwords: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decoded:
    segments: tuple[Segment, ...]
    ignored_hotwords: tuple[str, ...]


def build() -> Callable[[DecodeTask], Decoded]:
    recogniser = Recogniser()
    recogniser(DecodeTask(np.zeros(SPEECH_RATE // 2, np.float32)))  # the first use loads the voice-activity model
    return recogniser


class Recogniser:
    def __init__(self) -> None:
        import pocketsphinx  # here, since not every machine has it

        self._decoder = pocketsphinx.Decoder(loglevel="FATAL", samprate=float(SPEECH_RATE), **DECODING)
        self._language_model = self._decoder.get_lm(_MAIN)

    def __call__(self, task: DecodeTask) -> Decoded:
        """One segment for each stretch of speech; none for silence, where pocketsphinx alone would hear words."""
        known = [word for word in task.hotwords if self._knows(word)]
        spans = speech_spans(task.samples, pad_s=PAD_S)
        segments = [self._segment(task.samples[start:end], start, known) for start, end in spans]
        return Decoded(
            tuple(segment for segment in segments if segment.text),
            tuple(word for word in task.hotwords if word not in known),
        )

    def _knows(self, phrase: str) -> bool:
        words = phrase.lower().split()
        return bool(words) and all(
            self._decoder.lookup_word(word) is not None and self._language_model.prob([word]) > IMPOSSIBLE
            for word in words
        )

    def _segment(self, samples: Samples, offset: int, hotwords: Sequence[str]) -> Segment:
        pcm = to_int16(samples).tobytes()
        self._decode(pcm)
        if hotwords:
            self._favour(pcm, hotwords)
        start_s = offset / SPEECH_RATE
        words = tuple(
            Word(
                text, round(start_s + part.start_frame * FRAME_S, 2), round(start_s + (part.end_frame + 1) * FRAME_S, 2)
            )
            for part in self._decoder.seg() or ()
            if (text := _spoken(part.word))
        )
        self._decoder.activate_search(_MAIN)
        text = " ".join(word.text for word in words)
        return Segment(text, round(start_s, 3), round(start_s + len(samples) / SPEECH_RATE, 3), words)

    def _decode(self, pcm: bytes) -> None:
        for utterance in (SETTLING, pcm):
            self._decoder.start_utt()
            self._decoder.process_raw(utterance, full_utt=True)
            self._decoder.end_utt()

    def _favour(self, pcm: bytes, hotwords: Sequence[str]) -> None:
        """Among the likely hypotheses take the first that has the most hotwords, and align it to get its word times."""
        best = self._decoder.hyp()
        if best is None:
            return
        others = (other.hypstr for other in itertools.islice(self._decoder.nbest() or (), HYPOTHESES) if other)
        chosen = max((best.hypstr, *others), key=lambda text: _hits(text, hotwords))
        if chosen != best.hypstr:
            self._decoder.set_align_text(chosen)
            self._decode(pcm)


def _hits(text: str, phrases: Sequence[str]) -> int:
    padded = f" {text} "
    return sum(padded.count(f" {phrase.lower()} ") for phrase in phrases)


def _spoken(word: str) -> str:
    """The word without its pronunciation mark; "" for the model's own signs such as <sil> and [NOISE]."""
    return "" if word[0] in "<[+" else _VARIANT.sub("", word)
