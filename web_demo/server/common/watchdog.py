"""A thread that watches the event loop, and takes the stop signal in its place.

A loop that is stuck in some call runs no signal handler of asyncio's, so SIGTERM would be ignored for as long as it lasts.
Here the interpreter's C handler writes the signal's number to a socket that this thread reads: it hands the request to the loop,
and ends the process when the loop does not move. It needs the GIL, as every thread does; for a call that keeps even that,
`faulthandler` writes the stacks, and only SIGKILL helps.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Self

log = logging.getLogger(__name__)

LOOK_S = 1.0
STUCK_S = 5.0  # a loop that does not come round for so long is in the log, with its stack
STOP_S = 5.0  # and for so long after a stop signal: the process ends
GIL_STUCK_S = 30.0
EXIT_STUCK = 70
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Watchdog:
    """A context of the running loop, in the main thread. `stop` is called in the loop at each stop signal."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._loop = asyncio.get_running_loop()
        self._ours, self._signals = socket.socketpair()
        self._signals.setblocking(False)
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._watched = threading.get_ident()
        self._beat = time.monotonic()
        self._asked = False  # the loop has been asked for a beat
        self._told = False  # of this standstill

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, _nothing) for number in SIGNALS}
        self._wakeup_before = signal.set_wakeup_fd(self._signals.fileno(), warn_on_full_buffer=False)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._signals.close()
        self._thread.join()
        self._ours.close()
        faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        stop_asked_at: float | None = None
        while True:
            if _has_stderr():
                faulthandler.dump_traceback_later(GIL_STUCK_S)
            if select.select([self._ours], [], [], LOOK_S)[0]:
                numbers = self._ours.recv(64)
                if not numbers:
                    return
                if any(number in SIGNALS for number in numbers):
                    stop_asked_at = stop_asked_at or time.monotonic()
                    self._loop.call_soon_threadsafe(self._stop)
            if not self._asked:
                self._asked = True
                self._loop.call_soon_threadsafe(self._answer)
            now = time.monotonic()
            silent_s = now - self._beat
            if silent_s > STUCK_S and not self._told:
                self._told = True
                log.error("the event loop is stuck for %.1f s, in:\n%s", silent_s, self._stack())
            if stop_asked_at is not None and min(silent_s, now - stop_asked_at) > STOP_S:
                log.critical("asked to stop, and the event loop is stuck: ending the process, in:\n%s", self._stack())
                os._exit(EXIT_STUCK)  # children end by themselves when their line closes

    def _answer(self) -> None:
        now = time.monotonic()
        if self._told:
            log.warning("the event loop moves again after %.1f s", now - self._beat)
            self._told = False
        self._beat, self._asked = now, False

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._watched)
        return "".join(traceback.format_stack(frame)).rstrip() if frame else "(no frame)"


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """In Python's place; what matters is that the number is written to the wake-up socket."""


def _has_stderr() -> bool:
    try:
        return sys.stderr is not None and sys.stderr.fileno() >= 0
    except (OSError, ValueError):
        return False
