"""Layers of a decoder of the Qwen family for serving: one new position a row (decode) or many of one (prefill), over caches of
pages, by the kernels of a device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from web_demo.models.runtime.kernels.base import (
    DecodeMetadata,
    HeadNorms,
    HeadShape,
    Kernels,
    LayerCache,
    PromptMetadata,
    Weight,
)

Attend = Callable[[Tensor, HeadNorms | None, LayerCache], Tensor]  # qkv, norms of q and k -> [N, heads * dim]


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """Queries, keys and values come from one product, with a bias (Qwen2) or with norms of their heads (Qwen3)."""

    input_norm: Tensor
    qkv: Weight
    out: Weight
    post_norm: Tensor
    gate_up: Weight
    down: Weight
    qkv_bias: Tensor | None = None
    head_norms: HeadNorms | None = None


class Decoder:
    """Keeps references alone: weights, `norm` after the last layer, `rope` float32 [positions, 2, head_dim] (cosines and
    sines), and a cache a layer."""

    def __init__(
        self,
        layers: Sequence[LayerWeights],
        caches: Sequence[LayerCache],
        *,
        norm: Tensor,
        rope: Tensor,
        shape: HeadShape,
        page_size: int,
        kernels: Kernels,
    ) -> None:
        self.layers, self.caches = layers, caches
        self.norm, self.rope = norm, rope
        self.shape, self.page_size, self.kernels = shape, page_size, kernels

    def decode(self, x: Tensor, position: Tensor, block_table: Tensor) -> Tensor:
        """One new position a row: x [B, W], position int64 [B], block_table int64 [B, n] -> normalised [B, W]."""
        metadata = DecodeMetadata(position, block_table, self.page_size)

        def attend(qkv: Tensor, norms: HeadNorms | None, cache: LayerCache) -> Tensor:
            return self.kernels.attend(qkv, norms, self.rope, metadata, cache, self.shape)

        return self._layers(x, attend)

    def prefill(self, x: Tensor, metadata: PromptMetadata) -> Tensor:
        """New positions of some turns: x [T, W] -> normalised [T, W]."""

        def attend(qkv: Tensor, norms: HeadNorms | None, cache: LayerCache) -> Tensor:
            place = (metadata.position, metadata.target)
            q = self.kernels.store_kv(qkv, norms, self.rope, *place, cache, self.shape)
            return self.kernels.attend_prompt(q, metadata, cache, self.shape)

        return self._layers(x, attend)

    def _layers(self, x: Tensor, attend: Attend) -> Tensor:
        """All layers over rows of any kind [N, W], normalised at the end; `attend` is what differs between them."""
        kernels, eps = self.kernels, self.shape.eps
        next_norms = [layer.input_norm for layer in self.layers[1:]] + [self.norm]
        residual = kernels.enter(x, self.layers[0].input_norm, eps)
        for weights, cache, next_norm in zip(self.layers, self.caches, next_norms, strict=True):
            qkv = kernels.normed_linear(residual, weights.qkv, weights.qkv_bias)
            seen = attend(qkv, weights.head_norms, cache)
            residual = kernels.add_linear(seen, weights.out, residual, weights.post_norm, eps)
            gated = kernels.normed_gated(residual, weights.gate_up)
            residual = kernels.add_linear(gated, weights.down, residual, next_norm, eps)
        return kernels.leave(residual)
