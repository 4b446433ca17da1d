"""The fused kernels against the plain ones: on a GPU where there is one, else in Triton's interpreter."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton", reason="comes with CUDA builds of torch; for its interpreter: requirements-dev.txt")

from web_demo.models.funaudiochat.engine.kernels import HeadShape, LayerCache, Reach, TorchKernels
from web_demo.models.funaudiochat.engine.kernels_triton import TritonKernels
from web_demo.models.funaudiochat.engine.sampling import SamplingRows
from web_demo.models.funaudiochat.float8 import rounded, widened

pytestmark = pytest.mark.models

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PLAIN, FUSED = TorchKernels(), TritonKernels()


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, device=DEVICE, generator=torch.Generator(DEVICE).manual_seed(sum(shape)))


@pytest.mark.parametrize("with_residual", [False, True])
def test_add_norm(with_residual: bool) -> None:
    x, weight = randn(3, 48), randn(48)
    residual = randn(4, 48)[:3] if with_residual else None
    for one, other in zip(
        PLAIN.add_norm(x, residual, weight, 1e-6), FUSED.add_norm(x, residual, weight, 1e-6), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("rows", "outputs", "width"), [(1, 40, 300), (17, 48, 64), (70, 16, 32)])
def test_linear_with_weights_in_8_bits(rows: int, outputs: int, width: int) -> None:
    x, weight = randn(rows, width), rounded(randn(outputs, width))
    expected = torch.nn.functional.linear(x, widened(weight))
    for kernels in (PLAIN, FUSED):
        torch.testing.assert_close(kernels.linear(x, weight), expected, atol=1e-4, rtol=1e-4)


def test_gated() -> None:
    value = randn(3, 2 * 1500)
    torch.testing.assert_close(PLAIN.gated(value), FUSED.gated(value), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(4, 2, 16), (8, 2, 32), (2, 2, 16)])
def test_heads_are_placed_and_attended(heads: int, kv_heads: int, dim: int) -> None:
    shape = HeadShape(heads, kv_heads, dim, 1e-6)
    page_size, pages = 20, 40
    plain, fused = (
        LayerCache(randn(pages * page_size, kv_heads, dim), randn(pages * page_size, kv_heads, dim)) for _ in "ab"
    )
    position = torch.tensor([0, 7, 200, 139], device=DEVICE)
    order = torch.randperm(39, generator=torch.Generator().manual_seed(1)).to(DEVICE) + 1
    blocks = torch.stack([order[:11], order[11:22], order[22:33], order.roll(6)[:11]])
    blocks = torch.cat([blocks, blocks], dim=1)[:, :11]  # a view with a stride of its own
    blocks[3] = torch.arange(29, 40, device=DEVICE)
    qkv, rope = randn(4, (heads + 2 * kv_heads) * dim), randn(300, 2, dim)
    reach = Reach(position, blocks, page_size)
    norms = (randn(dim), randn(dim + 1)[:dim])
    results = []
    for kernels, cache in ((PLAIN, plain), (FUSED, fused)):
        q = kernels.place_heads(qkv, norms, rope, position, reach.target, cache, shape)
        results.append((q, cache.keys, cache.values, kernels.attend(q, cache, reach)))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("vocabulary", [50, 9000])  # in one block, and in two
@pytest.mark.parametrize(("top_p", "top_k"), [(1.0, 0), (0.9, 0), (0.01, 0), (1.0, 3), (0.7, 10), (0.9, 1)])
def test_choose(vocabulary: int, top_p: float, top_k: int) -> None:
    rows = 6
    scores = randn(rows, vocabulary) * 4
    scores[:, 7] = -torch.inf
    settings = SamplingRows(
        torch.tensor([True] * 5 + [False], device=DEVICE),
        torch.linspace(0.5, 1.5, rows, device=DEVICE),
        torch.full((rows,), top_p, device=DEVICE),
        torch.full((rows,), top_k, device=DEVICE),
        torch.ones(rows, device=DEVICE),
    )
    uniform = torch.tensor([0.0, 0.1, 0.5, 0.77, 0.999999, 0.3], device=DEVICE)
    assert torch.equal(PLAIN.choose(scores, settings, uniform), FUSED.choose(scores, settings, uniform))
