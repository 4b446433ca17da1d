"""The engine plug-in on the tiny checkpoint: directly, and behind the whole service over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import aiohttp
import numpy as np
import pytest

pytest.importorskip("torch", reason="requirements-models.txt")

import torch

from tests.talk import s2s, serving, talking, tone, until
from web_demo.audio.samples import Audio
from web_demo.detokenizer.backend import BackendSpec
from web_demo.engines import registry
from web_demo.engines.base import Exchange, LimitReached, Sampling, SpeechCodes, Step, TextDelta, ToolCall, TurnRequest
from web_demo.engines.s2s.funaudiochat import engine as funaudiochat
from web_demo.engines.s2s.funaudiochat.engine import FunAudioChatS2s
from web_demo.engines.s2s.funaudiochat.model import ModelThread
from web_demo.errors import Busy, EngineFailed, InvalidRequest, SetupError, Unavailable
from web_demo.models.funaudiochat.engine.scheduler import Limits
from web_demo.models.funaudiochat.engine.sequence import Frame
from web_demo.models.funaudiochat.engine.thread import EngineThread

pytestmark = pytest.mark.models

CHECKPOINT = Path(__file__).parents[3] / "models" / "funaudiochat" / "golden" / "checkpoint"
TONE = BackendSpec("web_demo.engines.fakes:ToneBackend")
LIMITS = Limits(slots=8, pages=400, page_tokens=16, max_context=600, max_new_tokens=12)


@asynccontextmanager
async def running(*, dtype: str = "auto", **changes: int) -> AsyncIterator[FunAudioChatS2s]:
    limits = Limits(**(vars(LIMITS) | changes))
    engine = FunAudioChatS2s(CHECKPOINT, "cpu", TONE, limits, dtype=dtype)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


def owner(engine: FunAudioChatS2s) -> EngineThread:
    assert isinstance(engine._speech_model, ModelThread)
    return engine._speech_model._running()


def sound(seed: int, seconds: float = 1.0) -> Audio:
    noise = np.random.default_rng(seed).standard_normal(int(seconds * 16_000)) * 0.1
    return Audio(noise.astype(np.float32), 16_000)


def turn(seed: int = 1, **changes: Any) -> TurnRequest:
    values: dict[str, Any] = {
        "turn_id": f"t{seed}",
        "conversation_id": f"c{seed}",
        "audio": sound(seed),
        "sampling": Sampling(seed=seed),
    }
    return TurnRequest(**(values | changes))


async def answer(engine: FunAudioChatS2s, request: TurnRequest) -> list[Step]:
    return [step async for step in engine.respond(request)]


async def test_eight_conversations_at_once_equal_each_alone() -> None:
    async with running() as engine:
        alone = [await answer(engine, turn(seed)) for seed in range(8)]
        for seed in range(8):
            await engine.forget(f"c{seed}")
        together = await asyncio.gather(*(answer(engine, turn(seed)) for seed in range(8)))
        assert together == alone
        assert len({str(steps) for steps in alone}) == 8
        codes = [step for step in alone[0] if isinstance(step, SpeechCodes)]
        assert codes
        assert all(0 <= code < 6561 for step in codes for code in step.codes)


async def test_the_second_turn_is_the_same_with_and_without_the_kept_first_one() -> None:
    first = turn(1)
    history = (Exchange("", "Hello.", first.audio),)
    second = turn(2, conversation_id=first.conversation_id, history=history)
    async with running() as engine:
        await answer(engine, first)
        kept = await answer(engine, second)
    async with running() as engine:
        assert await answer(engine, second) == kept


async def test_what_is_written_is_answered_by_voice_and_so_is_nothing_at_all() -> None:
    async with running() as engine:
        for request in (turn(1, audio=None, text="Hello?"), turn(2, audio=None), turn(3, text="and this")):
            assert [step for step in await answer(engine, request) if isinstance(step, SpeechCodes)]
        assert await engine.transcribe(sound(1)) is None


async def test_closing_the_answer_frees_its_slot_within_one_step() -> None:
    async with running(slots=1, max_new_tokens=500, max_waiting=1) as engine:
        async with aclosing(engine.respond(turn(1, sampling=Sampling(seed=1)))) as steps:
            assert await anext(steps)
        scheduler = owner(engine)._engine.scheduler
        await until(lambda: not scheduler.busy)
        assert await anext(engine.respond(turn(2)))


async def test_more_turns_than_may_wait_are_refused_and_the_others_finish() -> None:
    async with running(slots=1, max_waiting=1) as engine:
        results = await asyncio.gather(*(answer(engine, turn(seed)) for seed in range(6)), return_exceptions=True)
        refused = [result for result in results if isinstance(result, Busy)]
        finished = [result for result in results if isinstance(result, list)]
        assert len(refused) + len(finished) == 6
        assert refused
        assert finished


async def test_what_can_never_run_is_refused_with_the_reason() -> None:
    async with running(max_context=100) as engine:
        with pytest.raises(InvalidRequest, match="shorten the history or the audio"):
            await answer(engine, turn(1, audio=sound(1, 30.0)))
        with pytest.raises(InvalidRequest, match="too short"):
            await answer(engine, turn(1, audio=Audio(np.zeros(0, np.float32), 16_000)))


async def test_a_turn_with_nan_in_it_fails_alone() -> None:
    async with running() as engine:
        alone = await answer(engine, turn(1))
        sick = sound(2)
        sick.samples[100] = np.nan
        results = await asyncio.gather(
            answer(engine, turn(2, audio=sick)), answer(engine, turn(1)), return_exceptions=True
        )
        assert isinstance(results[0], EngineFailed)
        assert results[1] == alone


async def test_a_broken_engine_ends_every_turn_and_refuses_new_ones() -> None:
    async with running() as engine:
        broken = patch.object(owner(engine)._engine, "step", side_effect=RuntimeError("device lost"))
        with broken, pytest.raises(Unavailable):
            await answer(engine, turn(1))
        with pytest.raises(Unavailable):
            await answer(engine, turn(2))


async def test_a_broken_engine_makes_the_service_unhealthy_and_turns_are_refused_in_words() -> None:
    engine = FunAudioChatS2s(CHECKPOINT, "cpu", TONE, LIMITS)
    async with serving(s2s(engine)) as server, talking(server) as talker:
        with patch.object(owner(engine)._engine, "step", side_effect=torch.AcceleratorError("device lost")):
            await talker.ask()
            assert "the service must be restarted" in await talker.error()
        async with aiohttp.ClientSession() as http, http.get(server.url("/health")) as response:
            body = await response.json()
        assert (response.status, body["status"]) == (503, "unhealthy")
        assert body["reason"] == "the speech model has stopped (AcceleratorError); the service must be restarted"
        seen = len(talker.log)
        await talker.start()
        await talker.ask()
        assert "the speech model has stopped" in await talker.error(since=seen)
        async with talking(server) as late:
            assert "unhealthy: the speech model has stopped" in await late.error()


async def test_a_turn_without_speech_is_text_alone_beside_one_that_speaks() -> None:
    async with running() as engine:
        spoken = await answer(engine, turn(1))
        await engine.forget("c1")
        silent, beside = await asyncio.gather(answer(engine, turn(2, speech=False)), answer(engine, turn(1)))
        assert silent
        assert all(isinstance(step, TextDelta) for step in silent)
        assert beside == spoken


@pytest.mark.parametrize("dtype", ["float8", "bfloat16", "float16"])
async def test_it_speaks_in_every_precision(dtype: str) -> None:
    async with running(dtype=dtype) as engine:
        steps = await answer(engine, turn(1))
        assert sum(isinstance(step, SpeechCodes) for step in steps) > 3


async def test_an_engine_that_was_not_started_says_so() -> None:
    engine = FunAudioChatS2s(CHECKPOINT, "cpu", TONE, LIMITS)
    with pytest.raises(Unavailable, match="loading"):
        await answer(engine, turn(1))


async def test_a_function_call_comes_as_a_typed_step_and_nothing_is_spoken() -> None:
    """The weights are random and call nothing by themselves: the text of the first pass is given."""
    tools = ({"name": "get_weather"},)
    call = '<tool_call>{"name": "get_weather", "arguments": {"city": "Paris"}}</tool_call>'
    async with running() as engine:
        with patch.object(engine, "_tool_text", return_value=(call, False)):
            steps = await answer(engine, turn(1, tools=tools))
        assert steps == [ToolCall("t1.call1", "get_weather", {"city": "Paris"})]


async def test_tools_that_the_model_does_not_call_leave_the_spoken_answer_as_it_is() -> None:
    async with running() as engine:
        plain = await answer(engine, turn(1))
        await engine.forget("c1")
        assert await answer(engine, turn(1, tools=({"name": "get_weather"},))) == plain


async def test_a_demanded_call_is_begun_for_the_model_and_one_that_it_does_not_write_is_an_error() -> None:
    prompts: list[str] = []

    async def frames(request: Any) -> AsyncIterator[Frame]:
        """What a model that can do it writes after the beginning."""
        tokenizer = engine._ready().processor.tokenizer
        prompts.append(tokenizer.decode(request.prompt.ids))
        for number in tokenizer('{"city": "Paris"}}\n</tool_call>')["input_ids"]:
            yield Frame(request.request_id, number)

    demanded = turn(1, tools=({"name": "get_weather"},), tool_choice="get_weather")
    async with running() as engine:
        with pytest.raises(EngineFailed, match="one was demanded"):
            await answer(engine, demanded)
        with patch.object(engine, "_frames", frames):
            assert await answer(engine, demanded) == [ToolCall("t1.call1", "get_weather", {"city": "Paris"})]
    assert prompts[0].endswith('<tool_call>\n{"name": "get_weather", "arguments": ')


async def test_the_turn_s_limit_is_obeyed_and_told_and_the_engine_s_own_is_no_end_of_the_client_s() -> None:
    async with running() as engine:
        whole = await answer(engine, turn(1))
        await engine.forget("c1")
        short = await answer(engine, turn(1, max_tokens=3))
        assert short[-1] == LimitReached()
        assert short[:-1] == whole[: len(short) - 1]
        assert sum(len(step.codes) for step in short if isinstance(step, SpeechCodes)) <= 3 * 5
        await engine.forget("c1")
        assert await answer(engine, turn(1, max_tokens=500)) == whole
        cut = await answer(engine, turn(1, tools=({"name": "f"},), tool_choice="f", max_tokens=2))
        assert cut == [LimitReached()]


@pytest.mark.long
async def test_the_text_is_whole_characters() -> None:
    async with running(max_new_tokens=100) as engine:
        steps = await answer(engine, turn(3))
        text = "".join(step.text for step in steps if isinstance(step, TextDelta))
        assert text
        assert "\ufffd" not in text
        assert "<|" not in text


def settings(**changes: Any) -> Any:
    values = {"model_path": CHECKPOINT, "tts_model_path": Path("tts"), "tts_gpu": 1, "device": "cpu"}
    values |= {"dtype": "auto", "speech_cache": "auto", "max_sessions": 9}
    return SimpleNamespace(**(values | changes))


def test_without_weights_or_a_gpu_it_says_why_it_cannot_run(tmp_path: Path) -> None:
    assert funaudiochat.unavailable(settings(model_path=tmp_path)) == (
        f"no weights at {tmp_path}: ./scripts/download_models.sh --only s2s"
    )
    assert funaudiochat.unavailable(settings()) == (
        "no weights of the detokenizer at tts: ./scripts/download_models.sh --only tts"
    )
    (tmp_path / "cosyvoice3.yaml").touch()
    assert funaudiochat.unavailable(settings(tts_model_path=tmp_path)) == "no CUDA device"
    assert funaudiochat.unavailable(settings(tts_model_path=tmp_path, device="cuda:0")) is None
    with pytest.raises(SetupError, match="not a checkpoint folder"):
        funaudiochat.create(settings(model_path=tmp_path / "nothing"))


def test_the_detokenizer_child_gets_its_own_gpu_and_a_slot_for_each_session() -> None:
    engine = funaudiochat.create(settings(device="cuda:0"))
    assert registry.load(engine.speech.factory)
    assert engine.speech.options == {
        "model_path": "tts",
        "device": "cuda:1",
        "slots": 9,
        "beside": "",
        "beside_cache": "auto",
    }


@pytest.mark.parametrize("device", ["cuda:1", "cuda"])
def test_on_the_same_gpu_the_detokenizer_knows_who_needs_the_rest(device: str) -> None:
    engine = funaudiochat.create(
        settings(device=device, tts_gpu=device.count("1"), dtype="float8", speech_cache="float8")
    )
    assert (engine.speech.options["beside"], engine.speech.options["beside_cache"]) == ("float8", "float8")


@pytest.mark.long
@pytest.mark.parametrize("sessions", [2, 8])
async def test_people_talking_at_once_over_sockets_each_get_their_own_answer(sessions: int) -> None:
    """Audio in, codes through the detokenizer process (a tone for every code), audio out."""

    async def talk(server: Any, number: int) -> tuple[str, float]:
        async with talking(server, f"?text_seed={number}") as talker:
            await talker.ask(tone(0.4 + 0.1 * number))
            await talker.final()
            assert talker.errors() == []
            return talker.texts()[-1], (np.abs(talker.sound().samples) > 0.05).sum() / 24_000

    engine = FunAudioChatS2s(CHECKPOINT, "cpu", TONE, LIMITS)
    async with serving(s2s(engine, max_sessions_per_client=sessions)) as server:
        alone = [await talk(server, number) for number in range(2)]
        together = await asyncio.gather(*(talk(server, number) for number in range(sessions)))
        assert [text for text, _ in together[:2]] == [text for text, _ in alone]
        assert [seconds for _, seconds in together[:2]] == pytest.approx([seconds for _, seconds in alone], abs=0.1)
        assert len({text for text, _ in together}) == sessions
        assert (
            sum(seconds > 0.5 for _, seconds in together) > sessions / 2
        )  # some random answers end their speech early


async def test_sessions_beyond_the_measured_capacity_are_refused() -> None:
    engine = FunAudioChatS2s(CHECKPOINT, "cpu", TONE, Limits(**(vars(LIMITS) | {"slots": 1})))
    async with serving(s2s(engine)) as server, talking(server) as first:
        await first.wait_for(lambda m: True)
        async with talking(server) as second:
            assert "all 1 sessions are in use" in await second.error()
