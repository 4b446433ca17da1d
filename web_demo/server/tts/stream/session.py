"""Text streamed into speech: WebSocket `/api/synthesize/stream`, as `web_demo/server/SPEECH_STREAM.md` has it.

One task reads what the client sends, so that a cancellation counts at once; another speaks the utterances one after the other. A
sentence is spoken as soon as it is whole, while the text of the next is still being written.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Coroutine, Mapping
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from utils.channel import Channel
from utils.threads import off_loop
from web_demo.engines.base import SpeechRequest, VoicePrompt
from web_demo.errors import Busy, InvalidRequest, ServiceError, TooLarge
from web_demo.server.common.budgets import Holding
from web_demo.server.common.forms import BODIES
from web_demo.server.common.hangup import SLICE_BYTES, WRITE_TIMEOUT_S
from web_demo.server.common.service import LIFE
from web_demo.server.tts import requests
from web_demo.server.tts.answers import encode, words_json
from web_demo.server.tts.encode import encoder
from web_demo.server.tts.requests import SpeechOptions
from web_demo.server.tts.service import SERVICE, TtsService
from web_demo.server.tts.speech import Piece, Said, speech
from web_demo.server.tts.stream.messages import Cancel, ClientMessage, Close, Config, End, Flush, Text, parse
from web_demo.text.frontend import SpokenSentences

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 4 << 20  # a recording of 30 s in base64
HEARTBEAT_S = 20.0
IDLE_S = 300.0  # a connection on which nothing is said or spoken for so long ends
MAX_WAITING = 4  # utterances, besides the one that is spoken


def add_routes(app: web.Application) -> None:
    app.router.add_get("/api/synthesize/stream", _handle)


async def _handle(request: web.Request) -> web.WebSocketResponse:
    if not web.WebSocketResponse().can_prepare(request):
        raise InvalidRequest("/api/synthesize/stream is a WebSocket; a whole text is spoken by POST /api/synthesize")
    service = request.app[SERVICE]
    with service.text_stream(request) as client, request.app[BODIES].holding(client) as held:
        socket = web.WebSocketResponse(max_msg_size=MAX_MESSAGE_BYTES, heartbeat=HEARTBEAT_S)
        await socket.prepare(request)
        await TextStream(service, request, socket, client, held).run(request.app[LIFE].draining)
        return socket


class Utterance:
    """One text on its way to speech. `number` counts from 1 on a connection; `over`: nothing of it is spoken any more; `told`: the
    client knows how it ended; `began`: when its first sentence was there."""

    def __init__(
        self, number: int, options: SpeechOptions, voice: str, prompt: VoicePrompt | None, service: TtsService
    ) -> None:
        can = service.engine.capabilities
        self.number = number
        self.options = options
        self.over = self.told = False
        self.began: float | None = None
        self.requests: Channel[SpeechRequest] = Channel(service.settings.max_text_chars + 1)
        self._most = service.settings.max_text_chars
        self._metrics = service.metrics
        self._voice, self._prompt = voice, prompt
        self._sentences = SpokenSentences(
            can.max_piece_chars,
            can.min_piece_chars,
            language=options.language,
            voice_language=options.voice_language,
            markdown=options.markdown,
        )
        self._characters = 0

    @property
    def language(self) -> str:
        """That of its text so far, "" for unknown."""
        return self._sentences.language

    async def push(self, text: str) -> None:
        """Raises TooLarge for more than an utterance may have."""
        self._characters += len(text)
        if self._characters > self._most:
            raise TooLarge(
                f"the utterance has {self._characters} characters; at most {self._most} are taken: end it and begin the next"
            )
        self._metrics.characters.inc(len(text))
        await self._take(await off_loop(self._sentences.push, text))

    async def flush(self) -> None:
        await self._take(await off_loop(self._sentences.flush))

    async def end(self) -> None:
        await self.flush()
        await self.requests.close()

    async def _take(self, sentences: list[str]) -> None:
        """There are never more of them than characters, so none waits for room here."""
        self._metrics.text_failures.inc(self._sentences.take_failures())
        if sentences and self.began is None:
            self.began = time.monotonic()
        for sentence in sentences:
            options = self.options
            await self.requests.put(
                SpeechRequest(
                    sentence,
                    self._voice,
                    options.speed,
                    self._prompt,
                    options.instruction,
                    [] if options.timestamps else None,
                )
            )


class TextStream:
    """One connection. `held`: what its recording is charged."""

    def __init__(
        self, service: TtsService, request: web.Request, socket: web.WebSocketResponse, client: str, held: Holding
    ) -> None:
        self._service = service
        self._request = request
        self._socket = socket
        self._client = client
        self._held = held
        self._options = requests.options_of({}, service.engine.capabilities, service.said_in)
        self._voice: tuple[str, VoicePrompt | None] | None = None  # of the options, once it was asked for
        self._count = 0
        self._open: Utterance | None = None  # whose text is still coming
        self._unspoken: list[Utterance] = []  # the first of them is being spoken
        self._queue: Channel[Utterance] = Channel(MAX_WAITING + 2)
        self._speaking: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = asyncio.Event()  # no more text is taken
        self._taking = asyncio.Lock()  # one message at a time, or the end of the text by the service

    async def run(self, draining: asyncio.Event) -> None:
        """Until the client hangs up, is idle for too long, or the service shuts down."""
        companions = [
            asyncio.create_task(self._speak_all(), name="text-stream-speak"),
            asyncio.create_task(self._end_on_close(draining), name="text-stream-close"),
            asyncio.create_task(self._end_on_shutdown(draining), name="text-stream-drain"),
        ]
        try:
            await self._send(self._ready())
            await self._read()
        except ConnectionError:
            log.info("a stream of text broke off")
        finally:
            for task in companions:
                task.cancel()
            await asyncio.gather(*companions, return_exceptions=True)

    async def _read(self) -> None:
        while True:
            try:
                message = await self._socket.receive(timeout=IDLE_S)
            except TimeoutError:
                if not self._unspoken:
                    await self._socket.close(message=b"idle")
                    return
                async with self._taking:
                    await self._end()  # text that comes no more holds nothing open
                continue
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return
            try:
                if message.type is WSMsgType.BINARY:
                    raise InvalidRequest("messages are JSON texts; a binary one came")
                async with self._taking:
                    await self._take(parse(message.data), len(message.data))
            except ServiceError as error:
                await self._send(_error(error))

    async def _take(self, message: ClientMessage, size: int) -> None:
        """Raises ServiceError about one that cannot be."""
        if self._closing.is_set() and isinstance(message, Config | Text):
            raise InvalidRequest("this stream is closing: nothing more is taken but cancel")
        match message:
            case Config(fields):
                await self._configure(fields, size)
            case Text(text):
                await self._push(text)
            case Flush() if self._open is not None and not self._open.over:
                await self._open.flush()
            case End():
                await self._end()
            case Cancel():
                await self._cancel()
            case Close():
                await self._end()
                self._closing.set()

    async def _configure(self, fields: Mapping[str, Any], size: int) -> None:
        if self._open is not None:
            raise InvalidRequest("a config comes between utterances: send end or cancel before it")
        before = self._kept_bytes
        self._held.hold(before + size)
        try:
            service = self._service
            options = await off_loop(requests.options_of, fields, service.engine.capabilities, service.said_in)
            if options.timestamps:
                await service.require_word_times(options.language)
            self._voice = await service.voice(options)
            self._options = options
        finally:
            self._held.hold(self._kept_bytes)
        await self._send(self._ready())

    @property
    def _kept_bytes(self) -> int:
        prompt = self._voice[1] if self._voice else None
        return prompt.audio.samples.nbytes if prompt else 0

    async def _push(self, text: str) -> None:
        if not text:
            return
        utterance = await self._utterance()
        if utterance.over:  # its end was told: the rest of its text is nothing to speak
            return
        try:
            if utterance not in self._unspoken:
                await self._queue_up(utterance)
            await utterance.push(text)
        except (Busy, TooLarge) as error:
            await self._give_up(utterance)
            await self._send(_error(error, utterance))

    async def _utterance(self) -> Utterance:
        """The one whose text is coming; a new one where there is none."""
        if self._open is None:
            if self._voice is None:
                self._voice = await self._service.voice(self._options)
            self._count += 1
            self._open = Utterance(self._count, self._options, *self._voice, self._service)
        return self._open

    async def _queue_up(self, utterance: Utterance) -> None:
        if len(self._unspoken) > MAX_WAITING:
            raise Busy(f"{MAX_WAITING} utterances wait already: wait for a done before the next")
        self._unspoken.append(utterance)
        self._idle.clear()
        await self._queue.put(utterance)

    async def _end(self) -> None:
        utterance, self._open = self._open, None
        if utterance is not None and not utterance.over:
            await utterance.end()

    async def _give_up(self, *utterances: Utterance) -> None:
        """Nothing of these is spoken any more."""
        for utterance in utterances:
            utterance.over = True
            await utterance.requests.close()
        speaking = self._speaking
        if speaking is not None and self._unspoken and self._unspoken[0] in utterances:
            speaking.cancel()
            await asyncio.wait({speaking})
        for utterance in utterances:
            self._leave(utterance)

    async def _cancel(self) -> None:
        unspoken, self._open = [*self._unspoken], None
        await self._give_up(*unspoken)
        cancelled = [utterance.number for utterance in unspoken if not utterance.told]
        await self._send({"type": "cancelled", "utterances": cancelled})

    def _leave(self, utterance: Utterance) -> None:
        if utterance in self._unspoken:
            self._unspoken.remove(utterance)
        if not self._unspoken:
            self._idle.set()

    async def _speak_all(self) -> None:
        try:
            async for utterance in self._queue:
                if utterance.over:
                    continue
                self._speaking = asyncio.create_task(self._speak(utterance), name="text-stream-utterance")
                try:
                    await asyncio.wait({self._speaking})
                finally:
                    self._speaking.cancel()
                    await asyncio.gather(self._speaking, return_exceptions=True)
                if not self._speaking.cancelled():
                    self._speaking.result()
                    self._leave(utterance)
        except ConnectionError:
            log.info("a stream of text lost its client")
        except Exception:
            log.exception("a stream of text failed")
            await self._socket.close(code=WSCloseCode.INTERNAL_ERROR)

    async def _speak(self, utterance: Utterance) -> None:
        outcome = "cancelled"
        try:
            duration_s = await self._speak_sentences(utterance)
            outcome, utterance.told = "done", True
            await self._send({"type": "done", "utterance": utterance.number, "duration": round(duration_s, 3)})
        except ServiceError as error:
            utterance.over = utterance.told = True
            outcome = error.code
            if error.status >= 500:
                log.error("an utterance failed code=%s: %s", error.code, error)
            await self._send(_error(error, utterance))
        finally:
            self._service.metrics.requests.labels(outcome).inc()

    async def _speak_sentences(self, utterance: Utterance) -> float:
        """The seconds of its sound."""
        service, options = self._service, utterance.options
        rate = options.sample_rate or service.engine.sample_rate
        codec = encoder(options.format, rate, source_rate=service.engine.sample_rate)
        samples, index, turn_came = 0, 0, time.monotonic()
        async with speech(
            service.engine,
            utterance.requests,
            turns=service.turns,
            client=self._client,
            metrics=service.metrics,
            timed=options.timestamps,
        ) as stream:
            async for item in stream.items():
                if isinstance(item, Piece):
                    index += 1
                    await self._send(_sentence(utterance, index, item))
                    continue
                if isinstance(item, Said):
                    words = words_json(await service.words(item, self._client, utterance.language))
                    await self._send({"type": "words", "utterance": utterance.number, "index": index, "words": words})
                    continue
                if not samples:
                    service.metrics.first_audio.observe(time.monotonic() - max(turn_came, utterance.began or turn_came))
                samples += len(item)
                await self._send_sound(await encode(codec, item))
        if samples:
            await self._send_sound(codec.finish())
        return samples / service.engine.sample_rate

    async def _send_sound(self, data: bytes) -> None:
        for start in range(0, len(data), SLICE_BYTES):
            await self._taken(self._socket.send_bytes(data[start : start + SLICE_BYTES]))

    async def _send(self, message: dict[str, Any]) -> None:
        await self._taken(self._socket.send_str(json.dumps(message, ensure_ascii=False)))

    async def _taken(self, sending: Coroutine[Any, Any, None]) -> None:
        """Raises ConnectionError when there is nobody to take it."""
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await sending
        except TimeoutError:
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ConnectionResetError("the client takes nothing") from None

    def _ready(self) -> dict[str, Any]:
        options = self._options
        rate = options.sample_rate or self._service.engine.sample_rate
        return {"type": "ready", "format": options.format, "sample_rate": rate}

    async def _end_on_close(self, draining: asyncio.Event) -> None:
        """The reader goes on reading meanwhile: a client that waits has to answer pings, and may cancel."""
        await self._closing.wait()
        await self._idle.wait()
        await self._socket.close(code=WSCloseCode.GOING_AWAY if draining.is_set() else WSCloseCode.OK)

    async def _end_on_shutdown(self, draining: asyncio.Event) -> None:
        """What came is spoken first."""
        await draining.wait()
        async with self._taking:
            await self._end()
            self._closing.set()


def _sentence(utterance: Utterance, index: int, piece: Piece) -> dict[str, Any]:
    return {
        "type": "sentence",
        "utterance": utterance.number,
        "index": index,
        "text": piece.request.text,
        "start": round(piece.start_s, 3),
    }


def _error(error: ServiceError, utterance: Utterance | None = None) -> dict[str, Any]:
    about = {"utterance": utterance.number} if utterance else {}
    return {"type": "error", **about, "code": error.code, "message": error.message}
