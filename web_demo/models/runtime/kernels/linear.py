"""The matrix products of a few rows, with what stands before and after them in a decoder layer in the same kernel.

For a batch of a few rows a product is the reading of its weights, and a kernel more or less is another 3 us. So a norm is
no kernel: its gain is applied by the product that made its input, and its factor, one number a row, by the product that
follows. One row is multiplied without tensor cores, straight from memory to registers: many small programs at once are what
keeps memory busy. More rows go through tensor cores. Sizes of tiles were measured on an H100 (deploy/benchmarks).
"""

# Kernels are written in Triton's own language, which only looks like Python to a type checker.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found, import-untyped"

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from web_demo.models.runtime.float8 import Float8Weight
from web_demo.models.runtime.kernels.base import Weight

MAX_ROWS = 64  # more are better served by a product of large tiles, and by its own kernels around it
MAX_ROWS_8_BITS = 128  # of a product alone
_DOT_ROWS = 16  # the fewest that a tensor core product takes
_LEAST_SHARED = 99 << 10  # bytes that a program may take on every GPU that we name


@triton.jit
def _widened(byte):
    """e4m3 in the bits of float16 is 2**-8 of the value, subnormals too; GPUs before Ada have no instruction for it."""
    wide = byte.to(tl.int16)
    return (((wide & 0x80) << 8) | ((wide & 0x7F) << 7)).to(tl.float16, bitcast=True) * 256.0


@triton.jit
def _one_row_kernel(
    x, gain, weight, scale, bias, residual, out, width, outputs, eps,
    NORM: tl.constexpr, GATED: tl.constexpr, ADD: tl.constexpr, BIAS: tl.constexpr, EIGHT_BITS: tl.constexpr,
    BLOCK_OUT: tl.constexpr, BLOCK_IN: tl.constexpr,
):  # fmt: skip
    """out [outputs] = norm(x) [width] times weight; GATED: silu of the first half of the weight's rows times the second;
    ADD: plus the residual. BIAS: of a product alone."""
    at = tl.program_id(0) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    wanted = at < outputs
    product = tl.zeros([BLOCK_OUT, BLOCK_IN], tl.float32)
    up = tl.zeros([BLOCK_OUT, BLOCK_IN], tl.float32)
    squares = tl.zeros([BLOCK_IN], tl.float32)
    for first in range(0, width, BLOCK_IN):
        column = first + tl.arange(0, BLOCK_IN)
        here = column < width
        place = weight + at[:, None].to(tl.int64) * width + column
        inside = wanted[:, None] & here[None, :]
        some = tl.load(place, mask=inside, other=0)
        if GATED:
            other = tl.load(place + outputs.to(tl.int64) * width, mask=inside, other=0)
        part = tl.load(x + column, mask=here, other=0.0).to(tl.float32)
        if NORM:
            squares += part * part
            part *= tl.load(gain + column, mask=here, other=0.0).to(tl.float32)
        if EIGHT_BITS:
            some = _widened(some)
        product += some.to(tl.float32) * part[None, :]
        if GATED:
            if EIGHT_BITS:
                other = _widened(other)
            up += other.to(tl.float32) * part[None, :]
    value = tl.sum(product, 1)
    gate = tl.sum(up, 1)
    if EIGHT_BITS:
        value *= tl.load(scale + at, mask=wanted, other=0.0)
        if GATED:
            gate *= tl.load(scale + outputs + at, mask=wanted, other=0.0)
    if NORM:
        factor = tl.rsqrt(tl.sum(squares, 0) / width + eps)
        value *= factor
        gate *= factor
    if BIAS:
        value += tl.load(bias + at, mask=wanted, other=0.0).to(tl.float32)
    if GATED:
        value = value / (1 + tl.exp(-value)) * gate
    if ADD:
        value += tl.load(residual + at, mask=wanted, other=0.0).to(tl.float32)
    tl.store(out + at, value.to(out.dtype.element_ty), mask=wanted)


@triton.jit
def _rows_kernel(
    x, squares, weight, scale, bias, residual, gain, out, scaled, squares_out, rows, width, outputs, parts, eps,
    NORM: tl.constexpr, GATED: tl.constexpr, ADD: tl.constexpr, BIAS: tl.constexpr, EIGHT_BITS: tl.constexpr,
    SWAP: tl.constexpr,
    ROWS: tl.constexpr, PARTS: tl.constexpr, BLOCK_OUT: tl.constexpr, BLOCK_IN: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """The same of a few rows. NORM: x comes with the gain applied, and the factor is in `squares` [rows, parts]. ADD: the
    sum is also stored with the next norm's gain applied, and its squares [rows, programs]. SWAP: the weights are the
    product's left side, which has the finer tiles."""
    row = tl.arange(0, ROWS)
    at = tl.program_id(0) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    real = row < rows
    wanted = at < outputs
    if SWAP:
        product = tl.zeros([BLOCK_OUT, ROWS], tl.float32)
        up = tl.zeros([BLOCK_OUT, ROWS], tl.float32)
    else:
        product = tl.zeros([ROWS, BLOCK_OUT], tl.float32)
        up = tl.zeros([ROWS, BLOCK_OUT], tl.float32)
    for first in tl.range(0, width, BLOCK_IN, num_stages=STAGES):
        column = first + tl.arange(0, BLOCK_IN)
        here = column < width
        place = weight + at[:, None].to(tl.int64) * width + column
        inside = wanted[:, None] & here[None, :]
        some = tl.load(place, mask=inside, other=0)
        if EIGHT_BITS:
            some = _widened(some)
        some = some.to(x.dtype.element_ty)
        if GATED:
            other = tl.load(place + outputs.to(tl.int64) * width, mask=inside, other=0)
            if EIGHT_BITS:
                other = _widened(other)
            other = other.to(x.dtype.element_ty)
        if SWAP:
            part = tl.load(x + row[None, :] * width + column[:, None], mask=real[None, :] & here[:, None], other=0.0)
            product = tl.dot(some, part, product, input_precision="ieee")
            if GATED:
                up = tl.dot(other, part, up, input_precision="ieee")
        else:
            part = tl.load(x + row[:, None] * width + column[None, :], mask=real[:, None] & here[None, :], other=0.0)
            product = tl.dot(part, tl.trans(some), product, input_precision="ieee")
            if GATED:
                up = tl.dot(part, tl.trans(other), up, input_precision="ieee")
    value = product
    gate = up
    if SWAP:
        value = tl.trans(product)
        gate = tl.trans(up)
    if EIGHT_BITS:
        value *= tl.load(scale + at, mask=wanted, other=0.0)
        if GATED:
            gate *= tl.load(scale + outputs + at, mask=wanted, other=0.0)
    if NORM:
        part_of = tl.arange(0, PARTS)[None, :]
        some_squares = tl.load(
            squares + row[:, None] * parts + part_of, mask=real[:, None] & (part_of < parts), other=0.0
        )
        factor = tl.rsqrt(tl.sum(some_squares, 1) / width + eps)[:, None]
        value *= factor
        gate *= factor
    if BIAS:
        value += tl.load(bias + at, mask=wanted, other=0.0).to(tl.float32)
    if GATED:
        value = value / (1 + tl.exp(-value)) * gate
    target = row[:, None] * outputs + at[None, :]
    stored = real[:, None] & wanted[None, :]
    if ADD:
        value += tl.load(residual + target, mask=stored, other=0.0).to(tl.float32)
        value = value.to(out.dtype.element_ty).to(tl.float32)  # the residual stream keeps the model's precision
        own = tl.sum(tl.where(stored, value * value, 0.0), 1)
        tl.store(squares_out + row * tl.num_programs(0) + tl.program_id(0), own, mask=real)
        next_gain = tl.load(gain + at, mask=wanted, other=0.0).to(tl.float32)
        tl.store(scaled + target, (value * next_gain[None, :]).to(scaled.dtype.element_ty), mask=stored)
    tl.store(out + target, value.to(out.dtype.element_ty), mask=stored)


@triton.jit
def _enter_kernel(x, gain, scaled, squares, width, BLOCK: tl.constexpr):
    """One row a program: x with the gain applied, and its sum of squares."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    value = tl.load(x + row * width + at, mask=at < width, other=0.0).to(tl.float32)
    gains = tl.load(gain + at, mask=at < width, other=0.0).to(tl.float32)
    tl.store(scaled + row * width + at, (value * gains).to(scaled.dtype.element_ty), mask=at < width)
    tl.store(squares + row, tl.sum(value * value, 0))


@dataclass(frozen=True, eq=False)
class Entering:
    """What the products after a norm read. One row: x is the residual stream. More: it is the stream with the norm's gain
    applied, [rows, W], beside sums of the stream's squares, float32 [rows, parts]."""

    x: Tensor
    gain: Tensor
    eps: float
    squares: Tensor | None = None


def enter(x: Tensor, gain: Tensor, eps: float) -> Entering:
    """x [rows, W], a residual stream that no product of here made."""
    rows, width = x.shape
    if rows == 1:
        return Entering(x, gain, eps)
    scaled, squares = torch.empty_like(x), torch.empty(rows, 1, dtype=torch.float32, device=x.device)
    _enter_kernel[(rows,)](x, gain, scaled, squares, width, BLOCK=triton.next_power_of_2(width))
    return Entering(scaled, gain, eps, squares)


def linear(x: Tensor | Entering, weight: Weight, bias: Tensor | None = None, *, gated: bool = False) -> Tensor:
    """Few rows [rows, in], normalised first when they are `Entering` -> [rows, out] or, gated, [rows, out / 2]. `bias` [out]
    for what is not gated."""
    given = x.x if isinstance(x, Entering) else x.contiguous()
    outputs = _outputs(weight) // 2 if gated else _outputs(weight)
    out = torch.empty(given.shape[0], outputs, dtype=given.dtype, device=given.device)
    norm = x if isinstance(x, Entering) else None
    if given.shape[0] == 1:
        _one_row(given, weight, out, bias=bias, norm=norm, gated=gated)
    else:
        _rows(given, weight, out, bias=bias, norm=norm, gated=gated)
    return out


def linear_add(x: Tensor, weight: Weight, residual: Tensor, gain: Tensor, eps: float) -> tuple[Tensor, Entering]:
    """Few rows [rows, in] -> the residual stream after the product, [rows, out], and what enters the next norm."""
    x = x.contiguous()
    out = torch.empty_like(residual)
    if len(x) == 1:
        _one_row(x, weight, out, residual=residual)
        return out, Entering(out, gain, eps)
    scaled, squares = _rows(x, weight, out, residual=residual, gain=gain)
    return out, Entering(scaled, gain, eps, squares)


def _outputs(weight: Weight) -> int:
    return (weight.values if isinstance(weight, Float8Weight) else weight).shape[0]


def _parts(weight: Weight) -> tuple[Tensor, Tensor | None]:
    return (weight.values.view(torch.uint8), weight.scale) if isinstance(weight, Float8Weight) else (weight, None)


def one_row_tiles(width: int) -> dict[str, int]:
    """Sizes of the blocks: 32 weights a thread, read at once, of several outputs that share what is read of x."""
    block_in = min(2048, int(triton.next_power_of_2(width)))
    return {"BLOCK_OUT": 8192 // block_in, "BLOCK_IN": block_in, "num_warps": 8}


def _one_row(
    x: Tensor, weight: Weight, out: Tensor, *, bias: Tensor | None = None, norm: Entering | None = None,
    residual: Tensor | None = None, gated: bool = False,
) -> None:  # fmt: skip
    values, scale = _parts(weight)
    width, outputs = x.shape[1], out.shape[1]
    tiles = one_row_tiles(width)
    _one_row_kernel[(triton.cdiv(outputs, tiles["BLOCK_OUT"]),)](
        x, norm.gain if norm else None, values, scale, bias, residual, out, width, outputs,
        norm.eps if norm else 0.0,
        NORM=norm is not None, GATED=gated, ADD=residual is not None, BIAS=bias is not None, EIGHT_BITS=scale is not None, **tiles,
    )  # fmt: skip


def tiles(rows: int, outputs: int, *, gated: bool, bytes_each: int, shared: int = _LEAST_SHARED) -> dict[str, int]:
    """Sizes of the blocks: enough programs to fill a GPU, and as many loads ahead as `shared` memory takes."""
    padded = max(_DOT_ROWS, int(triton.next_power_of_2(rows)))
    block_out, block_in = (64, 128) if outputs >= 6144 else (32, 256) if outputs >= 2048 else (8, 512)
    block_in //= max(1, bytes_each // 2)
    stage = (block_out * (2 if gated else 1) + padded) * block_in * bytes_each
    while 2 * stage > shared and block_in > 32:
        block_in, stage = block_in // 2, stage // 2
    return {
        "ROWS": padded, "BLOCK_OUT": block_out, "BLOCK_IN": block_in, "STAGES": max(2, min(5, shared // stage)),
        "SWAP": block_out >= _DOT_ROWS, "num_warps": 4,
    }  # fmt: skip


@cache
def _shared_memory(device: torch.device) -> int:
    if device.type != "cuda":
        return _LEAST_SHARED
    properties: Any = torch.cuda.get_device_properties(device)
    return int(properties.shared_memory_per_block_optin) - 2048  # what the compiler adds


def _rows(
    x: Tensor, weight: Weight, out: Tensor, *, bias: Tensor | None = None, norm: Entering | None = None,
    residual: Tensor | None = None, gain: Tensor | None = None, gated: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Fills `out`; with a residual, also returns the stream with the next gain applied, and its squares."""
    values, scale = _parts(weight)
    (rows, width), outputs = x.shape, out.shape[1]
    sizes = tiles(rows, outputs, gated=gated, bytes_each=x.element_size(), shared=_shared_memory(x.device))
    programs = triton.cdiv(outputs, sizes["BLOCK_OUT"])
    scaled, squares_out = out, x  # not written
    if residual is not None:
        scaled = torch.empty_like(out)
        squares_out = torch.empty(rows, programs, dtype=torch.float32, device=x.device)
    parts = norm.squares.shape[1] if norm and norm.squares is not None else 1
    _rows_kernel[(programs,)](
        x, norm.squares if norm else None, values, scale, bias, residual, gain, out, scaled, squares_out,
        rows, width, outputs, parts, norm.eps if norm else 0.0,
        NORM=norm is not None, GATED=gated, ADD=residual is not None, BIAS=bias is not None, EIGHT_BITS=scale is not None,
        PARTS=triton.next_power_of_2(parts), num_stages=sizes["STAGES"], **sizes,
    )  # fmt: skip
    return scaled, squares_out
