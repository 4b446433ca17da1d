"""The one thread that owns a model and its device: others hand it commands, which it carries out between two steps."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

Command = Callable[[], None]


class Stopped(Exception):
    """The thread has ended or is about to: the service closes, or a step failed (the log says how)."""


class OwnerThread:
    """Calls `step` again and again while `idle_s` is 0, and sleeps that many seconds otherwise (None: until a command comes).
    Not started by itself.

    `prepare` runs first, in the thread. An exception of a step or a command ends the thread for good, because it may have left
    the model or the device in any state: `broken` is then its type. `ended` is called last, in the thread, after every
    command that was accepted.
    """

    def __init__(
        self,
        name: str,
        *,
        step: Command,
        idle_s: Callable[[], float | None],
        ended: Command,
        prepare: Command = lambda: None,
    ) -> None:
        self._step, self._idle_s, self._on_end, self._prepare = step, idle_s, ended, prepare
        self._commands: queue.SimpleQueue[Command | None] = queue.SimpleQueue()  # None: stop
        self._lock = threading.Lock()  # a command and the end of the thread must not miss each other
        self._closed = False
        self.broken: str | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def do(self, command: Command) -> None:
        """Between two steps, in order. Raises Stopped."""
        with self._lock:
            if self._closed:
                raise Stopped(f"the thread {self._thread.name} has ended")
            self._commands.put(command)

    def stop(self, timeout_s: float | None = None) -> None:
        """Ends after the step under way, and waits for it. May be called more than once, and before `start`."""
        with self._lock:
            self._closed = True
        self._commands.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self._prepare()
            while self._obey():
                self._step()
        except Exception as error:
            log.exception("the thread %s broke: its work is given up", self._thread.name)
            self.broken = type(error).__name__
        with self._lock:
            self._closed = True
        while not self._commands.empty():
            if (command := self._commands.get()) is not None:
                command()
        self._on_end()

    def _obey(self) -> bool:
        """Carry out what has come, waiting for it when there is nothing to step. False: stop."""
        while True:
            idle_s = 0.0 if not self._commands.empty() else self._idle_s()
            if idle_s == 0.0 and self._commands.empty():
                return True
            try:
                command = self._commands.get(timeout=idle_s)
            except queue.Empty:
                continue
            if command is None:
                return False
            command()
