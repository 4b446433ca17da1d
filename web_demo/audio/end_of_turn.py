"""Whether somebody who has fallen silent has finished, by how it sounded: smart-turn v3.2 (https://github.com/pipecat-ai/smart-turn,
BSD-2-Clause) through onnxruntime. It knows 23 languages and hears the last 8 s of a turn.

The model wants Whisper's log-mel spectrogram, which is computed here with numpy (features as in
https://github.com/openai/whisper, with the sound put to zero mean and unit variance first).
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime

from web_demo.audio.samples import SPEECH_RATE, Samples
from web_demo.errors import SetupError

CONTEXT_S = 8.0  # of the end of a turn, that the model hears
CONTEXT_SAMPLES = round(CONTEXT_S * SPEECH_RATE)
MODEL = "smart-turn-v3.2"
FILE = "audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx"  # in the package pipecat
AUTO, NONE = "auto", "none"  # beside the name of a file

WINDOW_SAMPLES = 400
HOP_SAMPLES = 160
MELS = 80


class EndModel(Protocol):
    """How likely (0..1) it is that the speaker has finished, of the sound of a turn up to a short silence: float32 [n] at
    SPEECH_RATE, of which the last CONTEXT_S count. CPU work, for a thread."""

    @property
    def name(self) -> str: ...
    def probability(self, samples: Samples) -> float: ...


class SmartTurn:
    """`probability` releases the GIL most of the time; one core needs 50 to 60 ms for it. Raises SetupError for a file that is
    not this model."""

    name = MODEL

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # many conversations share the cores
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
            self.probability(np.zeros(SPEECH_RATE, np.float32))  # also the first run, which is slow
        except Exception as error:  # onnxruntime has no common error of its own
            raise SetupError(f"{path} is not the model {MODEL}: {error}") from error

    def probability(self, samples: Samples) -> float:
        (output,) = self._session.run(None, {"input_features": log_mel(samples)[None]})  # [1, 80, 800] to [1, 1]
        return float(output[0, 0])


def find(setting: str = AUTO) -> SmartTurn | None:
    """The model of a setting: `auto` is that of the package pipecat-ai where it is installed, `none` is none, anything else a
    file. Raises SetupError for a file that is not there, or is no such model."""
    if setting == NONE:
        return None
    path = installed() if setting == AUTO else Path(setting)
    if path is None:
        return None
    if not path.is_file():
        raise SetupError(f"there is no file {path} with a model for the end of turns")
    return _loaded(path)


@functools.cache
def _loaded(path: Path) -> SmartTurn:
    """It has no state between calls: one for all who ask."""
    return SmartTurn(path)


def installed() -> Path | None:
    """The file in the package, of which nothing is imported: it would want much that is not installed."""
    package = importlib.util.find_spec("pipecat")
    for folder in (package.submodule_search_locations or ()) if package is not None else ():
        if (path := Path(folder) / FILE).is_file():
            return path
    return None


def log_mel(samples: Samples) -> npt.NDArray[np.float32]:
    """[80, 800]: Whisper's log-mel spectrogram of the last CONTEXT_S of float32 [n] at SPEECH_RATE, with zeros in front of less."""
    sound = samples[-CONTEXT_SAMPLES:]
    sound = np.pad(sound, (CONTEXT_SAMPLES - len(sound), 0))
    sound = (sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)
    padded = np.pad(sound, WINDOW_SAMPLES // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)[::HOP_SAMPLES][:-1]
    window, filters = _tables()
    power = np.square(np.abs(np.fft.rfft(frames * window, axis=1))).astype(np.float32)  # [800, 201]
    mels = np.log10(np.maximum(power @ filters, 1e-10)).T
    scaled: npt.NDArray[np.float32] = ((np.maximum(mels, mels.max() - 8.0) + 4.0) / 4.0).astype(np.float32)
    return scaled


@functools.cache
def _tables() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The window [400] (Hann, periodic) and the filters [201, 80]: triangles of equal area, evenly spaced on Slaney's mel scale,
    which is linear up to 1 kHz and logarithmic from there."""
    window = np.hanning(WINDOW_SAMPLES + 1)[:-1].astype(np.float32)
    nyquist = SPEECH_RATE / 2
    top = 15 + 27 * np.log(nyquist / 1000) / np.log(6.4)
    mels = np.linspace(0, top, MELS + 2)
    corners = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * np.log(6.4) / 27))  # Hz
    bins = np.linspace(0, nyquist, WINDOW_SAMPLES // 2 + 1)
    widths = np.diff(corners)
    distance = corners[:, None] - bins
    rising, falling = -distance[:-2] / widths[:-1, None], distance[2:] / widths[1:, None]
    filters = np.maximum(0.0, np.minimum(rising, falling)) * (2 / (corners[2:] - corners[:-2]))[:, None]
    return window, filters.T.astype(np.float32)
