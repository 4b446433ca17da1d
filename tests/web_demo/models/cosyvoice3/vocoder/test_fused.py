"""The vocoder with fused tails against the plain ones: on a GPU where there is one, else in Triton's interpreter."""

from __future__ import annotations

import copy

import pytest
import torch

pytest.importorskip("triton", reason="comes with CUDA builds of torch; for its interpreter: requirements-dev.txt")

from web_demo.models.cosyvoice3.vocoder.fused import TritonTails
from web_demo.models.cosyvoice3.vocoder.tails import Tails, TailShape
from web_demo.models.cosyvoice3.vocoder.vocoder import Advance

pytestmark = pytest.mark.models

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def randn(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, device=DEVICE, dtype=dtype, generator=torch.Generator(DEVICE).manual_seed(sum(shape)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inputs_of_convolutions_and_their_tails(dtype: torch.dtype) -> None:
    shapes = [TailShape(6, 2, 1), TailShape(6, 10, 3), TailShape(4, 1, 2), TailShape(4, 6, 40)]
    packed = randn(3, sum(shape.channels * shape.steps for shape in shapes), dtype=dtype)
    frames = torch.tensor([30, 0, 7], device=DEVICE)
    bias, alpha = randn(6, dtype=dtype), randn(6, dtype=dtype).abs() + 0.1
    found = []
    for kind in (Tails, TritonTails):
        tails = kind(shapes, packed, frames)
        long = randn(3, 6, 90, dtype=dtype)
        results = [tails.prepend(randn(3, 6, 30, dtype=dtype), bias=bias, alpha=alpha)]
        results += tails.add_prepend(long, randn(3, 6, 90, dtype=dtype).flip(0), bias, alpha)
        results += [tails.prepend(randn(3, 60, 4, dtype=dtype).mT), tails.prepend(randn(3, 4, 1200, dtype=dtype))]
        found.append([*results, tails.packed()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE == "cpu", reason="minutes in the interpreter")
def test_speech_and_state_as_with_the_plain_ones(vocoder) -> None:
    found = []
    mel = randn(2, 80, 12 + vocoder.mel_frames)
    advance = Advance(torch.tensor([12, 5], device=DEVICE), torch.tensor([False, True], device=DEVICE))
    for kind in (Tails, TritonTails):
        own = copy.deepcopy(vocoder).to(DEVICE)
        own.tails = kind
        with torch.inference_mode():
            first, state = own(mel, own.new_state(2), advance)
            second, last = own(mel, state, advance)
        found.append((first, second, last.tails, last.f0_tails))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-5)
