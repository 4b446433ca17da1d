"""The fused kernels against the plain ones: on a GPU where there is one, else in Triton's interpreter."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton", reason="comes with CUDA builds of torch; for its interpreter: requirements-dev.txt")

from web_demo.models.runtime.float8 import FORMAT, LARGEST, rounded, widened
from web_demo.models.runtime.kernels import attend, linear
from web_demo.models.runtime.kernels.base import DecodeMetadata, HeadShape, Kernels, LayerCache, PromptMetadata
from web_demo.models.runtime.kernels.fused import TritonKernels
from web_demo.models.runtime.kernels.sampling import SamplingRows

pytestmark = pytest.mark.models

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PLAIN, FUSED = Kernels(), TritonKernels()


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, device=DEVICE, generator=torch.Generator(DEVICE).manual_seed(sum(shape)))


def same(one: tuple[torch.Tensor, ...], other: tuple[torch.Tensor, ...], *, eight_bits: bool = False) -> None:
    """In 8 bits a number beside a rounding boundary may come out one step away. Triton's interpreter loses the carry of a
    mantissa that is rounded up to the next power of two, so there a few may be far away."""
    for a, b in zip(one, other, strict=True):
        if eight_bits:
            away = (a - b).abs() > 0.05 + 0.13 * b.abs()
            assert away.float().mean() <= (0.0 if DEVICE == "cuda" else 0.02)
            assert (a - b).abs().mean() < 5e-3
        else:
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("eight_bits", [False, True])
@pytest.mark.parametrize(
    ("rows", "width"), [(1, 300), (1, 5000), (2, 64), (7, 300), (17, 64), (linear.MAX_ROWS + 1, 32)]
)
def test_products_between_norms(rows: int, width: int, eight_bits: bool) -> None:
    """A layer's products: the first norm, a product, its sum with the stream, the next norm, a gated one, the last norm."""
    stream, gains, outputs = randn(rows + 1, width)[1:] * 3, [randn(width), randn(width + 1)[1:], randn(width)], 40
    bias = randn(outputs)
    shapes = [(outputs, width), (width, outputs), (2 * outputs + 2, width), (width, outputs + 1)]
    matrices = [randn(*shape) * shape[1] ** -0.5 for shape in shapes]
    first, out, gate_up, down = (rounded(matrix) if eight_bits else matrix for matrix in matrices)
    results = []
    for kernels in (PLAIN, FUSED):
        entered = kernels.enter(stream, gains[0], 1e-6)
        product = kernels.normed_linear(entered, first)
        after = kernels.add_linear(product, out, entered, gains[1], 1e-6)
        gated = kernels.normed_gated(after, gate_up)
        last = kernels.add_linear(gated, down, after, gains[2], 1e-6)
        shifted = kernels.normed_linear(entered, first, bias)
        torch.testing.assert_close(shifted, product + bias, atol=1e-4, rtol=1e-4)
        results.append((product, after.total, gated, last.total, kernels.leave(last)))
    same(*results)
    weight = first if isinstance(first, torch.Tensor) else widened(first)
    expected = torch.nn.functional.linear(stream, weight)
    for kernels in (PLAIN, FUSED):
        torch.testing.assert_close(kernels.linear(stream, first), expected, atol=1e-4, rtol=1e-4)


def test_gated() -> None:
    value = randn(3, 2 * 1500)
    torch.testing.assert_close(PLAIN.gated(value), FUSED.gated(value), atol=1e-5, rtol=1e-5)


def rounded_cache(cache: LayerCache) -> LayerCache:
    """The same in 8 bits; numbers that a cache of this format holds."""
    return LayerCache(cache.keys.to(FORMAT), cache.values.to(FORMAT))


def widened_cache(cache: LayerCache) -> LayerCache:
    return LayerCache(cache.keys.float(), cache.values.float())


@pytest.mark.parametrize("tiles", [attend.Tiles(64, 1, 4, 3), attend.tiles_for(1), attend.tiles_for(32)])
@pytest.mark.parametrize("eight_bits", [False, True])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "dim", "normed"),
    [(4, 2, 16, True), (8, 2, 32, True), (2, 2, 16, True), (6, 2, 16, False)],
)
def test_heads_are_placed_and_attended(
    heads: int,
    kv_heads: int,
    dim: int,
    normed: bool,
    eight_bits: bool,
    tiles: attend.Tiles,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attend, "tiles_for", lambda rows: tiles)
    shape = HeadShape(heads, kv_heads, dim, 1e-6)
    rows, page_size, pages_a_row = 4, 20, 11
    positions = (rows * pages_a_row + 1) * page_size
    plain, fused, alone = (
        LayerCache(randn(positions, kv_heads, dim), randn(positions + 1, kv_heads, dim)[1:]) for _ in range(3)
    )
    if eight_bits:
        plain, fused, alone = map(rounded_cache, (plain, fused, alone))
    position = torch.tensor([0, 7, 200, 139], device=DEVICE)
    order = torch.randperm(rows * pages_a_row, generator=torch.Generator().manual_seed(1)).to(DEVICE) + 1
    blocks = order.view(rows, pages_a_row).repeat(1, 2)[:, :pages_a_row]  # a view with a stride of its own
    qkv, rope = randn(rows, (heads + 2 * kv_heads) * dim), randn(300, 2, dim)
    metadata = DecodeMetadata(position, blocks, page_size)
    norms = (randn(dim), randn(dim + 1)[:dim]) if normed else None
    results = []
    for kernels, cache in ((PLAIN, plain), (FUSED, fused)):
        out = kernels.attend(qkv, norms, rope, metadata, cache, shape)
        kept = widened_cache(cache)
        results.append((out, kept.keys, kept.values))
        again = kernels.attend(qkv, norms, rope, metadata, cache, shape)  # the same place is written with the same
        assert torch.equal(out, again)
    same(*results, eight_bits=eight_bits)
    place = (qkv, norms, rope, position, metadata.target)
    torch.testing.assert_close(
        FUSED.store_kv(*place, alone, shape), PLAIN.store_kv(*place, plain, shape), atol=1e-5, rtol=1e-5
    )
    kept, expected = widened_cache(alone), widened_cache(plain)
    same((kept.keys, kept.values), (expected.keys, expected.values), eight_bits=eight_bits)


def test_a_cache_in_8_bits_cuts_what_is_too_large_and_keeps_what_is_not_a_number() -> None:
    """A turn whose numbers broke must still be seen to be broken."""
    shape = HeadShape(2, 2, 16, 1e-6)
    qkv = randn(3, 6 * 16)
    qkv[0, -32:] = 1000.0
    qkv[1, -32:] = float("nan")
    position = torch.arange(3, device=DEVICE)
    for kernels in (PLAIN, FUSED):
        cache = rounded_cache(LayerCache(randn(8, 2, 16), randn(8, 2, 16)))
        kernels.store_kv(qkv, (randn(16), randn(16)), randn(8, 2, 16), position, position + 4, cache, shape)
        assert (cache.values[4].float() == LARGEST).all()
        if kernels is PLAIN or DEVICE == "cuda":  # Triton's interpreter makes a number of it
            assert cache.values[5].float().isnan().all()
        assert cache.values[6].float().isfinite().all()


@pytest.mark.parametrize("eight_bits", [False, True])
@pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(4, 2, 16), (8, 2, 32), (2, 2, 16), (6, 2, 16)])
def test_prompts_are_attended(heads: int, kv_heads: int, dim: int, eight_bits: bool) -> None:
    """Runs that begin a turn, go on with one, share a turn, end in a block and past one; padding belongs to no run."""
    shape = HeadShape(heads, kv_heads, dim, 1e-6)
    page_size, pages, slots = 20, 9, 3
    positions = (slots * pages + 1) * page_size
    cache = LayerCache(randn(positions, kv_heads, dim), randn(positions + 1, kv_heads, dim)[1:])
    cache = rounded_cache(cache) if eight_bits else cache
    order = torch.randperm(slots * pages, generator=torch.Generator().manual_seed(1)).to(DEVICE) + 1
    runs = [[0, 0, 16, 0], [0, 16, 5, 16], [2, 21, 16, 100], [2, 37, 1, 116], [1, 38, 2, 63], [0, 0, 0, 0]]
    tokens = torch.zeros(48, dtype=torch.long, device=DEVICE)  # not read by the attention
    table = order.view(slots, pages)
    metadata = PromptMetadata(tokens, tokens, table, torch.tensor(runs, device=DEVICE), page_size, run_tokens=16)
    q = randn(48, heads, dim)
    same(*((kernels.attend_prompt(q, metadata, cache, shape),) for kernels in (PLAIN, FUSED)))


LIMITS = [(1.0, 0), (0.9, 0), (0.01, 0), (1.0, 3), (0.7, 10), (0.9, 1)]  # top-p, top-k


@pytest.mark.long
@pytest.mark.parametrize(
    ("vocabulary", "top_p", "top_k"),
    [(50, *limits) for limits in LIMITS] + [(5000, *LIMITS[4]), (9000, *LIMITS[1])],  # the last by several programs
)
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
    assert torch.equal(PLAIN.sample(scores, settings, uniform), FUSED.sample(scores, settings, uniform))


@pytest.mark.long
@pytest.mark.parametrize("top_k", [0, 7])
@pytest.mark.parametrize("kind", ["ties", "few left", "peaked"])
def test_choose_among_ties_few_and_one(kind: str, top_k: int) -> None:
    rows, vocabulary = 3, 9000
    scores = randn(rows, vocabulary)
    if kind == "ties":
        scores = (scores * 2).round()
    elif kind == "few left":
        scores[:, 5:] = -torch.inf
    else:
        scores[:, 8999] = 60.0
    ones = torch.ones(rows, device=DEVICE)
    settings = SamplingRows(ones.bool(), ones, ones * 0.8, (ones * top_k).long(), ones)
    uniform = torch.tensor([0.0, 0.4, 0.99], device=DEVICE)
    assert torch.equal(PLAIN.sample(scores, settings, uniform), FUSED.sample(scores, settings, uniform))
