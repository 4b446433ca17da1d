"""The addresses of the wires: a session for each connection, from its admission to its end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from aiohttp import web
from aiohttp.typedefs import Handler

from web_demo.errors import ServiceError
from web_demo.server.common.api.routes import Field, Route
from web_demo.server.common.realtime import beta
from web_demo.server.common.service import LIFE
from web_demo.server.conversation.session import Session
from web_demo.server.s2s.service import SERVICE, S2sService
from web_demo.server.wires.chat import ChatWire
from web_demo.server.wires.chat_settings import pcm_rate
from web_demo.server.wires.connection import MAX_MESSAGE_BYTES, Connection, ServedWire
from web_demo.server.wires.realtime.wire import SUBPROTOCOLS, RealtimeWire

log = logging.getLogger(__name__)


def conversation(
    make_wire: Callable[[Connection], ServedWire],
    protocols: Sequence[str] = (),
    check: Callable[[Mapping[str, str]], object] = lambda _: None,
) -> Handler:
    """What answers at the address of a wire, whose clients may offer these subprotocols. `check` raises InvalidRequest for a
    query that is none: before the WebSocket, so that it is a status."""

    async def answer(request: web.Request) -> web.StreamResponse:
        service = request.app[SERVICE]
        check(request.query)
        connection = await Connection.open(request, protocols)
        wire = make_wire(connection)
        with ExitStack() as place:
            try:
                client = place.enter_context(service.admitted(request))
            except ServiceError as error:
                log.info("connection refused peer=%s: %s", request.remote, error)
                await connection.refuse(wire, error.message)
            else:
                await _hold(service, connection, wire, client)
        return connection.socket

    return answer


async def _hold(service: S2sService, connection: Connection, wire: ServedWire, client: str) -> None:
    """The session, from its first message to its end."""
    request = connection.request
    session = Session(
        wire,
        engine=service.engine,
        detokenizer=service.detokenizer,
        metrics=service.metrics,
        limits=service.settings.limits,
        options=wire.options,
        transcriber=service.words.words if service.words is not None else None,
        client=client,
        end_of_turn=service.end_of_turn,
    )
    service.sessions.add(session)
    service.metrics.sessions.set(len(service.sessions))
    began = time.monotonic()
    log.info("connection began session=%s peer=%s", session.id, request.remote)
    outcome = "hang-up"
    try:
        outcome = await connection.converse(session, wire, request.app[LIFE].draining)
    finally:
        service.sessions.discard(session)
        service.metrics.sessions.set(len(service.sessions))
        log.info(
            "connection ended session=%s how=%s code=%s seconds=%.1f turns=%d audio_in_s=%.1f",
            session.id,
            outcome,
            connection.socket.close_code,
            time.monotonic() - began,
            session.turns,
            session.received_s,
        )


ROUTES = (
    Route(
        "GET",
        "/api/chat",
        conversation(ChatWire, check=pcm_rate),
        "A conversation in speech and text. Its messages are those of web_demo/server/PROTOCOL.md.",
        query=(
            Field("audio", "of the sound, both ways", choices=("opus", "pcm16"), default="opus"),
            Field("rate", "of pcm16, in Hz", kind="integer", default=24_000),
            Field("text_temperature", "of the answers", kind="number"),
            Field("text_topk", "how many words to choose among", kind="integer"),
            Field("repetition_penalty", "1 is none", kind="number"),
            Field("text_seed", "for the same answer again", kind="integer"),
        ),
        headers=(Field("Accept-Language", "of what the service itself says: en or zh"),),
        socket=True,
        message_bytes=MAX_MESSAGE_BYTES,
    ),
    Route(
        "GET",
        "/v1/realtime",
        conversation(RealtimeWire, SUBPROTOCOLS),
        "A conversation by OpenAI's Realtime. Its events are those of web_demo/server/wires/REALTIME.md.",
        query=(
            Field("model", "any: there is one"),
            Field("intent", "transcription: then the ASR service answers"),
            Field("paced", "send sound no faster than it is heard", kind="boolean", default=True),
        ),
        headers=(
            Field("Accept-Language", "of what the service itself says: en or zh"),
            Field(beta.HEADER, beta.ABOUT),
        ),
        socket=True,
        message_bytes=MAX_MESSAGE_BYTES,
    ),
)
