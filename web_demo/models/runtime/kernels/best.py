"""Which kernels a device gets."""

from __future__ import annotations

import importlib.util
import logging

import torch

from web_demo.errors import SetupError
from web_demo.models.runtime.kernels.base import Kernels

logger = logging.getLogger(__name__)


TRITON_CAPABILITY = (8, 0)  # Ampere: what Triton compiles products for
FLOAT8_CAPABILITY = (8, 9)  # Ada and Hopper: the first with conversions from and to e4m3


def best_kernels(device: torch.device, *, eight_bit_cache: bool = False) -> Kernels:
    """The fused ones on CUDA from Ampere on where triton is installed (it comes with torch's CUDA builds), else plain torch.

    Raises SetupError for a cache in 8 bits on a GPU that cannot read it.
    """
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if eight_bit_cache and capability < FLOAT8_CAPABILITY:
            raise SetupError("--speech-cache float8 needs a GPU of compute capability 8.9 or later (Ada, Hopper)")
        if capability < TRITON_CAPABILITY:
            logger.info("a GPU before Ampere: steps run unfused torch operations")
        elif importlib.util.find_spec("triton") is not None:
            from web_demo.models.runtime.kernels.fused import TritonKernels

            return TritonKernels()
        else:
            logger.warning(
                "triton is not installed: steps run unfused torch operations and read the padding of a batch"
            )
    return Kernels()
