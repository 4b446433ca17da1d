"""Everything wrong that a client can send, over a real socket: the right status, a message that helps, nothing left."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from tests.speech import FOLDER, recording
from tests.web_demo.server.asr.helpers import encoded
from tests.web_demo.server.tts.fakes import ToneTts, serving
from web_demo.audio.samples import Audio, silence, to_wav
from web_demo.server.tts.settings import TtsSettings

SPEECH = (FOLDER / "cards_001.wav").read_bytes()
FLAC = encoded(recording("cards_001"), "flac", "flac")
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg=="
)


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with serving(engine=ToneTts(cloning=False)) as client:
        yield client


@pytest.fixture
async def embedded() -> AsyncIterator[aiohttp.ClientSession]:
    async with serving(TtsSettings(port=0, engine="embedded")) as client:
        yield client


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    folder = tmp_path / "prompts"
    folder.mkdir()
    (folder / "voice.wav").write_bytes(SPEECH)
    (tmp_path / "secret.wav").write_bytes(SPEECH)
    (folder / "link.wav").symlink_to(tmp_path / "secret.wav")
    (folder / "image.wav").write_bytes(PNG)
    os.mkfifo(folder / "pipe.wav")
    return folder


@pytest.fixture
async def cloner(prompts: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """A service whose engine can clone, and whose operator opened `prompts`."""
    async with serving(TtsSettings(port=0, prompt_dir=prompts), ToneTts()) as client:
        yield client


async def refused(client: aiohttp.ClientSession, body: Any, path: str = "/api/synthesize") -> tuple[int, str]:
    sent = {"data": body} if isinstance(body, bytes) else {"json": body}
    async with asyncio.timeout(10):
        answer = await client.post(path, **sent)
        content = await answer.json()
    assert content["success"] is False
    return answer.status, content["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "JSON object"),
        (b"text=hello", 400, "JSON object"),
        (b'\xff\xfe{"text"', 400, "UTF-8"),
        (b"[" * 100_000, 400, "JSON object"),
        ([], 400, "got list"),
        ({}, 400, "text must be a string with the text to speak, got nothing"),
        ({"text": None}, 400, "got nothing"),
        ({"text": 5}, 400, "got int"),
        ({"text": ["a"]}, 400, "got list"),
        ({"text": ""}, 400, "nothing that can be spoken"),
        ({"text": " \n\t "}, 400, "nothing that can be spoken"),
        ({"text": "😀🎉👩‍👩‍👧"}, 400, "no letter and no digit"),
        ({"text": "\x00\x01\x1b"}, 400, "nothing that can be spoken"),
        ({"text": "?!…。"}, 400, "nothing that can be spoken"),
        ({"text": "a" * (1 << 20)}, 413, "1048576 characters; at most 5000"),
        ({"text": "hi", "speaker_id": "nobody"}, 404, "there are: 中文女, 中文男"),
        ({"text": "hi", "speaker_id": "../../etc/passwd"}, 404, "no voice"),
        ({"text": "hi", "speaker_id": "\ud800"}, 404, "no voice"),
        ({"text": "hi", "speaker_id": 7}, 400, "speaker_id must be a string, got int"),
        ({"text": "hi", "speed": 0}, 400, "speed must be a number from 0.25 to 4, got 0"),
        ({"text": "hi", "speed": 100}, 400, "got 100"),
        ({"text": "hi", "speed": -1}, 400, "got -1"),
        ({"text": "hi", "speed": float("nan")}, 400, "got nan"),
        ({"text": "hi", "speed": float("inf")}, 400, "got inf"),
        ({"text": "hi", "speed": 10**400}, 400, "speed must be a number"),
        ({"text": "hi", "speed": "fast"}, 400, "got 'fast'"),
        ({"text": "hi", "speed": True}, 400, "got True"),
        ({"text": "hi", "stream": "maybe"}, 400, "stream must be true or false, got 'maybe'"),
        ({"text": "hi", "stream": 2}, 400, "stream must be true or false, got 2"),
        ({"text": "hi", "prompt_wav": "x.wav", "prompt_text": "x"}, 400, "--engine cosyvoice3"),
        ({"text": "hi", "prompt_text": "x"}, 400, "without prompt_wav"),
    ],
)
async def test_wrong_requests_get_their_status_and_a_helpful_message(
    client: aiohttp.ClientSession, body: Any, status: int, says: str
) -> None:
    got, message = await refused(client, body)
    assert (got, says in message) == (status, True), message


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"voice": "alloy"}, 400, "input must be a string"),
        ({"input": "hi", "voice": {"name": "x"}}, 400, "voice must be a string"),
        ({"input": "hi", "voice": "alloy", "response_format": "wma"}, 400, "wav, mp3, opus, flac, aac, pcm"),
        ({"input": "hi", "voice": "alloy", "response_format": ["mp3"]}, 400, "must be one of"),
        ({"input": "hi", "voice": "alloy", "stream_format": "websocket"}, 400, "audio, sse"),
        ({"input": "hi", "voice": "nobody"}, 404, "no voice"),
    ],
)
async def test_wrong_requests_of_openai_clients_too(
    client: aiohttp.ClientSession, body: Any, status: int, says: str
) -> None:
    got, message = await refused(client, body, "/v1/audio/speech")
    assert (got, says in message) == (status, True), message


@pytest.mark.parametrize(
    "text", ['<speak><break time="100s"/>hi</speak>', "bell \x07 and \x1b[31m escape", "{{7*7}} $(id)"]
)
async def test_markup_and_control_characters_are_spoken_as_text(embedded: aiohttp.ClientSession, text: str) -> None:
    answer = await embedded.post("/api/synthesize", json={"text": text})
    assert answer.status == 200
    assert 0.3 < (await answer.json())["duration"] < 15


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("../secret.wav", 403, "inside the folder"),
        ("link.wav", 403, "inside the folder"),
        ("/etc/passwd", 403, "inside the folder"),
        ("/dev/zero", 403, "inside the folder"),
        ("..%2Fsecret.wav", 404, "No such file"),
        ("no/such.wav", 404, "No such file"),
        (".", 400, "is not a file"),
        ("pipe.wav", 400, "is not a file"),
        ("image.wav", 415, "no audio"),
        ("a\x00b", 400, "not a path"),
        ("x" * 10_000, 404, "too long"),
        ("http://127.0.0.1:1/x.wav", 400, "cannot be a URL"),
        ("file:///etc/passwd", 400, "cannot be a URL"),
        ("data:audio/wav,xx", 400, "data:audio/wav;base64"),
        ("data:audio/wav;base64,%%%", 400, "not valid base64"),
    ],
)
async def test_a_recording_outside_the_folder_or_of_another_kind_is_refused(
    cloner: aiohttp.ClientSession, path: str, status: int, says: str
) -> None:
    got, message = await refused(cloner, {"text": "hello", "prompt_wav": path, "prompt_text": "it says this"})
    assert (got, says in message) == (status, True), message


async def test_no_path_at_all_is_allowed_unless_the_operator_gave_a_folder() -> None:
    async with serving(engine=ToneTts()) as client:
        got, message = await refused(
            client, {"text": "hi", "prompt_wav": str(FOLDER / "cards_001.wav"), "prompt_text": "x"}
        )
    assert got == 403
    assert "--prompt-dir" in message


def data_url(data: bytes) -> str:
    return "data:audio/wav;base64," + base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("data", "status", "says"),
    [
        (b"", 415, "is empty (0 bytes)"),
        (PNG, 415, "no audio"),
        (b"#EXTM3U\nfile:///etc/passwd\n", 415, "no audio"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", 415, "no audio"),
        (b"RIFF" + os.urandom(200), 415, "no audio"),
        (SPEECH[:30], 415, "send a recording as wav"),
        (to_wav(Audio(np.ones(50_000, np.float32), 1)), 415, "the sample rate is 1 Hz"),
        (to_wav(silence(3, 16_000)), 400, "no speech was found"),
        (to_wav(Audio(np.random.default_rng(1).normal(0, 0.1, 48_000).astype(np.float32), 16_000)), 400, "no speech"),
        (to_wav(Audio(recording("cards_001").samples[:3000], 16_000)), 400, "1 to 30 s"),
        (to_wav(silence(600, 8_000)), 413, "longer than 30 s"),
        (FLAC[: len(FLAC) // 2], 415, "is made of a whole recording"),
    ],
)
async def test_a_recording_that_is_no_good_voice_is_refused(
    cloner: aiohttp.ClientSession, data: bytes, status: int, says: str
) -> None:
    got, message = await refused(cloner, {"text": "hello", "prompt_wav": data_url(data), "prompt_text": "it says this"})
    assert (got, says in message) == (status, True), message


async def test_a_recording_without_its_text_is_refused(cloner: aiohttp.ClientSession) -> None:
    for said in ({}, {"prompt_text": "<|endofprompt|>"}, {"prompt_text": " … "}):
        got, message = await refused(cloner, {"text": "hello", "prompt_wav": "voice.wav", **said})
        assert (got, "prompt_wav needs prompt_text" in message) == (400, True)
    got, message = await refused(cloner, {"text": "hello", "prompt_wav": "voice.wav", "prompt_text": "x" * 501})
    assert (got, "at most 500" in message) == (400, True)


async def test_tokens_of_language_models_alone_are_no_text(cloner: aiohttp.ClientSession) -> None:
    for path, name in (("/api/synthesize", "text"), ("/v1/audio/speech", "input")):
        async with cloner.post(path, json={name: "<|endofprompt|>"}) as response:
            assert (response.status, "nothing that can be spoken" in await response.text()) == (400, True)


async def test_a_body_above_the_cap_is_refused_unread(client: aiohttp.ClientSession) -> None:
    got, _ = await refused(client, b'{"text": "' + b"a" * (25 << 20) + b'"}')
    assert got == 413


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"no boundary"),
        ("multipart/form-data; boundary=x", b"no such boundary here"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nnameless\r\n--x--\r\n"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\n\xff\xfe\r\n--x--\r\n',
        ),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\ncut o'),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y--\r\n--x--\r\n",
        ),
    ],
)
async def test_a_broken_form_is_refused(client: aiohttp.ClientSession, content_type: str, body: bytes) -> None:
    async with asyncio.timeout(10):
        answer = await client.post("/api/synthesize", data=body, headers={"Content-Type": content_type})
        assert (answer.status, (await answer.json())["success"]) == (400, False)


async def test_a_multipart_body_that_is_no_form_is_refused(client: aiohttp.ClientSession) -> None:
    answer = await client.post(
        "/api/synthesize", data=b"--x--", headers={"Content-Type": "multipart/mixed; boundary=x"}
    )
    assert answer.status == 415


async def test_after_all_of_it_nothing_is_left_and_the_service_serves(
    client: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for body in (b"{", {"text": "hi", "speaker_id": "nobody"}, {"text": "hi", "speed": 0}):
        await refused(client, body)
    health = await (await client.get("/health")).json()
    assert health["requests"] == 0
    assert (await client.post("/api/synthesize", json={"text": "still here"})).status == 200
    assert os.listdir(tmp_path) == []


async def test_the_range_of_speeds_is_what_the_engine_declares() -> None:
    engine = ToneTts()
    engine.capabilities = replace(engine.capabilities, speeds=(0.5, 2.0))
    async with serving(engine=engine) as client:
        got, message = await refused(client, {"text": "hi", "speed": 3})
    assert (got, message) == (400, "speed must be a number from 0.5 to 2, got 3")
    assert engine.requests == []
