"""Choosing tokens for a batch whose rows have different settings, on the device and without a branch on a value.

Randomness comes in as one uniform number a draw, made ahead from each turn's own seed: a row's tokens do not depend on
its neighbours, and a CUDA graph needs no generator inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class SamplingRows:
    """Settings of the rows of a batch, each [B]."""

    sample: Tensor  # bool
    temperature: Tensor  # float32
    top_p: Tensor  # float32
    top_k: Tensor  # int64, 0: off
    penalty: Tensor  # float32


def penalised(logits: Tensor, seen: Tensor, penalty: Tensor) -> Tensor:
    """Repetition penalty (Keskar et al. 2019): logits float32 [B, V], seen bool [B, V] -> float32 [B, V]."""
    factor = penalty[:, None]
    return torch.where(seen, torch.where(logits > 0, logits / factor, logits * factor), logits)


def sample(scores: Tensor, rows: SamplingRows, uniform: Tensor) -> Tensor:
    """Scores float32 [B, V] after penalty and bans, uniform [B] in [0, 1) -> index int64 [B].

    Rows that sample: temperature, top-k, top-p, then the inverse of the cumulative distribution in the order of the ids.
    Of equal scores at a limit, all are kept.
    """
    scaled = scores / rows.temperature[:, None]
    ordered = scaled.sort(dim=-1, descending=True).values
    rank = torch.arange(scores.shape[-1], device=scores.device)
    limit = torch.where(rows.top_k > 0, rows.top_k, scores.shape[-1])[:, None]
    least = ordered.gather(-1, limit.clamp(max=scores.shape[-1]) - 1)
    ordered = ordered.masked_fill(ordered < least, -torch.inf)
    probability = ordered.softmax(dim=-1)
    before = probability.cumsum(dim=-1) - probability
    wanted = rows.top_p[:, None]
    kept = (((before < wanted) | (wanted >= 1)) & (probability > 0)) | (rank == 0)
    least = ordered.masked_fill(~kept, torch.inf).amin(dim=-1, keepdim=True)
    chosen_from = scaled >= least
    weight = torch.where(chosen_from, (scaled - ordered[:, :1]).exp(), 0.0)
    mass = weight.cumsum(dim=-1)
    drawn = (mass <= (uniform * mass[:, -1])[:, None]).sum(dim=-1)
    last = torch.where(chosen_from, rank, 0).amax(dim=-1)
    return torch.where(rows.sample, torch.minimum(drawn, last), scores.argmax(dim=-1))


def banned(recent: Tensor, prefixes: Tensor, last: Tensor, vocabulary: int) -> Tensor:
    """Ids that a bad word forbids now: bool [B, vocabulary].

    `recent` int64 [B, n]: the newest ids, right-aligned. `prefixes` int64 [B, W, n]: the ids before a bad word's last,
    right-aligned, -1 where anything may stand. `last` int64 [B, W]: the forbidden id, -1 for an unused entry.
    """
    matches = ((prefixes == recent[:, None]) | (prefixes < 0)).all(dim=-1) & (last >= 0)
    out = torch.zeros(last.shape[0], vocabulary + 1, dtype=torch.bool, device=last.device)
    # unused and unmatched entries all land in the extra column, which is cut off again
    out.scatter_(1, torch.where(matches, last, vocabulary), True)
    return out[:, :vocabulary]
