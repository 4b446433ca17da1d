"""Short Fourier transforms of the vocoder as products with fixed matrices: 16 samples, hop 4, periodic Hann."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Spectrum(nn.Module):
    """Forward and inverse transform over frames that the caller has cut; no padding, no normalisation inside."""

    window: Tensor
    analysis: Tensor
    synthesis: Tensor

    def __init__(self, n_fft: int, hop: int) -> None:
        super().__init__()
        if n_fft % hop:
            raise ValueError(f"the window must be a multiple of the hop, got {n_fft} and {hop}")
        self.n_fft, self.hop = n_fft, hop
        sample = torch.arange(n_fft, dtype=torch.float64)
        bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64)
        angle = 2 * math.pi * sample[:, None] * bins / n_fft
        window = 0.5 - 0.5 * torch.cos(2 * math.pi * sample / n_fft)
        analysis = torch.cat([torch.cos(angle), -torch.sin(angle)], dim=1) * window[:, None]
        twice = torch.full_like(bins, 2.0)
        twice[0] = twice[-1] = 1.0  # DC and Nyquist have no mirror image
        synthesis = torch.cat([torch.cos(angle) * twice, -torch.sin(angle) * twice], dim=1).T / n_fft * window
        self.register_buffer("window", window.float(), persistent=False)
        self.register_buffer("analysis", analysis.float(), persistent=False)  # [n_fft, 2 * bins]
        self.register_buffer("synthesis", synthesis.float().contiguous(), persistent=False)  # [2 * bins, n_fft]

    def forward(self, samples: Tensor) -> Tensor:
        """[B, n] -> real then imaginary parts, [B, 2 * bins, steps]."""
        return (samples.unfold(1, self.n_fft, self.hop) @ self.analysis).transpose(1, 2)

    def inverse(self, spectrum: Tensor, valid: Tensor) -> Tensor:
        """[B, 2 * bins, steps] and which steps exist, [B, steps] -> [B, hop * (steps - 1) + n_fft], normalised by the
        windows that are really there, so that edges are as loud as the middle."""
        frames = (spectrum.transpose(1, 2) @ self.synthesis) * valid[..., None]
        weight = self.overlap_add(valid[..., None] * self.window.square())
        return self.overlap_add(frames) / weight.clamp(min=1e-11)

    def overlap_add(self, frames: Tensor) -> Tensor:
        """[B, steps, n_fft] -> [B, hop * (steps - 1) + n_fft]."""
        batch, steps, _ = frames.shape
        parts = self.n_fft // self.hop
        pieces = frames.view(batch, steps, parts, self.hop)
        total = sum(F.pad(pieces[:, :, part], (0, 0, part, parts - 1 - part)) for part in range(parts))
        assert isinstance(total, Tensor)
        return total.flatten(1)
