from __future__ import annotations

import base64
import errno
import io
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import numpy as np
import pytest
from aiohttp import web

from tests.speech import FOLDER, TRANSCRIPTS, recording
from tests.web_demo.media.files import with_tracks
from tests.web_demo.server.tts.fakes import ToneTts, serving
from web_demo.audio.samples import WIRE_RATE, Audio, from_wav, silence, to_wav
from web_demo.server.tts.encode import encoder
from web_demo.server.tts.settings import TtsSettings

SPEECH = (FOLDER / "cards_001.wav").read_bytes()
TEXT = TRANSCRIPTS["cards_001"]


@pytest.fixture
def settings(tmp_path: Path) -> TtsSettings:
    return TtsSettings(port=0, speakers_dir=tmp_path / "voices", asr_url="http://127.0.0.1:9")


@pytest.fixture
def engine() -> ToneTts:
    return ToneTts()


@pytest.fixture
async def client(settings: TtsSettings, engine: ToneTts) -> AsyncIterator[aiohttp.ClientSession]:
    async with serving(settings, engine) as client:
        yield client


async def add(client: aiohttp.ClientSession, audio: bytes = SPEECH, **fields: str) -> tuple[int, dict[str, Any]]:
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field("audio", audio, filename="../../../etc/passwd", content_type="audio/wav")
    for name, value in fields.items():
        form.add_field(name, value)
    answer = await client.post("/api/speakers", data=form)
    return answer.status, await answer.json()


async def names(client: aiohttp.ClientSession) -> list[str]:
    return [speaker["name"] for speaker in (await (await client.get("/api/speakers")).json())["speakers"]]


async def test_the_language_of_an_added_voice_is_that_of_its_transcript(
    client: aiohttp.ClientSession, engine: ToneTts
) -> None:
    for name, transcript in (("Anna", "this is what the recording says"), ("小红", "录音里说的话")):
        assert (await add(client, name=name, transcript=transcript))[0] == 201
        assert (await client.post("/api/synthesize", json={"text": "24/7", "speaker_id": name})).status == 200
        body = {"input": "24/7", "voice": {"id": name}}
        assert (await client.post("/v1/audio/speech", json=body)).status == 200
    assert [request.text for request in engine.requests] == ["twenty four seven"] * 2 + ["二十四七"] * 2


async def test_a_voice_is_added_used_and_deleted(
    client: aiohttp.ClientSession, engine: ToneTts, settings: TtsSettings
) -> None:
    status, body = await add(client, name="小明", transcript=TEXT)
    assert (status, body["speaker"]["transcript"]) == (201, TEXT)
    assert await names(client) == ["中文女", "中文男", "小明"]
    for _ in range(2):
        assert (await client.post("/api/synthesize", json={"text": "hello you", "speaker_id": "小明"})).status == 200
    first, second = (request.prompt for request in engine.requests)
    assert first is second  # what an engine computed from it can be kept
    assert first is not None
    assert first.text == TEXT
    assert first.audio.seconds == pytest.approx(recording("cards_001").seconds, abs=0.05)

    assert (await client.delete("/api/speakers/小明")).status == 200
    assert await names(client) == ["中文女", "中文男"]
    assert (await client.post("/api/synthesize", json={"text": "hello", "speaker_id": "小明"})).status == 404
    assert settings.speakers_dir is not None
    assert list(settings.speakers_dir.iterdir()) == []


async def test_voices_are_still_there_after_a_restart(settings: TtsSettings) -> None:
    async with serving(settings, ToneTts()) as client:
        assert (await add(client, name="kept", transcript=TEXT))[0] == 201
    engine = ToneTts()
    async with serving(settings, engine) as client:
        assert "kept" in await names(client)
        assert (await client.post("/v1/audio/speech", json={"input": "hello", "voice": "kept"})).status == 200
    assert engine.requests[0].prompt is not None


@pytest.mark.parametrize(
    "name", ["", "   ", "../up", "a/b", "a\\b", ".hidden", "x" * 65, "new\nline", "中文女", "semi;colon", "nul\x00"]
)
async def test_a_name_that_is_no_name_is_refused(client: aiohttp.ClientSession, name: str) -> None:
    status, body = await add(client, name=name, transcript=TEXT)
    assert status == 400
    assert "name" in body["error"]["message"]


async def test_a_second_voice_of_the_same_name_is_refused(client: aiohttp.ClientSession) -> None:
    assert (await add(client, name="twin", transcript=TEXT))[0] == 201
    status, body = await add(client, name="twin", transcript=TEXT)
    assert (status, "already" in body["error"]["message"]) == (400, True)


async def test_a_file_that_is_no_speech_is_refused_and_leaves_nothing(
    client: aiohttp.ClientSession, settings: TtsSettings
) -> None:
    noise = to_wav(Audio(np.random.default_rng(2).normal(0, 0.1, 32_000).astype(np.float32), 16_000))
    assert (await add(client, noise, name="noise", transcript="x"))[0] == 400
    assert (await add(client, name="token", transcript="<|endofprompt|>"))[0] == 400
    assert (await add(client, b"GIF89a", name="image", transcript="x"))[0] == 415
    assert (await add(client, b"\0" * (13 << 20), name="huge", transcript="x"))[0] == 413
    assert (await client.post("/api/speakers", data={"name": "x"})).status == 415
    assert (await client.post("/api/speakers", json={"name": "x"})).status == 415
    no_file = aiohttp.FormData({"name": "x"}, default_to_multipart=True)
    assert (await client.post("/api/speakers", data=no_file)).status == 400
    assert settings.speakers_dir is not None
    assert list(settings.speakers_dir.iterdir()) == []


@pytest.mark.parametrize("name", ["nobody", "..%2F..%2Fetc%2Fpasswd", "中文女"])
async def test_only_an_added_voice_can_be_deleted(client: aiohttp.ClientSession, name: str) -> None:
    answer = await client.delete(f"/api/speakers/{name}")
    assert answer.status == 404


async def test_without_a_transcript_our_own_recogniser_is_asked(settings: TtsSettings, engine: ToneTts) -> None:
    heard: list[float] = []

    async def transcribe(request: web.Request) -> web.Response:
        part = (await request.post())["audio"]
        heard.append(from_wav(part.file.read()).seconds)  # type: ignore[union-attr]
        return web.json_response({"text": "what was said", "language": "en", "success": True})

    recogniser = web.Application()
    recogniser.router.add_post("/api/transcribe", transcribe)
    runner = web.AppRunner(recogniser)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with serving(TtsSettings(port=0, speakers_dir=settings.speakers_dir, asr_url=url), engine) as client:
        status, body = await add(client, name="heard")
    await runner.cleanup()
    assert (status, body["speaker"]["transcript"]) == (201, "what was said")
    assert heard == [pytest.approx(recording("cards_001").seconds, abs=0.05)]


async def test_without_transcript_and_recogniser_the_message_says_what_to_send(client: aiohttp.ClientSession) -> None:
    status, body = await add(client, name="mute")
    assert (status, "'transcript'" in body["error"]["message"]) == (400, True)


async def test_health_tells_whether_voices_are_kept(client: aiohttp.ClientSession) -> None:
    health = await (await client.get("/health")).json()
    assert (health["cloning"], health["keeps_voices"]) == (True, True)


async def test_voices_are_not_kept_unless_the_operator_gave_a_folder(engine: ToneTts) -> None:
    async with serving(engine=engine) as client:
        health = await (await client.get("/health")).json()
        assert (health["cloning"], health["keeps_voices"]) == (True, False)
        status, body = await add(client, name="x", transcript=TEXT)
    assert (status, "--speakers-dir" in body["error"]["message"]) == (403, True)


async def test_the_embedded_engine_says_that_it_cannot_clone(tmp_path: Path) -> None:
    async with serving(TtsSettings(port=0, engine="embedded", speakers_dir=tmp_path)) as client:
        status, body = await add(client, name="x", transcript=TEXT)
        assert {"中文女", "粤语女", "de"} <= set(await names(client))
    assert (status, "cosyvoice3" in body["error"]["message"]) == (400, True)


@pytest.mark.parametrize("kind", ["wav", "mp3", "flac", "opus", "aac"])
async def test_a_recording_in_the_request_comes_as_base64_or_upload_in_any_format(
    client: aiohttp.ClientSession, engine: ToneTts, kind: str
) -> None:
    voice = recording("cards_001").at(WIRE_RATE)
    codec = encoder(kind, WIRE_RATE)
    data = codec.encode(voice.samples) + codec.finish()
    url = f"data:audio/{kind};base64,{base64.b64encode(data).decode()}"
    asked = await client.post("/api/synthesize", json={"text": "hello", "prompt_wav": url, "prompt_text": TEXT})
    assert asked.status == 200, await asked.text()
    form = aiohttp.FormData()
    form.add_field("prompt_wav", io.BytesIO(data), filename="x")
    for name, value in (("text", "hello"), ("prompt_text", TEXT), ("stream", "true"), ("speed", "1.5")):
        form.add_field(name, value)
    uploaded = await client.post("/api/synthesize", data=form)
    assert (await uploaded.read())[:4] == b"RIFF"
    for request in engine.requests:
        assert request.prompt is not None
        assert request.prompt.audio.seconds == pytest.approx(voice.seconds, abs=0.2)
        assert request.prompt.audio.rate == WIRE_RATE
    assert engine.requests[1].speed == 1.5


async def test_of_a_recording_that_padding_makes_longer_than_30_s_the_engine_gets_30_s(
    client: aiohttp.ClientSession, engine: ToneTts
) -> None:
    voice = recording("cards_001").at(WIRE_RATE).samples
    padded = Audio(np.resize(voice, round(30.05 * WIRE_RATE)), WIRE_RATE)
    url = f"data:audio/wav;base64,{base64.b64encode(to_wav(padded)).decode()}"
    asked = await client.post("/api/synthesize", json={"text": "hello", "prompt_wav": url, "prompt_text": TEXT})
    assert asked.status == 200, await asked.text()
    assert engine.requests[0].prompt is not None
    assert engine.requests[0].prompt.audio.seconds == 30.0


@pytest.mark.parametrize("behind", [b"TAG" + 125 * b"t", bytes(3000)])
async def test_tags_and_padding_behind_a_recording_are_no_damage(client: aiohttp.ClientSession, behind: bytes) -> None:
    codec = encoder("mp3", WIRE_RATE)
    data = codec.encode(recording("cards_001").at(WIRE_RATE).samples) + codec.finish() + behind
    assert (await add(client, data, name="tagged", transcript=TEXT))[0] == 201


async def test_a_silent_track_beside_the_voice_does_no_harm_and_a_second_voice_does(
    client: aiohttp.ClientSession,
) -> None:
    voice = recording("cards_001")
    quiet = silence(voice.seconds, voice.rate)
    assert (await add(client, with_tracks(quiet, voice), name="one voice", transcript=TEXT))[0] == 201
    status, body = await add(client, with_tracks(voice, voice), name="two voices", transcript=TEXT)
    assert (status, "of 2 audio tracks number 1 was read" in body["error"]["message"]) == (415, True)


async def test_an_engine_is_told_whether_somebody_listens_meanwhile(
    client: aiohttp.ClientSession, engine: ToneTts
) -> None:
    for more in ({}, {"stream": True}):
        assert (await client.post("/api/synthesize", json={"text": "hello", **more})).status == 200
    file = await client.post("/api/synthesize", json={"text": "hello"}, headers={"Accept": "audio/wav"})
    assert file.status == 200
    assert (await client.post("/v1/audio/speech", json={"input": "hello"})).status == 200
    assert [request.streamed for request in engine.requests] == [False, True, True, True]


async def test_a_recording_inside_the_opened_folder_is_used(engine: ToneTts) -> None:
    async with serving(TtsSettings(port=0, prompt_dir=FOLDER), engine) as client:
        for path in ("cards_001.wav", str(FOLDER / "cards_001.wav")):
            body = {"text": "hello", "prompt_wav": path, "prompt_text": TEXT}
            assert (await client.post("/api/synthesize", json=body)).status == 200
    assert len(engine.requests) == 2


async def test_damaged_voices_are_named_in_the_log_and_left_out(
    settings: TtsSettings, caplog: pytest.LogCaptureFixture
) -> None:
    folder = settings.speakers_dir
    assert folder is not None
    async with serving(settings, ToneTts()) as client:
        for name in ("whole", "no recording", "cut record", "not its name"):
            assert (await add(client, name=name, transcript=TEXT))[0] == 201
    records = {json.loads(path.read_text())["name"]: path for path in folder.glob("*.json")}
    records["no recording"].with_suffix(".wav").unlink()
    records["cut record"].write_bytes(records["cut record"].read_bytes()[:20])
    records["not its name"].write_text(records["whole"].read_text())
    (folder / "by hand.json").write_text("[" * 100_000)
    (folder / "notes.txt").write_text("the operator's own")
    async with serving(settings, ToneTts()) as client:
        assert await names(client) == ["中文女", "中文男", "whole"]
        assert (await client.post("/api/synthesize", json={"text": "hi", "speaker_id": "whole"})).status == 200
        status, body = await add(client, name="cut record", transcript=TEXT)
        assert (status, "damaged" in body["error"]["message"]) == (400, True)
    for path in (*(records[name] for name in ("no recording", "cut record", "not its name")), folder / "by hand.json"):
        assert str(path) in caplog.text
        assert path.exists()
    assert records["cut record"].with_suffix(".wav").exists()
    assert (folder / "notes.txt").exists()


async def test_what_a_killed_process_left_of_a_voice_is_removed(settings: TtsSettings) -> None:
    folder = settings.speakers_dir
    assert folder is not None
    folder.mkdir()
    for suffix in (".wav", ".part"):
        (folder / f"{'0' * 32}{suffix}").write_bytes(b"RIFF")
    async with serving(settings, ToneTts()) as client:
        assert await names(client) == ["中文女", "中文男"]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("fails_at", [1, 2])
async def test_a_full_disk_leaves_no_part_of_a_voice(
    fails_at: int, client: aiohttp.ClientSession, settings: TtsSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full as the recording is written, or as the record is."""
    written = 0

    def fsync(descriptor: int) -> None:
        nonlocal written
        written += 1
        if written == fails_at:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    status, body = await add(client, name="x", transcript=TEXT)
    assert (status, "No space left on device" in body["error"]["message"]) == (503, True)
    assert settings.speakers_dir is not None
    assert list(settings.speakers_dir.iterdir()) == []
    assert await names(client) == ["中文女", "中文男"]
    assert (await add(client, name="x", transcript=TEXT))[0] == 201


async def test_a_name_is_the_same_however_it_was_typed(client: aiohttp.ClientSession, engine: ToneTts) -> None:
    composed, decomposed = "Zo\u00eb", "Zoe\u0308"
    assert (await add(client, name=decomposed, transcript=TEXT))[0] == 201
    assert composed in await names(client)
    assert (await add(client, name=composed, transcript=TEXT))[0] == 400
    for name in (composed, decomposed):
        assert (await client.post("/api/synthesize", json={"text": "hi", "speaker_id": name})).status == 200
        assert (await client.post("/v1/audio/speech", json={"input": "hi", "voice": name})).status == 200
    assert len({id(request.prompt) for request in engine.requests}) == 1
    assert (await client.delete(f"/api/speakers/{quote(decomposed)}")).status == 200
    assert composed not in await names(client)


async def test_a_recording_that_was_damaged_while_the_service_ran_is_told(
    client: aiohttp.ClientSession, settings: TtsSettings
) -> None:
    assert (await add(client, name="x", transcript=TEXT))[0] == 201
    assert settings.speakers_dir is not None
    next(settings.speakers_dir.glob("*.wav")).write_bytes(b"RIFF")
    answer = await client.post("/api/synthesize", json={"text": "hi", "speaker_id": "x"})
    assert (answer.status, "damaged" in (await answer.json())["error"]["message"]) == (500, True)
    assert (await client.delete("/api/speakers/x")).status == 200
