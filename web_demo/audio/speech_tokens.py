"""Speech to discrete tokens, 25 a second: Whisper's log-mel into `speech_tokenizer_v3.onnx`. No torch.

tokenizer = SpeechTokenizer(Path("pretrained_models/Fun-CosyVoice3-0.5B-2512"))
codes = tokenizer.encode(audio)
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from web_demo.audio.samples import SPEECH_RATE, Audio

TOKENIZER_NAME = "speech_tokenizer_v3.onnx"
MAX_PIECE_S = 30  # the model was trained on at most 30 s: longer sound is cut
_N_FFT, _HOP, _MELS = 400, 160, 128
_FRAMES_PER_TOKEN = 4

Floats = npt.NDArray[np.float32]


def mel_filters(rate: int, n_fft: int, mels: int, low: float, high: float) -> Floats:
    """Triangular filters on the Slaney mel scale with Slaney's area normalisation, [mels, n_fft / 2 + 1] (librosa's
    and Whisper's default)."""
    edges = _mel_to_hertz(np.linspace(_hertz_to_mel(low), _hertz_to_mel(high), mels + 2))
    bins = np.linspace(0, rate / 2, n_fft // 2 + 1)
    slopes = edges[:, None] - bins
    widths = np.diff(edges)[:, None]
    filters = np.maximum(0, np.minimum(-slopes[:-2] / widths[:-1], slopes[2:] / widths[1:]))
    normalised: Floats = (filters * (2 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)
    return normalised


_LINEAR_HERTZ, _LINEAR_MEL = 1000.0, 15.0
_LOG_STEP = math.log(6.4) / 27


def _hertz_to_mel(hertz: float) -> float:
    if hertz < _LINEAR_HERTZ:
        return hertz * 3 / 200
    return _LINEAR_MEL + math.log(hertz / _LINEAR_HERTZ) / _LOG_STEP


def _mel_to_hertz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(
        mel < _LINEAR_MEL, mel * 200 / 3, _LINEAR_HERTZ * np.exp(_LOG_STEP * np.maximum(mel - _LINEAR_MEL, 0))
    )


_FILTERS = mel_filters(SPEECH_RATE, _N_FFT, _MELS, 0.0, SPEECH_RATE / 2)
_WINDOW = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_N_FFT) / _N_FFT)).astype(np.float32)


def log_mel(samples: Floats) -> Floats:
    """Whisper's features of 16 kHz samples: [128, n / 160]."""
    padded = np.pad(samples, _N_FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, _N_FFT)[::_HOP][: len(samples) // _HOP]
    power = np.abs(np.fft.rfft(frames * _WINDOW, axis=1)) ** 2
    levels = np.log10(np.maximum(_FILTERS @ power.T.astype(np.float32), 1e-10))
    scaled: Floats = ((np.maximum(levels, levels.max() - 8.0) + 4.0) / 4.0).astype(np.float32)
    return scaled


def cpu_session(path: Path) -> onnxruntime.InferenceSession:
    """An ONNX graph on one CPU thread; raises FileNotFoundError with the path."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: download the whole model directory")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])


class SpeechTokenizer:
    """`directory` is a CosyVoice3 model directory. Safe to use from several threads."""

    def __init__(self, directory: Path) -> None:
        self._session = cpu_session(directory / TOKENIZER_NAME)
        self._features, self._length = (entry.name for entry in self._session.get_inputs())

    def encode(self, audio: Audio) -> tuple[int, ...]:
        """Tokens of mono sound at 16 kHz, of any length; sound shorter than one token (40 ms) gives none."""
        if audio.rate != SPEECH_RATE:
            raise ValueError(f"speech tokens are made from {SPEECH_RATE} Hz sound, got {audio.rate} Hz")
        piece = MAX_PIECE_S * SPEECH_RATE
        tokens: list[int] = []
        for begin in range(0, len(audio.samples), piece):
            tokens += self._encode_piece(audio.samples[begin : begin + piece])
        return tuple(tokens)

    def _encode_piece(self, samples: Floats) -> list[int]:
        if len(samples) < _FRAMES_PER_TOKEN * _HOP:
            return []
        features = log_mel(samples)
        inputs = {
            self._features: features[None],
            self._length: np.array([features.shape[1]], dtype=np.int32),
        }
        indices: list[int] = self._session.run(None, inputs)[0].ravel().tolist()
        return indices
