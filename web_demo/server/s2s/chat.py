"""`/api/chat`: a session for each connection, from its admission to its end."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import ExitStack

from aiohttp import WSCloseCode, web

from web_demo.errors import ServiceError
from web_demo.server import protocal
from web_demo.server.common.service import LIFE
from web_demo.server.conversation.session import Session
from web_demo.server.s2s.service import SERVICE, S2sService
from web_demo.server.wires.chat import ChatWire, new_socket

log = logging.getLogger(__name__)


def add_routes(app: web.Application) -> None:
    app.router.add_get("/api/chat", _chat)


async def _chat(request: web.Request) -> web.StreamResponse:
    service = request.app[SERVICE]
    socket = new_socket()
    await socket.prepare(request)
    wire = ChatWire(request, socket)
    with ExitStack() as place:
        try:
            place.enter_context(service.admitted(request))
        except ServiceError as error:
            log.info("connection refused peer=%s: %s", request.remote, error)
            await wire.refuse(error.message)
        else:
            await _hold(request, service, wire)
    return socket


async def _hold(request: web.Request, service: S2sService, wire: ChatWire) -> None:
    """The session, from its first message to its end."""
    session = Session(
        wire,
        engine=service.engine,
        detokenizer=service.detokenizer,
        metrics=service.metrics,
        limits=service.settings.limits,
        options=wire.options,
    )
    service.sessions.add(session)
    service.metrics.sessions.set(len(service.sessions))
    began = time.monotonic()
    log.info("connection began session=%s peer=%s", session.id, request.remote)
    outcome = "hang-up"
    try:
        outcome = await _converse(session, wire, request.app[LIFE].draining)
    finally:
        service.sessions.discard(session)
        service.metrics.sessions.set(len(service.sessions))
        log.info(
            "connection ended session=%s how=%s code=%s seconds=%.1f turns=%d audio_in_s=%.1f",
            session.id,
            outcome,
            wire.close_code,
            time.monotonic() - began,
            session.turns,
            session.received_s,
        )


async def _converse(session: Session, wire: ChatWire, draining: asyncio.Event) -> str:
    """The session beside its keep-alive and its end on shutdown. Returns how it ended."""
    outcome = "hang-up"
    companions = [
        asyncio.create_task(wire.keep_alive(), name=f"keep-alive-{session.id}"),
        asyncio.create_task(_end_on_shutdown(session, wire, draining), name=f"drain-{session.id}"),
    ]
    try:
        await wire.send_message(protocal.Handshake())
        await session.run(wire.incoming())
        if draining.is_set():
            outcome = "shutdown"
    except* ConnectionError:
        outcome = "lost"
    except* Exception:
        log.exception("session failed session=%s", session.id)
        outcome = "failed"
        await wire.close(WSCloseCode.INTERNAL_ERROR)
    finally:
        for task in companions:
            task.cancel()
        await asyncio.gather(*companions, return_exceptions=True)
    return outcome


async def _end_on_shutdown(session: Session, wire: ChatWire, draining: asyncio.Event) -> None:
    await draining.wait()
    await session.idle()
    await wire.close(WSCloseCode.GOING_AWAY)
