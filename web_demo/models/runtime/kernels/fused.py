"""The operations of `base`, fused in Triton for CUDA: few launches a layer, and attention that reads no padding.

A frame is 36 backbone layers and five times 28 speech head layers for a handful of rows, so launches and passes over
memory are what it costs: a layer takes five kernels (`linear`, `attend`). Here are those of longer inputs.
"""

# Kernels are written in Triton's own language, which only looks like Python to a type checker.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-not-found, import-untyped"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from web_demo.models.runtime.float8 import Float8Weight
from web_demo.models.runtime.kernels import linear as triton_linear
from web_demo.models.runtime.kernels import sample as triton_sample
from web_demo.models.runtime.kernels.attend import Attention, as_kept
from web_demo.models.runtime.kernels.attend_prompt import attend_prompt
from web_demo.models.runtime.kernels.base import (
    DecodeMetadata,
    HeadNorms,
    HeadShape,
    Kernels,
    LayerCache,
    PromptMetadata,
    Residual,
    Weight,
)
from web_demo.models.runtime.kernels.linear import Entering
from web_demo.models.runtime.kernels.sampling import SamplingRows


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
def _store_kv_kernel(
    qkv, q_norm, k_norm, rope, position, target, q_out, keys, values, eps,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, DIM: tl.constexpr, NORM: tl.constexpr,
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
        tl.store(place + at, as_kept(low, values))
        tl.store(place + HALF + at, as_kept(high, values))
    else:
        if NORM:
            gains = q_norm
            if head >= HEADS:
                gains = k_norm
            scale = tl.rsqrt((tl.sum(low * low, 0) + tl.sum(high * high, 0)) / DIM + eps)
            low = low * scale * tl.load(gains + at).to(tl.float32)
            high = high * scale * tl.load(gains + HALF + at).to(tl.float32)
        angles = rope + tl.load(position + row) * 2 * DIM
        turned_low = low * tl.load(angles + at) - high * tl.load(angles + DIM + at)
        turned_high = high * tl.load(angles + HALF + at) + low * tl.load(angles + DIM + HALF + at)
        if head >= HEADS:
            place = keys + (slot * KV_HEADS + head - HEADS) * DIM
            tl.store(place + at, as_kept(turned_low, keys))
            tl.store(place + HALF + at, as_kept(turned_high, keys))
        else:
            out = q_out + (row * HEADS + head) * DIM
            tl.store(out + at, turned_low.to(q_out.dtype.element_ty))
            tl.store(out + HALF + at, turned_high.to(q_out.dtype.element_ty))


@triton.jit
def _gated_kernel(gate_up, out, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < width
    gate = tl.load(gate_up + row * 2 * width + at, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * width + width + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * width + at, (gate / (1 + tl.exp(-gate)) * up).to(out.dtype.element_ty), mask=inside)


def _few(x: Tensor, weight: Weight) -> bool:
    """Few enough rows for a product that is all reading of weights; in 8 bits the other product widens them all first."""
    most = triton_linear.MAX_ROWS_8_BITS if isinstance(weight, Float8Weight) else triton_linear.MAX_ROWS
    return x.shape[0] <= most


def _enters(x: Tensor) -> bool:
    """Whether the norm is left to the product. Not in float16: large values would leave its range before the factor."""
    return x.shape[0] <= triton_linear.MAX_ROWS and x.dtype is not torch.float16


class TritonKernels(Kernels):
    """CUDA only (or Triton's interpreter, in tests). Head sizes must be powers of two."""

    reads_padding = reads_runs = False

    def __init__(self) -> None:
        self._attention = Attention()

    def linear(self, x: Tensor, weight: Weight, bias: Tensor | None = None) -> Tensor:
        return triton_linear.linear(x, weight, bias) if _few(x, weight) else super().linear(x, weight, bias)

    def enter(self, x: Tensor, gain: Tensor, eps: float) -> Residual:
        x = x.contiguous()
        return Residual(x, triton_linear.enter(x, gain, eps) if _enters(x) else self.add_norm(x, None, gain, eps)[0])

    def normed_linear(self, residual: Residual, weight: Weight, bias: Tensor | None = None) -> Tensor:
        if isinstance(residual.normed, Entering):
            return triton_linear.linear(residual.normed, weight, bias)
        return self.linear(residual.normed, weight, bias)

    def normed_gated(self, residual: Residual, gate_up: Weight) -> Tensor:
        if isinstance(residual.normed, Entering):
            return triton_linear.linear(residual.normed, gate_up, gated=True)
        return super().normed_gated(residual, gate_up)

    def add_linear(self, x: Tensor, weight: Weight, residual: Residual, gain: Tensor, eps: float) -> Residual:
        if isinstance(residual.normed, Entering):
            return Residual(*triton_linear.linear_add(x, weight, residual.total, gain, eps))
        normed, total = self.add_norm(self.linear(x, weight), residual.total, gain, eps)
        return Residual(total, normed)

    def leave(self, residual: Residual) -> Tensor:
        if isinstance(residual.normed, Entering):
            return self.add_norm(residual.total, None, residual.normed.gain, residual.normed.eps)[0]
        normed: Tensor = residual.normed
        return normed

    def attend(
        self,
        qkv: Tensor,
        norms: HeadNorms | None,
        rope: Tensor,
        metadata: DecodeMetadata,
        cache: LayerCache,
        shape: HeadShape,
    ) -> Tensor:
        return self._attention(qkv, norms, rope, metadata, cache, shape)

    def add_norm(self, x: Tensor, residual: Tensor | None, gain: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """x [N, W] plus the residual, RMS-normalised; and the sum."""
        x = x.contiguous()
        out = torch.empty_like(x)
        total = x if residual is None else torch.empty_like(x)
        rows, width = x.shape
        _add_norm_kernel[(rows,)](
            x, residual, gain, out, total, width, eps,
            HAS_RESIDUAL=residual is not None, BLOCK=triton.next_power_of_2(width),
        )  # fmt: skip
        return out, total

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
        rows = qkv.shape[0]
        q = torch.empty(rows, shape.heads, shape.head_dim, dtype=qkv.dtype, device=qkv.device)
        _store_kv_kernel[(rows, shape.heads + 2 * shape.kv_heads)](
            qkv, *(norms or (None, None)), rope, position, target, q, cache.keys, cache.values, shape.eps,
            HEADS=shape.heads, KV_HEADS=shape.kv_heads, DIM=shape.head_dim, NORM=norms is not None,
        )  # fmt: skip
        return q

    def gated(self, gate_up: Tensor) -> Tensor:
        rows, width = gate_up.shape[0], gate_up.shape[1] // 2
        out = torch.empty(rows, width, dtype=gate_up.dtype, device=gate_up.device)
        block = 1024
        _gated_kernel[(rows, triton.cdiv(width, block))](gate_up, out, width, BLOCK=block)
        return out

    def attend_prompt(self, q: Tensor, metadata: PromptMetadata, cache: LayerCache, shape: HeadShape) -> Tensor:
        return attend_prompt(q, metadata, cache, shape)

    def sample(self, scores: Tensor, rows: SamplingRows, uniform: Tensor) -> Tensor:
        return triton_sample.sample(scores, rows, uniform)
