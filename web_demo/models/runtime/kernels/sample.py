"""Choosing tokens on the device without a sort: the limits of top-k and top-p are searched in the bits of the weights.

The bits of floats that are not negative are in the order of the floats, so a search over them is exact. A codebook is one
program's work. A text vocabulary is shared by many: each pass of the search is a launch, finds five bits, and takes what
the one before it found from sums a block of scores.
"""

# Kernels are written in Triton's own language, which only looks like Python to a type checker.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found, import-untyped"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from web_demo.models.runtime.kernels.sampling import SamplingRows

_WEIGHT_BITS = 30  # of a float in [0, 1]: 1.0 is 0x3F800000
NARROW = 8192  # scores that stay in one program's registers
BLOCK = 2048  # of a wide row
_TILE = 256
_DIGIT_BITS = 5
_PASSES = _WEIGHT_BITS // _DIGIT_BITS


@triton.jit
def _narrow_kernel(
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


@triton.jit
def _wide_best_kernel(scores, best, width, scores_stride, BLOCK: tl.constexpr):
    """The largest score of each block, [rows, blocks]."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    part = tl.load(scores + row * scores_stride + at, mask=at < width, other=float("-inf"))
    tl.store(best + row * tl.num_programs(1) + tl.program_id(1), tl.max(part, 0))


@triton.jit
def _weights(scores, best, temperature, row, at, width, scores_stride, blocks, BLOCKS: tl.constexpr):
    """exp((score - best) / temperature) at some places of a row; 0 past its end."""
    block = tl.arange(0, BLOCKS)
    highest = tl.max(tl.load(best + row * blocks + block, mask=block < blocks, other=float("-inf")), 0)
    part = tl.load(scores + row * scores_stride + at, mask=at < width, other=float("-inf"))
    return tl.exp((part - highest) * (1.0 / tl.load(temperature + row)))


@triton.jit
def _narrowed(floor, sums, wanted, row, blocks, BLOCKS: tl.constexpr, SHIFT: tl.constexpr, DIGITS: tl.constexpr):
    """The floor with five more bits: the largest one above which there still is `wanted`."""
    block = tl.arange(0, BLOCKS)[:, None]
    digit = tl.arange(0, DIGITS)
    above = tl.sum(tl.load(sums + (row * blocks + block) * DIGITS + digit, mask=block < blocks, other=0.0), 0)
    return floor + (tl.sum(((above >= wanted) & (digit > 0)).to(tl.int32), 0) << SHIFT)


@triton.jit
def _wanted(top_k, top_p, totals, row, blocks, BY_MASS: tl.constexpr, BLOCKS: tl.constexpr):
    """How much must lie above the floor: a number of scores, or a mass; and whether there is such a limit."""
    if BY_MASS:
        block = tl.arange(0, BLOCKS)
        total = tl.sum(tl.load(totals + row * blocks + block, mask=block < blocks, other=0.0), 0)
        share = tl.load(top_p + row)
        wanted = share * total
        limited = share < 1.0
    else:
        k = tl.load(top_k + row)
        wanted = k.to(tl.float32)
        limited = k > 0
    return wanted, limited


@triton.jit
def _wide_pass_kernel(
    scores, best, temperature, top_k, top_p, floors, before, sums, totals, width, scores_stride,
    BY_MASS: tl.constexpr, PASS: tl.constexpr, PASSES: tl.constexpr, DIGIT_BITS: tl.constexpr,
    BLOCK: tl.constexpr, TILE: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """One pass of one search: floors int32 [2, PASSES + 1, rows], before and sums float32 [rows, blocks, digits].

    `sums` holds, for every block and each next digit of the floor, what lies above; `before` is that of the last pass. The
    first pass by mass also adds up what top-k left, which is what the share of top-p is of.
    """
    row = tl.program_id(0).to(tl.int64)
    rows, blocks = tl.num_programs(0), tl.num_programs(1)
    DIGITS: tl.constexpr = 1 << DIGIT_BITS
    SHIFT: tl.constexpr = (PASSES - 1 - PASS) * DIGIT_BITS
    by_count = floors + row
    mine = by_count
    if BY_MASS:
        mine = by_count + (PASSES + 1) * rows
    floor = tl.full([], -1, tl.int32)
    limited = True
    if PASS > 0:
        wanted, limited = _wanted(top_k, top_p, totals, row, blocks, BY_MASS, BLOCKS)
        floor = tl.load(mine + (PASS - 1) * rows)
        if limited:
            floor = _narrowed(floor, before, wanted, row, blocks, BLOCKS, SHIFT + DIGIT_BITS, DIGITS)
    elif not BY_MASS:
        limited = tl.load(top_k + row) > 0
    else:  # the last digits of top-k
        kept = tl.load(by_count + (PASSES - 1) * rows)
        count, counted = _wanted(top_k, top_p, totals, row, blocks, False, BLOCKS)
        if counted:
            kept = _narrowed(kept, before, count, row, blocks, BLOCKS, 0, DIGITS)
        if tl.program_id(1) == 0:
            tl.store(by_count + PASSES * rows, kept)
        places = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        all_of_them = _weights(scores, best, temperature, row, places, width, scores_stride, blocks, BLOCKS)
        some = tl.sum(tl.where(all_of_them.to(tl.int32, bitcast=True) > kept, all_of_them, 0.0), 0)
        tl.store(totals + row * blocks + tl.program_id(1), some)
    if tl.program_id(1) == 0:
        tl.store(mine + PASS * rows, floor)
    if limited:
        digit = tl.arange(0, DIGITS)
        limit = floor + (digit << SHIFT)
        above = tl.zeros([TILE, DIGITS], tl.float32)
        for first in range(0, BLOCK, TILE):
            at = tl.program_id(1) * BLOCK + first + tl.arange(0, TILE)
            weight = _weights(scores, best, temperature, row, at, width, scores_stride, blocks, BLOCKS)
            over = weight.to(tl.int32, bitcast=True)[:, None] > limit[None, :]
            if BY_MASS:
                above += tl.where(over, weight[:, None], 0.0)
            else:
                above += tl.where(over & (at < width)[:, None], 1.0, 0.0)
        tl.store(sums + (row * blocks + tl.program_id(1)) * DIGITS + digit, tl.sum(above, 0))


@triton.jit
def _wide_mass_kernel(
    scores, best, temperature, top_k, top_p, floors, before, totals, floor_out, mass, last, width, scores_stride,
    PASSES: tl.constexpr, DIGIT_BITS: tl.constexpr, BLOCK: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """The floor of both limits, [rows], and of each block the mass above it and the last place above it, [rows, blocks]."""
    row = tl.program_id(0).to(tl.int64)
    rows, blocks = tl.num_programs(0), tl.num_programs(1)
    floor = tl.load(floors + PASSES * rows + row)
    wanted, limited = _wanted(top_k, top_p, totals, row, blocks, True, BLOCKS)
    if limited:
        other = tl.load(floors + (2 * PASSES) * rows + row)
        other = _narrowed(other, before, wanted, row, blocks, BLOCKS, 0, 1 << DIGIT_BITS)
        floor = tl.maximum(floor, other)
    if tl.program_id(1) == 0:
        tl.store(floor_out + row, floor)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    weight = _weights(scores, best, temperature, row, at, width, scores_stride, blocks, BLOCKS)
    kept = (weight.to(tl.int32, bitcast=True) > floor) & (weight > 0)
    place = row * blocks + tl.program_id(1)
    tl.store(mass + place, tl.sum(tl.where(kept, weight, 0.0), 0))
    tl.store(last + place, tl.max(tl.where(kept, at, -1), 0))


@triton.jit
def _wide_draw_kernel(
    scores, best, temperature, floor, mass, last, uniform, out, width, scores_stride, blocks,
    BLOCK: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """The inverse of the cumulative distribution: first the block, then the place in it."""
    row = tl.program_id(0).to(tl.int64)
    block = tl.arange(0, BLOCKS)
    masses = tl.load(mass + row * blocks + block, mask=block < blocks, other=0.0)
    lasts = tl.load(last + row * blocks + block, mask=block < blocks, other=-1)
    target = tl.load(uniform + row) * tl.sum(masses, 0)
    reached = tl.cumsum(masses, 0)
    final = tl.max(tl.where(lasts >= 0, block, 0), 0)  # the last block with anything in it
    mine = tl.minimum(tl.sum((reached <= target).to(tl.int32), 0), final)
    before = tl.sum(tl.where(block < mine, masses, 0.0), 0)
    at = mine * BLOCK + tl.arange(0, BLOCK)
    weight = _weights(scores, best, temperature, row, at, width, scores_stride, blocks, BLOCKS)
    kept = (weight.to(tl.int32, bitcast=True) > tl.load(floor + row)) & (weight > 0)
    inside = before + tl.cumsum(tl.where(kept, weight, 0.0), 0)
    drawn = mine * BLOCK + tl.sum((inside <= target).to(tl.int32), 0)
    tl.store(out + row, tl.minimum(drawn, tl.max(tl.where(kept, at, 0), 0)).to(tl.int64))


def sample(scores: Tensor, rows: SamplingRows, uniform: Tensor) -> Tensor:
    """See `sampling.sample`."""
    scores, uniform = scores.contiguous(), uniform.contiguous()
    drawn = _narrow(scores, rows, uniform) if scores.shape[1] <= NARROW else _wide(scores, rows, uniform)
    return torch.where(rows.sample, drawn, scores.argmax(dim=-1))


def _narrow(scores: Tensor, rows: SamplingRows, uniform: Tensor) -> Tensor:
    count, width = scores.shape
    out = torch.empty(count, dtype=torch.long, device=scores.device)
    _narrow_kernel[(count,)](
        scores, rows.temperature, rows.top_p, rows.top_k, uniform, out, width, scores.stride(0),
        BLOCK=min(NARROW, triton.next_power_of_2(width)), BITS=_WEIGHT_BITS, num_warps=8,
    )  # fmt: skip
    return out


def _wide(scores: Tensor, rows: SamplingRows, uniform: Tensor) -> Tensor:
    count, width = scores.shape
    blocks = triton.cdiv(width, BLOCK)
    sizes = {"BLOCK": BLOCK, "BLOCKS": triton.next_power_of_2(blocks)}
    grid = (count, blocks)

    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=scores.device)

    best, totals, mass = (empty(count, blocks) for _ in range(3))
    last = empty(count, blocks, dtype=torch.int32)
    floors = empty(2, _PASSES + 1, count, dtype=torch.int32)
    floor = empty(count, dtype=torch.int32)
    before, sums = (empty(count, blocks, 1 << _DIGIT_BITS) for _ in range(2))
    _wide_best_kernel[grid](scores, best, width, scores.stride(0), BLOCK=BLOCK)
    row = (scores, best, rows.temperature)
    limits = (rows.top_k, rows.top_p)
    for by_mass in (False, True):
        for number in range(_PASSES):
            before, sums = sums, before
            _wide_pass_kernel[grid](
                *row, *limits, floors, before, sums, totals, width, scores.stride(0),
                BY_MASS=by_mass, PASS=number, PASSES=_PASSES, DIGIT_BITS=_DIGIT_BITS, TILE=_TILE, **sizes,
            )  # fmt: skip
    _wide_mass_kernel[grid](
        *row, *limits, floors, sums, totals, floor, mass, last, width, scores.stride(0),
        PASSES=_PASSES, DIGIT_BITS=_DIGIT_BITS, **sizes,
    )  # fmt: skip
    out = empty(count, dtype=torch.long)
    _wide_draw_kernel[(count,)](*row, floor, mass, last, uniform, out, width, scores.stride(0), blocks, **sizes)
    return out
