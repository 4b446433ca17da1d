"""OpenAI's realtime transcription: WebSocket `/v1/realtime` of this service, with `?intent=transcription` or without.

In: `session.update` (type `transcription`), `input_audio_buffer.append`, `.commit`, `.clear`. Out: `session.created`, `.updated`,
`input_audio_buffer.speech_started`, `.speech_stopped`, `.committed`, `.cleared`, `conversation.item.added`, `.done`,
`conversation.item.input_audio_transcription.delta`, `.completed`, `.failed`, and `error`, after which the session lives on.

With turn detection, utterances are items as the service hears them, and their deltas come while they are being said; without,
what came between two commits is one. Sound is charged as that of live captions is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from utils.bucket import TokenBucket
from utils.channel import ChannelClosed
from utils.threads import off_loop
from web_demo.audio.patience import EAGERNESS, patient
from web_demo.audio.recording import Recording
from web_demo.audio.samples import SPEECH_RATE, Audio, Samples
from web_demo.audio.vad import TurnDetector
from web_demo.engines.base import Transcript
from web_demo.errors import InvalidRequest, ServiceError
from web_demo.server.asr.hearing import MAX_WAIT_S, SLICE_S, Hearing, Recognition, end_on_shutdown
from web_demo.server.asr.listener import Began, Listener, Noticed, Utterance
from web_demo.server.asr.realtime.growing import GrowingText
from web_demo.server.asr.realtime.meaning import StreamPatience
from web_demo.server.asr.service import SERVICE, AsrService
from web_demo.server.asr.transcriber import TranscriptionOptions
from web_demo.server.common.access import subprotocols
from web_demo.server.common.realtime import events, session, user_events
from web_demo.server.common.realtime.audio import PCM, audio_in, charge_s
from web_demo.server.common.realtime.beta import HEADER, Dialect, is_spoken
from web_demo.server.common.realtime.events import ClientEvent, Event
from web_demo.server.common.realtime.fields import EventError, Fields

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 16 << 20  # above it the connection ends; below it what is too large is refused in words
MAX_APPEND_S = 60.0  # of sound in one event: as much as may come at once
MAX_BUFFER_S = 300.0  # of sound that waits for the client's commit: of more, the last
HEAVY_S = 30.0  # of sound in one piece of work, that weighs as much as an utterance
LEAST_CHARGE_S = 0.005  # of one event of sound: a shorter one is work too
EVENTS_AT_ONCE, EVENTS_PER_S = 200.0, 50.0  # besides sound; what comes faster is read more slowly
UNIT_BYTES = 16 << 10  # of an answer to an event, that cost what an event costs
SUBPROTOCOL = "realtime"


@dataclass(frozen=True, eq=False)
class Work:
    """Something to transcribe. What a client committed may be long, or hold no speech."""

    item_id: str
    utterance: Utterance
    options: TranscriptionOptions
    committed_by_client: bool = False

    @property
    def weight(self) -> int:
        return 1 + int(len(self.utterance.samples) / SPEECH_RATE / HEAVY_S)


class Committing:
    """What the client appends, until it commits: an ear that notices nothing."""

    def __init__(self, start: int = 0) -> None:
        self._kept = Recording(start)

    def feed(self, samples: Samples) -> list[Noticed]:
        self._kept.append(samples)
        if len(self._kept) > MAX_BUFFER_S * SPEECH_RATE:
            self._kept.keep_last(round(MAX_BUFFER_S * SPEECH_RATE))
        return []

    def cut(self) -> Utterance | None:
        cut = Utterance(self._kept.samples(), self._kept.start / SPEECH_RATE, final=True) if len(self._kept) else None
        self.clear()
        return cut

    def clear(self) -> None:
        self._kept.keep_last(0)


async def handle(request: web.Request) -> web.WebSocketResponse:
    service = request.app[SERVICE]
    socket = web.WebSocketResponse(
        max_msg_size=MAX_MESSAGE_BYTES, heartbeat=20.0, compress=False, protocols=(SUBPROTOCOL,), decode_text=False
    )
    await socket.prepare(request)
    try:
        with service.live_stream(request) as client:
            ending = asyncio.create_task(end_on_shutdown(request, socket), name="realtime-shutdown")
            try:
                beta = is_spoken(request.headers.get(HEADER, ""), subprotocols(request))
                await TranscriptionSession(service, socket, client, Dialect(beta)).run()
            finally:
                ending.cancel()
                await asyncio.gather(ending, return_exceptions=True)
    except ServiceError as error:  # in words: browsers cannot read the status of a failed handshake
        await socket.send_str(events.text_of(events.error_event(error)))
        await socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=error.message.encode()[:120])
    return socket


class TranscriptionSession:
    """One connection: this task reads and listens, another one recognises, so that neither waits for the other."""

    def __init__(self, service: AsrService, socket: web.WebSocketResponse, client: str, dialect: Dialect) -> None:
        self._service = service
        self._dialect = dialect
        self._socket = socket
        self._client = client
        self._session = _new_session()
        self._input = session.audio_input(Fields(self._session))
        self._options = service.options("", "")
        self._hearing = Hearing()
        self._reader = self._input.format.reader()
        self._ear = self._new_ear(0)
        self._item_id = ""  # of what is being said
        self._previous_item_id: str | None = None
        self._growing = "", GrowingText()  # of this item
        self._events = TokenBucket(EVENTS_AT_ONCE, EVENTS_PER_S, time.monotonic)
        self._recognition = Recognition(self._recognise, socket, lambda work: work.weight)
        self._answers: dict[str, Callable[[ClientEvent], Awaitable[None]]] = {
            "session.update": self._update,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
        }

    async def run(self) -> None:
        recognising = asyncio.create_task(self._recognition.run(), name="realtime-recognise")
        try:
            await self._send(events.event("session.created", session=self._session))
            async for message in self._socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    await self._take(message.data)
        except (ConnectionError, ChannelClosed):
            log.info("realtime transcription broken off")
        finally:
            recognising.cancel()
            await asyncio.gather(recognising, return_exceptions=True)

    async def _take(self, message: bytes) -> None:
        event_id = None
        try:
            asked = events.read(message)
            event_id = asked.event_id
            asked = self._dialect.heard(asked)
            if asked.type not in self._answers:
                raise events.unknown_event(asked, tuple(self._answers))
            await self._answers[asked.type](asked)
        except ServiceError as error:
            await self._pace()
            await self._send(events.error_event(error, event_id))

    async def _pace(self) -> None:
        self._events.take(1)
        await asyncio.sleep(min(self._events.wait_s, MAX_WAIT_S))

    async def _update(self, asked: ClientEvent) -> None:
        await self._pace()
        changes = asked.fields.object("session")
        if changes is None:
            asked.fields.refuse("session", "an object")
        if changes.data.get("type") == "realtime":
            raise EventError(
                "this service transcribes: session.type is transcription; conversations are held by the S2S service (port 8002)",
                param="session.type",
            )
        fields = session.updated(self._session, changes)
        heard = session.audio_input(Fields(fields, "session"))
        options = self._options_of(heard.transcription)
        await self._use(heard)
        self._session, self._options = fields, options
        updated = events.event("session.updated", session=fields)
        self._events.take(len(events.text_of(updated)) / UNIT_BYTES)
        await self._send(updated)

    def _options_of(self, asked: session.Transcription | None) -> TranscriptionOptions:
        """Raises EventError about a language that the engine does not know, or a keyword that is none."""
        asked = asked or session.Transcription()
        name = "session.audio.input.transcription"
        try:
            options = self._service.options(asked.language, "")
        except InvalidRequest as error:
            raise EventError(error.message, param=f"{name}.language") from error
        try:
            words = self._service.options("", ",".join(asked.keywords), prompt=asked.prompt)
        except InvalidRequest as error:
            raise EventError(error.message, param=f"{name}.keywords") from error
        return replace(words, language=options.language)

    async def _use(self, heard: session.AudioInput) -> None:
        """What came so far and is no item yet goes on under the new rules."""
        old, self._input = self._input, heard
        if heard.format != old.format:
            await self._hear_rest()
            self._reader = heard.format.reader()
        if heard.turn_detection != old.turn_detection:
            kept = await off_loop(self._ear.cut)
            self._ear = self._new_ear(round(kept.start_s * SPEECH_RATE) if kept else self._hearing.received)
            if kept is not None:
                await self._hear_again(kept.samples)

    async def _hear_again(self, samples: Samples) -> None:
        size = round(SLICE_S * SPEECH_RATE)
        for start in range(0, len(samples), size):
            for noticed in await off_loop(self._ear.feed, samples[start : start + size]):
                await self._notice(noticed)

    def _new_ear(self, start: int) -> Listener | Committing:
        """`start`: samples that came before what it will hear."""
        detection = self._input.turn_detection
        if detection is None:
            return Committing(start)
        model = self._service.end_of_turn if detection.type == "semantic_vad" else None
        if model is None:
            detector, patience = TurnDetector(detection.rules), None
        else:
            detector = TurnDetector(patient(detection.rules))
            patience = StreamPatience(model, EAGERNESS[detection.eagerness], lambda: self._hearing.received_s)
        engine = self._service.engine
        return Listener(
            engine.max_segment_s,
            detector,
            padding_s=detection.prefix_s,
            start=start,
            partials=bool(engine.capabilities.partials),
            patience=patience,
        )

    async def _append(self, asked: ClientEvent) -> None:
        await self._hearing.wait(self._socket)
        given = asked.fields.data.get("audio")
        charged_s = charge_s(given, self._input.format) if isinstance(given, str) else 0.0
        self._hearing.charge(min(max(charged_s, LEAST_CHARGE_S), MAX_APPEND_S))
        self._reader.push(audio_in(asked.fields, self._input.format, MAX_APPEND_S))
        async for noticed in self._hearing.listen(self._reader, self._ear):
            await self._notice(noticed)

    async def _commit(self, asked: ClientEvent) -> None:
        await self._pace()
        await self._hear_rest()
        cut = await off_loop(self._ear.cut)
        if cut is None:
            raise EventError(
                "the buffer is empty: nothing was appended since the last item", code="input_audio_buffer_commit_empty"
            )
        await self._end_item(cut, committed_by_client=True)

    async def _clear(self, asked: ClientEvent) -> None:
        await self._pace()
        await self._hear_rest()
        self._ear.clear()
        self._item_id = ""
        await self._send(user_events.cleared())

    async def _hear_rest(self) -> None:
        """What the conversion of rates held back."""
        rest = self._reader.flush()
        for noticed in await off_loop(self._hearing.feed, rest, self._ear):
            await self._notice(noticed)

    async def _notice(self, noticed: Noticed) -> None:
        match noticed:
            case Began(start_s):
                if not self._item_id:  # else it goes on under new rules
                    self._item_id = events.new_id("item")
                    await self._send(user_events.speech_started(self._item_id, start_s))
            case Utterance(final=False):
                await self._recognition.put(Work(self._item_id, noticed, self._options), optional=True)
            case Utterance():
                await self._send(user_events.speech_stopped(self._item_id, noticed.end_s))
                await self._end_item(noticed)

    async def _end_item(self, utterance: Utterance, *, committed_by_client: bool = False) -> None:
        item_id, previous = self._item_id or events.new_id("item"), self._previous_item_id
        self._item_id, self._previous_item_id = "", item_id
        item = user_events.spoken_item(item_id)
        await self._send(user_events.committed(item_id, previous))
        await self._send(user_events.item_added(item, previous))
        await self._send(user_events.item_done(item, previous))
        await self._recognition.put(Work(item_id, utterance, self._options, committed_by_client))

    async def _recognise(self, work: Work) -> None:
        """In the other task."""
        audio, final = Audio(work.utterance.samples, SPEECH_RATE), work.utterance.final
        try:
            transcript = await self._transcript(work, audio)
        except ServiceError as error:  # this item is lost, the next may not be
            if final:
                await self._send(user_events.transcript_failed(work.item_id, error))
            return
        if not final and work.item_id != self._item_id:
            return  # it was committed or cleared meanwhile
        if work.item_id != self._growing[0]:
            self._growing = work.item_id, GrowingText()
        growing = self._growing[1]
        if delta := growing.final(transcript.text) if final else growing.partial(transcript.text):
            await self._send(user_events.transcript_delta(work.item_id, delta))
        if final:
            await self._send(
                user_events.transcript_completed(work.item_id, transcript.text, audio.seconds, transcript.language)
            )

    async def _transcript(self, work: Work, audio: Audio) -> Transcript:
        """Of a partial one, the text alone."""
        transcriber = self._service.transcriber
        if not work.utterance.final:
            name = f"{work.item_id} {work.utterance.start_s}"
            return Transcript(await transcriber.partial(name, audio, work.options, self._client), "")
        if work.committed_by_client:
            return await transcriber.transcribe(_blocks(audio.samples), work.options, self._client)
        return await transcriber.one(audio, work.options, self._client)

    async def _send(self, event: Event) -> None:
        for said in self._dialect.said(event):
            if not self._socket.closed:
                await self._socket.send_str(events.text_of(said))


def _new_session() -> dict[str, Any]:
    return {
        "id": events.new_id("sess"),
        "object": "realtime.transcription_session",
        "type": "transcription",
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": PCM.rate},
                "noise_reduction": None,
                "transcription": {"model": None, "language": None, "prompt": None},
                "turn_detection": dict(session.SERVER_VAD),
            }
        },
        "include": None,
    }


async def _blocks(samples: Samples) -> AsyncGenerator[Samples, None]:
    """All of it at once: it was cut off at five minutes."""
    yield samples
