"""`Tails` in Triton for CUDA: one pass over memory between two convolutions, where torch takes eight."""

# Kernels are written in Triton's own language, which only looks like Python to a type checker.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found, import-untyped"

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .tails import Tails, TailShape

BLOCK = 1024


@triton.jit
def _enter_kernel(
    x, added, bias, alpha, tails, frames, total, joined, new_tails, length, channels, steps, rate, tails_stride,
    ADD: tl.constexpr, BIAS: tl.constexpr, SNAKE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1)
    place = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)  # in the joined input
    at = place - steps
    inside = (at >= 0) & (at < length)
    line = (row * channels + channel) * length
    value = tl.load(x + line + at, mask=inside, other=0.0)
    if BIAS:
        value += tl.load(bias + channel)
    if ADD:
        value += tl.load(added + line + at, mask=inside, other=0.0)
        tl.store(total + line + at, value, mask=inside)
    if SNAKE:
        turn = tl.load(alpha + channel)
        wave = tl.sin(value * turn)
        value += wave * wave / (turn + 1e-9)
    tail = row * tails_stride + channel * steps
    value = tl.where(at < 0, tl.load(tails + tail + place, mask=at < 0, other=0.0), value)
    real = at < length
    tl.store(joined + (row * channels + channel) * (steps + length) + place, value, mask=real)
    kept = place - tl.load(frames + row) * rate
    tl.store(new_tails + tail + kept, value, mask=real & (kept >= 0) & (kept < steps))


class TritonTails(Tails):
    """CUDA only (or Triton's interpreter, in tests)."""

    def __init__(self, shapes: Sequence[TailShape], packed: Tensor, frames: Tensor) -> None:
        super().__init__(shapes, packed, frames)
        self._old, self._next = packed, torch.empty_like(packed)
        self._begin = 0  # of the next convolution's tail in a row

    def prepend(self, x: Tensor, *, bias: Tensor | None = None, alpha: Tensor | None = None) -> Tensor:
        return self._enter(x, None, bias, alpha)[1]

    def add_prepend(self, x: Tensor, product: Tensor, bias: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        return self._enter(x, product.contiguous(), bias, alpha)

    def _enter(
        self, x: Tensor, added: Tensor | None, bias: Tensor | None, alpha: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        x, shape = x.contiguous(), self._next_shape(x)
        batch, channels, length = x.shape
        joined = torch.empty(batch, channels, shape.steps + length, dtype=x.dtype, device=x.device)
        total = x if added is None else torch.empty_like(x)
        end = self._begin + channels * shape.steps
        old, new = self._old[:, self._begin : end], self._next[:, self._begin : end]
        _enter_kernel[(batch, channels, triton.cdiv(shape.steps + length, BLOCK))](
            x, added, bias, alpha, old, self._frames, total, joined, new,
            length, channels, shape.steps, shape.rate, self._old.stride(0),
            ADD=added is not None, BIAS=bias is not None, SNAKE=alpha is not None, BLOCK=BLOCK,
        )  # fmt: skip
        self._begin = end
        self._new.append(new)
        return total, joined

    def packed(self) -> Tensor:
        assert self._begin == self._next.shape[1], f"{self._begin} of {self._next.shape[1]} kept inputs were used"
        return self._next
