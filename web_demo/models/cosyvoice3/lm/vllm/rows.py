"""Repetition-aware sampling inside somebody else's sampler: of each row of logits only the chosen token is left.

A sampler that then takes the most likely token takes that one. The rule is `ras.next_tokens`, and the uniform numbers are those
that `LmBatch` would draw, so that the same seed gives the same tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...config import LmConfig
from .. import ras


@dataclass(eq=False)
class Row:
    """One utterance in the batch. `tokens` is the sampler's own list, which grows. A row may be asked for the same token more
    than once (a prompt that is read in parts is), and then has the same uniform numbers."""

    tokens: Sequence[int]
    min_tokens: int
    seed: int | None
    _generator: np.random.Generator = field(init=False)
    _uniforms: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._generator = np.random.default_rng(self.seed)

    @property
    def uniforms(self) -> np.ndarray:
        while len(self._uniforms) <= len(self.tokens):
            self._uniforms.append(self._generator.random(2))
        return self._uniforms[len(self.tokens)]


def choose(logits: Tensor, rows: Sequence[Row], config: LmConfig) -> Tensor:
    """`logits` [B, ids] with everything but the chosen token of each row at minus infinity."""
    window = config.win_size
    recent = np.full((len(rows), window), -1, dtype=np.int64)
    for index, row in enumerate(rows):
        last = row.tokens[-window:]
        recent[index, : len(last)] = last
    device = logits.device
    early = torch.tensor([[len(row.tokens) < row.min_tokens] for row in rows], device=device)
    greedy = torch.tensor([row.seed is None for row in rows], device=device)
    uniforms = torch.from_numpy(np.stack([row.uniforms for row in rows])).to(device)
    logp = F.log_softmax(logits.to(torch.float32), dim=-1)
    first_stop_id = config.speech_token_size
    drawn = ras.next_tokens(logp, early, torch.from_numpy(recent).to(device), uniforms, first_stop_id, config)
    stop = torch.arange(logp.shape[1], device=device) >= first_stop_id
    likeliest = logp.masked_fill(stop & early, -torch.inf).argmax(-1)
    tokens = torch.where(greedy, likeliest, drawn)[:, None]
    return torch.full_like(logits, -torch.inf).scatter_(1, tokens, 0.0)
