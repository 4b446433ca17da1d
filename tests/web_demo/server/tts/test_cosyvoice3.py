"""The TTS service in front of the native CosyVoice3 engine, with its tiny random checkpoint: noise, but through every part."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

pytest.importorskip("torch", reason="of requirements-models.txt")
pytestmark = pytest.mark.models

from tests.speech import FOLDER, TRANSCRIPTS  # noqa: E402
from tests.web_demo.models.cosyvoice3.golden import expanded  # noqa: E402
from tests.web_demo.server.tts.fakes import samples_of, serving  # noqa: E402
from web_demo.models.cosyvoice3.frontend import Frontend  # noqa: E402
from web_demo.server.tts.settings import TtsSettings  # noqa: E402


@pytest.fixture
async def client(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[aiohttp.ClientSession]:
    monkeypatch.setattr("web_demo.models.cosyvoice3.lm.generate.MAX_RATIO", 3)  # a random model does not stop by itself
    folder = expanded(tmp_path_factory.mktemp("cosyvoice3") / "golden")
    settings = TtsSettings(
        port=0, engine="cosyvoice3", model_path=folder / "model", device="cpu", speakers_dir=tmp_path / "voices"
    )
    async with serving(settings) as client:
        yield client


async def test_built_in_added_and_cloned_voices_speak_in_streams_and_whole(client: aiohttp.ClientSession) -> None:
    health = await (await client.get("/health")).json()
    assert (health["status"], health["engine"], health["cloning"]) == ("healthy", "cosyvoice3", True)
    form = aiohttp.FormData()
    form.add_field("name", "mine")
    form.add_field("transcript", TRANSCRIPTS["cards_001"])
    form.add_field("audio", (FOLDER / "cards_001.wav").read_bytes(), filename="x.wav")
    assert (await client.post("/api/speakers", data=form)).status == 201
    listed = [speaker["name"] for speaker in (await (await client.get("/api/speakers")).json())["speakers"]]
    assert "mine" in listed
    for voice in ("mine", listed[0]):
        answer = await client.post("/api/synthesize", json={"text": "hi you", "speaker_id": voice, "stream": True})
        assert answer.status == 200, await answer.text()
        assert len(samples_of(await answer.read())) > 1000
    url = "data:audio/wav;base64," + base64.b64encode((FOLDER / "cards_001.wav").read_bytes()).decode()
    cloned = await client.post("/api/synthesize", json={"text": "hi you", "prompt_wav": url, "prompt_text": "hi"})
    assert (await cloned.json())["success"] is True
    unknown = await client.post("/api/synthesize", json={"text": "hi", "speaker_id": "nobody"})
    assert unknown.status == 404


async def test_text_is_spoken_while_it_streams_in_the_voice_of_a_recording(
    client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which the model's front end reads once, for all sentences."""
    read = []
    voice = Frontend.voice

    def counted(self: Frontend, *args: object) -> object:
        read.append(args)
        return voice(self, *args)

    monkeypatch.setattr(Frontend, "voice", counted)
    url = "data:audio/wav;base64," + base64.b64encode((FOLDER / "cards_001.wav").read_bytes()).decode()
    async with client.ws_connect("/api/synthesize/stream") as socket:
        await socket.send_json({"type": "config", "ref_audio": url, "ref_text": "hi"})
        for text in ("hello there, you. how are", " things, then?"):
            await socket.send_json({"type": "text", "text": text})
        await socket.send_json({"type": "flush"})
        await socket.send_json({"type": "text", "text": "good bye, all of you."})
        await socket.send_json({"type": "close"})
        messages = [message async for message in socket]
    events = [json.loads(message.data) for message in messages if message.type is aiohttp.WSMsgType.TEXT]
    assert [event["type"] for event in events] == ["ready", "ready", "sentence", "sentence", "done"]
    assert sum(len(message.data) for message in messages if message.type is aiohttp.WSMsgType.BINARY) > 4000
    assert len(read) == 1
