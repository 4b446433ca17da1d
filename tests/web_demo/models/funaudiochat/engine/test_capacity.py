from __future__ import annotations

from unittest.mock import PropertyMock, patch

import pytest
import torch

from web_demo.errors import SetupError
from web_demo.models.funaudiochat.engine.capacity import PAGE_TOKENS, measured_limits
from web_demo.models.funaudiochat.engine.runner import bytes_per_page
from web_demo.models.funaudiochat.engine.scheduler import Limits
from web_demo.models.funaudiochat.model import FunAudioChat
from web_demo.models.runtime.memory import LEFT_FREE

pytestmark = pytest.mark.models

TOTAL = 10 * 2**30


def limits_with(model: FunAudioChat, free_positions: int) -> Limits:
    """Limits of a pretended GPU with room for that many positions."""
    free = int(LEFT_FREE * TOTAL) + free_positions // PAGE_TOKENS * bytes_per_page(model, PAGE_TOKENS) + 1
    device = patch.object(type(model), "device", new_callable=PropertyMock, return_value=torch.device("cuda:0"))
    with device, patch("torch.cuda.mem_get_info", return_value=(free, TOTAL)):
        return measured_limits(model)


def test_a_page_counts_both_caches(model: FunAudioChat) -> None:
    backbone = 3 * 2 * 2 * 16 * 4  # layers, keys and values, heads, size, float32
    crq = 5 * 2 * 2 * 2 * 16 * 4
    assert bytes_per_page(model, 7) == 7 * (backbone + crq)


def test_slots_follow_the_memory_that_is_free(model: FunAudioChat) -> None:
    limits = limits_with(model, 20 * 1024 + PAGE_TOKENS)
    assert (limits.slots, limits.max_context) == (20, 4096)


def test_a_small_device_gets_a_shorter_context_and_a_shorter_answer(model: FunAudioChat) -> None:
    limits = limits_with(model, 800 + PAGE_TOKENS)
    assert (limits.slots, limits.max_context, limits.max_new_tokens) == (1, 800, 400)


def test_a_device_without_room_is_refused_at_start(model: FunAudioChat) -> None:
    with pytest.raises(SetupError, match="--tts-gpu"):
        limits_with(model, 400)
