"""The operations of `kernels`, fused in Triton for CUDA: few launches a layer, and attention that reads no padding.

A frame is 36 backbone layers and five times 28 speech head layers for a handful of rows, so launches and passes over
memory are what it costs. Attention is split over the context and then combined (flash decoding: Dao et al. 2023).
"""

# Kernels are written in Triton's own language, which only looks like Python to a type checker.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found, import-untyped"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from web_demo.models.funaudiochat.engine.kernels import HeadShape, LayerCache, Reach, Weight, linear
from web_demo.models.funaudiochat.engine.sampling import SamplingRows

SPLITS = 8  # parts of a context that are read at the same time: fills the GPU when the batch is small
BLOCK_POSITIONS = 64
_MAX_LINEAR8_ROWS = 64
_CHOOSE_BLOCK = 8192  # a codebook's scores stay in registers
_WEIGHT_BITS = 30  # of a float in [0, 1]: 1.0 is 0x3F800000
_DOT_ROWS = 16  # the fewest rows that a tensor core product takes; a group of query heads is padded to it


@triton.jit
def _linear8_kernel(
    x, values, scale, out, rows, width, outputs,
    ROWS: tl.constexpr, BLOCK_OUT: tl.constexpr, BLOCK_IN: tl.constexpr,
):  # fmt: skip
    row = tl.arange(0, ROWS)
    at = tl.program_id(0) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    total = tl.zeros([ROWS, BLOCK_OUT], tl.float32)
    for first in range(0, width, BLOCK_IN):
        column = first + tl.arange(0, BLOCK_IN)
        inside = column < width
        part = tl.load(x + row[:, None] * width + column, mask=(row < rows)[:, None] & inside, other=0.0)
        byte = tl.load(values + at[:, None] * width + column, mask=(at < outputs)[:, None] & inside, other=0).to(
            tl.int16
        )
        # e4m3 in the bits of float16 is 2**-8 of the value, subnormals too; GPUs before Ada have no instruction for it
        half = (((byte & 0x80) << 8) | ((byte & 0x7F) << 7)).to(tl.float16, bitcast=True) * 256.0
        total += tl.dot(part, tl.trans(half.to(part.dtype)), input_precision="ieee")
    total *= tl.load(scale + at, mask=at < outputs, other=0.0)
    stored = (row < rows)[:, None] & (at < outputs)
    tl.store(out + row[:, None] * outputs + at, total.to(out.dtype.element_ty), mask=stored)


@triton.jit
def _add_norm_kernel(x, residual, weight, out, total, width, eps, HAS_RESIDUAL: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * width
    at = tl.arange(0, BLOCK)
    inside = at < width
    value = tl.load(x + row + at, mask=inside, other=0.0).to(tl.float32)
    if HAS_RESIDUAL:
        value += tl.load(residual + row + at, mask=inside, other=0.0).to(tl.float32)
        value = value.to(total.dtype.element_ty).to(tl.float32)  # the residual stream keeps the model's precision
        tl.store(total + row + at, value.to(total.dtype.element_ty), mask=inside)
    scale = tl.rsqrt(tl.sum(value * value, 0) / width + eps)
    gain = tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row + at, (value * scale * gain).to(out.dtype.element_ty), mask=inside)


@triton.jit
def _place_heads_kernel(
    qkv, q_norm, k_norm, rope, position, target, q_out, keys, values, eps,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, DIM: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    HALF: tl.constexpr = DIM // 2
    at = tl.arange(0, HALF)
    source = qkv + (row * (HEADS + 2 * KV_HEADS) + head) * DIM
    low = tl.load(source + at).to(tl.float32)
    high = tl.load(source + HALF + at).to(tl.float32)
    slot = tl.load(target + row)
    if head >= HEADS + KV_HEADS:
        place = values + (slot * KV_HEADS + head - HEADS - KV_HEADS) * DIM
        tl.store(place + at, low.to(values.dtype.element_ty))
        tl.store(place + HALF + at, high.to(values.dtype.element_ty))
    else:
        gains = q_norm
        if head >= HEADS:
            gains = k_norm
        scale = tl.rsqrt((tl.sum(low * low, 0) + tl.sum(high * high, 0)) / DIM + eps)
        low = low * scale * tl.load(gains + at).to(tl.float32)
        high = high * scale * tl.load(gains + HALF + at).to(tl.float32)
        angles = rope + tl.load(position + row) * 2 * DIM
        turned_low = low * tl.load(angles + at) - high * tl.load(angles + DIM + at)
        turned_high = high * tl.load(angles + HALF + at) + low * tl.load(angles + DIM + HALF + at)
        place = q_out + (row * HEADS + head) * DIM
        if head >= HEADS:
            place = keys + (slot * KV_HEADS + head - HEADS) * DIM
        tl.store(place + at, turned_low.to(q_out.dtype.element_ty))
        tl.store(place + HALF + at, turned_high.to(q_out.dtype.element_ty))


@triton.jit
def _attend_kernel(
    q, keys, values, blocks, position, parts, weights, block_stride, page_size, scale,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, DIM: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    kv_head = tl.program_id(1)
    split = tl.program_id(2)
    GROUP: tl.constexpr = HEADS // KV_HEADS
    in_group = tl.arange(0, ROWS)
    dim = tl.arange(0, DIM)
    length = tl.load(position + row) + 1
    share = tl.cdiv(tl.cdiv(length, SPLITS), BLOCK) * BLOCK
    start = split * share
    end = tl.minimum(start + share, length)

    heads = kv_head * GROUP + in_group
    real = in_group < GROUP
    query = tl.load(q + (row * HEADS + heads[:, None]) * DIM + dim[None, :], mask=real[:, None], other=0.0)
    best = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    out = tl.zeros([ROWS, DIM], tl.float32)
    for first in range(start, end, BLOCK):
        at = first + tl.arange(0, BLOCK)
        inside = at < end
        page = tl.load(blocks + row * block_stride + at // page_size, mask=inside, other=0).to(tl.int64)
        place = (page * page_size + at % page_size) * KV_HEADS + kv_head
        k = tl.load(keys + place[:, None] * DIM + dim[None, :], mask=inside[:, None], other=0.0)
        v = tl.load(values + place[:, None] * DIM + dim[None, :], mask=inside[:, None], other=0.0)
        score = tl.dot(query, tl.trans(k), input_precision="ieee") * scale
        score = tl.where(inside[None, :], score, float("-inf"))
        newer = tl.maximum(best, tl.max(score, 1))
        shrink = tl.exp(best - newer)
        weight = tl.exp(score - newer[:, None])
        total = total * shrink + tl.sum(weight, 1)
        out = out * shrink[:, None] + tl.dot(weight.to(v.dtype), v, input_precision="ieee")
        best = newer
    part = (row * HEADS + heads) * SPLITS + split
    some = tl.where(total > 0, total, 1.0)
    tl.store(parts + part[:, None] * DIM + dim[None, :], out / some[:, None], mask=real[:, None])
    tl.store(weights + part, tl.where(total > 0, best + tl.log(some), float("-inf")), mask=real)


@triton.jit
def _combine_kernel(parts, weights, out, DIM: tl.constexpr, SPLITS: tl.constexpr):
    row_head = tl.program_id(0).to(tl.int64)
    split = tl.arange(0, SPLITS)
    dim = tl.arange(0, DIM)
    weight = tl.load(weights + row_head * SPLITS + split)
    weight = tl.exp(weight - tl.max(weight, 0))
    part = tl.load(parts + (row_head * SPLITS + split[:, None]) * DIM + dim[None, :])
    value = tl.sum(part * weight[:, None], 0) / tl.sum(weight, 0)
    tl.store(out + row_head * DIM + dim, value.to(out.dtype.element_ty))


@triton.jit
def _gated_kernel(gate_up, out, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < width
    gate = tl.load(gate_up + row * 2 * width + at, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * width + width + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * width + at, (gate / (1 + tl.exp(-gate)) * up).to(out.dtype.element_ty), mask=inside)


@triton.jit
def _choose_kernel(
    scores, temperature, top_p, top_k, uniform, out, width, scores_stride, BLOCK: tl.constexpr, BITS: tl.constexpr
):
    """One row a program. Limits are found by bisection of the bits of the weights: those of a float that is not
    negative are in the order of the floats, so the search is exact and sorts nothing."""
    row = tl.program_id(0).to(tl.int64)
    scores += row * scores_stride
    scale = 1.0 / tl.load(temperature + row)
    at = tl.arange(0, BLOCK)
    best = float("-inf")
    for first in range(0, width, BLOCK):
        part = tl.load(scores + first + at, mask=first + at < width, other=float("-inf"))
        best = tl.maximum(best, tl.max(part, 0))

    # the limit of top-k: the smallest bits that fewer than k weights exceed
    floor_k = tl.full([], -1, tl.int32)
    k = tl.load(top_k + row)
    if k > 0:
        for bit in range(BITS):
            middle = floor_k + (1 << (BITS - 1 - bit))
            above = 0
            for first in range(0, width, BLOCK):
                part = tl.load(scores + first + at, mask=first + at < width, other=float("-inf"))
                bits = tl.exp((part - best) * scale).to(tl.int32, bitcast=True)
                above += tl.sum((bits > middle).to(tl.int32), 0)
            floor_k = tl.where(above >= k, middle, floor_k)
    total = 0.0
    for first in range(0, width, BLOCK):
        part = tl.load(scores + first + at, mask=first + at < width, other=float("-inf"))
        weight = tl.exp((part - best) * scale)
        total += tl.sum(tl.where(weight.to(tl.int32, bitcast=True) > floor_k, weight, 0.0), 0)

    # the limit of top-p: the smallest bits above which less than p of the mass lies
    wanted = tl.load(top_p + row) * total
    floor = floor_k
    if wanted < total:
        floor = tl.full([], -1, tl.int32)
        for bit in range(BITS):
            middle = floor + (1 << (BITS - 1 - bit))
            above_mass = 0.0
            for first in range(0, width, BLOCK):
                part = tl.load(scores + first + at, mask=first + at < width, other=float("-inf"))
                weight = tl.exp((part - best) * scale)
                above_mass += tl.sum(tl.where(weight.to(tl.int32, bitcast=True) > middle, weight, 0.0), 0)
            floor = tl.where(above_mass >= wanted, middle, floor)
        floor = tl.maximum(floor, floor_k)

    mass = 0.0
    for first in range(0, width, BLOCK):
        part = tl.load(scores + first + at, mask=first + at < width, other=float("-inf"))
        weight = tl.exp((part - best) * scale)
        mass += tl.sum(tl.where(weight.to(tl.int32, bitcast=True) > floor, weight, 0.0), 0)
    target = tl.load(uniform + row) * mass
    before = 0.0
    drawn = 0
    last = 0
    for first in range(0, width, BLOCK):
        part = tl.load(scores + first + at, mask=first + at < width, other=float("-inf"))
        weight = tl.exp((part - best) * scale)
        kept = (weight.to(tl.int32, bitcast=True) > floor) & (weight > 0)
        reached = before + tl.cumsum(tl.where(kept, weight, 0.0), 0)
        drawn += tl.sum(((reached <= target) & (first + at < width)).to(tl.int32), 0)
        last = tl.maximum(last, tl.max(tl.where(kept, first + at, 0), 0))
        before += tl.sum(tl.where(kept, weight, 0.0), 0)
    tl.store(out + row, tl.minimum(drawn, last).to(tl.int64))


class TritonKernels:
    """CUDA only (or Triton's interpreter, in tests). Head sizes must be powers of two."""

    def linear(self, x: Tensor, weight: Weight) -> Tensor:
        """8-bit weights are widened on the way into the tensor cores while a batch is small enough to read them once."""
        rows, width = x.shape
        if isinstance(weight, Tensor) or rows > _MAX_LINEAR8_ROWS:
            return linear(x, weight)
        outputs = len(weight.scale)
        out = torch.empty(rows, outputs, dtype=x.dtype, device=x.device)
        block = 16 if outputs <= 4096 else 32  # enough programs to fill a GPU
        _linear8_kernel[(triton.cdiv(outputs, block),)](
            x.contiguous(), weight.values.view(torch.uint8), weight.scale, out, rows, width, outputs,
            ROWS=max(_DOT_ROWS, triton.next_power_of_2(rows)), BLOCK_OUT=block, BLOCK_IN=256, num_stages=4,
        )  # fmt: skip
        return out

    def add_norm(self, x: Tensor, residual: Tensor | None, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        x = x.contiguous()
        out = torch.empty_like(x)
        total = x if residual is None else torch.empty_like(x)
        rows, width = x.shape
        _add_norm_kernel[(rows,)](
            x, residual, weight, out, total, width, eps,
            HAS_RESIDUAL=residual is not None, BLOCK=triton.next_power_of_2(width),
        )  # fmt: skip
        return out, total

    def place_heads(
        self,
        qkv: Tensor,
        norms: tuple[Tensor, Tensor],
        rope: Tensor,
        position: Tensor,
        target: Tensor,
        cache: LayerCache,
        shape: HeadShape,
    ) -> Tensor:
        rows = qkv.shape[0]
        q = torch.empty(rows, shape.heads, shape.head_dim, dtype=qkv.dtype, device=qkv.device)
        _place_heads_kernel[(rows, shape.heads + 2 * shape.kv_heads)](
            qkv, norms[0], norms[1], rope, position, target, q, cache.keys, cache.values, shape.eps,
            HEADS=shape.heads, KV_HEADS=shape.kv_heads, DIM=shape.head_dim,
        )  # fmt: skip
        return q

    def attend(self, q: Tensor, cache: LayerCache, reach: Reach) -> Tensor:
        rows, heads, dim = q.shape
        kv_heads = cache.keys.shape[1]
        parts = torch.empty(rows, heads, SPLITS, dim, dtype=torch.float32, device=q.device)
        weights = torch.empty(rows, heads, SPLITS, dtype=torch.float32, device=q.device)
        _attend_kernel[(rows, kv_heads, SPLITS)](
            q, cache.keys, cache.values, reach.blocks, reach.position, parts, weights,
            reach.blocks.stride(0), reach.page_size, dim**-0.5,
            HEADS=heads, KV_HEADS=kv_heads, DIM=dim,
            ROWS=max(_DOT_ROWS, triton.next_power_of_2(heads // kv_heads)), BLOCK=BLOCK_POSITIONS, SPLITS=SPLITS,
        )  # fmt: skip
        out = torch.empty(rows, heads * dim, dtype=q.dtype, device=q.device)
        _combine_kernel[(rows * heads,)](parts, weights, out, DIM=dim, SPLITS=SPLITS)
        return out

    def gated(self, gate_up: Tensor) -> Tensor:
        rows, width = gate_up.shape[0], gate_up.shape[1] // 2
        out = torch.empty(rows, width, dtype=gate_up.dtype, device=gate_up.device)
        block = 1024
        _gated_kernel[(rows, triton.cdiv(width, block))](gate_up, out, width, BLOCK=block)
        return out

    def choose(self, scores: Tensor, rows: SamplingRows, uniform: Tensor) -> Tensor:
        scores = scores.contiguous()
        count, width = scores.shape
        out = torch.empty(count, dtype=torch.long, device=scores.device)
        block = min(_CHOOSE_BLOCK, triton.next_power_of_2(width))
        _choose_kernel[(count,)](
            scores, rows.temperature, rows.top_p, rows.top_k, uniform.contiguous(), out, width, scores.stride(0),
            BLOCK=block, BITS=_WEIGHT_BITS, num_warps=8,
        )  # fmt: skip
        return torch.where(rows.sample, out, scores.argmax(dim=-1))
