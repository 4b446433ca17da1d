"""Nothing about one checkpoint is written in the code: another group size, other ids, other modes work alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.web_demo.models.funaudiochat.engine.test_engine import alone, together
from web_demo.models.funaudiochat.config import parse_config
from web_demo.models.funaudiochat.engine.engine import Engine
from web_demo.models.funaudiochat.engine.scheduler import Limits
from web_demo.models.funaudiochat.engine.sequence import Request
from web_demo.models.funaudiochat.loader import random_model
from web_demo.models.funaudiochat.model import FunAudioChat
from web_demo.models.funaudiochat.processor import Prompt, PromptAudio
from web_demo.models.funaudiochat.settings import GenerationSettings

pytestmark = pytest.mark.models


def other_model(golden: Path, **audio: Any) -> FunAudioChat:
    """Random weights, large enough that the tokens depend on what went before."""
    values = json.loads((golden / "checkpoint" / "config.json").read_text())
    values["audio_token_index"] = 7
    values["text_config"] |= {
        "vocab_size": 301, "audio_bos_index": 11, "audio_eos_index": 13, "sil_index": 17, "eos_token_id": 19, "pad_token_id": 18,
        "num_key_value_heads": 1, "num_hidden_layers": 2, "tie_word_embeddings": True,
    }  # fmt: skip
    values["audio_config"] |= {
        "codebook_size": 105,
        "bos_token_id": 101,
        "eos_token_id": 102,
        "pad_token_id": 104,
    } | audio
    torch.manual_seed(0)
    model = random_model(parse_config(values), seed=4)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.normal_(0, 0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    return model


def prompt(model: FunAudioChat, seed: int, codes: int) -> Prompt:
    generator = torch.Generator().manual_seed(seed)
    audio = model.config.audio
    slots = -(-codes // audio.group_size)
    sound = torch.randn(audio.mel_bins, codes * 4, generator=generator)
    heard = PromptAudio(torch.randint(0, 100, (codes,), generator=generator), sound, slots, f"sound {seed}")
    text = torch.randint(20, 300, (9,), generator=generator).tolist()
    return Prompt((*text[:5], *[model.config.audio_id] * slots, *text[5:]), (heard,))


@pytest.mark.parametrize("audio", [{"group_size": 3}, {"n_window": 30}, {"continuous_features_mode": "add"}])
def test_the_engine_equals_the_reference_path(golden: Path, audio: dict[str, Any]) -> None:
    model = other_model(golden, **audio)
    settings = GenerationSettings(max_new_tokens=20, seed=3, temperature=1.5)
    engine = Engine(
        model, Limits(slots=4, pages=60, page_tokens=8, max_context=100, max_new_tokens=20, prefill_tokens=9)
    )
    requests = [Request(f"r{seed}", prompt(model, seed, 31 + 20 * seed), settings) for seed in range(3)]
    answers, _ = together(engine, {0: requests[:2], 2: requests[2:]})
    for request in requests:
        text, groups = answers[request.request_id]
        assert (text, groups) == alone(model, request.prompt, settings)
        assert all(len(group) == model.config.audio.group_size for group in groups)
    assert len({str(answer) for answer in answers.values()}) == 3


def test_discrete_codes_matter_only_where_vectors_are_added(golden: Path) -> None:
    sound = torch.randn(128, 60, generator=torch.Generator().manual_seed(1))
    codes, others = torch.arange(15), torch.arange(15) + 20
    for mode, same in (("replace", True), ("add", False)):
        model = other_model(golden, continuous_features_mode=mode)
        assert torch.equal(model.embed_audio(codes, sound), model.embed_audio(others, sound)) is same
        assert not torch.equal(model.embed_audio(codes, None), model.embed_audio(others, None))
