"""The speech LM in vLLM, against a stand-in for vLLM (see fake_vllm): the same tokens as our own LM, and what becomes of everybody
when its process dies or stands still."""

from __future__ import annotations

import asyncio
import importlib
import sys
from itertools import islice
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.web_demo.models.cosyvoice3.lm import fake_vllm
from tests.web_demo.models.cosyvoice3.widened import widened
from web_demo.children import supervisor
from web_demo.engines.base import SpeechRequest
from web_demo.engines.tts.cosyvoice3 import CosyVoice3Engine
from web_demo.errors import EngineFailed, SetupError, Unavailable
from web_demo.models.cosyvoice3.config import load_config
from web_demo.models.cosyvoice3.lm.batch import LmBatch
from web_demo.models.cosyvoice3.lm.generate import END_OF_PROMPT, LmInput, generate
from web_demo.models.cosyvoice3.lm.lm import load_lm
from web_demo.models.cosyvoice3.lm.vllm import remote
from web_demo.models.cosyvoice3.lm.vllm.messages import Begin, Load
from web_demo.models.cosyvoice3.lm.vllm.remote import VllmLm
from web_demo.models.cosyvoice3.lm.vllm.rows import Row, choose

pytestmark = pytest.mark.models

ENOUGH = 40  # tokens; all 680 are compared with the real vLLM
INPUTS = (
    LmInput((71, 68, 75), (56, END_OF_PROMPT)),
    LmInput((1, 2, 3, 4, 5, 6), (9, 9, 9, END_OF_PROMPT), (100, 200, 300)),
    LmInput((END_OF_PROMPT, 8, 8, 8)),
)


@pytest.fixture(scope="module")
def golden_case(golden: Path):
    tensors = load_file(golden / "cases" / "lm.safetensors")
    text, prompt, speech = (
        tuple(tensors[name].flatten().tolist()) for name in ("text", "prompt_text", "prompt_speech_token")
    )
    return LmInput(text, prompt, speech), tensors["greedy_tokens"].tolist()


@pytest.fixture
def engine_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(fake_vllm.write(tmp_path)))
    yield importlib.import_module("web_demo.models.cosyvoice3.lm.vllm.engine")
    for name in [name for name in sys.modules if name.partition(".")[0] == "vllm" or name.endswith("lm.vllm.engine")]:
        del sys.modules[name]


def ours(lm, index):
    batch = LmBatch(lm, slots=1, capacity=1024, batches=(1,))
    utterance = batch.add(INPUTS[index], seed=index)
    while not utterance.ended:
        batch.step([utterance])
    return utterance.tokens


def test_the_golden_tokens_and_those_of_our_own_lm_for_every_seed(engine_module, model_dir, lm, golden_case):
    given, wanted = golden_case
    engine = engine_module.SpeechEngine(Load(str(model_dir), "float32", 8, 1024))
    engine.begin(Begin(100, given, None))
    for index, other in enumerate(INPUTS):
        engine.begin(Begin(index, other, index))
    made = {}
    for _ in range(ENOUGH):
        for spoken in engine.step():
            made[spoken.number] = made.get(spoken.number, ()) + spoken.tokens
    assert list(made[100]) == wanted[: ENOUGH - 1]  # the prompt took a step more
    assert [list(made[index]) for index in range(3)] == [ours(lm, index)[: ENOUGH - 1] for index in range(3)]
    for number in (100, 0, 1, 2):
        engine.drop(number)
    assert not engine.busy


def test_the_cache_holds_all_utterances_at_their_longest(engine_module, model_dir):
    config = load_config(model_dir).lm
    asked = Load("", "float32", 4, 1000)
    position = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 4
    assert engine_module.cache_bytes(config, asked, 4) == (4 * 1024 + 128) * position


def test_no_token_ends_an_utterance_before_its_shortest_length(model_dir):
    import torch

    config = load_config(model_dir).lm
    logits = torch.zeros(3, config.speech_token_size + 200)
    logits[:, config.speech_token_size + 7] = 50.0
    rows = [Row([1] * 3, 4, 0), Row([1] * 3, 4, None), Row([1] * 3, 3, None)]
    left = choose(logits, rows, config)
    assert torch.isfinite(left).sum(1).tolist() == [1, 1, 1]
    assert (left.argmax(1) >= config.speech_token_size).tolist() == [False, False, True]


def test_a_wider_model_computes_the_same(model_dir, golden_case, tmp_path):
    given, wanted = golden_case
    wide = load_lm(widened(model_dir, tmp_path / "wide"))
    tokens = generate(wide, given, lambda logp, _: int(logp.argmax()))
    assert list(islice(tokens, ENOUGH)) == wanted[:ENOUGH]


# --- in a child of its own --------------------------------------------------------------------------------------------


def vllm_lm(model_dir, **more):
    options = {"device": "cpu", "dtype": "float32", "slots": 4, "capacity": 600, "python": Path(sys.executable)}
    return VllmLm(model_dir, **(options | more))


async def finished(lm, *utterances):
    for _ in range(5000):
        if all(utterance.ended for utterance in utterances):
            return
        await asyncio.to_thread(lm.step, utterances)
    raise AssertionError("they do not end")


@pytest.mark.long
async def test_it_speaks_is_left_dies_and_stands_still(model_dir, lm, tmp_path, monkeypatch):
    """One story, since a child takes its time to start."""
    monkeypatch.setenv("PYTHONPATH", str(fake_vllm.write(tmp_path)))
    monkeypatch.setattr(supervisor, "FIRST_BACKOFF_S", 0.01)
    vllm = vllm_lm(model_dir)
    engine = CosyVoice3Engine(model_dir, "cpu", streams=2, vllm=vllm)
    await engine.start()
    try:
        # The same tokens as ours, two at once; a text without room fails alone.
        long = LmInput(tuple(range(400)), (END_OF_PROMPT,))
        short = LmInput((71,), (56, END_OF_PROMPT))
        first, second, third = vllm.add(INPUTS[0], 0), vllm.add(long, 1), vllm.add(short, 2)
        await finished(vllm, first, second, third)
        assert first.tokens == ours(lm, 0)
        assert 2 <= len(third.tokens) <= 20
        assert "there is room for 600" in str(second.error)
        for utterance in (first, second, third):
            vllm.remove(utterance)
        # An utterance that is left makes room.
        left = vllm.add(INPUTS[1], 0)
        await asyncio.to_thread(vllm.step, [left])
        vllm.remove(left)
        assert vllm.free == 4

        # Sound comes while the LM still runs, from two requests at once.
        async def speak(text):
            chunks = [len(chunk) async for chunk in engine.synthesize(SpeechRequest(text, ""))]
            assert len(chunks) > 1
            return sum(chunks)

        assert min(await asyncio.gather(speak("ab"), speak("cd"))) > 0
        # A process that makes no tokens is ended, which fails who waits for it; meanwhile others are refused, and the next serves.
        monkeypatch.setattr(remote, "STALL_S", 0.5)
        (tmp_path / "fault").write_text("wedge")
        with pytest.raises(EngineFailed, match="the vLLM process ended"):
            await speak("ab")
        with pytest.raises(Unavailable, match="made no token for"):
            await speak("ab")
        monkeypatch.setattr(remote, "STALL_S", 60.0)
        async with asyncio.timeout(300):
            await vllm._child.wait_ready()
        assert engine.fault() is None
        assert await speak("ab") > 0
        # A dead one fails who had tokens of it.
        (tmp_path / "fault").write_text("exit")
        with pytest.raises(EngineFailed, match="the vLLM process ended"):
            await speak("ab")
    finally:
        await engine.close()


@pytest.mark.long
async def test_an_environment_without_vllm_is_said_with_the_command_that_makes_it(model_dir, tmp_path):
    with pytest.raises(SetupError, match=r"full_setup\.sh --with-vllm"):
        vllm_lm(model_dir, python=tmp_path / "none")
    with pytest.raises(SetupError, match=r"has no vLLM that fits .*full_setup\.sh --with-vllm"):
        await vllm_lm(model_dir).start()


def test_a_death_of_the_child_before_an_utterance_began_is_not_its_own(model_dir):
    lm = vllm_lm(model_dir)
    lm._died()
    lm._child._is_ready.set()
    utterance = lm.add(INPUTS[0], 0)
    lm.step([utterance])
    assert not utterance.ended
    lm._died()
    lm.step([utterance])
    assert isinstance(utterance.error, EngineFailed)
