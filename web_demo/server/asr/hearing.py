"""What live captions and OpenAI's realtime transcription have in common: sound that is charged before it is decoded and heard in
slices, and utterances that are recognised one after another while the next is heard."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from aiohttp import WSCloseCode, web

from utils.bucket import TokenBucket
from utils.channel import Channel
from utils.threads import off_loop
from web_demo.audio.samples import SPEECH_RATE, DecodedAudio, Samples
from web_demo.server.asr.listener import Noticed
from web_demo.server.common.service import LIFE

log = logging.getLogger(__name__)

AHEAD_S = 60.0  # of sound, that may come at once
RATE = 4.0  # times real time, that sound is taken at from there
MAX_WAIT_S = 5.0  # at a time: a service that shuts down waits no longer for a stream
SLICE_S = 0.5  # of sound, that is looked at before others have their turn
WAITING_UTTERANCES = 4  # with more than these the socket is not read until the engine has caught up

T = TypeVar("T")


class Reader(Protocol):
    """Sound as it comes: `web_demo.audio.opus`, `web_demo.audio.pcm`."""

    @property
    def pending_ms(self) -> float: ...
    @property
    def charged_ms(self) -> float: ...
    def decode(self, most_ms: float) -> DecodedAudio: ...


class Ear(Protocol):
    """Whatever takes sound at SPEECH_RATE and notices things in it. CPU work, for a thread."""

    def feed(self, samples: Samples) -> list[Noticed]: ...


class Hearing:
    """The sound of one stream, at the rate that it may come at."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._budget = TokenBucket(AHEAD_S, RATE, now)
        self.received = 0  # samples
        self.damaged_packets = 0

    async def wait(self, socket: web.WebSocketResponse) -> None:
        """Before more is read."""
        while (wait_s := self._budget.wait_s) > 0 and not socket.closed:  # noqa: ASYNC110 - the time is known
            await asyncio.sleep(min(wait_s, MAX_WAIT_S))

    def charge(self, seconds: float) -> None:
        self._budget.take(seconds)

    async def listen(self, reader: Reader, ear: Ear) -> AsyncGenerator[Noticed, None]:
        """What the pending sound brings. Take it to the end."""
        while reader.pending_ms > 0:
            for noticed in await off_loop(self._slice, reader, ear):
                yield noticed

    def _slice(self, reader: Reader, ear: Ear) -> list[Noticed]:
        decoded = reader.decode(SLICE_S * 1000)
        self.damaged_packets += decoded.damaged_packets
        return self.feed(decoded.samples, ear)

    def feed(self, samples: Samples, ear: Ear) -> list[Noticed]:
        self.received += len(samples)
        return ear.feed(samples)

    @property
    def received_s(self) -> float:
        return self.received / SPEECH_RATE


class Recognition(Generic[T]):
    """Work of one stream, one piece after another, in a task of its own: `run` it. `weight`: of a piece, where WAITING_UTTERANCES
    of 1 fill it."""

    def __init__(
        self,
        do: Callable[[T], Awaitable[None]],
        socket: web.WebSocketResponse,
        weight: Callable[[T], int] = lambda item: 1,
    ) -> None:
        self._do = do
        self._socket = socket
        self._work: Channel[T] = Channel(WAITING_UTTERANCES, weight)
        self._busy = False

    async def put(self, work: T, *, optional: bool = False) -> None:
        """Waits for room. What is optional is left out when there is other work: a late partial is worth nothing. Raises
        ChannelClosed."""
        if not (optional and (self._busy or len(self._work))):
            await self._work.put(work)

    async def close(self) -> None:
        """No more work comes; what is there is done."""
        await self._work.close()

    async def run(self) -> None:
        try:
            async for work in self._work:
                self._busy = True
                await self._do(work)
                self._busy = False
        except ConnectionError:
            log.info("live client lost")
        except Exception:
            log.exception("live recognition failed")
            await self._socket.close(code=WSCloseCode.INTERNAL_ERROR)
        finally:
            await self._work.close()  # wakes the reader, should it wait for room


async def end_on_shutdown(request: web.Request, socket: web.WebSocketResponse) -> None:
    await request.app[LIFE].draining.wait()
    await socket.close(code=WSCloseCode.GOING_AWAY)
