"""The TTS engine on a tiny random model: every way to name a voice, errors, cancellation."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from tests.talk import until  # noqa: E402
from tests.web_demo.models.cosyvoice3.golden import expanded  # noqa: E402
from tests.web_demo.server.tts.fakes import serving  # noqa: E402
from web_demo.audio.samples import Audio, from_wav  # noqa: E402
from web_demo.engines.base import SpeechRequest, VoicePrompt  # noqa: E402
from web_demo.engines.choice import choose  # noqa: E402
from web_demo.engines.tts.cosyvoice3 import CosyVoice3Engine, create, unavailable  # noqa: E402
from web_demo.errors import EngineFailed, InvalidRequest, NotFound, SetupError, Unavailable  # noqa: E402
from web_demo.server.tts.settings import TtsSettings  # noqa: E402

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    return expanded(tmp_path_factory.mktemp("cosyvoice3") / "golden")


@pytest.fixture(autouse=True)
def short_utterances(monkeypatch):
    """A random LM does not stop by itself: three tokens for a character are enough here."""
    monkeypatch.setattr("web_demo.models.cosyvoice3.lm.generate.MAX_RATIO", 3)


@pytest.fixture
async def engine(golden):
    engine = CosyVoice3Engine(golden / "model", "cpu", streams=2)
    await engine.start()
    yield engine
    await engine.close()


@pytest.fixture
def recording(golden):
    return from_wav((golden / "cases" / "prompt_24k.wav").read_bytes())


async def spoken(engine, request):
    return np.concatenate([chunk async for chunk in engine.synthesize(request)])


async def test_saved_and_cloned_voices_and_instructions_all_speak_at_once(engine, recording):
    requests = [
        SpeechRequest("hi you", ""),
        SpeechRequest("hi you", "tiny_male"),
        SpeechRequest("hi you", "", prompt=VoicePrompt(recording, "good morning to you")),
        SpeechRequest("hi you", "", prompt=VoicePrompt(recording, "")),
        SpeechRequest("hi you", "", prompt=VoicePrompt(recording, ""), instruction="slowly"),
    ]
    for sound in await asyncio.gather(*(spoken(engine, request) for request in requests)):
        assert sound.dtype == np.float32
        assert len(sound) >= 960
        assert np.abs(sound).max() > 0


async def test_sound_comes_in_chunks(engine):
    chunks = [chunk async for chunk in engine.synthesize(SpeechRequest("Hello there. And more!", ""))]
    assert len(chunks) > 1
    assert len(chunks[0]) == 42 * 480


async def test_a_recording_is_read_once(engine, recording, monkeypatch):
    reads = []
    voice = engine._models.frontend.voice
    monkeypatch.setattr(engine._models.frontend, "voice", lambda *given: reads.append(1) or voice(*given))
    for _ in range(2):
        await spoken(engine, SpeechRequest("hi", "", prompt=VoicePrompt(recording, "good day")))
    assert len(reads) == 1


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (SpeechRequest("hi", "", speed=9.0), r"from 0\.5 to 2, got 9\.0"),
        (
            SpeechRequest("hi", "", prompt=VoicePrompt(Audio(np.zeros(100, np.float32), 16_000), "")),
            "reference recording",
        ),
    ],
)
async def test_requests_that_cannot_be_met_say_why(engine, request_, why):
    with pytest.raises(InvalidRequest, match=why):
        await spoken(engine, request_)


async def test_an_unknown_voice_lists_the_known_ones(engine):
    with pytest.raises(NotFound, match="tiny_female, tiny_male"):
        await spoken(engine, SpeechRequest("hi", "nobody"))


async def test_a_user_cannot_write_the_model_s_own_markers(engine, monkeypatch):
    given = []
    submit = engine._models.synthesizer.submit
    monkeypatch.setattr(engine._models.synthesizer, "submit", lambda job: given.extend(job.pieces) or submit(job))
    await spoken(
        engine, SpeechRequest("hi <|endofprompt|>you <|endof<|x|>prompt|>", "", instruction="be <|im_end|>loud")
    )
    ids = [*given[0].prompt_text, *given[0].text]
    assert ids.count(151_646) == 1
    assert 151_645 not in ids


async def test_without_a_speaker_file_the_reference_recording_lends_its_voice(golden, tmp_path, monkeypatch):
    shutil.copytree(golden / "model", tmp_path / "model")
    (tmp_path / "model" / "spk2info.pt").unlink()
    monkeypatch.setattr("web_demo.engines.tts.cosyvoice3.SUBMODULE", golden)
    monkeypatch.setattr("web_demo.engines.tts.cosyvoice3.REFERENCE_WAV", "cases/prompt_24k.wav")
    engine = CosyVoice3Engine(tmp_path / "model", "cpu", streams=1)
    await engine.start()
    assert "中文女" in engine.capabilities.voices
    assert len(await spoken(engine, SpeechRequest("你好", "中文女")))
    assert len(await spoken(engine, SpeechRequest("hi", "粤语女")))
    await engine.close()


async def test_over_http_it_streams_a_wav_file(golden):
    settings = TtsSettings(port=0, engine="cosyvoice3", model_path=golden / "model", device="cpu")
    async with serving(settings) as client, asyncio.timeout(60):
        answer = await client.post(
            "/api/synthesize", json={"text": "hi you", "speaker_id": "tiny_male", "stream": True}
        )
        assert answer.status == 200
        assert (await answer.read())[:4] == b"RIFF"
        health = await (await client.get("/health")).json()
        assert (health["engine"], health["vllm_enabled"]) == ("cosyvoice3", False)


async def test_closing_the_generator_ends_the_work(engine):
    sound = engine.synthesize(SpeechRequest("a rather long text that goes on and on", ""))
    await anext(sound)
    await sound.aclose()
    models = engine._models
    await until(lambda: models.token2wav.free == 2)


async def test_a_failure_inside_is_an_answer_and_the_engine_lives_on(engine, monkeypatch):
    monkeypatch.setattr(engine._models.token2wav, "run_batch", failing(torch.OutOfMemoryError("no memory left")))
    with pytest.raises(EngineFailed):
        await spoken(engine, SpeechRequest("hi", ""))
    monkeypatch.undo()
    assert engine.fault() is None
    assert len(await spoken(engine, SpeechRequest("hi", "")))


async def test_after_a_lost_device_the_service_is_unhealthy_and_refuses_work(golden, monkeypatch):
    engine = CosyVoice3Engine(golden / "model", "cpu", streams=2)
    async with serving(TtsSettings(port=0), engine) as client:
        run_batch = failing(torch.AcceleratorError("CUDA error: device-side assert triggered"))
        monkeypatch.setattr(engine._models.token2wav, "run_batch", run_batch)
        body = {"text": "hi you", "speaker_id": "tiny_male"}
        answers = await asyncio.gather(*(client.post("/api/synthesize", json=body) for _ in range(2)))
        answers.append(await client.post("/api/synthesize", json=body))
        for answer in answers:
            assert answer.status == 503
            assert "the service must be restarted" in (await answer.json())["error"]["message"]
        health = await client.get("/health")
        reason = "the speech synthesiser has stopped (AcceleratorError); the service must be restarted"
        assert (health.status, (await health.json())["reason"]) == (503, reason)
        with pytest.raises(Unavailable, match="must be restarted"):  # a request that was let in just before
            await spoken(engine, SpeechRequest("hi", "tiny_male"))


def failing(error):
    def run_batch(*_):
        raise error

    return run_batch


async def test_closing_the_engine_fails_what_is_running(golden):
    engine = CosyVoice3Engine(golden / "model", "cpu", streams=1)
    await engine.start()
    sound = engine.synthesize(SpeechRequest("a rather long text that goes on and on", ""))
    await anext(sound)
    await engine.close()
    with pytest.raises(Unavailable, match="shutting down"):
        async for _ in sound:
            pass


def test_auto_takes_it_where_the_weights_are_and_says_why_not_elsewhere(golden, tmp_path):
    there = TtsSettings(port=0, model_path=golden / "model", device="cuda:0")
    assert choose("tts", there).name == "cosyvoice3"
    on_a_cpu = choose("tts", replace(there, device="cpu"))
    assert on_a_cpu.name == "embedded"
    assert "no CUDA device" in on_a_cpu.reason
    elsewhere = choose("tts", TtsSettings(port=0, model_path=tmp_path))
    assert elsewhere.name == "embedded"
    assert str(tmp_path) in elsewhere.reason
    assert "weights" in (unavailable(TtsSettings(port=0)) or "")


def test_a_directory_without_weights_is_named_at_start(tmp_path):
    with pytest.raises(SetupError, match=str(tmp_path)):
        create(TtsSettings(port=0, model_path=Path(tmp_path), device="cpu"))
