"""Which kernels a device gets."""

from __future__ import annotations

import importlib.util
import logging

import torch

from web_demo.models.funaudiochat.kernels.base import Kernels

logger = logging.getLogger(__name__)


def best_kernels(device: torch.device) -> Kernels:
    """The fused ones on CUDA where triton is installed (it comes with torch's CUDA builds), plain torch elsewhere."""
    if device.type == "cuda":
        if importlib.util.find_spec("triton") is not None:
            from web_demo.models.funaudiochat.kernels.fused import TritonKernels

            return TritonKernels()
        logger.warning("triton is not installed: frames run unfused torch operations and read the padding of a batch")
    return Kernels()
