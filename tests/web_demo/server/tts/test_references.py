"""Whose voice a request asks for: pure shapes first, then over the wire that none of them ends in the default voice."""

from __future__ import annotations

import base64
from typing import Any

import aiohttp
import numpy as np
import pytest

from tests.speech import FOLDER
from tests.web_demo.server.tts.fakes import ToneTts, serving
from web_demo.errors import InvalidRequest
from web_demo.server.tts.references import asked_voice
from web_demo.server.tts.settings import TtsSettings

SPEECH = (FOLDER / "cards_001.wav").read_bytes()
BASE64 = base64.b64encode(SPEECH).decode()
DATA_URL = f"data:audio/wav;base64,{BASE64}"

NAMED: list[dict[str, Any]] = [
    {"speaker_id": "x"},
    {"voice": "x"},
    {"voice": {"id": "x"}},
    {"voice": {"mode": "id", "id": "x"}},
    {"voice_id": "x"},
    {"speaker": "x"},
    {"spk_id": "x"},
    {"voice_name": "x"},
    {"speaker_id": {"id": "x"}},
    {"speaker_id": "x", "voice": {"id": "x"}},
    {"voice": "x", "voice_settings": {"stability": 1}, "speaker_embedding": None, "ref_audio": "", "references": []},
]
RECORDED: list[dict[str, Any]] = [
    {"prompt_wav": "AA", "prompt_text": "says"},
    {"prompt_audio": "AA", "prompt_text": "says"},
    {"ref_audio": "AA", "ref_text": "says", "voice": "alloy", "x_vector_only_mode": False, "task_type": "Base"},
    {"reference_audio": "AA", "reference_text": " says "},
    {"references": [{"audio": "AA", "text": "says"}]},
    {"voice": {"ref_audio": "AA", "ref_text": "says"}},
    {"voice": {"audio": "AA", "text": "says"}},
    {"speaker_id": {"id": "x", "prompt_wav": "AA", "prompt_text": "says"}},
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"voice": {"name": "x"}}, "voice must be a string, or an object"),
    ({"voice": {}}, "voice must be a string, or an object"),
    ({"voice": {"mode": "embedding", "embedding": [0.1]}}, "'embedding' asks for a voice"),
    ({"voice": ["x"]}, "voice must be a string, got list"),
    ({"voice": {"id": 5}}, "voice.id must be a string, got int"),
    ({"speaker_id": "x", "voice": "y"}, "speaker_id and voice name different voices"),
    ({"ref_audio": "AA", "prompt_wav": "BB"}, "more than one recording"),
    ({"ref_audio": "AA", "voice": {"ref_audio": "BB"}}, "more than one recording"),
    ({"ref_audio": ["AA"]}, "ref_audio must be a string, got list"),
    ({"ref_text": "says"}, "ref_text came without ref_audio"),
    ({"prompt_text": "says"}, "prompt_text came without prompt_wav"),
    ({"voice": {"id": "x", "text": "says"}}, "voice.text came without voice.audio"),
    ({"references": {"audio": "AA"}}, "references must be a list of one object"),
    ({"references": [{"audio": "AA"}, {"audio": "BB"}]}, "references must be a list of one object"),
    ({"references": [{"audio_path": "x.wav", "text": "says"}]}, "references"),
    ({"speaker_embedding": [0.1, 0.2]}, "'speaker_embedding' asks for a voice"),
    ({"speaker_wav": "AA"}, "'speaker_wav' asks for a voice"),
    ({"ref_audio_path": "/x.wav"}, "'ref_audio_path' asks for a voice"),
    ({"reference_id": "abc"}, "'reference_id' asks for a voice"),
    ({"audio_prompt": "AA"}, "'audio_prompt' asks for a voice"),
    ({"voiceFile": "AA"}, "'voiceFile' asks for a voice"),
    ({"referenceAudio": "AA"}, "'referenceAudio' asks for a voice"),
    ({"prompt_speech_16k": "AA"}, "'prompt_speech_16k' asks for a voice"),
    ({"audio_sample": "AA"}, "'audio_sample' asks for a voice"),
    ({"audio_url": "https://x"}, "'audio_url' asks for a voice"),
    ({"voice_description": "an old man"}, "'voice_description' asks for a voice"),
    ({"extra_body": {"ref_audio": "AA", "ref_text": "says"}}, "'extra_body.ref_audio' asks for a voice"),
    ({"extra": {"nvext": {"speaker_embedding": [1]}}}, "'extra.nvext.speaker_embedding' asks for a voice"),
    ({"ref_audio": "AA", "x_vector_only_mode": True}, "needs ref_text"),
    ({"task_type": "VoiceDesign"}, "VoiceDesign is not known here"),
    ({"task_type": "Base"}, "task_type Base needs a voice"),
]


@pytest.mark.parametrize("body", NAMED)
def test_a_name_is_found_in_every_shape(body: dict[str, Any]) -> None:
    assert asked_voice(body) == ("x", None)


@pytest.mark.parametrize("body", RECORDED)
def test_a_recording_is_found_in_every_shape(body: dict[str, Any]) -> None:
    _, recording = asked_voice(body)
    assert recording is not None
    assert (recording.source, recording.text) == ("AA", "says")


def test_no_voice_at_all_is_none() -> None:
    others = {
        "prompt": "x",
        "audio_format": "wav",
        "audio_sample_rate": 16000,
        "metadata": {"a": {"b": "c"}},
        "seed": 1,
    }
    assert asked_voice({"text": "hi", "speed": 1, **others}) == ("", None)


@pytest.mark.parametrize(("body", "says"), REFUSED)
def test_what_is_half_or_unknown_is_refused(body: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asked_voice(body)
    assert says in str(refused.value)


async def spoken(client: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> int:
    field = "text" if path == "/api/synthesize" else "input"
    async with client.post(path, json={field: "hello there", **body}) as answer:
        return answer.status


@pytest.mark.parametrize("path", ["/api/synthesize", "/v1/audio/speech"])
async def test_shapes_of_other_servers_clone_on_both_faces(path: str) -> None:
    shapes: list[dict[str, Any]] = [
        {"ref_audio": DATA_URL, "ref_text": "four of them"},
        {"ref_audio": BASE64, "ref_text": "four of them"},
        {"ref_audio": "\n".join(BASE64[at : at + 76] for at in range(0, len(BASE64), 76)), "ref_text": "four of them"},
        {"references": [{"audio": DATA_URL, "text": "four of them"}], "voice": "alloy"},
        {"voice": {"ref_audio": BASE64, "ref_text": "four of them"}},
        {"prompt_wav": DATA_URL, "prompt_text": "four of them"},
    ]
    engine = ToneTts()
    async with serving(engine=engine) as client:
        for shape in shapes:
            assert await spoken(client, path, shape) == 200
        assert await spoken(client, path, {"voice": {"id": "中文男"}}) == 200
    *cloned, named = engine.requests
    assert {request.prompt.text for request in cloned if request.prompt} == {"four of them"}
    assert len({request.prompt.audio.samples.tobytes() for request in cloned if request.prompt}) == 1
    assert (named.voice, named.prompt) == ("中文男", None)


@pytest.mark.parametrize("path", ["/api/synthesize", "/v1/audio/speech"])
async def test_no_shape_of_cloning_ends_in_the_default_voice(path: str) -> None:
    recorded = [body for body in RECORDED if "prompt_wav" not in body]
    engine = ToneTts(cloning=False)
    async with serving(engine=engine) as client:
        for body in [*recorded, *(body for body, _ in REFUSED)]:
            assert await spoken(client, path, body) == 400, body
    assert engine.requests == []


async def test_a_path_is_taken_in_prompt_wav_alone(tmp_path: Any) -> None:
    (tmp_path / "voice.wav").write_bytes(SPEECH)
    async with serving(TtsSettings(port=0, prompt_dir=tmp_path), ToneTts()) as client:
        assert await spoken(client, "/v1/audio/speech", {"prompt_wav": "voice.wav", "prompt_text": "x"}) == 200
        for source in ("voice.wav", "file:///voice.wav", "https://example.org/voice.wav"):
            assert await spoken(client, "/v1/audio/speech", {"ref_audio": source, "ref_text": "x"}) == 400


async def test_recordings_of_openai_clients_are_charged_too() -> None:
    """While the engine speaks, and given back at the end."""
    engine = ToneTts()
    async with serving(engine=engine) as client:
        body = {"ref_audio": DATA_URL, "ref_text": "x", "response_format": "pcm"}
        async with client.post(
            "/v1/audio/speech", json={**body, "input": "The first of two. Then [wait] for it."}
        ) as answer:
            await answer.content.readexactly(100)
            charged = await charge(client)
            engine.go.set()
            sound = np.frombuffer(await answer.read(), "<i2")
        assert len(sound)
        assert charged >= len(DATA_URL)
        assert await charge(client) == 0


async def charge(client: aiohttp.ClientSession) -> float:
    metrics = await (await client.get("/metrics")).text()
    return float(metrics.split("\nservice_bodies_bytes ")[1].split()[0])
