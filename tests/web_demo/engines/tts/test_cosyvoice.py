"""The engine and its child against a stand-in for upstream's code (see fake_upstream): what is called, with which words, and
what becomes of everybody when upstream's code dies, stands still or does not let go."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.speech import recording
from tests.talk import until
from tests.web_demo.engines.tts import fake_upstream
from tests.web_demo.engines.tts.fake_upstream import SAMPLES, TOKENS, calls
from web_demo.audio.samples import Audio, silence
from web_demo.children import supervisor
from web_demo.engines.base import SpeechRequest, VoicePrompt
from web_demo.engines.tts import cosyvoice
from web_demo.engines.tts.cosyvoice import CosyVoiceTts, create, environment, missing, python_of, spelt
from web_demo.errors import EngineFailed, InvalidRequest, NotFound, SetupError, Unavailable
from web_demo.server.tts.settings import TtsSettings

WHOLE = TOKENS * SAMPLES
SYSTEM = "You are a helpful assistant."
PREFIX = f"{SYSTEM}<|endofprompt|>"


@pytest.fixture(scope="module")
def submodule(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_upstream.write(tmp_path_factory.mktemp("upstream") / "CosyVoice")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "Fun-CosyVoice3-0.5B-2512"
    folder.mkdir()
    (folder / "cosyvoice3.yaml").touch()
    return folder


@pytest.fixture
async def engine(submodule: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CosyVoiceTts]:
    monkeypatch.setattr(supervisor, "FIRST_BACKOFF_S", 0.01)
    (submodule / "calls.jsonl").unlink(missing_ok=True)
    engine = CosyVoiceTts(weights, submodule=submodule, stall_s=0.6)
    await engine.start()
    yield engine
    await engine.close()


async def chunks(engine: CosyVoiceTts, text: str, voice: str = "中文女", **more: Any) -> list[int]:
    return [len(chunk) async for chunk in engine.synthesize(SpeechRequest(text, voice, **more))]


async def say(engine: CosyVoiceTts, text: str, voice: str = "中文女", **more: Any) -> int:
    return sum(await chunks(engine, text, voice, **more))


def lives(submodule: Path) -> list[int]:
    """The process ids of the children so far."""
    return [call[3] for call in calls(submodule) if call[0] == "load"]


# --- what is asked of upstream ----------------------------------------------------------------------------------------


async def test_a_built_in_voice_speaks_with_the_reference_and_a_recording_is_read_once(
    engine: CosyVoiceTts, submodule: Path, weights: Path
) -> None:
    for _ in range(2):
        assert await say(engine, "价格是五元。") == WHOLE
    loaded, added, spoken, ended, _, _ = calls(submodule)
    assert loaded[1] == {"model_dir": str(weights), "load_trt": False, "fp16": False}
    assert added[:3] == ["add", PREFIX + "希望你以后能够做的比我还好呦。", "RIFF"]
    assert not os.access(added[3], os.F_OK)
    assert spoken == ["zero_shot", "价格是五元。", added[1], True, 1.0, False]
    assert ended[:2] == ["ended", "价格是五元。"]


async def test_old_recordings_are_forgotten(engine: CosyVoiceTts, submodule: Path) -> None:
    for number in range(34):
        prompt = VoicePrompt(silence(1, 24_000), f"take {number}")
        await say(engine, "Hello.", prompt=prompt, streamed=False)
    assert calls(submodule)[-1] == ["ended", "Hello.", 32]


@pytest.mark.parametrize(
    ("request_", "how", "text", "words"),
    [
        (SpeechRequest("五元。", ""), "zero_shot", "五元。", PREFIX + "好呦。"),
        (SpeechRequest("Hello.", "中文女"), "cross_lingual", PREFIX + "Hello.", PREFIX + "好呦。"),
        (SpeechRequest("你好。", "粤语女"), "instruct2", "你好。", f"{SYSTEM} 请用广东话表达。<|endofprompt|>"),
        (
            SpeechRequest("Say <|endofprompt|> this.", "", instruction="softly<|endofprompt|>"),
            "instruct2",
            "Say this.",
            f"{SYSTEM} softly<|endofprompt|>",
        ),
    ],
)
def test_words_are_spelt_as_the_model_was_trained(request_: SpeechRequest, how: str, text: str, words: str) -> None:
    assert spelt(request_, "<|x|>好呦。") == (how, text, words)


async def test_only_what_is_streamed_is_computed_in_upstreams_streaming_mode(
    engine: CosyVoiceTts, submodule: Path
) -> None:
    assert len(await chunks(engine, "你好。")) > 1
    assert await chunks(engine, "你好。", streamed=False) == [WHOLE]
    assert await chunks(engine, "你好。", speed=1.5) == [WHOLE]
    assert [call[3:5] for call in calls(submodule) if call[0] == "zero_shot"] == [
        [True, 1.0],
        [False, 1.0],
        [False, 1.5],
    ]
    with pytest.raises(InvalidRequest, match=r"from 0\.5 to 2, got 3"):
        await say(engine, "你好。", speed=3.0)


async def test_the_first_sound_comes_as_early_after_a_long_stream_as_before(engine: CosyVoiceTts) -> None:
    first, second = await chunks(engine, "一句话。"), await chunks(engine, "又一句话。")
    assert first == second
    assert first[:3] == [25 * SAMPLES, 50 * SAMPLES, 75 * SAMPLES]


async def test_neither_texts_nor_progress_bars_come_into_the_log(
    submodule: Path, weights: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = CosyVoiceTts(weights, submodule=submodule)
    await engine.start()
    await say(engine, "a secret of the user")
    with pytest.raises(EngineFailed):
        await say(engine, "a secret of the user [boom]")
    await engine.close()
    logged = capfd.readouterr()
    assert "RuntimeError: no sound" in logged.err
    assert "secret" not in logged.err + logged.out
    assert environment("auto", None, Path())["TQDM_DISABLE"] == "1"


async def test_what_cannot_be_spoken_is_refused_before_it_reaches_the_child(engine: CosyVoiceTts) -> None:
    with pytest.raises(NotFound, match="nobody.*中文女"):  # noqa: RUF043
        await say(engine, "你好。", "nobody")
    for text in ("<|endofprompt|>", "…"):
        assert await say(engine, text) == 0
    long = Audio(silence(30.05, 24_000).samples, 24_000)
    with pytest.raises(InvalidRequest, match=r"lasts 30\.05 s; at most 30 s"):
        await say(engine, "你好。", prompt=VoicePrompt(long, "too long"))
    assert await say(engine, "你好。", prompt=VoicePrompt(silence(30.0, 24_000), "<|endofprompt|>")) == WHOLE


# --- when upstream's code fails ---------------------------------------------------------------------------------------


async def test_an_error_while_sound_is_made_fails_its_request_only(engine: CosyVoiceTts, submodule: Path) -> None:
    with pytest.raises(EngineFailed, match="see the log"):
        await say(engine, "你好 [boom]")
    assert await say(engine, "你好。") == WHOLE
    assert len(lives(submodule)) == 1


@pytest.mark.parametrize("fault", ["thread", "wedge"])
async def test_a_dead_or_wedged_thread_ends_the_child_and_who_waits_is_served_by_the_next(
    engine: CosyVoiceTts, submodule: Path, fault: str
) -> None:
    asked = asyncio.gather(say(engine, f"你好 [{fault}]"), say(engine, "你好。"), return_exceptions=True)
    failed, served = await asked
    assert isinstance(failed, EngineFailed)
    assert served == WHOLE
    assert len(lives(submodule)) == 2
    assert engine.fault() is None


async def test_the_health_tells_while_a_child_is_started_again(engine: CosyVoiceTts) -> None:
    with pytest.raises(EngineFailed, match="stood still"):
        await say(engine, "你好 [wedge]")
    assert engine.fault() == "the cosyvoice process is restarting (it made no progress for 0.6 s)"


async def test_a_child_that_dies_over_a_request_costs_a_second_try_and_no_more(
    engine: CosyVoiceTts, submodule: Path
) -> None:
    assert await say(engine, "你好 [once]", streamed=False) == WHOLE
    assert len(lives(submodule)) == 2
    with pytest.raises(EngineFailed, match="ended over this text"):
        await say(engine, "你好 [exit]", streamed=False)
    assert len(lives(submodule)) in (3, 4)
    assert await say(engine, "你好。") == WHOLE


async def test_a_text_half_spoken_is_not_begun_again(engine: CosyVoiceTts, submodule: Path) -> None:
    speech = engine.synthesize(SpeechRequest("你好 [late]", "中文女"))
    assert len(await anext(speech)) == 25 * SAMPLES
    with pytest.raises(EngineFailed, match="ended over this text"):
        await anext(speech)
    assert len([call for call in calls(submodule) if call[0] == "zero_shot"]) == 1


async def test_an_abandoned_request_lets_go_of_the_model_without_a_new_process(
    engine: CosyVoiceTts, submodule: Path
) -> None:
    for number, streamed in enumerate((True, False)):
        abandoned = asyncio.create_task(chunks(engine, f"很长 [long] {number}", streamed=streamed))
        await until(lambda begun=2 * number: sum(call[0] == "zero_shot" for call in calls(submodule)) > begun)
        abandoned.cancel()
        await asyncio.gather(abandoned, return_exceptions=True)
        assert await say(engine, "你好。") == WHOLE
    assert len(lives(submodule)) == 1


async def test_a_request_that_cannot_be_abandoned_ends_the_child(
    engine: CosyVoiceTts, submodule: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cosyvoice, "ABANDON_S", 0.2)
    abandoned = engine.synthesize(SpeechRequest("很长 [deaf]", "中文女"))
    await anext(abandoned)
    await abandoned.aclose()
    assert await say(engine, "你好。") == WHOLE
    assert len(lives(submodule)) == 2


async def test_requests_go_one_after_the_other(engine: CosyVoiceTts) -> None:
    assert await asyncio.gather(*(say(engine, f"第{name}句。") for name in "甲乙丙")) == [WHOLE] * 3


async def test_closing_ends_a_wedged_child_and_fails_who_waits(engine: CosyVoiceTts, submodule: Path) -> None:
    waiting = asyncio.create_task(say(engine, "你好 [wedge]", streamed=False))
    await until(lambda: any(call[0] == "zero_shot" for call in calls(submodule)))
    await engine.close()
    with pytest.raises(Unavailable, match="not running"):
        await waiting
    with pytest.raises(ProcessLookupError):
        os.kill(lives(submodule)[-1], 0)


# --- before it runs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "visible", "seen"),
    [
        ("auto", "1", None),
        ("cpu", "1", ""),
        ("cuda", None, "0"),
        ("cuda:2", None, "2"),
        ("cuda:1", "4, GPU-abc", "GPU-abc"),
    ],
)
def test_the_child_sees_the_one_gpu_that_was_asked_for(device: str, visible: str | None, seen: str | None) -> None:
    assert environment(device, visible, Path()).get("CUDA_VISIBLE_DEVICES") == seen


@pytest.mark.parametrize(
    ("device", "visible", "why"),
    [
        ("mps", None, "--device mps: the cosyvoice engine runs on cuda:N or cpu"),
        ("cuda:two", None, "runs on cuda:N or cpu"),
        ("cuda:2", "0,1", "shows 2 GPUs, cuda:0 to cuda:1"),
        ("cuda:0", "", "shows 0 GPUs"),
    ],
)
def test_a_device_that_upstream_cannot_have_is_refused_in_words(device: str, visible: str | None, why: str) -> None:
    with pytest.raises(SetupError, match=why):
        environment(device, visible, Path())


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"device": "cuda:7"}, "--device cuda:7: torch sees no such GPU here"),
        ({"use_trt": True}, "--use-trt of the cosyvoice engine needs an NVIDIA GPU"),
        ({"fp16": True}, "--fp16 of the cosyvoice engine needs an NVIDIA GPU"),
    ],
)
async def test_what_upstream_would_drop_in_silence_where_there_is_no_gpu_is_refused(
    submodule: Path, weights: Path, options: dict[str, Any], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(SetupError, match=why):
        await CosyVoiceTts(weights, submodule=submodule, **options).start()


def test_what_is_missing_is_named_with_the_command_that_gets_it(weights: Path, tmp_path: Path) -> None:
    submodule = fake_upstream.write(tmp_path / "CosyVoice")
    assert missing(weights, submodule) is None
    assert "full_setup.sh --with-cosyvoice" in str(missing(weights, tmp_path / "nothing"))
    assert "download_models.sh" in str(missing(tmp_path, submodule))
    (submodule / "third_party/Matcha-TTS/README.md").unlink()
    assert "Matcha-TTS" in str(missing(weights, submodule))
    with pytest.raises(SetupError, match="the cosyvoice engine cannot run"):
        create(TtsSettings(port=0, model_path=tmp_path))


async def test_missing_packages_are_named_with_the_command_that_gets_them(weights: Path, tmp_path: Path) -> None:
    submodule = fake_upstream.write(tmp_path / "CosyVoice", "import a_package_that_nobody_has")
    with pytest.raises(SetupError, match=r"a_package_that_nobody_has.*full_setup\.sh --with-cosyvoice"):
        await CosyVoiceTts(weights, submodule=submodule).start()


def test_the_child_runs_in_upstreams_own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert python_of(tmp_path / "python") == tmp_path / "python"
    monkeypatch.setattr(cosyvoice, "OWN_PYTHON", tmp_path / "own")
    (tmp_path / "own").touch()
    assert python_of(None) == tmp_path / "own"


async def test_a_recording_of_a_person_goes_to_the_child(engine: CosyVoiceTts, submodule: Path) -> None:
    assert await say(engine, "Two of clubs.", prompt=VoicePrompt(recording("cards_001"), "three of hearts")) == WHOLE
    assert next(call for call in calls(submodule) if call[0] == "add")[:3] == [
        "add",
        PREFIX + "three of hearts",
        "RIFF",
    ]
