"""The matrix products of a few rows, with what stands before and after them in a decoder layer in the same kernel.

For a batch of a few rows a product is the reading of its weights, 2 to 50 us; a kernel more or less is another 3 us.
"""

# Kernels are written in Triton's own language, which only looks like Python to a type checker.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found, import-untyped"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from web_demo.models.funaudiochat.kernels.base import Weight

MAX_ROWS = 8  # more are better served by a product of large tiles, and by its own kernels around it
MAX_ROWS_8_BITS = 64  # of a product alone: no other one here reads 8 bits
_DOT_ROWS = 16  # the fewest that a tensor core product takes
_PROCESSORS = 132  # of an H200; fewer have less bandwidth to fill too


@triton.jit
def _widened(byte):
    """e4m3 in the bits of float16 is 2**-8 of the value, subnormals too; GPUs before Ada have no instruction for it."""
    wide = byte.to(tl.int16)
    return (((wide & 0x80) << 8) | ((wide & 0x7F) << 7)).to(tl.float16, bitcast=True) * 256.0


@triton.jit
def _linear_kernel(
    x, residual, gain, total, weight, scale, out, rows, width, outputs, eps,
    NORM: tl.constexpr, HAS_RESIDUAL: tl.constexpr, GATED: tl.constexpr, EIGHT_BITS: tl.constexpr,
    ROWS: tl.constexpr, BLOCK_OUT: tl.constexpr, BLOCK_IN: tl.constexpr,
):  # fmt: skip
    """out [rows, outputs] = norm(x + residual) times weight; GATED: silu of the first half of the weight's rows times the
    second. The norm's factor is one number a row, so it follows the product, and one pass over x is enough."""
    row = tl.arange(0, ROWS)
    at = tl.program_id(0) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    rows_to_store = tl.where(tl.program_id(0) == 0, rows, 0)  # of the sum, which every program computes
    product = tl.zeros([ROWS, BLOCK_OUT], tl.float32)
    up = tl.zeros([ROWS, BLOCK_OUT], tl.float32)
    squares = tl.zeros([ROWS], tl.float32)
    for first in range(0, width, BLOCK_IN):
        column = first + tl.arange(0, BLOCK_IN)
        here = (row < rows)[:, None] & (column < width)
        part = tl.load(x + row[:, None] * width + column, mask=here, other=0.0)
        if NORM:
            wide = part.to(tl.float32)
            if HAS_RESIDUAL:
                wide += tl.load(residual + row[:, None] * width + column, mask=here, other=0.0).to(tl.float32)
                rounded = wide.to(part.dtype)  # the residual stream keeps the model's precision
                mine = (row < rows_to_store)[:, None] & (column < width)
                tl.store(total + row[:, None] * width + column, rounded, mask=mine)
                wide = rounded.to(tl.float32)
            squares += tl.sum(wide * wide, 1)
            part = (wide * tl.load(gain + column, mask=column < width, other=0.0).to(tl.float32)).to(part.dtype)
        place = weight + at[:, None].to(tl.int64) * width + column
        wanted = (at < outputs)[:, None] & (column < width)
        some = tl.load(place, mask=wanted, other=0)
        if EIGHT_BITS:
            some = _widened(some)
        product += tl.dot(part, tl.trans(some.to(part.dtype)), input_precision="ieee")
        if GATED:
            some = tl.load(place + outputs.to(tl.int64) * width, mask=wanted, other=0)
            if EIGHT_BITS:
                some = _widened(some)
            up += tl.dot(part, tl.trans(some.to(part.dtype)), input_precision="ieee")
    if EIGHT_BITS:
        product *= tl.load(scale + at, mask=at < outputs, other=0.0)
        if GATED:
            up *= tl.load(scale + outputs + at, mask=at < outputs, other=0.0)
    if NORM:
        factor = tl.rsqrt(squares / width + eps)[:, None]
        product *= factor
        up *= factor
    if GATED:
        product = product / (1 + tl.exp(-product)) * up
    tl.store(
        out + row[:, None] * outputs + at,
        product.to(out.dtype.element_ty),
        mask=(row < rows)[:, None] & (at < outputs),
    )


def tiles(rows: int, outputs: int) -> dict[str, int]:
    """Sizes of the kernel's blocks: enough programs to fill a GPU, and two or more in the shared memory of each of its
    processors. Every program reads all of x, from the cache: the more rows, the wider its part of the weights."""
    padded = max(_DOT_ROWS, triton.next_power_of_2(rows))
    block_in = 4096 // padded
    block_out = 16
    while 2 * block_out * _PROCESSORS <= outputs and block_out < 2 * padded:
        block_out *= 2
    return {"ROWS": padded, "BLOCK_OUT": block_out, "BLOCK_IN": block_in, "num_warps": 4, "num_stages": 3}


def linear(
    x: Tensor, weight: Weight, *, gain: Tensor | None = None, residual: Tensor | None = None, eps: float = 0.0,
    gated: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """x [rows, in], few rows -> (the product [rows, out] or, gated, [rows, out / 2]; x plus residual)."""
    values, scale = (weight, None) if isinstance(weight, Tensor) else (weight.values.view(torch.uint8), weight.scale)
    x = x.contiguous()
    rows, width = x.shape
    outputs = values.shape[0] // 2 if gated else values.shape[0]
    out = torch.empty(rows, outputs, dtype=x.dtype, device=x.device)
    total = x if residual is None else torch.empty_like(x)
    blocks = tiles(rows, outputs)
    _linear_kernel[(triton.cdiv(outputs, blocks["BLOCK_OUT"]),)](
        x, residual, gain, total, values, scale, out, rows, width, outputs, eps,
        NORM=gain is not None, HAS_RESIDUAL=residual is not None, GATED=gated, EIGHT_BITS=scale is not None,
        **blocks,
    )  # fmt: skip
    return out, total
