"""Repetition-aware sampling (VALL-E 2, arXiv 2406.05370), one row as the reference draws it and many rows at once.

A token is drawn from the nucleus (the most likely ids until their probabilities reach `top_p`, at most `top_k`). When
it occurred among the last `win_size` tokens, at least `win_size * tau_r` times, it is struck out and one is drawn from
the full distribution.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..config import LmConfig


def draw(logp: Tensor, recent: Sequence[int], config: LmConfig, generator: torch.Generator) -> int:
    """One token from log-probabilities [ids]; the same draws, in the same order, as the reference with this seed."""
    probability, ids = logp.softmax(0).sort(descending=True, stable=True)
    reached = np.cumsum(probability[: config.top_k].numpy(), dtype=np.float32)
    kept = 1 + int((reached[:-1] < config.top_p).sum())
    token = int(ids[probability[:kept].multinomial(1, replacement=True, generator=generator)])
    if recent[-config.win_size :].count(token) >= config.win_size * config.tau_r:
        rest = logp.clone()
        rest[token] = -torch.inf
        token = int(rest.softmax(0).multinomial(1, replacement=True, generator=generator))
    return token


def draw_batch(logp: Tensor, recent: Tensor, uniforms: Tensor, config: LmConfig) -> Tensor:
    """Tokens [B] from log-probabilities [B, ids], the last tokens [B, win_size] (-1: none) and numbers in [0, 1) [B, 2].

    No branch and no generator, so it can be captured in a CUDA graph; a row does not depend on the others.
    """
    top, ids = logp.softmax(-1).topk(config.top_k, dim=-1)
    before = top.cumsum(-1) - top
    nucleus = top * (before < config.top_p)
    token = ids.gather(1, _inverse(nucleus, uniforms[:, 0]))
    repeats = (recent == token).sum(-1, keepdim=True)
    rest = logp.scatter(1, token, -torch.inf).softmax(-1)
    again = _inverse(rest, uniforms[:, 1])
    return torch.where(repeats >= config.win_size * config.tau_r, again, token).squeeze(1)


def next_tokens(
    logp: Tensor, too_early: Tensor, recent: Tensor, uniforms: Tensor, first_stop_id: int, config: LmConfig
) -> Tensor:
    """Tokens [B] as `draw_batch`, and no id that would end the utterance where `too_early` [B, 1] is true."""
    stop = torch.arange(logp.shape[1], device=logp.device) >= first_stop_id
    return draw_batch(logp.masked_fill(stop & too_early, -torch.inf), recent, uniforms, config)


def _inverse(weights: Tensor, uniform: Tensor) -> Tensor:
    """Index [B, 1] drawn from unnormalised weights [B, n] by inverting their distribution."""
    sums = weights.to(torch.float64).cumsum(-1)
    target = uniform[:, None].to(torch.float64) * sums[:, -1:]
    # The first index whose sum exceeds the target has a weight above zero, unless rounding put the target at the end.
    index = (sums <= target).sum(-1, keepdim=True)
    return index.clamp(max=weights.shape[1] - 1)
