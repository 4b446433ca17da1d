"""Which kernels a GPU gets, by what it can do."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton", reason="comes with CUDA builds of torch; for its interpreter: requirements-dev.txt")

from web_demo.errors import SetupError
from web_demo.models.runtime.kernels.base import Kernels
from web_demo.models.runtime.kernels.best import best_kernels
from web_demo.models.runtime.kernels.fused import TritonKernels

pytestmark = pytest.mark.models


@pytest.mark.parametrize(
    ("capability", "kernels"),
    [((7, 5), Kernels), ((8, 0), TritonKernels), ((8, 6), TritonKernels), ((9, 0), TritonKernels)],
)
def test_a_gpu_that_triton_has_no_products_for_gets_the_plain_ones(
    capability: tuple[int, int], kernels: type[Kernels], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert type(best_kernels(torch.device("cuda"))) is kernels


def test_caches_of_8_bits_are_refused_where_the_gpu_has_no_conversions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    with pytest.raises(SetupError, match="or later"):
        best_kernels(torch.device("cuda"), eight_bit_cache=True)


def test_no_gpu_gets_the_plain_ones() -> None:
    assert type(best_kernels(torch.device("cpu"))) is Kernels
