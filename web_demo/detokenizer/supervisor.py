"""The service's side of the detokenizer child: starts it, routes what it says to the turns, starts it again when it dies.

    async with Detokenizer(spec) as detokenizer:
        async with await detokenizer.open(turn_id) as speech:
            async for samples in speech.say(text="Hello."):
                …

When the child dies, every waiting turn fails with a reason, and the next ones wait for the new child.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from web_demo.audio.samples import Samples
from web_demo.detokenizer.backend import BackendSpec, Window
from web_demo.detokenizer.messages import (
    LENGTH,
    Close,
    Command,
    Decode,
    Done,
    Failed,
    Hello,
    Open,
    Ping,
    Ready,
    Reply,
    Sound,
    StartFailed,
    Stop,
    pack,
    unpack_reply,
)
from web_demo.errors import EngineFailed, SetupError, Unavailable

log = logging.getLogger(__name__)

READY_TIMEOUT_S = 300.0
PING_S = 5.0
SILENT_S = 30.0  # a child that says nothing for so long, pings included, is stuck
STOP_S = 5.0
FIRST_BACKOFF_S = 0.2
MAX_BACKOFF_S = 30.0
STEADY_S = 60.0  # a child that lived so long is not in a crash loop
ROOT = Path(__file__).resolve().parents[2]


class _Child:
    """One life of the process and its end of the channel."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.process = process
        self._reader = reader
        self._writer = writer
        self.heard_at = time.monotonic()

    @classmethod
    async def spawn(cls) -> _Child:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "web_demo.detokenizer.worker",
                str(theirs.fileno()),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        return cls(process, reader, writer)

    def send(self, command: Command) -> None:
        self._writer.write(pack(command))

    async def receive(self) -> Reply | None:
        """None when the child is gone."""
        try:
            head = await self._reader.readexactly(LENGTH.size)
            body = await self._reader.readexactly(LENGTH.unpack(head)[0])
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        self.heard_at = time.monotonic()
        return unpack_reply(body)

    async def end(self, *, gently: bool) -> None:
        """Returns when the process is gone and reaped."""
        if gently:
            self.send(Stop())
            try:
                await asyncio.wait_for(self.process.wait(), STOP_S)
            except TimeoutError:
                log.warning("the detokenizer did not stop within %g s: killing it", STOP_S)
        self._writer.close()
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


class Detokenizer:
    def __init__(
        self,
        spec: BackendSpec,
        *,
        ready_timeout_s: float = READY_TIMEOUT_S,
        open_timeout_s: float = 10.0,
        on_restart: Callable[[], None] = lambda: None,
    ) -> None:
        self._spec = spec
        self._ready_timeout_s = ready_timeout_s
        self._open_timeout_s = open_timeout_s
        self._on_restart = on_restart
        self._child: _Child | None = None
        self._ready: Ready | None = None
        self._is_ready = asyncio.Event()
        self._turns: dict[str, Speech] = {}
        self._supervision: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Detokenizer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Returns when the child is ready; raises SetupError when its backend cannot start."""
        self._child, self._ready = await self._spawn()
        self._is_ready.set()
        self._supervision = asyncio.create_task(self._supervise(), name="detokenizer")

    async def close(self) -> None:
        if self._supervision is not None:
            self._supervision.cancel()
            await asyncio.gather(self._supervision, return_exceptions=True)
        self._is_ready.clear()
        self._fail_turns("the service is shutting down")
        if self._child is not None:
            await self._child.end(gently=True)
            self._child = None

    @property
    def pid(self) -> int | None:
        return self._child.process.pid if self._child is not None and self._is_ready.is_set() else None

    @property
    def ready(self) -> Ready:
        """What the backend said of itself. It stays while the child is being restarted."""
        if self._ready is None:
            raise RuntimeError("the detokenizer was not started: use 'async with Detokenizer(spec)'")
        return self._ready

    @property
    def max_turns(self) -> int:
        """Turns that can be open at once; 0 before the start."""
        return self._ready.max_turns if self._ready is not None else 0

    def fault(self) -> str | None:
        return None if self._is_ready.is_set() else "the detokenizer process is restarting"

    async def open(self, turn_id: str, voice: str = "") -> Speech:
        """The speech of one turn. Waits while the child restarts; raises Unavailable when that takes too long."""
        try:
            await asyncio.wait_for(self._is_ready.wait(), self._open_timeout_s)
        except TimeoutError as error:
            raise Unavailable("the speech synthesiser is restarting; please try again in a moment") from error
        speech = Speech(self, turn_id)
        self._turns[turn_id] = speech
        self._send(Open(turn_id, voice))
        return speech

    def _send(self, command: Command) -> None:
        if self._child is not None and self._is_ready.is_set():
            self._child.send(command)

    def _forget(self, turn_id: str) -> None:
        if self._turns.pop(turn_id, None) is not None:
            self._send(Close(turn_id))

    async def _spawn(self) -> tuple[_Child, Ready]:
        child = await _Child.spawn()
        try:
            child.send(Hello(self._spec))
            reply = await asyncio.wait_for(child.receive(), self._ready_timeout_s)
            if isinstance(reply, Ready):
                return child, reply
        except BaseException as error:
            await asyncio.shield(child.end(gently=False))
            if isinstance(error, TimeoutError):
                message = f"the detokenizer was not ready within {self._ready_timeout_s:g} s"
                raise SetupError(message) from error
            raise
        await child.end(gently=False)
        if isinstance(reply, StartFailed):
            raise SetupError(f"the detokenizer cannot start: {reply.reason}")
        raise SetupError(f"the detokenizer process ended at its start (exit status {child.process.returncode})")

    async def _supervise(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        while True:
            assert self._child is not None
            born = time.monotonic()
            await self._route_until_gone(self._child)
            self._is_ready.clear()
            await self._child.end(gently=True)  # it is ending by itself: a kill would hide its status
            log.error("the detokenizer died status=%s; restarting", self._child.process.returncode)
            self._fail_turns("the speech synthesiser stopped unexpectedly; it is being restarted, please ask again")
            self._on_restart()
            if time.monotonic() - born > STEADY_S:
                backoff_s = FIRST_BACKOFF_S
            while not self._is_ready.is_set():
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)
                try:
                    self._child, self._ready = await self._spawn()
                except SetupError as error:
                    log.error("%s; next try in %.1f s", error, backoff_s)
                else:
                    self._is_ready.set()
                    log.info("the detokenizer is back pid=%d", self._child.process.pid)

    async def _route_until_gone(self, child: _Child) -> None:
        pinging = asyncio.create_task(_keep_pinging(child), name="detokenizer-ping")
        try:
            while (reply := await child.receive()) is not None:
                if isinstance(reply, Sound | Done | Failed) and (speech := self._turns.get(reply.turn_id)):
                    speech._arrived.put_nowait(reply)
        finally:
            pinging.cancel()
            await asyncio.gather(pinging, return_exceptions=True)

    def _fail_turns(self, reason: str) -> None:
        turns, self._turns = self._turns, {}
        for turn_id, speech in turns.items():
            speech._arrived.put_nowait(Failed(turn_id, reason))


async def _keep_pinging(child: _Child) -> None:
    while True:
        await asyncio.sleep(PING_S)
        if time.monotonic() - child.heard_at > SILENT_S:
            log.error("the detokenizer said nothing for %g s: killing it", SILENT_S)
            child.process.kill()  # the router sees the channel end
        child.send(Ping())


class Speech:
    """The sound of one turn. Leaving its `async with` frees the turn in the child, at once if work is under way."""

    def __init__(self, detokenizer: Detokenizer, turn_id: str) -> None:
        self._detokenizer = detokenizer
        self._turn_id = turn_id
        self._arrived: asyncio.Queue[Sound | Done | Failed] = asyncio.Queue()
        self._index = 0

    async def __aenter__(self) -> Speech:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._detokenizer._forget(self._turn_id)

    async def say(
        self,
        *,
        text: str = "",
        codes: tuple[int, ...] = (),
        voice: str = "",
        last: bool = False,
        deadline: float = 0.0,
        speed: float = 1.0,
    ) -> AsyncIterator[Samples]:
        """Sends one window and yields its sound as it is made. One window at a time. Raises EngineFailed."""
        window = Window(self._turn_id, self._index, codes, text, voice, last, deadline, speed)
        self._index += 1
        self._detokenizer._send(Decode(window))
        while True:
            match await self._arrived.get():
                case Sound(_, samples):
                    yield samples
                case Done():
                    return
                case Failed(_, reason):
                    raise EngineFailed(f"speech synthesis failed: {reason}")
