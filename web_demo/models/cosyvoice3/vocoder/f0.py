"""Pitch from mel: the causal f0 predictor, in float64 because the vocoder's phase is a running sum of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .tails import Tails, TailShape

LOOK_RIGHT = 3  # frames that the first convolution sees ahead
_CAUSAL_KERNEL = 3
_CAUSAL_LAYERS = 4


class _Conv(nn.Conv1d):
    """As a product of matrices: libraries for GPUs have no fast convolution in float64."""

    def forward(self, x: Tensor) -> Tensor:
        heard = x.unfold(2, self.kernel_size[0], 1).transpose(1, 2).flatten(2)  # [B, T, in * kernel]
        return F.linear(heard, self.weight.flatten(1), self.bias).transpose(1, 2)


class F0Predictor(nn.Module):
    """mel [B, mel, T + 3] -> f0 in Hz [B, T]; the frames past the end of an utterance are zeros."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [_Conv(in_channels, channels, LOOK_RIGHT + 1), nn.ELU()]
        for _ in range(_CAUSAL_LAYERS):
            layers += [_Conv(channels, channels, _CAUSAL_KERNEL), nn.ELU()]
        self.condnet = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, 1)
        self.tail_shapes = [TailShape(channels, _CAUSAL_KERNEL - 1, 1)] * _CAUSAL_LAYERS
        self.to(torch.float64)

    def forward(self, mel: Tensor, tails: Tails) -> Tensor:
        x = F.elu(self.condnet[0](mel.to(torch.float64)))
        for layer in range(2, len(self.condnet), 2):
            x = F.elu(self.condnet[layer](tails.prepend(x)))
        hertz: Tensor = self.classifier(x.transpose(1, 2)).squeeze(-1).abs()
        return hertz
