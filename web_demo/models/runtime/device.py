"""The device that a model runs on."""

from __future__ import annotations

import torch


def prepare(device: torch.device | str) -> None:
    """Settings of the process for models on this device; every loader calls it. Nothing to do on a CPU.

    cuDNN's attention is switched off: it builds a plan for each shape that it has not seen, 100 to 160 ms long, while
    everybody waits, and prompts come in every length. Flash and memory-efficient attention take any shape alike.
    """
    if torch.device(device).type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)
