"""Attention of the new positions of some prompts over their turns' pages, whatever the lengths: one launch for all.

A program takes some tokens of one turn and the query heads that share their keys and values (flash attention: Dao 2023).
Lengths are read on the device, so a graph of one padded length serves every prompt that fits.
"""

# Kernels are written in Triton's own language, which only looks like Python to a type checker.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found, import-untyped"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from web_demo.models.runtime.kernels.attend import wide
from web_demo.models.runtime.kernels.base import HeadShape, LayerCache, PromptMetadata

BLOCK_POSITIONS = 64


@triton.jit
def _attend_prompt_kernel(
    q, keys, values, block_tables, runs, out, table_stride, page_size, scale,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, DIM: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    run = runs + tl.program_id(0) * 4
    kv_head = tl.program_id(1)
    slot = tl.load(run).to(tl.int64)
    first = tl.load(run + 1).to(tl.int64)
    count = tl.load(run + 2).to(tl.int32)
    start = tl.load(run + 3).to(tl.int32)
    if count > 0:
        GROUP: tl.constexpr = HEADS // KV_HEADS
        row = tl.arange(0, ROWS)
        token = row // GROUP
        real = token < count
        dim = tl.arange(0, DIM)
        place = ((first + token) * HEADS + kv_head * GROUP + row % GROUP)[:, None] * DIM + dim[None, :]
        query = tl.load(q + place, mask=real[:, None], other=0.0).to(WIDE)
        best = tl.full([ROWS], -1.0e30, tl.float32)
        total = tl.zeros([ROWS], tl.float32)
        gathered = tl.zeros([ROWS, DIM], tl.float32)
        for begin in range(0, start + count, BLOCK):
            at = begin + tl.arange(0, BLOCK)
            inside = at < start + count
            page = tl.load(block_tables + slot * table_stride + at // page_size, mask=inside, other=0)
            source = (((page * page_size + at % page_size) * KV_HEADS + kv_head) * DIM)[:, None] + dim[None, :]
            k = tl.load(keys + source, mask=inside[:, None], other=0.0).to(WIDE)
            v = tl.load(values + source, mask=inside[:, None], other=0.0).to(WIDE)
            score = tl.dot(query, tl.trans(k), input_precision="ieee") * scale
            seen = inside[None, :] & (at[None, :] <= (start + token)[:, None])
            score = tl.where(seen, score, -1.0e30)
            newer = tl.maximum(best, tl.max(score, 1))
            shrink = tl.exp(best - newer)
            weight = tl.where(seen, tl.exp(score - newer[:, None]), 0.0)
            total = total * shrink + tl.sum(weight, 1)
            gathered = gathered * shrink[:, None] + tl.dot(weight.to(WIDE), v, input_precision="ieee")
            best = newer
        tl.store(out + place, (gathered / total[:, None]).to(out.dtype.element_ty), mask=real[:, None])


def attend_prompt(q: Tensor, metadata: PromptMetadata, cache: LayerCache, shape: HeadShape) -> Tensor:
    """See `Kernels.attend_prompt`; runs of at most `metadata.run_tokens` tokens each, a power of two."""
    out = torch.zeros_like(q)  # tokens of padding belong to no run
    _attend_prompt_kernel[(len(metadata.runs), shape.kv_heads)](
        q, cache.keys, cache.values, metadata.block_tables, metadata.runs, out, metadata.block_tables.stride(0),
        metadata.page_size, shape.head_dim**-0.5,
        HEADS=shape.heads, KV_HEADS=shape.kv_heads, DIM=shape.head_dim,
        ROWS=triton.next_power_of_2(metadata.run_tokens * shape.heads // shape.kv_heads), BLOCK=BLOCK_POSITIONS,
        WIDE=wide(cache, q.dtype), num_warps=4, num_stages=2,
    )  # fmt: skip
    return out.flatten(1)
