"""How many conversations a device holds: measured once the weights are in, not guessed from a table of GPUs."""

from __future__ import annotations

import torch

from utils.constant import CODES_PER_SECOND, MAX_NEW_TOKENS
from web_demo.errors import SetupError
from web_demo.models.funaudiochat.engine.runner import bytes_per_page
from web_demo.models.funaudiochat.engine.scheduler import Limits
from web_demo.models.funaudiochat.model import FunAudioChat
from web_demo.models.runtime import memory

PAGE_TOKENS = 16
TYPICAL_CONTEXT = 1024  # positions that one session is expected to fill: what a slot must be worth in memory
MAX_SLOTS = 256
CPU_SLOTS = 8
LEAST_CONTEXT = 512  # below this a conversation has no room for an answer


def measured_limits(model: FunAudioChat, *, max_context: int = 4096, speech_cache: torch.dtype | None = None) -> Limits:
    """Limits for the memory that is free now: whatever else lives on the device (the detokenizer) was started before.

    A small device gets a shorter context first; raises SetupError when not even a short conversation fits.
    """
    max_context = min(max_context, int(model.config.text.max_position_embeddings))
    if model.device.type == "cuda":
        free, total = memory.free_and_total(str(model.device))
        pages = memory.for_caches(free=free, total=total) // bytes_per_page(model, PAGE_TOKENS, speech_cache)
    else:
        pages = CPU_SLOTS * TYPICAL_CONTEXT // PAGE_TOKENS + 1
    max_context = min(max_context, (pages - 1) * PAGE_TOKENS)
    if max_context < LEAST_CONTEXT:
        needed = bytes_per_page(model, LEAST_CONTEXT + PAGE_TOKENS, speech_cache) / 2**30
        raise SetupError(
            f"one conversation needs {needed:.1f} GiB of {model.device} beside the weights and what else is on it: use a "
            "larger GPU, put the detokenizer on another one (--tts-gpu), or take 8 bits (--dtype float8, --speech-cache float8)"
        )
    slots = min(MAX_SLOTS, max(1, (pages - 1) * PAGE_TOKENS // TYPICAL_CONTEXT))
    new_tokens = min(MAX_NEW_TOKENS, max_context // 2)
    return Limits(
        slots=slots,
        pages=pages,
        page_tokens=PAGE_TOKENS,
        max_context=max_context,
        max_new_tokens=new_tokens,
        frame_s=model.config.audio.group_size / CODES_PER_SECOND,
    )
