"""The TTS engine on a tiny random model: every way to name a voice, errors, cancellation."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from tests.talk import until  # noqa: E402
from tests.web_demo.models.cosyvoice3.golden import expanded  # noqa: E402
from utils.audio import Audio, from_wav  # noqa: E402
from web_demo.engines.base import SpeechRequest, VoicePrompt  # noqa: E402
from web_demo.engines.choice import choose  # noqa: E402
from web_demo.engines.tts.cosyvoice3 import CosyVoice3Engine, create, unavailable  # noqa: E402
from web_demo.errors import EngineFailed, InvalidRequest, SetupError  # noqa: E402
from web_demo.server.settings import ServiceSettings  # noqa: E402

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    return expanded(tmp_path_factory.mktemp("cosyvoice3") / "golden")


@pytest.fixture(autouse=True)
def short_utterances(monkeypatch):
    """A random LM does not stop by itself: three tokens for a character are enough here."""
    monkeypatch.setattr("web_demo.models.cosyvoice3.generate.MAX_RATIO", 3)


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


async def test_sound_comes_in_chunks_and_a_second_sentence_follows(engine):
    chunks = [chunk async for chunk in engine.synthesize(SpeechRequest("Hello there. And more!", ""))]
    assert len(chunks) > 2
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
        (SpeechRequest("hi", "nobody"), "tiny_female, tiny_male"),
        (SpeechRequest("?!…", ""), "nothing to speak"),
        (SpeechRequest("hi", "", speed=9.0), "0.5 to 2.0"),
        (
            SpeechRequest("hi", "", prompt=VoicePrompt(Audio(np.zeros(100, np.float32), 16_000), "")),
            "reference recording",
        ),
    ],
)
async def test_requests_that_cannot_be_met_say_why(engine, request_, why):
    with pytest.raises(InvalidRequest, match=why):
        await spoken(engine, request_)


async def test_closing_the_generator_ends_the_work(engine):
    sound = engine.synthesize(SpeechRequest("a rather long text that goes on and on", ""))
    await anext(sound)
    await sound.aclose()
    models = engine._models
    await until(lambda: models.token2wav.free == 4)


async def test_a_failure_inside_is_an_answer_and_the_engine_lives_on(engine, monkeypatch):
    def broken(*_):
        raise RuntimeError("device-side assert")

    monkeypatch.setattr(engine._models.token2wav, "run_batch", broken)
    with pytest.raises(EngineFailed):
        await spoken(engine, SpeechRequest("hi", ""))
    monkeypatch.undo()
    assert len(await spoken(engine, SpeechRequest("hi", "")))


async def test_closing_the_engine_fails_what_is_running(golden):
    engine = CosyVoice3Engine(golden / "model", "cpu", streams=1)
    await engine.start()
    sound = engine.synthesize(SpeechRequest("a rather long text that goes on and on", ""))
    await anext(sound)
    await engine.close()
    with pytest.raises(EngineFailed):
        async for _ in sound:
            pass


def test_auto_takes_it_where_the_weights_are_and_says_why_not_elsewhere(golden, tmp_path):
    assert choose("tts", ServiceSettings(port=0, model_path=golden / "model")).name == "cosyvoice3"
    elsewhere = choose("tts", ServiceSettings(port=0, model_path=tmp_path))
    assert elsewhere.name == "embedded"
    assert str(tmp_path) in elsewhere.reason
    assert "weights" in (unavailable(ServiceSettings(port=0)) or "")


async def test_a_directory_without_weights_is_named_at_start(tmp_path):
    engine = create(ServiceSettings(port=0, model_path=Path(tmp_path), device="cpu"))
    with pytest.raises(SetupError, match=str(tmp_path)):
        await engine.start()
