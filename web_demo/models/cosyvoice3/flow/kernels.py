"""What the estimator does between its products, in plain torch. `fused` does the same in Triton, held to the same tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from web_demo.models.runtime.rope import turn_pairs

from ..masks import additive

NORM_EPS = 1e-6


@dataclass(frozen=True, eq=False)
class Places:
    """Where the pairs of a chunk (2i conditional, 2i + 1 unconditional) read and write in tensors that hold all streams.

    `rows` int64 [2B]; `keep` int64 [2B] frames of finished blocks; `written` int64 [2B * T] flat places in a ring, from `limit`
    on those of the padding slot; `mask`: see `FlowKernels.mask`; `context` frames of the ring that are looked at.
    """

    rows: Tensor
    keep: Tensor
    written: Tensor
    limit: int
    mask: Tensor
    context: int


class FlowKernels:
    """Any device. Shapes: P = 2B rows of pairs, T frames of the chunk."""

    def pack(self, convs: Sequence[nn.Conv1d]) -> None:
        """Called once the weights of the position convolutions are in place."""

    def modulated(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        """Layer norm of x [P, T, dim], times `scale` [dim] (the one is in it already), plus `shift`: every row is at the same
        Euler time, so the modulation is the norm's own weight and bias."""
        return F.layer_norm(x, x.shape[-1:], scale, shift, eps=NORM_EPS)

    def add_modulated(
        self, x: Tensor, gate: Tensor, product: Tensor, shift: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The residual stream x plus gate * product, and that modulated."""
        total = torch.addcmul(x, gate, product)
        return total, self.modulated(total, shift, scale)

    def position_conv(self, x: Tensor, conv: nn.Conv1d, tails: Tensor | None, places: Places | None) -> Tensor:
        """mish of a grouped causal convolution: x [P, T, dim] -> the same. Its left context are the streams' `tails` [rows,
        taps - 1, dim], which move on by `places.keep` frames; zeros without."""
        if tails is None or places is None:
            joined = F.pad(x, (0, 0, conv.kernel_size[0] - 1, 0))
        else:
            joined = torch.cat([tails.index_select(0, places.rows), x], dim=1)
            kept = places.keep[:, None, None] + torch.arange(tails.shape[1], device=x.device)[:, None]
            tails.index_copy_(0, places.rows, joined.gather(1, kept.expand(-1, -1, x.shape[2])))
        out: Tensor = F.mish(conv(joined.transpose(1, 2))).transpose(1, 2)
        return out

    def rotate(self, qkv: Tensor, rotation: Tensor, dim_head: int) -> None:
        """Turn the pairs (2i, 2i + 1) of the first heads of query and key in qkv [P, T, 3 * inner], in place, by unit complex
        numbers [P, T, 1, dim_head / 2]."""
        first = torch.unflatten(qkv, 2, (3, -1))[:, :, :2, :dim_head]
        first.copy_(turn_pairs(first, rotation))

    def gelu_linear(self, x: Tensor, linear: nn.Linear) -> Tensor:
        """The product with its GELU, in the approximation by tanh."""
        return F.gelu(F.linear(x, linear.weight, linear.bias), approximate="tanh")

    def mask(self, visible: Tensor, dtype: torch.dtype) -> Tensor:
        """bool [B, 1, T, context + T] as `attend` wants it."""
        return additive(visible.repeat_interleave(2, dim=0), dtype)

    def attend(self, qkv: Tensor, heads: int, ring: Tensor, places: Places) -> Tensor:
        """Attention of a chunk, qkv [P, T, 3 * inner], over its streams' `ring` [rows, context, 2 * inner] (keys and values side
        by side) and itself -> [P, T, inner]. The frames of finished blocks go into the ring then."""
        inner = qkv.shape[2] // 3
        query, new = torch.split(qkv, [inner, 2 * inner], dim=2)
        joined = new
        if places.context:
            joined = torch.cat([ring[:, : places.context].index_select(0, places.rows), new], dim=1)
        ring.flatten(0, 1).index_copy_(0, places.written, new.flatten(0, 1))
        key, value = joined.chunk(2, dim=2)
        return attention(query, key, value, heads, places.mask)


def attention(query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None) -> Tensor:
    """[P, T, inner] over keys and values [P, n, inner]; an additive or boolean mask [P, 1, T, n]."""
    q, k, v = (torch.unflatten(x, 2, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
