"""8 bits: how far weights are from the real ones, that the engine multiplies with exactly them, and caches of half the size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.web_demo.models.funaudiochat.engine.test_engine import GREEDY, LIMITS, SAMPLED, alone, spoken, together
from web_demo.models.funaudiochat.engine.engine import Engine
from web_demo.models.funaudiochat.engine.runner import bytes_per_page
from web_demo.models.funaudiochat.engine.sequence import Request
from web_demo.models.funaudiochat.loader import SCALE, load_model
from web_demo.models.funaudiochat.model import FunAudioChat
from web_demo.models.funaudiochat.processor import Processor
from web_demo.models.runtime.float8 import FORMAT, Float8Weight, is_rounded, rounded, widened

pytestmark = pytest.mark.models


def test_every_value_is_within_half_a_step_and_the_largest_of_a_row_is_exact() -> None:
    weight = torch.randn(20, 300, generator=torch.Generator().manual_seed(1)) * torch.logspace(-6, 3, 20)[:, None]
    weight[3] = 0
    found = widened(rounded(weight))
    largest = weight.abs().amax(dim=1, keepdim=True)
    half_a_step = torch.maximum(weight.abs() / 16, largest / 448 * 2**-10)  # three bits of mantissa; subnormals
    assert bool(((found - weight).abs() <= half_a_step * 1.0001).all())
    assert torch.equal(found[3], weight[3])
    assert torch.allclose(found.abs().amax(dim=1), largest[:, 0], rtol=1e-6)


def test_only_the_layers_of_the_two_decoders_are_rounded(model: FunAudioChat) -> None:
    chosen = {name for name, _ in model.named_parameters() if is_rounded(name)}
    layers = model.config.text.num_hidden_layers + model.config.crq.num_hidden_layers
    assert len(chosen) == 7 * layers
    assert not any("continuous" in name or "norm" in name for name in chosen)


def test_the_engine_computes_with_the_rounded_weights_and_nothing_else(golden: Path, processor: Processor) -> None:
    """Against the reference path on weights that were rounded and widened again."""
    reference = load_model(golden / "checkpoint")[0]
    with torch.no_grad():
        for name, parameter in reference.named_parameters():
            if is_rounded(name):
                parameter.copy_(widened(rounded(parameter)))
    engine = Engine(load_model(golden / "checkpoint", float8=True)[0], LIMITS)
    requests = [Request(f"r{seed}", spoken(processor, seed), one) for seed, one in enumerate((GREEDY, SAMPLED))]
    answers, _ = together(engine, {0: requests})
    for request in requests:
        assert answers[request.request_id] == alone(reference, request.prompt, request.settings)


def test_a_second_engine_on_the_same_model_shares_its_weights(golden: Path) -> None:
    model = load_model(golden / "checkpoint", float8=True)[0]
    first, second = Engine(model, LIMITS), Engine(model, LIMITS)
    for one, other in zip(first.runner.backbone.layers, second.runner.backbone.layers, strict=True):
        assert isinstance(one.qkv, Float8Weight)
        assert isinstance(other.qkv, Float8Weight)
        assert one.qkv.values.data_ptr() == other.qkv.values.data_ptr()
    stored = [part for module in model.modules() if (part := getattr(module, SCALE, None)) is not None]
    assert all(scale.dtype is torch.float32 for scale in stored)


def test_a_speech_head_cache_in_8_bits_changes_codes_alone_and_no_row_by_its_neighbours(
    model: FunAudioChat, processor: Processor
) -> None:
    settings = [GREEDY, SAMPLED, replace(SAMPLED, speech=False, force_audio_bos=False)]
    requests = [Request(f"r{seed}", spoken(processor, seed), one) for seed, one in enumerate(settings)]
    answers, _ = together(Engine(model, LIMITS, speech_cache=FORMAT), {0: requests[:2], 3: requests[2:]})
    for request in requests:
        solo, _ = together(Engine(model, LIMITS, speech_cache=FORMAT), {0: [request]})
        assert answers[request.request_id] == solo[request.request_id]
    assert answers["r2"] == alone(model, requests[2].prompt, settings[2])  # text alone asks nothing of the speech head


def test_a_cache_in_8_bits_takes_half_and_a_page_says_so(model: FunAudioChat) -> None:
    whole, eight_bits = (Engine(model, LIMITS, speech_cache=one).runner for one in (None, FORMAT))
    assert eight_bits.crq.memory.nbytes * model.dtype.itemsize == whole.crq.memory.nbytes
    assert eight_bits.backbone.memory.nbytes == whole.backbone.memory.nbytes
    for runner, cache in ((whole, None), (eight_bits, FORMAT)):
        caches = runner.crq.memory.nbytes + runner.backbone.memory.nbytes
        assert bytes_per_page(model, LIMITS.page_tokens, cache) * LIMITS.pages == caches
