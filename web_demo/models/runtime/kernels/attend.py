"""Attention of one new position a row over its pages: everything between the query-key-value product and the output
product in one kernel.

The context is split over programs and combined (flash decoding: Dao et al. 2023) by the program that ends last.
"""

# Kernels are written in Triton's own language, which only looks like Python to a type checker.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found, import-untyped"

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from web_demo.models.runtime.kernels.base import DecodeMetadata, HeadNorms, HeadShape, LayerCache

_DOT_ROWS = 16  # the fewest that a tensor core product takes; a group of query heads is padded to it


@triton.jit
def as_kept(x, cache):
    """Rounded to what a cache (a pointer into it) keeps; in 8 bits cut to the format's range, NaN stays NaN."""
    if cache.dtype.element_ty == tl.float8e4nv:
        x = tl.clamp(x.to(tl.float32), -448.0, 448.0, propagate_nan=tl.PropagateNan.ALL)
    return x.to(cache.dtype.element_ty)


def wide(cache: LayerCache, dtype: torch.dtype) -> tl.dtype:
    """What keys and values are multiplied in. 8 bits fit into both 16-bit formats; to float16 the hardware has a
    conversion, and queries and weights of the softmax are small enough for it."""
    if cache.eight_bits and dtype is torch.bfloat16:
        return tl.float16
    return {torch.bfloat16: tl.bfloat16, torch.float16: tl.float16, torch.float32: tl.float32}[dtype]


@triton.jit
def _turned(source, gain, angles, mask, eps, DIM: tl.constexpr, NORM: tl.constexpr):
    """Heads [ROWS, 1] of pointers -> both halves [ROWS, DIM / 2], normalised (NORM) and rotated, float32."""
    HALF: tl.constexpr = DIM // 2
    at = tl.arange(0, HALF)[None, :]
    low = tl.load(source + at, mask=mask, other=0.0).to(tl.float32)
    high = tl.load(source + HALF + at, mask=mask, other=0.0).to(tl.float32)
    if NORM:
        scale = tl.rsqrt((tl.sum(low * low, 1) + tl.sum(high * high, 1)) / DIM + eps)[:, None]
        low = low * scale * tl.load(gain + at).to(tl.float32)
        high = high * scale * tl.load(gain + HALF + at).to(tl.float32)
    turned_low = low * tl.load(angles + at) - high * tl.load(angles + DIM + at)
    turned_high = high * tl.load(angles + HALF + at) + low * tl.load(angles + DIM + HALF + at)
    return turned_low, turned_high


@triton.jit
def _attend_kernel(
    qkv, q_gain, k_gain, rope, keys, values, block_table, position, parts, weights, arrived, out,
    block_stride, page_size, scale, eps,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, DIM: tl.constexpr, NORM: tl.constexpr,
    ROWS: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr, SPLITS: tl.constexpr, STAGES: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    kv_head = tl.program_id(1)
    split = tl.program_id(2)
    GROUP: tl.constexpr = HEADS // KV_HEADS
    HALF: tl.constexpr = DIM // 2
    in_group = tl.arange(0, ROWS)
    real = in_group < GROUP
    heads = kv_head * GROUP + in_group
    half = tl.arange(0, HALF)
    dim = tl.arange(0, DIM)

    newest = tl.load(position + row).to(tl.int32)
    angles = rope + newest * 2 * DIM
    source = qkv + row * (HEADS + 2 * KV_HEADS) * DIM
    q_low, q_high = _turned(source + heads[:, None] * DIM, q_gain, angles, real[:, None], eps, DIM, NORM)
    q_low, q_high = q_low.to(WIDE), q_high.to(WIDE)

    best = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    gathered = tl.zeros([ROWS, DIM], tl.float32)
    if split == 0:  # the new position itself: it goes into the cache, and is attended to from here
        one = tl.arange(0, 1)[:, None]
        k_low, k_high = _turned(source + (HEADS + kv_head + one) * DIM, k_gain, angles, one == 0, eps, DIM, NORM)
        k_low, k_high = as_kept(k_low, keys), as_kept(k_high, keys)
        v = as_kept(tl.load(source + (HEADS + KV_HEADS + kv_head) * DIM + dim), values)
        page = tl.load(block_table + row * block_stride + newest // page_size)
        new_at = ((page * page_size + newest % page_size) * KV_HEADS + kv_head) * DIM
        tl.store(keys + new_at + half[None, :], k_low)
        tl.store(keys + new_at + HALF + half[None, :], k_high)
        tl.store(values + new_at + dim, v)
        score = tl.sum(q_low.to(tl.float32) * k_low.to(tl.float32), 1)
        best = (score + tl.sum(q_high.to(tl.float32) * k_high.to(tl.float32), 1)) * scale
        total += 1.0
        gathered += v.to(tl.float32)[None, :]

    length = tl.cdiv(tl.cdiv(newest, SPLITS), BLOCK) * BLOCK
    start = split * length
    end = tl.minimum(start + length, newest)
    for begin in tl.range(start, end, BLOCK, num_stages=STAGES):
        at = begin + tl.arange(0, BLOCK)
        inside = at < end
        page = tl.load(block_table + row * block_stride + at // page_size, mask=inside, other=0).to(tl.int64)
        source_at = (((page * page_size + at % page_size) * KV_HEADS + kv_head) * DIM)[:, None]
        k_low = tl.load(keys + source_at + half[None, :], mask=inside[:, None], other=0.0).to(WIDE)
        k_high = tl.load(keys + source_at + HALF + half[None, :], mask=inside[:, None], other=0.0).to(WIDE)
        v = tl.load(values + source_at + dim[None, :], mask=inside[:, None], other=0.0).to(WIDE)
        if HALF >= 16:
            score = tl.dot(q_low, tl.trans(k_low), input_precision="ieee")
            score = tl.dot(q_high, tl.trans(k_high), score, input_precision="ieee") * scale
        else:  # too narrow for a tensor core product
            score = tl.sum(q_low.to(tl.float32)[:, None, :] * k_low.to(tl.float32)[None, :, :], 2)
            score += tl.sum(q_high.to(tl.float32)[:, None, :] * k_high.to(tl.float32)[None, :, :], 2)
            score *= scale
        score = tl.where(inside[None, :], score, float("-inf"))
        newer = tl.maximum(best, tl.max(score, 1))
        shrink = tl.exp(best - newer)
        weight = tl.exp(score - newer[:, None])
        total = total * shrink + tl.sum(weight, 1)
        gathered = gathered * shrink[:, None] + tl.dot(weight.to(WIDE), v, input_precision="ieee")
        best = newer

    result = out + (row * HEADS + heads[:, None]) * DIM + dim[None, :]
    if SPLITS == 1:
        tl.store(result, (gathered / total[:, None]).to(out.dtype.element_ty), mask=real[:, None])
    else:
        some = tl.where(total > 0, total, 1.0)
        part = (row * HEADS + heads) * SPLITS
        tl.store(parts + (part + split)[:, None] * DIM + dim[None, :], gathered / some[:, None], mask=real[:, None])
        tl.store(weights + part + split, tl.where(total > 0, best + tl.log(some), float("-inf")), mask=real)
        tl.debug_barrier()  # all of this program's part is written before it counts as arrived
        counter = arrived + row * KV_HEADS + kv_head
        if tl.atomic_add(counter, 1) == SPLITS - 1:
            tl.store(counter, 0)  # for the next launch
            one = tl.arange(0, PADDED)
            mine = row * HEADS + kv_head * GROUP + one
            there = one < GROUP
            place = mine[:, None] * SPLITS + tl.arange(0, SPLITS)[None, :]
            # the first part is never empty
            share = tl.load(weights + place, mask=there[:, None], other=0.0, cache_modifier=".cg")
            share = tl.exp(share - tl.max(share, 1)[:, None])
            share = share / tl.sum(share, 1)[:, None]
            parts_at = parts + place[:, :, None] * DIM + dim[None, None, :]
            found = tl.load(parts_at, mask=there[:, None, None], other=0.0, cache_modifier=".cg")
            found = tl.sum(found * share[:, :, None], 1)
            tl.store(out + mine[:, None] * DIM + dim[None, :], found.to(out.dtype.element_ty), mask=there[:, None])


@dataclass(frozen=True)
class Tiles:
    """How a batch is shared out: positions a program reads at once, parts of a context, warps, loads ahead (the first of
    them is spent on the page numbers). Measured on an H100, see deploy/benchmarks."""

    block: int
    splits: int
    warps: int
    stages: int


def tiles_for(rows: int) -> Tiles:
    """Few rows are split so far that their parts fill a GPU. More fill it by themselves, with many small programs; the two
    parts are there so that one long row does not keep the others waiting."""
    if rows <= 8:
        return Tiles(block=128, splits=16 if rows == 1 else 8 if rows == 2 else 4, warps=4, stages=3)
    return Tiles(block=32, splits=2, warps=1, stages=5)


class Attention:
    """Keeps the counters that the programs of one row meet at: zero between launches."""

    def __init__(self) -> None:
        self._arrived: Tensor | None = None

    def __call__(
        self,
        qkv: Tensor,
        norms: HeadNorms | None,
        rope: Tensor,
        metadata: DecodeMetadata,
        cache: LayerCache,
        shape: HeadShape,
    ) -> Tensor:
        rows, heads, dim = qkv.shape[0], shape.heads, shape.head_dim
        tiles = tiles_for(rows)
        splits, padded = tiles.splits, triton.next_power_of_2(heads // shape.kv_heads)
        if self._arrived is None or len(self._arrived) < rows * shape.kv_heads:
            self._arrived = torch.zeros(max(4096, rows * shape.kv_heads), dtype=torch.int32, device=qkv.device)
        parts = torch.empty(rows, heads, splits, dim, dtype=torch.float32, device=qkv.device)
        weights = torch.empty(rows, heads, splits, dtype=torch.float32, device=qkv.device)
        out = torch.empty(rows, heads * dim, dtype=qkv.dtype, device=qkv.device)
        _attend_kernel[(rows, shape.kv_heads, splits)](
            qkv, *(norms or (None, None)), rope, cache.keys, cache.values, metadata.block_table, metadata.position,
            parts, weights, self._arrived, out, metadata.block_table.stride(0), metadata.page_size, dim**-0.5, shape.eps,
            HEADS=heads, KV_HEADS=shape.kv_heads, DIM=dim, NORM=norms is not None,
            ROWS=max(_DOT_ROWS, padded), PADDED=padded, BLOCK=tiles.block, SPLITS=splits, STAGES=tiles.stages,
            WIDE=wide(cache, qkv.dtype), num_warps=tiles.warps, num_stages=tiles.stages,
        )  # fmt: skip
        return out
