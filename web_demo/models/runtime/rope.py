"""Rotary position embedding (Su et al. 2021, "RoFormer"), in the two layouts that checkpoints have.

Halves: dimension i turns with i + dim / 2 (Qwen). Pairs: 2i turns with 2i + 1 (the flow's transformer).
"""

from __future__ import annotations

import torch
from torch import Tensor


def angles(positions: Tensor, dim: int, theta: float) -> Tensor:
    """Positions int64 [...] -> the angle of each turn, float32 [..., dim / 2]."""
    exponent = torch.arange(0, dim, 2, device=positions.device, dtype=torch.float32) / dim
    return positions[..., None].to(torch.float32) * (1.0 / theta**exponent)


def turn_halves(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [..., dim] in the halves layout; cosines and sines broadcast against it, the angles written twice."""
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-high, low], dim=-1) * sin


def turn_pairs(x: Tensor, unit: Tensor) -> Tensor:
    """x [..., dim] in the pairs layout, times unit complex numbers [..., dim / 2]; float32 [..., dim]."""
    pairs = torch.view_as_complex(torch.unflatten(x.to(torch.float32), -1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * unit).flatten(-2)
