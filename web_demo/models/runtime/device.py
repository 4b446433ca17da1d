"""The device that a model runs on, and the precision that it runs in."""

from __future__ import annotations

import torch

from web_demo.errors import SetupError
from web_demo.models.runtime import memory

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def choose_device(asked: str) -> str:
    """ "auto" is the first GPU, or the CPU where there is none."""
    if asked != "auto":
        return asked
    return "cuda:0" if torch.cuda.is_available() else "cpu"


def require(device: str) -> None:
    """Before anything is loaded: raises SetupError for a CUDA device that is not there."""
    if not device.startswith("cuda"):
        return
    if not torch.cuda.is_available():
        raise SetupError(f"--device {device}: torch {torch.__version__} sees no CUDA device here; use --device cpu")
    count, index = torch.cuda.device_count(), torch.device(device).index or 0
    if index >= count:
        raise SetupError(f"--device {device}: there are {count} CUDA devices here, cuda:0 to cuda:{count - 1}")


def choose_dtype(name: str, device: str) -> torch.dtype:
    """ "auto" is bfloat16 on a GPU and float32 elsewhere. Raises SetupError for a name that is none of DTYPES."""
    if name == "auto":
        return torch.bfloat16 if device.startswith("cuda") else torch.float32
    if name not in DTYPES:
        raise SetupError(f"dtype must be auto, {', '.join(DTYPES)}; got {name!r}")
    return DTYPES[name]


def prepare(device: torch.device | str) -> None:
    """Settings of the process for models on this device; every loader calls it. Nothing to do on a CPU.

    cuDNN's attention is switched off: it builds a plan for each shape that it has not seen, 100 to 160 ms long, while
    everybody waits, and prompts come in every length. Flash and memory-efficient attention take any shape alike.
    """
    if torch.device(device).type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)
        memory.limit_process(str(device))
