"""What guests of a service do in a day: right requests, people who leave in the middle, and what is to be refused."""

from __future__ import annotations

import asyncio
import io
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any

import aiohttp
import numpy as np
import soundfile

from scripts.benchmarks.load.users import PATIENCE_S, RECORDING, SAID, SENTENCE, Refused, User, Wrong, failed
from web_demo.audio.opus import OpusWriter
from web_demo.audio.samples import SPEECH_RATE, WIRE_RATE, from_wav, silence
from web_demo.server.protocal import Action, AudioData, Control, Error, Metadata, Text, decode, encode

FORMATS = ("wav", "mp3", "opus", "flac", "aac", "pcm")
PLACES = (
    ("s2s", "/"),
    ("s2s", "/api/services"),
    ("asr", "/metrics"),
    ("tts", "/api/speakers"),
    ("asr", "/v1/models"),
)
TEXTS = (
    SENTENCE,
    "你好，今天是二零二六年十一月二十五日，会议在15:30开始。",
    "The 2nd of 3 costs $1,234.56 at 10 a.m.; see **there** for `more`. " * 4,
)


class Guest:
    """Its acts are the methods named in ACTS. Each raises Wrong where a right request got no right answer, and Refused."""

    def __init__(self, http: aiohttp.ClientSession, urls: Mapping[str, str], chance: random.Random) -> None:
        self._http = http
        self._urls = urls
        self._chance = chance
        self._user = User(http, urls["s2s"])
        self._files = _recordings()

    # --- speech to speech ---

    async def short_turn(self) -> None:
        await self._user.turn()

    async def whole_turn(self) -> None:
        await self._user.turn(whole=True)

    async def many_turns(self) -> None:
        """Three turns of one conversation, the first two interrupted."""
        async with self._conversation() as socket:
            for turn in range(3):
                for message in self._user.messages:
                    await socket.send_bytes(message)
                await socket.send_bytes(encode(Control(Action.END_TURN)))
                await _until_audio(socket)
                if turn < 2:
                    await socket.send_bytes(encode(Control(Action.START)))

    async def hands_free_turn(self) -> None:
        async with self._conversation() as socket:
            await socket.send_bytes(encode(Metadata({"turn_detection": {"type": "server_vad"}, "events": True})))
            for message in self._user.messages:
                await socket.send_bytes(message)
            writer = OpusWriter(WIRE_RATE)
            quiet = writer.write(silence(3.0, WIRE_RATE).samples)
            await socket.send_bytes(encode(AudioData(writer.header + b"".join(page.data for page in quiet))))
            await _until_audio(socket)

    async def vanish_in_a_turn(self) -> None:
        with suppress(aiohttp.ClientError, ConnectionError):
            async with self._http.ws_connect(f"{self._urls['s2s']}/api/chat") as socket:
                for message in self._user.messages[: self._chance.randrange(len(self._user.messages))]:
                    await socket.send_bytes(message)
                if self._chance.random() < 0.5:
                    await socket.send_bytes(encode(Control(Action.END_TURN)))
                    await asyncio.sleep(self._chance.random())
                if socket._response.connection is not None and socket._response.connection.transport is not None:
                    socket._response.connection.transport.abort()

    async def nonsense_in_a_conversation(self) -> None:
        """Ends with a right turn, which must be answered."""
        async with self._conversation() as socket:
            for _ in range(20):
                await socket.send_bytes(self._chance.randbytes(self._chance.randrange(200)))
                await socket.send_str("{" * self._chance.randrange(50))
            await socket.send_bytes(encode(Control(Action.RESTART)))
            for message in self._user.messages:
                await socket.send_bytes(message)
            await socket.send_bytes(encode(Control(Action.END_TURN)))
            await _until_audio(socket, errors=True)

    # --- speech to text ---

    async def transcription(self) -> None:
        await self._user.transcription()

    async def direct_transcription(self) -> None:
        kind = self._chance.choice(list(self._files))
        form = aiohttp.FormData({"response_format": self._chance.choice(("json", "verbose_json", "srt", "vtt"))})
        form.add_field("file", self._files[kind], filename=f"speech.{kind}")
        await self._expect("asr", "/v1/audio/transcriptions", {200}, data=form, words=SAID)

    async def damaged_recording(self) -> None:
        damaged = bytearray(self._chance.choice(list(self._files.values())))
        for _ in range(20):
            damaged[self._chance.randrange(len(damaged))] = self._chance.randrange(256)
        form = aiohttp.FormData()
        form.add_field("audio", bytes(damaged[: self._chance.randrange(len(damaged))]), filename="speech")
        await self._expect("asr", "/api/transcribe", {200, 400, 415, 422}, data=form)

    async def captions(self) -> None:
        sound = from_wav(self._files["wav"]).at(SPEECH_RATE).samples
        pcm = (np.concatenate((sound, np.zeros(SPEECH_RATE, np.float32))) * 32767).astype("<i2").tobytes()
        heard = ""
        try:
            async with (
                asyncio.timeout(PATIENCE_S),
                self._http.ws_connect(f"{self._urls['asr']}/api/transcribe/stream") as socket,
            ):
                for start in range(0, len(pcm), 3200):
                    await socket.send_bytes(pcm[start : start + 3200])
                await socket.send_str('{"type": "end"}')
                async for frame in socket:
                    message = json.loads(frame.data)
                    heard += message.get("text", "") if message["type"] == "final" else ""
        except aiohttp.WSServerHandshakeError as error:
            raise (Refused if error.status == 429 else Wrong)(f"captions were answered {error.status}") from error
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            raise Wrong(f"captions broke off: {error or type(error).__name__}") from error
        if SAID not in heard:
            raise Wrong(f"captions heard {heard!r}")

    async def half_upload(self) -> None:
        await _half_body(
            self._urls[self._chance.choice(("asr", "s2s"))], "/api/transcribe", "multipart/form-data; boundary=x"
        )

    # --- text to speech ---

    async def synthesis(self) -> None:
        await self._user.synthesis()

    async def direct_synthesis(self) -> None:
        body = {
            "model": "tts-1",
            "voice": "alloy",
            "input": self._chance.choice(TEXTS),
            "response_format": self._chance.choice(FORMATS),
        }
        await self._expect("tts", "/v1/audio/speech", {200}, json=body)

    async def synthesis_hung_up(self) -> None:
        body = {"text": TEXTS[2] * 8, "speaker_id": "英文女", "stream": True}
        with suppress(aiohttp.ClientError, ConnectionError, TimeoutError):
            async with (
                asyncio.timeout(PATIENCE_S),
                self._http.post(f"{self._urls['s2s']}/api/synthesize", json=body) as response,
            ):
                await response.content.read(4096)
                response.close()

    async def wrong_synthesis(self) -> None:
        body = self._chance.choice(
            ({}, {"text": ""}, {"text": 5}, {"text": "x" * 6000}, {"text": "a", "speed": 99}, [1])
        )
        await self._expect("tts", "/api/synthesize", {400, 413}, json=body)

    async def half_json(self) -> None:
        await _half_body(self._urls["tts"], "/api/synthesize", "application/json")

    # --- the rest ---

    async def look_around(self) -> None:
        for name, path in (
            ("s2s", "/"),
            ("s2s", "/api/services"),
            ("asr", "/metrics"),
            ("tts", "/api/speakers"),
            ("asr", "/v1/models"),
        ):
            await self._expect(name, path, {200}, method="GET")
        await self._expect("tts", "/nowhere", {404}, method="GET")

    def _conversation(self) -> _Conversation:
        return _Conversation(self._http, f"{self._urls['s2s']}/api/chat")

    async def _expect(
        self,
        service: str,
        path: str,
        statuses: set[int],
        *,
        method: str = "POST",
        words: str = "",
        **body: Any,
    ) -> None:
        """Raises Wrong for another status, or an answer without `words`."""
        try:
            async with (
                asyncio.timeout(PATIENCE_S),
                self._http.request(method, f"{self._urls[service]}{path}", **body) as response,
            ):
                content = await response.read()
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            raise Wrong(f"{path} broke off: {error or type(error).__name__}") from error
        if response.status == 429:
            raise Refused(f"{path}: {content[:200]!r}")
        if response.status not in statuses or words.encode() not in content:
            raise Wrong(f"{path} answered {response.status}: {content[:200]!r}")


class _Conversation:
    """A socket, whose end before its time is Wrong."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._connecting = http.ws_connect(url, max_msg_size=0, compress=0)

    async def __aenter__(self) -> aiohttp.ClientWebSocketResponse:
        self._timeout = asyncio.timeout(PATIENCE_S)
        await self._timeout.__aenter__()
        self._socket = await self._connecting
        return self._socket

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._socket.close()
        try:
            await self._timeout.__aexit__(kind, error, at)
        except TimeoutError:
            raise Wrong("a conversation was not answered in time") from None
        if isinstance(error, aiohttp.ClientError | ConnectionError):
            raise Wrong(f"a conversation broke off: {error}") from error


async def _until_audio(socket: aiohttp.ClientWebSocketResponse, *, errors: bool = False) -> None:
    """`errors`: messages about what went before are passed over."""
    async for frame in socket:
        message = decode(frame.data)
        if isinstance(message, AudioData):
            return
        if isinstance(message, Error) and isinstance(
            error := failed(message.message), Refused if errors else Exception
        ):
            raise error
        if isinstance(message, Text) and message.text.startswith("\n[Final: "):
            raise Wrong("a turn was answered without sound")
    raise Wrong(f"the service closed a conversation ({socket.close_code})")


async def _half_body(url: str, path: str, kind: str) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: 2000000\r\n\r\n".encode()
    )
    writer.write(bytes(1_000_000))
    with suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(2.0):
            await writer.drain()
    writer.transport.abort()
    del reader


def _recordings() -> dict[str, bytes]:
    """The recording in several formats, by the ending of its name."""
    sound = from_wav(RECORDING.read_bytes()).at(SPEECH_RATE)
    found = {"wav": RECORDING.read_bytes()}
    for kind, form in (("flac", "FLAC"), ("mp3", "MP3")):
        buffer = io.BytesIO()
        soundfile.write(buffer, sound.samples, SPEECH_RATE, format=form)
        found[kind] = buffer.getvalue()
    writer = OpusWriter(WIRE_RATE)
    pages = [page.data for page in (*writer.write(sound.at(WIRE_RATE).samples), *writer.flush())]
    return found | {"opus": writer.header + b"".join(pages)}


ACTS: tuple[Callable[[Guest], Awaitable[None]], ...] = (
    Guest.short_turn,
    Guest.whole_turn,
    Guest.many_turns,
    Guest.hands_free_turn,
    Guest.vanish_in_a_turn,
    Guest.nonsense_in_a_conversation,
    Guest.transcription,
    Guest.direct_transcription,
    Guest.damaged_recording,
    Guest.captions,
    Guest.half_upload,
    Guest.synthesis,
    Guest.direct_synthesis,
    Guest.synthesis_hung_up,
    Guest.wrong_synthesis,
    Guest.half_json,
    Guest.look_around,
)
