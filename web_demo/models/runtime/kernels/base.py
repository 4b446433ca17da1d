"""What a decoder layer is made of, in plain torch. `fused` does the same fused for CUDA, held to the same tests."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right

from web_demo.models.runtime.float8 import FORMAT, LARGEST, Float8Weight
from web_demo.models.runtime.kernels.sampling import SamplingRows, sample
from web_demo.models.runtime.rope import turn_halves


@dataclass(frozen=True, eq=False)
class LayerCache:
    """Keys and values of one layer, each [positions, kv_heads, head_dim]; pages are runs of positions.

    In the model's precision, or in 8 bits (`float8.FORMAT`).
    """

    keys: Tensor
    values: Tensor

    @property
    def eight_bits(self) -> bool:
        return self.keys.dtype is FORMAT

    def write(self, target: Tensor, keys: Tensor, values: Tensor) -> None:
        """`target` int64 [N], the others [N, kv_heads, head_dim]."""
        for side, new in ((self.keys, keys), (self.values, values)):
            if self.eight_bits:  # as bytes, because not every device indexes 8-bit floats
                side.view(torch.uint8).index_copy_(0, target, new.clamp(-LARGEST, LARGEST).to(FORMAT).view(torch.uint8))
            else:
                side.index_copy_(0, target, new)

    def read(self, index: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Keys and values at positions of any shape, in the precision that they are computed with."""
        if self.eight_bits:
            keys, values = (side.view(torch.uint8)[index].view(FORMAT) for side in (self.keys, self.values))
            return keys.to(dtype), values.to(dtype)
        return self.keys[index], self.values[index]


@dataclass(frozen=True, eq=False)
class DecodeMetadata:
    """Where the rows of a batch, one new position each, write and read.

    `position` int64 [B]; `block_table` int64 [B, n] the pages of each row; `page_size` positions a page holds. A row reads
    positions 0..position.
    """

    position: Tensor
    block_table: Tensor
    page_size: int

    @cached_property
    def target(self) -> Tensor:
        """The cache index of each row's new position, int64 [B]."""
        page = self.block_table.gather(1, (self.position // self.page_size)[:, None])[:, 0]
        return page * self.page_size + self.position % self.page_size


@dataclass(frozen=True, eq=False)
class PromptMetadata:
    """Where the T tokens of a prefill stand: runs of new positions of some turns, and padding.

    `position` int64 [T]; `target` int64 [T] the cache index of each token, padding in the scratch page; `block_tables` int64
    [slots + 1, pages] the pages of every slot; `runs` int64 [n, 4]: slot, first token, number of tokens (at most
    `run_tokens`; 0: unused) and first position. A token attends to its turn's positions up to its own.
    """

    position: Tensor
    target: Tensor
    block_tables: Tensor
    runs: Tensor
    page_size: int
    run_tokens: int


@dataclass(frozen=True, eq=False)
class HeadShape:
    heads: int
    kv_heads: int
    head_dim: int
    eps: float


Weight = Tensor | Float8Weight
HeadNorms = tuple[Tensor, Tensor]  # gains of the norms over each head of queries and of keys, [head_dim]


@dataclass(frozen=True, eq=False)
class Residual:
    """The residual stream between two products. `normed` is made by `Kernels.enter` and `add_linear`, and belongs to them:
    a subclass may leave some or all of the norm to the product that reads it."""

    total: Tensor  # [N, W]
    normed: Any


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """x [N, heads, dim] by rope float32 [N, 2, dim] (cos, sin), in float32."""
    return turn_halves(x.float(), rope[:, 0, None], rope[:, 1, None]).to(x.dtype)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Zhang and Sennrich 2019, computed in float32."""
    wide = x.float()
    return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype)


class Kernels:
    """Any device. A subclass replaces what it does better.

    Shapes: N rows of any kind, B rows of a batch, W hidden size. A layer is: `normed_linear` (queries, keys, values),
    `attend`, `add_linear`, `normed_gated`, `add_linear`.
    """

    reads_padding = True  # `attend` gathers whole pages: the padding of a batch too
    reads_runs = True  # `attend_prompt` reads the runs on the host, so it fits into no graph

    def linear(self, x: Tensor, weight: Weight, bias: Tensor | None = None) -> Tensor:
        """x [N, in] times the transposed weight [out, in], plus the bias [out] -> [N, out]."""
        if isinstance(weight, Tensor):
            return F.linear(x, weight, bias)
        # values of 8 bits fit into every wider format, so the scale can follow the product
        product = F.linear(x, weight.values.to(x.dtype)) * weight.scale
        return (product if bias is None else product + bias).to(x.dtype)

    def enter(self, x: Tensor, gain: Tensor, eps: float) -> Residual:
        """x [N, W] begins a stack of layers; the norm before its first product comes as its weight and `eps`."""
        return Residual(x, rms_norm(x, gain, eps))

    def normed_linear(self, residual: Residual, weight: Weight, bias: Tensor | None = None) -> Tensor:
        """`linear` of the normalised residual stream."""
        return self.linear(residual.normed, weight, bias)

    def normed_gated(self, residual: Residual, gate_up: Weight) -> Tensor:
        """silu(gate) * up of the normalised residual stream with the weights of both, [2 * I, W] -> [N, I]."""
        return self.gated(self.linear(residual.normed, gate_up))

    def add_linear(self, x: Tensor, weight: Weight, residual: Residual, gain: Tensor, eps: float) -> Residual:
        """The stream with `linear` of x [N, in] added; `gain` and `eps` are the norm's before its next product."""
        total = residual.total + self.linear(x, weight)
        return Residual(total, rms_norm(total, gain, eps))

    def leave(self, residual: Residual) -> Tensor:
        """The normalised stream after the last layer [N, W]."""
        normed: Tensor = residual.normed
        return normed

    def gated(self, gate_up: Tensor) -> Tensor:
        """silu(gate) * up, of [N, 2 * I] -> [N, I]."""
        gate, up = gate_up.chunk(2, dim=-1)
        return F.silu(gate) * up

    def store_kv(
        self,
        qkv: Tensor,
        norms: HeadNorms | None,
        rope: Tensor,
        position: Tensor,
        target: Tensor,
        cache: LayerCache,
        shape: HeadShape,
    ) -> Tensor:
        """Split qkv [N, (heads + 2 kv_heads) * dim], normalise (where there are norms) and rotate, store k and v; q [N, heads,
        dim]."""
        split = qkv.view(qkv.shape[0], shape.heads + 2 * shape.kv_heads, shape.head_dim)
        q, k, v = split.split_with_sizes([shape.heads, shape.kv_heads, shape.kv_heads], dim=1)
        if norms is not None:
            q, k = rms_norm(q, norms[0], shape.eps), rms_norm(k, norms[1], shape.eps)
        angles = rope[position]
        cache.write(target, rotate(k, angles), v)
        return rotate(q, angles)

    def attend(
        self,
        qkv: Tensor,
        norms: HeadNorms | None,
        rope: Tensor,
        metadata: DecodeMetadata,
        cache: LayerCache,
        shape: HeadShape,
    ) -> Tensor:
        """`store_kv` of one new position a row, and its attention over the row's positions -> [B, heads * dim]."""
        q = self.store_kv(qkv, norms, rope, metadata.position, metadata.target, cache, shape)
        within = torch.arange(metadata.page_size, device=q.device)
        index = (metadata.block_table[:, :, None] * metadata.page_size + within).flatten(1)
        mask = torch.arange(index.shape[1], device=q.device) <= metadata.position[:, None]
        k, v = (side.transpose(1, 2) for side in cache.read(index, q.dtype))
        out = F.scaled_dot_product_attention(q[:, :, None], k, v, attn_mask=mask[:, None, None], enable_gqa=True)
        return out.reshape(q.shape[0], -1)

    def attend_prompt(self, q: Tensor, metadata: PromptMetadata, cache: LayerCache, shape: HeadShape) -> Tensor:
        """Attention of a prefill, whose keys and values are stored already: q [T, heads, dim] -> [T, heads * dim]."""
        out = torch.zeros_like(q)
        repeat = shape.heads // shape.kv_heads
        for slot, first, count, start in metadata.runs.tolist():
            if not count:
                continue
            every = torch.arange(start + count, device=q.device)
            index = (
                metadata.block_tables[slot][every // metadata.page_size] * metadata.page_size
                + every % metadata.page_size
            )
            k, v = (side.repeat_interleave(repeat, dim=1).transpose(0, 1)[None] for side in cache.read(index, q.dtype))
            mine = q[first : first + count].transpose(0, 1)[None]
            seen = F.scaled_dot_product_attention(mine, k, v, attn_mask=causal_lower_right(count, len(index)))
            out[first : first + count] = seen[0].transpose(0, 1)
        return out.flatten(1)

    def sample(self, scores: Tensor, rows: SamplingRows, uniform: Tensor) -> Tensor:
        """One token a row: see `sampling.sample`."""
        return sample(scores, rows, uniform)
