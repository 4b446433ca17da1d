"""Voice activity: the silero model (https://github.com/snakers4/silero-vad, MIT) through onnxruntime, and the rules that
turn its probabilities into "speech began" and "speech ended".

The model is loaded once and shared; what differs between streams is a small state that each stream owns. Running it
releases the GIL. The rules know no model and no clock: they count frames.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime

from web_demo.audio.samples import SPEECH_RATE, Samples
from web_demo.errors import SetupError

FRAME_SAMPLES = 512  # 32 ms at 16 kHz: the only frame that the model takes at this rate
CONTEXT_SAMPLES = 64  # the end of the previous frame, put in front of each
FRAME_S = FRAME_SAMPLES / SPEECH_RATE
PADDING_S = 0.3  # of sound that a live utterance keeps from before its first word
BLOCK_SAMPLES = 10 * SPEECH_RATE  # what is looked at in one go of a whole recording
GLANCE_SAMPLES = 8 * FRAME_SAMPLES  # … and where the first speech is all that is asked for
WARM_UP_FRAMES = 16  # of silence, before the first frame of a stream


@functools.cache
def _session() -> onnxruntime.InferenceSession:
    package = importlib.util.find_spec("silero_vad")  # only its file is used: importing the package would need torch
    if package is None or package.origin is None:
        raise SetupError(
            "voice activity needs the package silero-vad: pip install --no-deps -r requirements-nodeps.txt"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # a frame is 0.1 ms of work: threads only cost
    options.log_severity_level = 3
    path = Path(package.origin).parent / "data" / "silero_vad.onnx"
    return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])


@functools.cache
def _warm_state() -> npt.NDArray[np.float32]:
    """The model's state [2, 1, 128] after half a second of silence. From zeros, it takes its first frames for no speech, and a
    stream that begins in the middle of a word, or holds a single short one, would have none."""
    state, silent = np.zeros((2, 1, 128), np.float32), np.zeros((1, CONTEXT_SAMPLES + FRAME_SAMPLES), np.float32)
    for _ in range(WARM_UP_FRAMES):
        _, state = _session().run(None, {"input": silent, "state": state, "sr": np.array(SPEECH_RATE, np.int64)})
    state.flags.writeable = False
    return state


class VoiceModel(Protocol):
    """Speech probability (0..1) of each frame of FRAME_SAMPLES that became whole, of one 16 kHz stream."""

    def feed(self, samples: Samples) -> list[float]: ...


class VoiceDetector:
    """Speech probability of each 32 ms frame of one 16 kHz stream. Samples that do not fill a frame wait for more."""

    def __init__(self) -> None:
        self._session = _session()
        self._rate = np.array(SPEECH_RATE, np.int64)
        self.reset()

    def reset(self) -> None:
        self._state = _warm_state()
        self._context = np.zeros(CONTEXT_SAMPLES, np.float32)
        self._rest = np.zeros(0, np.float32)

    def feed(self, samples: Samples) -> list[float]:
        """One probability (0..1) for each frame that became whole."""
        pending = np.concatenate((self._rest, samples)) if len(self._rest) else samples
        whole = len(pending) // FRAME_SAMPLES * FRAME_SAMPLES
        probabilities = []
        for start in range(0, whole, FRAME_SAMPLES):
            frame = pending[start : start + FRAME_SAMPLES]
            window = np.concatenate((self._context, frame))[None]  # [1, 576]
            output, self._state = self._session.run(None, {"input": window, "state": self._state, "sr": self._rate})
            self._context = frame[-CONTEXT_SAMPLES:]
            probabilities.append(float(output[0, 0]))
        self._rest = pending[whole:].copy()
        return probabilities


@dataclass(frozen=True)
class VadRules:
    """When a stream of probabilities counts as speech. Times in seconds."""

    threshold: float = 0.5  # a frame at or above it is speech; one below `threshold - 0.15` is silence
    min_speech_s: float = 0.096  # this much speech in a row begins an utterance: not a click
    min_silence_s: float = 0.6  # this much silence in a row ends it, unless `wait` said otherwise
    pause_s: float = 0.0  # this much silence in a row is noticed, once; 0: it is not

    @property
    def release(self) -> float:
        return max(self.threshold - 0.15, 0.01)


class Edge(Enum):
    BEGAN = "began"
    PAUSED = "paused"
    ENDED = "ended"


class Endpointer:
    """Pure: probabilities of frames in, edges out. `frames` counts all frames fed; the last edge came with what began, paused or
    ended after frame `changed_at`."""

    def __init__(self, rules: VadRules | None = None) -> None:
        self.rules = rules or VadRules()
        self.frames = self.changed_at = 0
        self.forget()

    def forget(self) -> None:
        """From here on nobody speaks, until speech is noticed anew."""
        self.speaking = False
        self._restart()

    def _restart(self) -> None:
        self._run = 0  # frames in a row that speak for a change of `speaking`
        self._paused = False  # this silence was noticed
        self._silence_s: float | None = None  # what `wait` asked for

    @property
    def noticing(self) -> bool:
        """The last frames are a voice, and too few to begin anything."""
        return not self.speaking and self._run > 0

    def wait(self, silence_s: float) -> None:
        """The silence under way, which brought Edge.PAUSED, ends the speech when it has lasted so long."""
        self._silence_s = silence_s

    def feed(self, probability: float) -> Edge | None:
        self.frames += 1
        rules = self.rules
        if (probability < rules.release) if self.speaking else (probability >= rules.threshold):
            self._run += 1
        else:
            self._restart()
        if self._lasts(rules.min_speech_s if not self.speaking else self._needed_silence_s):
            self.speaking, self.changed_at = not self.speaking, self.frames - self._run
            self._restart()
            return Edge.BEGAN if self.speaking else Edge.ENDED
        if self.speaking and rules.pause_s and not self._paused and self._lasts(rules.pause_s):
            self._paused, self.changed_at = True, self.frames - self._run
            return Edge.PAUSED
        return None

    @property
    def _needed_silence_s(self) -> float:
        return self.rules.min_silence_s if self._silence_s is None else self._silence_s

    def _lasts(self, seconds: float) -> bool:
        return self._run > 0 and self._run * FRAME_S >= seconds - 1e-9


@dataclass(frozen=True, eq=False)
class Stretch:
    """A part of a stream, float32 [n] at SPEECH_RATE, of a frame at most. `edge` is what was noticed at its end, if anything:
    what began, paused or ended at sample `at` of the stream, which is a little earlier."""

    samples: Samples
    edge: Edge | None = None
    at: int = 0


class TurnDetector:
    """Listens along on one 16 kHz stream: when speech begins, pauses and ends in it. Counts samples, knows no clock."""

    def __init__(self, rules: VadRules | None = None, model: VoiceModel | None = None) -> None:
        self.rules = rules or VadRules()
        self._model = model or VoiceDetector()
        self._ends = Endpointer(self.rules)
        self._fed = 0  # samples

    @property
    def speaking(self) -> bool:
        return self._ends.speaking

    @property
    def noticing(self) -> bool:
        """A voice may be beginning at this moment."""
        return self._ends.noticing

    def pre_roll(self, padding_s: float) -> int:
        """Samples before the end of the stretch that brings Edge.BEGAN which belong to the utterance: what it took to notice the
        speech, and `padding_s` before it."""
        return math.ceil((padding_s + self.rules.min_speech_s + FRAME_S) * SPEECH_RATE)

    def forget(self) -> None:
        """Whatever is being said counts as something new from here on, and will be noticed again."""
        self._ends.forget()

    def wait(self, silence_s: float) -> None:
        """After Edge.PAUSED: that silence ends the speech when it has lasted so long, and not after `min_silence_s`."""
        self._ends.wait(silence_s)

    def probabilities(self, samples: Samples) -> list[float]:
        """The model's work on the stream's next samples: all that takes time. `stretches` wants them all, in order."""
        return self._model.feed(samples)

    def stretches(self, samples: Samples, probabilities: Iterable[float]) -> Iterator[Stretch]:
        """`samples` cut at the ends of frames. Lazy: what `forget` does between two of them holds for the later one."""
        start, first = 0, self._fed
        self._fed += len(samples)
        for probability in probabilities:
            edge = self._ends.feed(probability)
            end = self._ends.frames * FRAME_SAMPLES - first
            yield Stretch(samples[start:end], edge, self._ends.changed_at * FRAME_SAMPLES)
            start = end
        if start < len(samples):
            yield Stretch(samples[start:])

    def feed(self, samples: Samples) -> Iterator[Stretch]:
        """Both at once, for whoever may take the time."""
        return self.stretches(samples, self.probabilities(samples))


class SpanFinder:
    """Where speech is in a 16 kHz stream, as (start, end) sample positions, padded by `pad_s`, in order, disjoint.

    `begun` is the start of speech that has not ended yet.
    """

    def __init__(self, rules: VadRules | None = None, pad_s: float = 0.15) -> None:
        self._detector = TurnDetector(rules)
        self._pad = round(pad_s * SPEECH_RATE)
        self._previous_end = 0
        self.fed = 0  # samples
        self.begun: int | None = None

    def feed(self, samples: Samples) -> list[tuple[int, int]]:
        """Speech whose end was noticed in `samples`, or before."""
        self.fed += len(samples)
        return self._found(samples)

    def end(self) -> list[tuple[int, int]]:
        """The stream has ended: so has the speech in it."""
        spans = self._found(np.zeros(-self.fed % FRAME_SAMPLES, np.float32))
        if self.begun is not None:
            spans.append((self.begun, self.fed))
            self.begun = None
        return spans

    def _found(self, samples: Samples) -> list[tuple[int, int]]:
        spans = []
        for stretch in self._detector.feed(samples):
            if stretch.edge is Edge.BEGAN:
                self.begun = max(stretch.at - self._pad, self._previous_end)
            elif stretch.edge is Edge.ENDED and self.begun is not None:
                self._previous_end = min(stretch.at + self._pad, self.fed)
                spans.append((self.begun, self._previous_end))
                self.begun = None
        return spans


def speech_spans(samples: Samples, rules: VadRules | None = None, pad_s: float = 0.15) -> Iterator[tuple[int, int]]:
    """What a SpanFinder finds in a whole 16 kHz recording.

    Lazy: a span comes out when the speech after it is still to be looked at.
    """
    finder = SpanFinder(rules, pad_s)
    for at in range(0, len(samples), BLOCK_SAMPLES):
        yield from finder.feed(samples[at : at + BLOCK_SAMPLES])
    yield from finder.end()


def has_speech(samples: Samples) -> bool:
    """Whether anything of a whole 16 kHz recording is speech. Looks no further than needed."""
    finder = SpanFinder()
    for at in range(0, len(samples), GLANCE_SAMPLES):
        if finder.feed(samples[at : at + GLANCE_SAMPLES]) or finder.begun is not None:
            return True
    return bool(finder.end())
