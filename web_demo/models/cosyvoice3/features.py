"""Features of a reference recording: resampling, 24 kHz mel, speaker vector. CPU only, float32.

The resampler is the windowed sinc of the reference (torchaudio's default), not the project's usual one: prompt tokens
and speaker vector depend on its exact numbers.
"""

from __future__ import annotations

import math
from pathlib import Path

import kaldi_native_fbank as knf
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from utils.cosyvoice_tokenizer import cpu_session, mel_filters
from web_demo.audio.samples import SPEECH_RATE, Audio

from .config import MelConfig

SPEAKER_NAME = "campplus.onnx"
_FILTER_WIDTH, _ROLLOFF = 6, 0.99


def resample(audio: Audio, rate: int) -> Audio:
    """Sinc interpolation with a Hann window (J. O. Smith's method)."""
    if rate == audio.rate:
        return audio
    divisor = math.gcd(audio.rate, rate)
    old, new = audio.rate // divisor, rate // divisor
    base = min(old, new) * _ROLLOFF
    width = math.ceil(_FILTER_WIDTH * old / base)
    index = torch.arange(-width, width + old, dtype=torch.float64) / old
    time = (torch.arange(0, -new, -1, dtype=torch.float64)[:, None] / new + index) * base
    time = time.clamp(-_FILTER_WIDTH, _FILTER_WIDTH)
    window = torch.cos(time * math.pi / _FILTER_WIDTH / 2).square()
    kernel = torch.sinc(time) * window * base / old
    padded = F.pad(torch.from_numpy(audio.samples)[None, None], (width, width + old))
    pieces = F.conv1d(padded, kernel[:, None].to(torch.float32), stride=old)
    length = math.ceil(new * len(audio.samples) / old)
    return Audio(pieces.transpose(1, 2).reshape(-1)[:length].numpy(), rate)


class MelSpectrogram:
    """The mel of the flow's prompts: [frames, mels], natural logarithm of magnitudes."""

    def __init__(self, config: MelConfig) -> None:
        self._config = config
        high = config.sampling_rate / 2 if config.fmax is None else config.fmax
        filters = mel_filters(config.sampling_rate, config.n_fft, config.num_mels, config.fmin, high)
        self._filters = torch.from_numpy(filters)
        self._window = torch.hann_window(config.win_size)

    def __call__(self, audio: Audio) -> Tensor:
        config = self._config
        samples = torch.from_numpy(resample(audio, config.sampling_rate).samples)
        edge = (config.n_fft - config.hop_size) // 2
        if len(samples) <= edge:
            raise ValueError(f"a reference recording needs more than {edge} samples, got {len(samples)}")
        padded = F.pad(samples[None, None], (edge, edge), mode="reflect")[0]
        spectrum = torch.stft(
            padded,
            config.n_fft,
            config.hop_size,
            config.win_size,
            window=self._window,
            center=False,
            return_complex=True,
        )
        magnitude = torch.sqrt(torch.view_as_real(spectrum).square().sum(-1) + 1e-9)
        return (self._filters @ magnitude[0]).clamp(min=1e-5).log().T.contiguous()


class SpeakerEncoder:
    """Speaker vector [1, 192] by `campplus.onnx` from Kaldi filterbanks with their mean removed."""

    def __init__(self, directory: Path) -> None:
        self._session = cpu_session(directory / SPEAKER_NAME)
        self._input = self._session.get_inputs()[0].name

    def __call__(self, audio: Audio) -> Tensor:
        samples = resample(audio, SPEECH_RATE).samples
        options = knf.FbankOptions()
        options.frame_opts.samp_freq = SPEECH_RATE
        options.frame_opts.dither = 0.0
        options.mel_opts.num_bins = 80
        bank = knf.OnlineFbank(options)
        bank.accept_waveform(SPEECH_RATE, samples.tolist())
        bank.input_finished()
        frames = np.stack([bank.get_frame(i) for i in range(bank.num_frames_ready)])
        frames = frames - frames.mean(axis=0, keepdims=True)
        return torch.from_numpy(self._session.run(None, {self._input: frames[None]})[0].reshape(1, -1))
