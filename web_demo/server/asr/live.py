"""Live transcription: WebSocket `/api/transcribe/stream`.

In: binary messages with mono audio, 16-bit little-endian PCM (`?format=pcm16&rate=16000`, the default) or slices of an
Ogg-Opus stream (`?format=opus`); the text message `{"type": "end"}` when there is no more. `language` and `hotwords` go
into the query too.
Out: `{"type": "partial"|"final", "text", "start", "end"}` in seconds of the stream (final ones with `words` where the
engine has word times), `{"type": "error", "message"}`, and after `end` a last `{"type": "done", "duration"}`.

A message holds at most 20 s of Opus sound. A minute of sound may come at once; then the socket is read at four times real time, and
nothing is lost. What comes is charged before it is decoded, and looked at in slices, between which other clients have their turn.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import uuid
from collections.abc import Mapping
from typing import Any, Protocol

from aiohttp import WSMsgType, web

from utils.channel import ChannelClosed
from utils.threads import off_loop
from web_demo.audio.opus import OpusReader
from web_demo.audio.pcm import Coding, PcmReader
from web_demo.audio.samples import SPEECH_RATE, Audio, Samples, TooMuchSound
from web_demo.errors import InvalidRequest, ServiceError
from web_demo.server.asr import hearing
from web_demo.server.asr.formats import segment_json
from web_demo.server.asr.hearing import Hearing, Recognition
from web_demo.server.asr.listener import Listener, Noticed, Utterance
from web_demo.server.asr.service import SERVICE, AsrService
from web_demo.server.asr.transcriber import TranscriptionOptions, shifted

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 1 << 20
MAX_MESSAGE_S = 20.0  # of Opus sound in one message: 1 MB of it could hold many minutes, of PCM it cannot
RATES = range(8_000, 48_001)
RATE_DIGITS = 5


class Reader(hearing.Reader, Protocol):
    def push(self, data: bytes, most_ms: float) -> None: ...
    def trim(self, keep_ms: float) -> None: ...
    def flush(self) -> Samples: ...


def _reader(query: Mapping[str, str]) -> Reader:
    kind, rate = query.get("format", "pcm16"), query.get("rate", str(SPEECH_RATE))
    if kind == "opus":
        return OpusReader(SPEECH_RATE)
    if kind != "pcm16":
        raise InvalidRequest(f"format must be pcm16 or opus, got {kind[:20]!r}")
    hertz = int(rate) if rate.isascii() and rate.isdigit() and len(rate) <= RATE_DIGITS else 0
    if hertz not in RATES:
        raise InvalidRequest(f"rate must be {RATES[0]} to {RATES[-1]} (Hz), got {rate[:20]!r}")
    return PcmReader(Coding.PCM16, hertz)


async def handle(request: web.Request) -> web.WebSocketResponse:
    service = request.app[SERVICE]
    reader = _reader(request.query)
    options = service.options(request.query.get("language", ""), request.query.get("hotwords", ""))
    with service.live_stream(request) as client:
        socket = web.WebSocketResponse(max_msg_size=MAX_MESSAGE_BYTES, heartbeat=20.0)
        await socket.prepare(request)
        stream = LiveStream(service, socket, reader, options, client)
        ending = asyncio.create_task(hearing.end_on_shutdown(request, socket), name="live-shutdown")
        try:
            await stream.run()
        finally:
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)
        return socket


class LiveStream:
    """One connection: this task reads and listens, another one recognises, so that neither waits for the other."""

    def __init__(
        self,
        service: AsrService,
        socket: web.WebSocketResponse,
        reader: Reader,
        options: TranscriptionOptions,
        client: str,
    ) -> None:
        self._service = service
        self._socket = socket
        self._reader = reader
        self._options = options
        self._client = client
        self._name = uuid.uuid4().hex
        partials = bool(service.engine.capabilities.partials)
        self._listener = Listener(service.engine.max_segment_s, partials=partials)
        self._hearing = Hearing()
        self._recognition = Recognition(self._recognise, socket)

    async def run(self) -> None:
        recognising = asyncio.create_task(self._recognition.run(), name="live-recognise")
        try:
            ended = await self._read()
            if ended:
                for noticed in await off_loop(self._last):
                    await self._notice(noticed)
                await self._recognition.close()
                await recognising
                await self._send({"type": "done", "duration": round(self._hearing.received_s, 3)})
                await self._socket.close()
        except (ConnectionError, ChannelClosed):
            log.info("live stream broken off")
        finally:
            recognising.cancel()
            await asyncio.gather(recognising, return_exceptions=True)

    async def _read(self) -> bool:
        """True when the client said that this is the end, False when it just left."""
        async for message in self._socket:
            try:
                if message.type is WSMsgType.BINARY:
                    await self._take(message.data)
                elif message.type is WSMsgType.TEXT and _is_end(message.data):
                    return True
            except ServiceError as error:
                await self._send({"type": "error", "code": error.code, "message": error.message})
        return False

    async def _take(self, data: bytes) -> None:
        """Raises InvalidRequest about what is no audio, after the rest of it was heard."""
        await self._hearing.wait(self._socket)
        charged_ms, damaged, problem = self._reader.charged_ms, self._hearing.damaged_packets, ""
        try:
            self._reader.push(data, MAX_MESSAGE_S * 1000 if isinstance(self._reader, OpusReader) else math.inf)
        except TooMuchSound:
            self._reader.trim(0)
            problem = f"one message holds at most {MAX_MESSAGE_S:g} s of sound"
        except ValueError as error:
            problem = str(error)
        self._hearing.charge((self._reader.charged_ms - charged_ms) / 1000)
        async for noticed in self._hearing.listen(self._reader, self._listener):
            await self._notice(noticed)
        if damaged := self._hearing.damaged_packets - damaged:
            problem = problem or f"{damaged} Opus packet(s) were damaged and left out"
        if problem:
            raise InvalidRequest(problem)

    def _last(self) -> list[Noticed]:
        return [*self._hearing.feed(self._reader.flush(), self._listener), *self._listener.flush()]

    async def _notice(self, noticed: Noticed) -> None:
        if isinstance(noticed, Utterance):
            await self._recognition.put(noticed, optional=not noticed.final)

    async def _recognise(self, utterance: Utterance) -> None:
        await self._send(await self._result(utterance))

    async def _result(self, utterance: Utterance) -> dict[str, Any]:
        audio = Audio(utterance.samples, SPEECH_RATE)
        transcriber = self._service.transcriber
        place = {"start": round(utterance.start_s, 3), "end": round(utterance.end_s, 3)}
        try:
            if not utterance.final:
                name = f"{self._name} {utterance.start_s}"
                text = await transcriber.partial(name, audio, self._options, self._client)
                return {"type": "partial", "text": text, **place}
            transcript = await transcriber.one(audio, self._options, self._client)
        except ServiceError as error:  # this utterance is lost, the next may not be
            return {"type": "error", "code": error.code, "message": error.message}
        result: dict[str, Any] = {"type": "final", "text": transcript.text, **place}
        if self._service.engine.capabilities.timestamps == "word":
            segments = [segment_json(shifted(s, utterance.start_s)) for s in transcript.segments]
            result["words"] = [word for segment in segments for word in segment.get("words", ())]
        return result

    async def _send(self, message: dict[str, Any]) -> None:
        if not self._socket.closed:
            await self._socket.send_str(json.dumps(message, ensure_ascii=False))


def _is_end(text: str) -> bool:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict) or message.get("type") != "end":
        raise InvalidRequest(f'the only text message is {{"type": "end"}}; got {text[:60]!r}')
    return True
