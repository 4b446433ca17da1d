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
import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import soxr
from aiohttp import WSCloseCode, WSMsgType, web

from utils.bucket import TokenBucket
from utils.channel import Channel, ChannelClosed
from utils.threads import off_loop
from web_demo.audio.opus import OpusError, OpusReader
from web_demo.audio.samples import SPEECH_RATE, Audio, Samples, TooMuchSound, from_int16
from web_demo.errors import InvalidRequest, ServiceError
from web_demo.server.asr.formats import segment_json
from web_demo.server.asr.listener import Listener, Utterance
from web_demo.server.asr.service import SERVICE, AsrService
from web_demo.server.asr.transcriber import TranscriptionOptions, shifted
from web_demo.server.common.service import LIFE

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 1 << 20
MAX_MESSAGE_S = 20.0  # of Opus sound in one message: 1 MB of it could hold many minutes
AHEAD_S = 60.0  # of sound, that may come at once
RATE = 4.0  # times real time, that sound is taken at from there
MAX_WAIT_S = MAX_MESSAGE_S / RATE  # a service that shuts down waits no longer for a stream
SLICE_S = 0.5  # of sound, that is looked at before others have their turn
WAITING_UTTERANCES = 4  # with more than these the socket is not read until the engine has caught up
RATES = range(8_000, 48_001)
RATE_DIGITS = 5


class Source(Protocol):
    @property
    def charged_s(self) -> float: ...  # of all that came

    def push(self, data: bytes) -> None:
        """Raises InvalidRequest about data that is not what it should be; what is good is kept and the stream can go on."""
        ...

    def slices(self) -> Iterator[Samples]:
        """What came, at SPEECH_RATE, about SLICE_S at a time: each is work for a thread. Raises as `push` does."""
        ...

    def rest(self) -> Samples:
        """What was held back, at the end of the stream."""
        ...


class PcmSource:
    def __init__(self, rate: int) -> None:
        self._resampler = soxr.ResampleStream(rate, SPEECH_RATE, 1) if rate != SPEECH_RATE else None
        self._rate = rate
        self._pending = b""
        self.charged_s = 0.0

    def push(self, data: bytes) -> None:
        if len(data) % 2:
            raise InvalidRequest(f"PCM16 messages have an even number of bytes, got {len(data)}")
        self.charged_s += len(data) / 2 / self._rate
        self._pending = data

    def slices(self) -> Iterator[Samples]:
        data, self._pending = self._pending, b""
        size = round(SLICE_S * self._rate) * 2
        for start in range(0, len(data), size):
            yield self._resampled(from_int16(np.frombuffer(data[start : start + size], "<i2").astype(np.int16)))

    def rest(self) -> Samples:
        return self._resampled(np.zeros(0, np.float32), last=True)

    def _resampled(self, sound: Samples, *, last: bool = False) -> Samples:
        if self._resampler is None:
            return sound
        resampled: Samples = self._resampler.resample_chunk(sound, last=last)
        return resampled


class OpusSource:
    def __init__(self) -> None:
        self._reader = OpusReader(SPEECH_RATE)

    @property
    def charged_s(self) -> float:
        return self._reader.charged_ms / 1000

    def push(self, data: bytes) -> None:
        try:
            self._reader.push(data, MAX_MESSAGE_S * 1000)
        except TooMuchSound as error:
            self._reader.trim(0)
            raise InvalidRequest(f"one message holds at most {MAX_MESSAGE_S:g} s of sound") from error
        except OpusError as error:
            raise InvalidRequest(str(error)) from error

    def slices(self) -> Iterator[Samples]:
        damaged = 0
        while self._reader.pending_ms > 0:
            decoded = self._reader.decode(SLICE_S * 1000)
            damaged += decoded.damaged_packets
            yield decoded.samples
        if damaged:
            raise InvalidRequest(f"{damaged} Opus packet(s) were damaged and left out")

    def rest(self) -> Samples:
        return np.zeros(0, np.float32)


def _source(query: Mapping[str, str]) -> Source:
    kind, rate = query.get("format", "pcm16"), query.get("rate", str(SPEECH_RATE))
    if kind == "opus":
        return OpusSource()
    if kind != "pcm16":
        raise InvalidRequest(f"format must be pcm16 or opus, got {kind[:20]!r}")
    hertz = int(rate) if rate.isascii() and rate.isdigit() and len(rate) <= RATE_DIGITS else 0
    if hertz not in RATES:
        raise InvalidRequest(f"rate must be {RATES[0]} to {RATES[-1]} (Hz), got {rate[:20]!r}")
    return PcmSource(hertz)


async def handle(request: web.Request) -> web.WebSocketResponse:
    service = request.app[SERVICE]
    source = _source(request.query)
    options = service.options(request.query.get("language", ""), request.query.get("hotwords", ""))
    with service.live_stream(request) as client:
        socket = web.WebSocketResponse(max_msg_size=MAX_MESSAGE_BYTES, heartbeat=20.0)
        await socket.prepare(request)
        stream = LiveStream(service, socket, source, options, client)
        ending = asyncio.create_task(_end_on_shutdown(request, socket), name="live-shutdown")
        try:
            await stream.run()
        finally:
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)
        return socket


async def _end_on_shutdown(request: web.Request, socket: web.WebSocketResponse) -> None:
    await request.app[LIFE].draining.wait()
    await socket.close(code=WSCloseCode.GOING_AWAY)


class LiveStream:
    """One connection: this task reads and listens, another one recognises, so that neither waits for the other."""

    def __init__(
        self,
        service: AsrService,
        socket: web.WebSocketResponse,
        source: Source,
        options: TranscriptionOptions,
        client: str,
    ) -> None:
        self._service = service
        self._socket = socket
        self._source = source
        self._options = options
        self._client = client
        self._listener = Listener(service.engine.max_segment_s)
        self._work: Channel[Utterance] = Channel(WAITING_UTTERANCES)
        self._busy = False
        self._budget = TokenBucket(AHEAD_S, RATE, time.monotonic)
        self._received = 0  # samples

    async def run(self) -> None:
        recognising = asyncio.create_task(self._recognise(), name="live-recognise")
        try:
            ended = await self._read()
            if ended:
                await self._hear(await off_loop(self._last))
                await self._work.close()
                await recognising
                await self._send({"type": "done", "duration": round(self._received / SPEECH_RATE, 3)})
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
        await asyncio.sleep(min(self._budget.wait_s, MAX_WAIT_S))
        charged_s, problem = self._source.charged_s, None
        try:
            self._source.push(data)
        except InvalidRequest as error:
            problem = error
        self._budget.take(self._source.charged_s - charged_s)
        slices = self._source.slices()
        while (utterances := await off_loop(self._listen, slices)) is not None:
            await self._hear(utterances)
        if problem is not None:
            raise problem

    def _listen(self, slices: Iterator[Samples]) -> list[Utterance] | None:
        """What the next slice brings; None: there is none."""
        samples = next(slices, None)
        if samples is None:
            return None
        self._received += len(samples)
        return self._listener.feed(samples)

    def _last(self) -> list[Utterance]:
        rest = self._source.rest()
        self._received += len(rest)
        return [*self._listener.feed(rest), *self._listener.flush()]

    async def _hear(self, utterances: list[Utterance]) -> None:
        for utterance in utterances:
            if utterance.final or not (self._busy or len(self._work)):  # a late partial is worth nothing
                await self._work.put(utterance)

    async def _recognise(self) -> None:
        try:
            async for utterance in self._work:
                self._busy = True
                await self._send(await self._result(utterance))
                self._busy = False
        except ConnectionError:
            log.info("live client lost")
        except Exception:
            log.exception("live recognition failed")
            await self._socket.close(code=WSCloseCode.INTERNAL_ERROR)
        finally:
            await self._work.close()  # wakes the reader, should it wait for room

    async def _result(self, utterance: Utterance) -> dict[str, Any]:
        try:
            transcript = await self._service.transcriber.one(
                Audio(utterance.samples, SPEECH_RATE), self._options, self._client
            )
        except ServiceError as error:  # this utterance is lost, the next may not be
            return {"type": "error", "code": error.code, "message": error.message}
        result: dict[str, Any] = {
            "type": "final" if utterance.final else "partial",
            "text": transcript.text,
            "start": round(utterance.start_s, 3),
            "end": round(utterance.end_s, 3),
        }
        if utterance.final and self._service.engine.capabilities.timestamps == "word":
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
