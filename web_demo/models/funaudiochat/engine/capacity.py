"""How many conversations a device holds: measured once the weights are in, not guessed from a table of GPUs."""

from __future__ import annotations

import torch

from web_demo.errors import SetupError
from web_demo.models.funaudiochat.engine.runner import bytes_per_page
from web_demo.models.funaudiochat.engine.scheduler import Limits
from web_demo.models.funaudiochat.model import FunAudioChat

PAGE_TOKENS = 16
TYPICAL_CONTEXT = 1024  # positions that one session is expected to fill: what a slot must be worth in memory
MAX_SLOTS = 256
CPU_SLOTS = 8
LEFT_FREE = 0.15  # of the device: a prefill's activations, the graphs, the detokenizer beside this model


def measured_limits(model: FunAudioChat, *, max_context: int = 4096, left_free: float = LEFT_FREE) -> Limits:
    """Limits for the memory that is free now. Raises SetupError when not even one conversation fits."""
    max_context = min(max_context, int(model.config.text.max_position_embeddings))
    pages_per_turn = -(-max_context // PAGE_TOKENS)
    if model.device.type == "cuda":
        free, total = torch.cuda.mem_get_info(model.device)
        pages = int(free - left_free * total) // bytes_per_page(model, PAGE_TOKENS)
    else:
        pages = CPU_SLOTS * TYPICAL_CONTEXT // PAGE_TOKENS + 1
    if pages < pages_per_turn + 1:
        needed = (pages_per_turn + 1) * bytes_per_page(model, PAGE_TOKENS) / 2**30
        raise SetupError(f"one conversation of {max_context} positions needs {needed:.1f} GiB beside the weights")
    slots = min(MAX_SLOTS, max(1, (pages - 1) * PAGE_TOKENS // TYPICAL_CONTEXT))
    return Limits(slots=slots, pages=pages, page_tokens=PAGE_TOKENS, max_context=max_context)
