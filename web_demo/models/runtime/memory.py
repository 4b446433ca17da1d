"""Who gets how much of a GPU: every share is here, so that those who live on one device can be added up.

All figures are bytes. The arithmetic is pure; `free_and_total` asks the device. GPU_MEMORY_GIB=24 has every process play that its
GPU is of that size, to see what a smaller card holds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from web_demo.errors import SetupError

SIZE_VARIABLE = "GPU_MEMORY_GIB"
GIB = 2**30
LEFT_FREE = 0.08  # of a device: activations of prompts, graphs, what libraries take
SPEECH_MODEL = {"float8": int(10.7 * GIB)}  # weights and codebooks of Fun-Audio-Chat, by dtype
SPEECH_MODEL_16_BITS = int(17.6 * GIB)
SESSION_TOKENS = 1024  # a conversation of usual length
TOKEN, TOKEN_8_BITS = 704 * 1024, 424 * 1024  # its caches, in 16 bits, and with the speech head's in 8
# What a detokenizer takes beside the state of its streams. Together 9.7 GB from 32 streams on: measured with 40 on an H100 and
# with 64 and 92 on an H200; 2.3 GB with one.
DETOKENIZER = 2 * GIB  # weights, CUDA's context
STREAM_OF_A_BATCH = GIB // 4  # graphs, for each stream of the largest batch
TTS_SHARE = 0.5  # of what is free: the language model's caches and graphs take the rest


@dataclass(frozen=True)
class Beside:
    """What else will live on the same device: once, and for each session."""

    weights: int = 0
    session: int = 0

    @classmethod
    def speech_model(cls, dtype: str, speech_cache: str = "auto") -> Beside:
        """Fun-Audio-Chat, which starts after its detokenizer and takes what that leaves."""
        token = TOKEN_8_BITS if speech_cache == "float8" else TOKEN
        return cls(SPEECH_MODEL.get(dtype, SPEECH_MODEL_16_BITS), SESSION_TOKENS * token)


def streams_beside(stream: int, *, total: int, most: int, batch: int, beside: Beside) -> int:
    """Streams of a detokenizer, each with `stream` bytes of state and at most `batch` of them computed at once, so that as many
    sessions of its neighbour fit: at least 1, at most `most`."""
    room = int(total * (1 - LEFT_FREE)) - beside.weights - DETOKENIZER
    each = stream + beside.session
    fitting = min(room // (each + STREAM_OF_A_BATCH), batch)
    if fitting == batch:
        fitting = (room - batch * STREAM_OF_A_BATCH) // each
    return max(1, min(most, fitting))


def streams_alone(stream: int, *, free: int, most: int) -> int:
    """Streams of a text-to-speech engine: at least 1, at most `most`."""
    return max(1, min(most, int(free * TTS_SHARE) // stream))


def for_caches(*, free: int, total: int) -> int:
    """What the last on a device may fill with caches."""
    return max(0, int(free - LEFT_FREE * total))


def as_smaller(free: int, total: int, gib: str) -> tuple[int, int]:
    """What a device of `gib` GiB would have free, and its size, with the same on it; "" for the device as it is. Raises
    SetupError."""
    if not gib:
        return free, total
    try:
        most = int(float(gib) * GIB)
    except ValueError as error:
        raise SetupError(f"{SIZE_VARIABLE} is a number of GiB, got {gib!r}") from error
    return max(0, free - max(0, total - most)), min(total, most)


def free_and_total(device: str) -> tuple[int, int]:
    """Of a CUDA device, now."""
    import torch

    free, total = torch.cuda.mem_get_info(torch.device(device))
    return as_smaller(int(free), int(total), os.environ.get(SIZE_VARIABLE, ""))


def limit_process(device: str) -> None:
    """Where a smaller device is played, this process gets no more of the real one either."""
    import torch

    if gib := os.environ.get(SIZE_VARIABLE, ""):
        total = torch.cuda.mem_get_info(torch.device(device))[1]
        torch.cuda.set_per_process_memory_fraction(as_smaller(0, int(total), gib)[1] / total, torch.device(device))
