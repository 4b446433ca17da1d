"""The fixed noise of flow and vocoder, by the recipe of the reference: one seed, then constructions in a fixed order.

The reference draws the start noise of the flow right after seeding with 0, then builds the token embedding, the speaker
projection and the f0 predictor (whose initialisation consumes the generator), then draws the vocoder's noise. The
vocoder's noise thus depends on the sizes of those layers. The reference keeps it whole: 300 s x 9 harmonics, 259 MB. It
only ever enters a linear layer that mixes the harmonics, so here it is drawn in pieces and mixed at once: 29 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..config import MAX_FRAMES, CosyVoice3Config

_F0_KERNELS = (4, 3, 3, 3, 3)
_PIECE = 240_000  # samples drawn at once; a multiple of 16 keeps the generator on the path of one single draw


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's global CPU generator, which layers draw from, and give it back as it was."""
    before = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)


@dataclass(frozen=True)
class FixedNoise:
    """`start` is the flow's start noise, [mel, 15000]; the vocoder's noise is drawn on request."""

    start: Tensor
    harmonics: int
    source_state: Tensor  # of a CPU generator, just before the vocoder's noise

    def source(self, samples: int) -> Iterator[Tensor]:
        """The first `samples` rows of the vocoder's noise, in pieces of [n, harmonics]."""
        generator = torch.Generator()
        generator.set_state(self.source_state)
        for begin in range(0, samples, _PIECE):
            yield torch.rand(_PIECE, self.harmonics, generator=generator)[: samples - begin]


def fixed_noise(config: CosyVoice3Config) -> FixedNoise:
    flow, hift = config.flow, config.hift
    with _seeded(0):
        start = torch.randn(1, flow.output_size, MAX_FRAMES)[0]
        nn.Embedding(flow.vocab_size, flow.input_size)
        nn.Linear(flow.spk_embed_dim, flow.output_size)
        channels = hift.in_channels
        for kernel in _F0_KERNELS:
            nn.Conv1d(channels, hift.f0_channels, kernel)
            channels = hift.f0_channels
        nn.Linear(hift.f0_channels, 1)
        harmonics = hift.nb_harmonics + 1
        torch.rand(1, harmonics)
        return FixedNoise(start, harmonics, torch.get_rng_state())
