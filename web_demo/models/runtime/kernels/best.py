"""Which kernels a device gets."""

from __future__ import annotations

import importlib.util
import logging

import torch

from web_demo.errors import SetupError
from web_demo.models.runtime.kernels.base import Kernels

logger = logging.getLogger(__name__)


FLOAT8_CAPABILITY = (8, 9)  # Ada and Hopper: the first with conversions from and to e4m3


def best_kernels(device: torch.device, *, eight_bit_cache: bool = False) -> Kernels:
    """The fused ones on CUDA where triton is installed (it comes with torch's CUDA builds), plain torch elsewhere.

    Raises SetupError for a cache in 8 bits on a GPU that cannot read it.
    """
    if device.type == "cuda":
        if eight_bit_cache and torch.cuda.get_device_capability(device) < FLOAT8_CAPABILITY:
            raise SetupError("--speech-cache float8 needs a GPU of compute capability 8.9 or later (Ada, Hopper)")
        if importlib.util.find_spec("triton") is not None:
            from web_demo.models.runtime.kernels.fused import TritonKernels

            return TritonKernels()
        logger.warning("triton is not installed: frames run unfused torch operations and read the padding of a batch")
    return Kernels()
