"""How a test gets each engine of the registry, not yet started: the embedded ones as they are, those of the big models on
tiny checkpoints, the remote ones in front of our own services. The fakes come with them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from scripts.benchmarks.load import random_funasr
from tests import tiny_sherpa
from tests.talk import say
from tests.web_demo.engines.tts import fake_upstream
from tests.web_demo.server.asr import helpers as asr
from tests.web_demo.server.tts import fakes as tts
from web_demo.detokenizer.backend import BackendSpec
from web_demo.engines.fakes import ScriptedS2s
from web_demo.server.asr.service import AsrSettings
from web_demo.server.server import S2sSettings
from web_demo.server.tts.settings import TtsSettings

CHECKPOINT = Path(__file__).parents[1] / "models" / "funaudiochat" / "golden" / "checkpoint"

Maker = Callable[[Path], AbstractAsyncContextManager[Any]]


@asynccontextmanager
async def asr_embedded(folder: Path) -> AsyncIterator[Any]:
    from web_demo.engines.asr.embedded import create

    yield create(AsrSettings())


@asynccontextmanager
async def asr_funasr(folder: Path) -> AsyncIterator[Any]:
    pytest.importorskip("torch").set_num_threads(1)
    pytest.importorskip("funasr")
    from web_demo.engines.asr.funasr import FunAsr

    logging.disable(logging.INFO)
    path = folder / "Fun-ASR-Nano-tiny"
    yield FunAsr(path if path.exists() else random_funasr.write(path), "cpu", max_tokens=8)
    logging.disable(logging.NOTSET)


@asynccontextmanager
async def asr_sherpa(folder: Path) -> AsyncIterator[Any]:
    from web_demo.engines.asr.sherpa.engine import create

    yield create(AsrSettings(model_path=tiny_sherpa.sense_voice(folder / "sense-voice")))


@asynccontextmanager
async def asr_openai(folder: Path) -> AsyncIterator[Any]:
    from web_demo.engines.asr.openai import OpenAiAsr

    async with asr.serving(asr.ScriptedAsr()) as service:
        yield OpenAiAsr(str(service.make_url("/v1")), "", "")


@asynccontextmanager
async def asr_scripted(folder: Path) -> AsyncIterator[Any]:
    yield asr.ScriptedAsr()


@asynccontextmanager
async def tts_embedded(folder: Path) -> AsyncIterator[Any]:
    from web_demo.engines.tts.embedded import create

    yield create(TtsSettings())


@asynccontextmanager
async def tts_sherpa(folder: Path) -> AsyncIterator[Any]:
    from web_demo.engines.tts.sherpa.engine import create

    yield create(TtsSettings(model_path=tiny_sherpa.matcha(folder / "matcha-icefall-zh-en")))


@asynccontextmanager
async def tts_cosyvoice3(folder: Path) -> AsyncIterator[Any]:
    pytest.importorskip("torch").set_num_threads(1)
    from tests.web_demo.models.cosyvoice3.golden import expanded
    from web_demo.engines.tts.cosyvoice3 import CosyVoice3Engine

    golden = folder / "golden"
    if not golden.exists():
        expanded(golden)
    with patch("web_demo.models.cosyvoice3.lm.generate.MAX_RATIO", 3):  # a random LM does not stop by itself
        yield CosyVoice3Engine(golden / "model", "cpu", streams=2)


@asynccontextmanager
async def tts_cosyvoice(folder: Path) -> AsyncIterator[Any]:
    from web_demo.engines.tts.cosyvoice import CosyVoiceTts

    weights = folder / "Fun-CosyVoice3-0.5B-2512"
    weights.mkdir(parents=True, exist_ok=True)
    (weights / "cosyvoice3.yaml").touch()
    yield CosyVoiceTts(weights, submodule=fake_upstream.write(folder / "CosyVoice"))


@asynccontextmanager
async def tts_openai(folder: Path) -> AsyncIterator[Any]:
    from web_demo.engines.tts.openai import OpenAiTts

    async with tts.serving(engine=tts.ToneTts()) as service:
        yield OpenAiTts(f"{service._base_url}v1")


@asynccontextmanager
async def tts_tone(folder: Path) -> AsyncIterator[Any]:
    yield tts.ToneTts()


@asynccontextmanager
async def s2s_embedded(folder: Path) -> AsyncIterator[Any]:
    from web_demo.engines.s2s.cascade.engine import create

    yield create(S2sSettings())


@asynccontextmanager
async def s2s_funaudiochat(folder: Path) -> AsyncIterator[Any]:
    pytest.importorskip("torch").set_num_threads(1)
    from web_demo.engines.s2s.funaudiochat.engine import FunAudioChatS2s
    from web_demo.models.funaudiochat.engine.scheduler import Limits

    limits = Limits(slots=2, pages=200, page_tokens=16, max_context=600, max_new_tokens=12)
    yield FunAudioChatS2s(CHECKPOINT, "cpu", BackendSpec("web_demo.engines.fakes:ToneBackend"), limits)


@asynccontextmanager
async def s2s_scripted(folder: Path) -> AsyncIterator[Any]:
    yield ScriptedS2s(say("One.", "Two."))


MAKERS: dict[str, dict[str, Maker]] = {
    "asr": {
        "embedded": asr_embedded,
        "sherpa": asr_sherpa,
        "funasr": asr_funasr,
        "openai": asr_openai,
        "scripted": asr_scripted,
    },
    "tts": {
        "embedded": tts_embedded,
        "sherpa": tts_sherpa,
        "cosyvoice3": tts_cosyvoice3,
        "cosyvoice": tts_cosyvoice,
        "openai": tts_openai,
        "tone": tts_tone,
    },
    "s2s": {"embedded": s2s_embedded, "funaudiochat": s2s_funaudiochat, "scripted": s2s_scripted},
}
FAKES = {("asr", "scripted"), ("tts", "tone"), ("s2s", "scripted")}
NEED_TORCH = {("asr", "funasr"), ("tts", "cosyvoice3"), ("tts", "cosyvoice"), ("s2s", "funaudiochat")}


def engines(*kinds: str) -> list[Any]:
    """Parameters: (kind, name) of each engine of these kinds."""
    return [
        pytest.param(
            (kind, name), id=f"{kind}-{name}", marks=[pytest.mark.models] if (kind, name) in NEED_TORCH else []
        )
        for kind in kinds
        for name in MAKERS[kind]
    ]
