"""The operations of `kernels`, fused in Triton for CUDA: rings and tails are read where they are, nothing is copied together."""

# Kernels are written in Triton's own language, which only looks like Python to a type checker.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found, import-untyped"

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from .kernels import NORM_EPS, FlowKernels, Places

BLOCK_FRAMES = (64, 128)  # queries of one program, for short and for longer pieces
BLOCK_KEYS = 64
CONV_FRAMES = 32
_LEAST = 16  # what a product of tiles needs on each side


@triton.jit
def _modulated_kernel(
    x, gate, product, shift, scale, total, out, width, eps, ADD: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * width
    at = tl.arange(0, BLOCK)
    inside = at < width
    value = tl.load(x + row + at, mask=inside, other=0.0).to(tl.float32)
    if ADD:
        added = tl.load(product + row + at, mask=inside, other=0.0).to(tl.float32)
        value += added * tl.load(gate + at, mask=inside, other=0.0).to(tl.float32)
        value = value.to(total.dtype.element_ty).to(tl.float32)  # the residual stream keeps the model's precision
        tl.store(total + row + at, value.to(total.dtype.element_ty), mask=inside)
    mean = tl.sum(value, 0) / width
    centred = tl.where(inside, value - mean, 0.0)
    unit = centred * tl.rsqrt(tl.sum(centred * centred, 0) / width + eps)
    scaled = unit * tl.load(scale + at, mask=inside, other=0.0).to(tl.float32)
    shifted = scaled + tl.load(shift + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row + at, shifted.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _position_conv_kernel(
    x, tails, rows, weight, bias, out, length, tails_stride,
    WIDTH: tl.constexpr, GROUP: tl.constexpr, PADDED: tl.constexpr, TAPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Some frames of one group's channels; `weight` [groups, taps, in, out]."""
    pair = tl.program_id(0).to(tl.int64)
    group = tl.program_id(1)
    frame = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.arange(0, PADDED)
    there = channel < GROUP
    own = x + pair * length * WIDTH + group * GROUP
    old = tails + tl.load(rows + pair) * tails_stride + group * GROUP
    square = weight + group * TAPS * GROUP * GROUP + channel[:, None] * GROUP + channel[None, :]
    summed = tl.zeros([BLOCK, PADDED], tl.float32)
    for tap in range(TAPS):
        at = frame + tap - (TAPS - 1)
        new = (at >= 0) & (at < length)
        heard = tl.load(own + at[:, None] * WIDTH + channel[None, :], mask=new[:, None] & there[None, :], other=0.0)
        before = (at + TAPS - 1)[:, None] * WIDTH + channel[None, :]
        heard += tl.load(old + before, mask=(at < 0)[:, None] & there[None, :], other=0.0)
        part = tl.load(square + tap * GROUP * GROUP, mask=there[:, None] & there[None, :], other=0.0)
        summed = tl.dot(heard, part, summed, input_precision="ieee")
    summed += tl.load(bias + group * GROUP + channel, mask=there, other=0.0).to(tl.float32)[None, :]
    e = tl.exp(tl.minimum(summed, 20.0))  # mish(x) = x tanh(log(1 + exp x)) = x n / (n + 2), n = exp x (exp x + 2)
    n = e * (e + 2.0)
    value = summed * n / (n + 2.0)
    place = out + pair * length * WIDTH + group * GROUP + frame[:, None] * WIDTH + channel[None, :]
    tl.store(place, value.to(out.dtype.element_ty), mask=(frame < length)[:, None] & there[None, :])


@triton.jit
def _tails_kernel(
    x, tails, rows, keep, length, tails_stride,
    WIDTH: tl.constexpr, TAIL: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The last inputs before a stream's next frame: those of the tails before, then those of x."""
    pair = tl.program_id(0).to(tl.int64)
    kept = tl.load(keep + pair)
    if kept > 0:
        channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        there = (channel < WIDTH)[None, :]
        index = tl.arange(0, PADDED)
        at = index + kept
        old = tails + tl.load(rows + pair) * tails_stride + channel[None, :]
        before = tl.load(old + at[:, None] * WIDTH, mask=(at < TAIL)[:, None] & there, other=0.0)
        place = x + pair * length * WIDTH + (at - TAIL)[:, None] * WIDTH + channel[None, :]
        value = before + tl.load(place, mask=((at >= TAIL) & (index < TAIL))[:, None] & there, other=0.0)
        tl.debug_barrier()  # all is read before any of it is overwritten
        tl.store(old + index[:, None] * WIDTH, value, mask=(index < TAIL)[:, None] & there)


@triton.jit
def _rotate_kernel(qkv, rotation, INNER: tl.constexpr, DIM: tl.constexpr, BLOCK: tl.constexpr):
    """The first heads of one frame's query and key."""
    row = tl.program_id(0).to(tl.int64)
    index = tl.arange(0, BLOCK)
    inside = index < DIM // 2
    cos = tl.load(rotation + row * DIM + 2 * index, mask=inside)
    sin = tl.load(rotation + row * DIM + 2 * index + 1, mask=inside)
    for side in tl.static_range(2):
        place = qkv + row * 3 * INNER + side * INNER + 2 * index
        even = tl.load(place, mask=inside).to(tl.float32)
        odd = tl.load(place + 1, mask=inside).to(tl.float32)
        tl.store(place, (even * cos - odd * sin).to(qkv.dtype.element_ty), mask=inside)
        tl.store(place + 1, (even * sin + odd * cos).to(qkv.dtype.element_ty), mask=inside)


@triton.jit
def _gather_values(
    query, keys, values, stride, at, inside, seen, best, total, gathered, scale, there
):  # fmt: skip
    """One tile of keys and values in the running softmax (flash attention: Dao 2023)."""
    place = at.to(tl.int64)[:, None] * stride
    k = tl.load(keys + place, mask=inside[:, None] & there[None, :], other=0.0)
    v = tl.load(values + place, mask=inside[:, None] & there[None, :], other=0.0)
    score = tl.where(seen, tl.dot(query, tl.trans(k), input_precision="ieee") * scale, -1.0e30)
    newer = tl.maximum(best, tl.max(score, 1))
    shrink = tl.exp2(best - newer)
    weight = tl.where(seen, tl.exp2(score - newer[:, None]), 0.0)
    total = total * shrink + tl.sum(weight, 1)
    gathered = gathered * shrink[:, None] + tl.dot(weight.to(v.dtype), v, input_precision="ieee")
    return newer, total, gathered


@triton.jit
def _attend_kernel(
    qkv, ring, rows, mask, out, length, context, ring_stride, scale,
    HEADS: tl.constexpr, DIM: tl.constexpr, PADDED: tl.constexpr, QUERIES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Some frames of one head: over the ring first, then over the chunk itself."""
    pair = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    frame = tl.program_id(2) * QUERIES + tl.arange(0, QUERIES)
    real = frame < length
    dim = tl.arange(0, PADDED)
    there = dim < DIM
    INNER: tl.constexpr = HEADS * DIM
    own = qkv + pair * length * 3 * INNER + head * DIM + dim[None, :]
    query = tl.load(own + frame[:, None] * 3 * INNER, mask=real[:, None] & there[None, :], other=0.0)
    line = mask + (pair // 2) * length * (context + length) + frame[:, None] * (context + length)
    past = ring + tl.load(rows + pair) * ring_stride + head * DIM + dim[None, :]
    best = tl.full([QUERIES], -1.0e30, tl.float32)
    total = tl.zeros([QUERIES], tl.float32)
    gathered = tl.zeros([QUERIES, PADDED], tl.float32)
    for begin in range(0, context, BLOCK):
        at = begin + tl.arange(0, BLOCK)
        inside = at < context
        seen = tl.load(line + at[None, :], mask=real[:, None] & inside[None, :], other=0) != 0
        best, total, gathered = _gather_values(
            query, past, past + INNER, 2 * INNER, at, inside, seen, best, total, gathered, scale, there
        )
    for begin in range(0, length, BLOCK):
        at = begin + tl.arange(0, BLOCK)
        inside = at < length
        seen = tl.load(line + context + at[None, :], mask=real[:, None] & inside[None, :], other=0) != 0
        best, total, gathered = _gather_values(
            query, own + INNER, own + 2 * INNER, 3 * INNER, at, inside, seen, best, total, gathered, scale, there
        )
    place = out + (pair * length + frame)[:, None] * INNER + head * DIM + dim[None, :]
    value = gathered / tl.maximum(total, 1e-30)[:, None]
    tl.store(place, value.to(out.dtype.element_ty), mask=real[:, None] & there[None, :])


@triton.jit
def _keep_kernel(qkv, ring, written, limit, INNER: tl.constexpr, BLOCK: tl.constexpr):
    """Keys and values of one frame to its place, when that is a stream's."""
    row = tl.program_id(0).to(tl.int64)
    place = tl.load(written + row)
    if place < limit:
        at = tl.arange(0, BLOCK)
        inside = at < 2 * INNER
        value = tl.load(qkv + row * 3 * INNER + INNER + at, mask=inside, other=0.0)
        tl.store(ring + place * 2 * INNER + at, value, mask=inside)


class TritonFlowKernels(FlowKernels):
    """CUDA only (or Triton's interpreter, in tests)."""

    def __init__(self) -> None:
        self._packed: dict[nn.Conv1d, Tensor] = {}

    def pack(self, convs: Sequence[nn.Conv1d]) -> None:
        for conv in convs:
            weight = torch.unflatten(conv.weight, 0, (conv.groups, -1))  # [groups, out, in, taps]
            self._packed[conv] = weight.permute(0, 3, 2, 1).contiguous()

    def modulated(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return self._modulated(x, None, None, shift, scale)[1]

    def add_modulated(
        self, x: Tensor, gate: Tensor, product: Tensor, shift: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        return self._modulated(x, gate, product, shift, scale)

    def _modulated(
        self, x: Tensor, gate: Tensor | None, product: Tensor | None, shift: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        width = x.shape[-1]
        out = torch.empty_like(x)
        total = x if product is None else torch.empty_like(x)
        _modulated_kernel[(x.numel() // width,)](
            x, gate, product, shift, scale, total, out, width, NORM_EPS,
            ADD=product is not None, BLOCK=triton.next_power_of_2(width),
        )  # fmt: skip
        return total, out

    def position_conv(self, x: Tensor, conv: nn.Conv1d, tails: Tensor | None, places: Places | None) -> Tensor:
        if tails is None or places is None:
            return super().position_conv(x, conv, tails, places)
        pairs, length, width = x.shape
        taps, group = conv.kernel_size[0], width // conv.groups
        assert conv.bias is not None
        out = torch.empty_like(x)
        _position_conv_kernel[(pairs, conv.groups, triton.cdiv(length, CONV_FRAMES))](
            x, tails, places.rows, self._packed[conv], conv.bias, out, length, tails.stride(0),
            WIDTH=width, GROUP=group, PADDED=max(_LEAST, triton.next_power_of_2(group)), TAPS=taps, BLOCK=CONV_FRAMES,
            num_warps=4,
        )  # fmt: skip
        block = 64
        _tails_kernel[(pairs, triton.cdiv(width, block))](
            x, tails, places.rows, places.keep, length, tails.stride(0),
            WIDTH=width, TAIL=taps - 1, PADDED=triton.next_power_of_2(taps - 1), BLOCK=block,
        )  # fmt: skip
        return out

    def rotate(self, qkv: Tensor, rotation: Tensor, dim_head: int) -> None:
        _rotate_kernel[(qkv.shape[0] * qkv.shape[1],)](
            qkv, torch.view_as_real(rotation), INNER=qkv.shape[2] // 3, DIM=dim_head,
            BLOCK=triton.next_power_of_2(dim_head // 2), num_warps=1,
        )  # fmt: skip

    def gelu_linear(self, x: Tensor, linear: nn.Linear) -> Tensor:
        if x.device.type != "cuda":
            return super().gelu_linear(x, linear)
        product = torch._addmm_activation(linear.bias, x.flatten(0, 1), linear.weight.t(), use_gelu=True)
        return product.view(*x.shape[:2], -1)

    def mask(self, visible: Tensor, dtype: torch.dtype) -> Tensor:
        return visible.to(torch.uint8)

    def attend(self, qkv: Tensor, heads: int, ring: Tensor, places: Places) -> Tensor:
        pairs, length, inner = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
        dim = inner // heads
        out = torch.empty(pairs, length, inner, dtype=qkv.dtype, device=qkv.device)
        queries = BLOCK_FRAMES[length > BLOCK_FRAMES[0]]
        _attend_kernel[(pairs, heads, triton.cdiv(length, queries))](
            qkv, ring, places.rows, places.mask, out, length, places.context, ring.stride(0),
            dim**-0.5 * 1.4426950408889634,  # exponents of two
            HEADS=heads, DIM=dim, PADDED=max(_LEAST, triton.next_power_of_2(dim)), QUERIES=queries, BLOCK=BLOCK_KEYS,
            num_warps=4, num_stages=2,
        )  # fmt: skip
        _keep_kernel[(pairs * length,)](
            qkv, ring, places.written, places.limit, INNER=inner, BLOCK=triton.next_power_of_2(2 * inner),
        )  # fmt: skip
        return out
