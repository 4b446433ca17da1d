"""The vocoder's excitation: harmonics of the pitch plus fixed noise (the neural source-filter model, causal form).

As in the reference the phase is summed over frames and held constant over a frame's samples, and the noise is uniform
and indexed by the absolute sample. Harmonics enter a linear layer only, so a frame's sine part is one number and the
noise is mixed to one channel once (see `noise`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..config import HiftConfig


class Excitation(nn.Module):
    noise: Tensor

    def __init__(self, config: HiftConfig) -> None:
        super().__init__()
        self._config = config
        harmonics = config.nb_harmonics + 1
        self.l_linear = nn.Linear(harmonics, 1)
        self.register_buffer("noise", torch.zeros(1), persistent=False)  # [samples], set by `mix_noise`

    def mix_noise(self, pieces: Iterable[Tensor]) -> None:
        """Take the fixed noise, pieces of [n, harmonics]; call once the weights are loaded."""
        weight = self.l_linear.weight[0]
        self.noise = torch.cat([(piece.to(weight) @ weight) for piece in pieces]).detach()

    def forward(self, f0: Tensor, phase: Tensor, first_frame: Tensor) -> tuple[Tensor, Tensor]:
        """f0: [B, T] Hz; phase: [B, harmonics] float64, turns summed before these frames; first_frame: [B].

        Returns the source [B, T * samples per frame] and the sums [B, T + 1, harmonics] up to before each frame. The
        sum runs in float64 and is rounded to float32 before the sine, as a float32 cumulative sum on a CPU does.
        """
        config = self._config
        per_frame = config.samples_per_frame
        f0 = f0.to(torch.float32)
        harmonics = torch.arange(1, config.nb_harmonics + 2, device=f0.device, dtype=torch.float32)
        turns = (f0[..., None] * harmonics / config.sampling_rate) % 1
        sums = torch.cat([phase[:, None], turns.to(torch.float64)], dim=1).cumsum(1)
        radians = sums[:, 1:].to(torch.float32) * 2 * math.pi * per_frame
        voiced = (f0 > config.nsf_voiced_threshold).to(torch.float32)
        sines = (torch.sin(radians) * config.nsf_alpha) @ self.l_linear.weight[0].to(torch.float32)  # [B, T]
        amplitude = voiced * config.nsf_sigma + (1 - voiced) * config.nsf_alpha / 3
        sample = torch.arange(f0.shape[1] * per_frame, device=f0.device)
        index = (first_frame[:, None] * per_frame + sample).clamp(max=len(self.noise) - 1)
        noise = self.noise[index].view(*f0.shape, per_frame)
        mixed = (sines * voiced)[..., None] + amplitude[..., None] * noise + self.l_linear.bias
        return torch.tanh(mixed).flatten(1), sums
