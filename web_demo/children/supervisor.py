"""Keeps a child process running: starts it, and starts it again whenever it ends, with growing pauses and without end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from web_demo.children.line import LENGTH, Go, Ping, Pong, StartFailed, Stop, pack, unpack
from web_demo.errors import SetupError

log = logging.getLogger(__name__)

PING_S = 5.0
FIRST_BACKOFF_S = 0.2
MAX_BACKOFF_S = 30.0
STOP_S = 5.0
IDLE_S = 12.0  # no word and no CPU time for so long: it is stopped, or waits for what never comes
STEADY_S = 60.0  # a child that lived so long is not in a crash loop
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
ROOT = Path(__file__).resolve().parents[2]


class Child:
    """One life of a process, and the service's end of its line."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.process = process
        self._reader = reader
        self._writer = writer
        self.heard_at = time.monotonic()

    @classmethod
    async def spawn(
        cls, module: str, python: str = sys.executable, environment: Mapping[str, str] | None = None
    ) -> Child:
        """`module` is run as a program, with the number of its end of the line as the one argument; `python`: by which
        interpreter; `environment`: on top of the inherited one."""
        inherited = {**os.environ, **(environment or {})}
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                python,
                "-m",
                module,
                str(theirs.fileno()),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                cwd=ROOT,
                env={
                    **inherited,
                    "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), inherited.get("PYTHONPATH")))),
                },
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        return cls(process, reader, writer)

    def send(self, message: object) -> None:
        self._writer.write(pack(message))

    async def receive(self) -> Any:
        """None when the child is gone."""
        try:
            head = await self._reader.readexactly(LENGTH.size)
            body = await self._reader.readexactly(LENGTH.unpack(head)[0])
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        self.heard_at = time.monotonic()
        return unpack(body)

    async def end(self, grace_s: float) -> None:
        """Returns when the process is gone and reaped; it is killed when it has not ended within `grace_s`."""
        if grace_s:
            self.send(Stop())
            try:
                await asyncio.wait_for(self.process.wait(), grace_s)
            except TimeoutError:
                log.warning("child pid=%d did not stop within %g s: killing it", self.process.pid, grace_s)
        self._writer.close()
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


class Supervisor:
    """`hello` is the first message to every child; its answer is kept as `ready`.

    `on_message` gets everything after it. `on_death` is called when a child ended by itself, `on_back` when the next one
    is ready. A child that says nothing for `silent_s`, pings included, is stuck and killed; one that does not even work, sooner.
    `python` and `environment` as in `Child.spawn`: a child may live in another virtual environment. With `go`, its start has two
    parts: between them it waits for `Go`, which it gets once the event is set.
    """

    def __init__(
        self,
        name: str,
        module: str,
        hello: object,
        *,
        on_message: Callable[[Any], None],
        on_death: Callable[[], None],
        on_back: Callable[[], None] = lambda: None,
        ready_timeout_s: float = 300.0,
        silent_s: float = 30.0,
        stop_s: float = STOP_S,
        python: str = sys.executable,
        environment: Mapping[str, str] | None = None,
        go: asyncio.Event | None = None,
    ) -> None:
        self._name = name
        self._module = module
        self._python = python
        self._environment = environment
        self._hello = hello
        self._go = go
        self._on_message = on_message
        self._on_death = on_death
        self._on_back = on_back
        self._ready_timeout_s = ready_timeout_s
        self._silent_s = silent_s
        self._stop_s = stop_s
        self._child: Child | None = None
        self._is_ready = asyncio.Event()
        self._why = ""  # the latest start failed
        self._supervision: asyncio.Task[None] | None = None
        self.ready: Any = None

    async def start(self) -> None:
        """Returns when the child is ready; raises SetupError when it cannot start."""
        self._child, self.ready = await self._spawn()
        self._is_ready.set()
        self._supervision = asyncio.create_task(self._supervise(), name=f"supervise-{self._name}")

    async def close(self) -> None:
        """May be called more than once, and before `start`. Leaves no process."""
        supervision, self._supervision = self._supervision, None
        if supervision is not None:
            supervision.cancel()
            await asyncio.gather(supervision, return_exceptions=True)
        self._is_ready.clear()
        child, self._child = self._child, None
        if child is not None:
            await child.end(self._stop_s)

    @property
    def running(self) -> bool:
        """From `start` to `close`, restarts included."""
        return self._supervision is not None

    @property
    def pid(self) -> int | None:
        """None while there is no child that serves."""
        return self._child.process.pid if self._child is not None and self._is_ready.is_set() else None

    def fault(self) -> str | None:
        if self._is_ready.is_set():
            return None
        return f"the {self._name} process is restarting" + (f" ({self._why})" if self._why else "")

    async def wait_ready(self) -> None:
        await self._is_ready.wait()

    def send(self, message: object) -> None:
        """To the child that serves; into the void when there is none (`on_death` was called then)."""
        if self._child is not None and self._is_ready.is_set():
            self._child.send(message)

    def kill(self, why: str) -> None:
        """Ends the child that serves, at once: it is of no use any more, as `why` says; another one takes its place."""
        if self._child is not None and self._is_ready.is_set():
            log.error("the %s %s: killing it", self._name, why)
            self._is_ready.clear()
            self._why = f"it {why}"
            self._child.process.kill()  # the listener sees the line end

    async def _spawn(self) -> tuple[Child, Any]:
        child = await Child.spawn(self._module, self._python, self._environment)
        try:
            child.send(self._hello)
            if self._go is not None:
                await self._go.wait()
                child.send(Go())
            reply = await asyncio.wait_for(child.receive(), self._ready_timeout_s)
            if reply is not None and not isinstance(reply, StartFailed):
                return child, reply
        except BaseException as error:
            await asyncio.shield(child.end(0))
            if isinstance(error, TimeoutError):
                message = f"the {self._name} was not ready within {self._ready_timeout_s:g} s"
                raise SetupError(message) from error
            raise
        await child.end(STOP_S)  # it is ending by itself: a kill would hide its status
        if isinstance(reply, StartFailed):
            raise SetupError(f"the {self._name} cannot start: {reply.reason}")
        raise SetupError(f"the {self._name} process ended at its start (exit status {child.process.returncode})")

    async def _supervise(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        while True:
            assert self._child is not None
            born = time.monotonic()
            await self._listen(self._child)
            self._is_ready.clear()
            await self._child.end(STOP_S)  # by itself, as above
            log.error("the %s died status=%s; restarting", self._name, self._child.process.returncode)
            self._on_death()
            if time.monotonic() - born > STEADY_S:
                backoff_s = FIRST_BACKOFF_S
            while not self._is_ready.is_set():
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)
                try:
                    self._child, self.ready = await self._spawn()
                except (SetupError, OSError) as error:  # OSError: no process could be made
                    self._why = str(error)
                    log.error("%s; next try in %.1f s", error, backoff_s)
                else:
                    self._why = ""
                    self._is_ready.set()
                    log.info("the %s is back pid=%d", self._name, self._child.process.pid)
                    self._on_back()

    async def _listen(self, child: Child) -> None:
        """Until the child is gone."""
        pinging = asyncio.create_task(self._keep_pinging(child), name=f"ping-{self._name}")
        try:
            while (message := await child.receive()) is not None:
                if not isinstance(message, Pong):
                    self._on_message(message)
        finally:
            pinging.cancel()
            await asyncio.gather(pinging, return_exceptions=True)

    async def _keep_pinging(self, child: Child) -> None:
        looked_at = worked_at = time.monotonic()
        used_s = _cpu_s(child.process.pid)
        while True:
            await asyncio.sleep(PING_S)
            now = time.monotonic()
            if now - looked_at > PING_S + IDLE_S / 2:  # it is this process that stood still, and its mail lies unread
                child.heard_at = now
            looked_at = now
            if (uses_s := _cpu_s(child.process.pid)) is None or uses_s != used_s:
                used_s, worked_at = uses_s, now
            silent_s = now - child.heard_at
            idle_s = min(silent_s, now - worked_at)
            if silent_s > self._silent_s or idle_s > IDLE_S:
                why = "did no work" if idle_s > IDLE_S else "went on working"
                log.error("the %s said nothing for %.0f s and %s: killing it", self._name, silent_s, why)
                child.process.kill()  # the listener sees the line end
            child.send(Ping())


def _cpu_s(pid: int) -> float | None:
    """What a process has used of the CPU, in seconds; None when it is gone, or the system does not say (it has no /proc)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may have anything in it
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
