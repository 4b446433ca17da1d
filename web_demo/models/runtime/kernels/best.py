"""Which kernels of a decoder a device gets."""

from __future__ import annotations

import importlib.util
import logging

import torch

from web_demo.errors import SetupError
from web_demo.models.runtime.kernels.base import Kernels

logger = logging.getLogger(__name__)


TRITON_CAPABILITY = (8, 0)  # Ampere: what Triton compiles products for
FLOAT8_CAPABILITY = (8, 9)  # Ada and Hopper: the first with conversions from and to e4m3


def runs_triton(device: torch.device) -> bool:
    """CUDA from Ampere on, where triton is installed (it comes with torch's CUDA builds)."""
    if device.type != "cuda":
        return False
    if torch.cuda.get_device_capability(device) < TRITON_CAPABILITY:
        logger.info("a GPU before Ampere: steps run unfused torch operations")
        return False
    if importlib.util.find_spec("triton") is None:
        logger.warning("triton is not installed: steps run unfused torch operations and read the padding of a batch")
        return False
    return True


def best_kernels(device: torch.device, *, eight_bit_cache: bool = False) -> Kernels:
    """The fused ones where they run, else plain torch. Raises SetupError for a cache in 8 bits on a GPU that cannot read it."""
    if device.type == "cuda" and eight_bit_cache and torch.cuda.get_device_capability(device) < FLOAT8_CAPABILITY:
        raise SetupError("--speech-cache float8 needs a GPU of compute capability 8.9 or later (Ada, Hopper)")
    if not runs_triton(device):
        return Kernels()
    from web_demo.models.runtime.kernels.fused import TritonKernels

    return TritonKernels()
