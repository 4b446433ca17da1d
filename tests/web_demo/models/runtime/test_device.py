"""Which device, and which precision on it; the machine's GPUs are pretended."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch

from web_demo.errors import SetupError
from web_demo.models.runtime.device import choose_device, choose_dtype, require


def gpus(count: int):
    return patch.multiple("torch.cuda", is_available=lambda: count > 0, device_count=lambda: count)


@pytest.mark.parametrize(("asked", "count", "chosen"), [
    ("auto", 0, "cpu"), ("auto", 2, "cuda:0"), ("cuda:1", 2, "cuda:1"), ("cpu", 2, "cpu"), ("cuda", 1, "cuda"),
])  # fmt: skip
def test_the_first_gpu_unless_another_is_asked_for(asked, count, chosen):
    with gpus(count):
        assert choose_device(asked) == chosen
        require(chosen)


@pytest.mark.parametrize(("device", "count", "reason"), [
    ("cuda:0", 0, "sees no CUDA device"), ("cuda:2", 2, "there are 2 CUDA devices here, cuda:0 to cuda:1"),
])  # fmt: skip
def test_a_gpu_that_is_not_there_is_refused_in_words(device, count, reason):
    with gpus(count), pytest.raises(SetupError, match=reason):
        require(device)


def test_16_bits_on_a_gpu_and_32_elsewhere_unless_asked():
    assert choose_dtype("auto", "cuda:1") is torch.bfloat16
    assert choose_dtype("auto", "cpu") is torch.float32
    assert choose_dtype("float16", "cpu") is torch.float16
    with pytest.raises(SetupError, match="bfloat16, float16, float32"):
        choose_dtype("int4", "cpu")
