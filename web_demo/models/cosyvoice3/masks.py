"""Attention masks in the form that kernels take as they are."""

from __future__ import annotations

import torch
from torch import Tensor


def additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where visible and -inf elsewhere, in memory whose rows are a multiple of 8 long: attention kernels then take it
    as it is, in every layer, instead of making their own copy."""
    length = visible.shape[-1]
    mask = visible.new_zeros(*visible.shape[:-1], -(-length // 8) * 8, dtype=dtype)
    mask[..., :length].masked_fill_(~visible, -torch.inf)
    return mask[..., :length]
