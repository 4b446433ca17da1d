"""The flow's fused operations against the plain ones: on a GPU where there is one, else in Triton's interpreter."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

pytest.importorskip("triton", reason="comes with CUDA builds of torch; for its interpreter: requirements-dev.txt")

from web_demo.models.cosyvoice3.engine.token2wav import StreamSettings, Token2Wav
from web_demo.models.cosyvoice3.flow.fused import TritonFlowKernels
from web_demo.models.cosyvoice3.flow.kernels import FlowKernels, Places
from web_demo.models.cosyvoice3.voices import Voice

pytestmark = pytest.mark.models

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PLAIN = FlowKernels()


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, device=DEVICE, generator=torch.Generator(DEVICE).manual_seed(sum(shape)))


def same(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def places(*, streams: list[int], keep: list[int], length: int, context: int, capacity: int, slots: int) -> Places:
    """Rows of pairs anywhere in tensors of `slots` streams and one of padding; frames that see what chance says and themselves."""
    rows = torch.tensor([2 * stream + side for stream in streams for side in (0, 1)], device=DEVICE)
    kept = torch.tensor(keep, device=DEVICE).repeat_interleave(2)
    offset = torch.arange(length, device=DEVICE)
    row = torch.where(offset < kept[:, None], rows[:, None], 2 * slots)
    visible = randn(len(streams), 1, length, context + length) > 0
    visible[..., context:] |= torch.eye(length, dtype=torch.bool, device=DEVICE)
    written = (row * capacity + (7 + offset) % capacity).flatten()
    return Places(rows, kept, written, 2 * slots * capacity, visible, context)


@pytest.mark.parametrize(("rows", "width"), [(3, 64), (5, 300)])
def test_modulated(rows: int, width: int) -> None:
    x, product = randn(2, rows, width), randn(2, rows, width + 1)[..., 1:].contiguous()
    gate, shift, scale = randn(width), randn(width + 2)[2:], randn(width + 3)[3:]
    fused = TritonFlowKernels()
    same(fused.modulated(x, shift, scale), PLAIN.modulated(x, shift, scale))
    for one, other in zip(
        fused.add_modulated(x, gate, product, shift, scale),
        PLAIN.add_modulated(x, gate, product, shift, scale),
        strict=True,
    ):
        same(one, other)


@pytest.fixture(autouse=True)
def _whole_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def test_rotation_of_the_first_heads_and_the_gelu() -> None:
    qkv, turn = randn(2, 7, 3 * 60), randn(2, 7, 1, 10)
    linear = torch.nn.Linear(60, 24, device=DEVICE).requires_grad_(False)
    found = []
    for kernels in (PLAIN, TritonFlowKernels()):
        turned = qkv.clone()
        kernels.rotate(turned, torch.polar(torch.ones_like(turn), turn), 20)
        found.append((turned, kernels.gelu_linear(qkv[..., :60].contiguous(), linear)))
    for one, other in zip(*found, strict=True):
        same(one, other)
    assert not torch.equal(found[0][0], qkv)


@pytest.mark.parametrize(("length", "keep"), [(50, [50, 0]), (70, [4, 70]), (20, [20, 12])])
def test_position_convolutions_and_their_tails(length: int, keep: list[int]) -> None:
    """Also where a chunk is shorter than the tails: some of them stay."""
    conv = torch.nn.Conv1d(24, 24, 31, groups=2, device=DEVICE).requires_grad_(False)
    fused = TritonFlowKernels()
    fused.pack([conv])
    where = places(streams=[2, 0], keep=keep, length=length, context=0, capacity=100, slots=3)
    x, tails = randn(4, length, 24), randn(8, 30, 24)
    found = []
    for kernels in (PLAIN, fused):
        kept = tails.clone()
        found.append((kernels.position_conv(x, conv, kept, where), kept))
    for one, other in zip(*found, strict=True):
        same(one, other)


@pytest.mark.parametrize(("heads", "dim"), [(4, 16), (2, 20)])
@pytest.mark.parametrize(("length", "context"), [(50, 0), (50, 100), (100, 150), (30, 70)])
def test_attention_over_rings_and_what_they_keep(heads: int, dim: int, length: int, context: int) -> None:
    fused, inner, capacity, slots = TritonFlowKernels(), heads * dim, 150, 3
    where = places(streams=[2, 0], keep=[length, 20], length=length, context=context, capacity=capacity, slots=slots)
    visible = where.mask
    qkv, ring = randn(4, length, 3 * inner), randn(2 * slots + 2, capacity, 2 * inner)
    found = []
    for kernels in (PLAIN, fused):
        kept = ring.clone()
        seen = dataclasses.replace(where, mask=kernels.mask(visible, qkv.dtype))
        found.append((kernels.attend(qkv, heads, kept, seen), kept[: 2 * slots]))
    for one, other in zip(*found, strict=True):
        same(one, other)


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE == "cpu", reason="minutes in the interpreter")
def test_streams_sound_as_with_the_plain_operations(flow, vocoder) -> None:
    """Two streams at different places, over more than the ring holds."""
    sounds = []
    for kernels in (FlowKernels(), TritonFlowKernels()):
        own = copy.deepcopy(flow).to(DEVICE)
        own.estimator.use(kernels)
        settings = StreamSettings(slots=3, context_s=1.0, batches=(2,), graphs=False)
        token2wav = Token2Wav(own, copy.deepcopy(vocoder).to(DEVICE), settings)
        voice = Voice(torch.ones(1, 192))
        first, second = token2wav.open(voice), token2wav.open(voice)
        first.feed(list(range(53)))
        made = list(token2wav.run([first]))
        first.feed(list(range(53, 90)))
        second.feed(list(range(28)))
        made += token2wav.run([first, second])
        sounds.append(torch.cat([torch.from_numpy(samples) for _, samples in made]))
    torch.testing.assert_close(*sounds, atol=1e-3, rtol=0)
