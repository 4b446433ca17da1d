"""The human recordings of tests/data/speech, and what can stand in for the model that notices people."""

import functools
import json
from pathlib import Path

import numpy as np

from web_demo.audio.samples import Audio, Samples, from_wav
from web_demo.audio.vad import FRAME_SAMPLES

FOLDER = Path(__file__).parent / "data" / "speech"
TRANSCRIPTS: dict[str, str] = json.loads((FOLDER / "transcripts.json").read_text())


@functools.cache
def recording(name: str) -> Audio:
    return from_wav((FOLDER / f"{name}.wav").read_bytes())


class Loudness:
    """A model of voice activity for which whatever is loud is a voice."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.float32)

    def feed(self, samples: Samples) -> list[float]:
        pending = np.concatenate((self._rest, samples))
        whole = len(pending) // FRAME_SAMPLES * FRAME_SAMPLES
        self._rest = pending[whole:]
        return [float(np.abs(frame).max() > 0.1) for frame in pending[:whole].reshape(-1, FRAME_SAMPLES)]
