"""What the user said, in words, for clients that want to read it: found out beside the answer, never before it."""

from __future__ import annotations

import asyncio
import logging

from web_demo.audio.samples import Audio
from web_demo.engines.base import S2sEngine
from web_demo.errors import ServiceError, Unavailable
from web_demo.server.conversation.events import Transcribed, TranscriptionFailed
from web_demo.server.conversation.history import History, UserSaid
from web_demo.server.conversation.ports import Outlet, Transcriber

log = logging.getLogger(__name__)

MOST_WAITING = 16


class Transcripts:
    """Of one session, one after the other. The engine is asked first, then `transcriber`."""

    def __init__(self, outlet: Outlet, history: History, engine: S2sEngine, transcriber: Transcriber | None) -> None:
        self._outlet = outlet
        self._history = history
        self._engine = engine
        self._transcriber = transcriber
        self._turn = asyncio.Lock()
        self._under_way: set[asyncio.Task[None]] = set()

    def begin(self, item: UserSaid, tasks: asyncio.TaskGroup) -> None:
        if item.audio is not None:
            work = self._transcribe(item.id, item.audio, too_many=len(self._under_way) >= MOST_WAITING)
            task = tasks.create_task(work, name=f"transcript-{item.id}")
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _transcribe(self, item_id: str, audio: Audio, *, too_many: bool) -> None:
        try:
            if too_many:
                raise Unavailable(f"{MOST_WAITING} transcripts of this conversation are waited for already")
            async with self._turn:
                text = await self._words(audio)
        except ServiceError as error:
            await self._outlet.send(TranscriptionFailed(item_id, error.message))
        except Exception:
            log.exception("transcription failed item=%s", item_id)
            await self._outlet.send(TranscriptionFailed(item_id, "the recogniser made a mistake"))
        else:
            if self._history.understood(item_id, text):
                await self._outlet.send(Transcribed(None, text, item_id, audio.seconds))

    async def _words(self, audio: Audio) -> str:
        text = await self._engine.transcribe(audio)
        if text is None:
            if self._transcriber is None:
                raise Unavailable("this service has no recogniser beside its speech model")
            text = await self._transcriber(audio)
        return text
