"""The detokenizer child: `python3 -m web_demo.detokenizer.worker FD`, started by the supervisor only.

One thread reads commands, so that a cancellation counts at once; the main thread owns the backend and does the work in
batches of one window a turn, the most urgent first: a listener who waits for a first sound does not wait behind a large
batch of those who have sound in hand.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator

from web_demo.audio.samples import Samples
from web_demo.children.line import Line, StartFailed, Stop, of_this_process
from web_demo.detokenizer.backend import DetokenizerBackend, Mark, Window, load
from web_demo.detokenizer.messages import Close, Command, Decode, Done, Failed, Hello, Marked, Open, Ready, Sound
from web_demo.errors import DeviceLost

log = logging.getLogger("detokenizer")

LOST_STATUS = 3  # of a process that lost its device
URGENT_S = 0.5  # a listener with less sound than this in hand is served before those who have more
FEW = 8  # windows that are not urgent, in one batch: what comes meanwhile waits for it


class Work:
    """What is to be done, shared between the reading and the working thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._windows: dict[str, deque[Window]] = {}  # by open turn
        self._opened: deque[tuple[str, str]] = deque()
        self._closed: deque[str] = deque()
        self._stopped = False

    def accept(self, command: Command | Stop) -> None:
        with self._changed:
            match command:
                case Open(turn_id, voice):
                    self._windows[turn_id] = deque()
                    self._opened.append((turn_id, voice))
                case Decode(window) if window.turn_id in self._windows:
                    self._windows[window.turn_id].append(window)
                case Close(turn_id) if self._windows.pop(turn_id, None) is not None:
                    self._closed.append(turn_id)
                case Stop():
                    self._stopped = True
            self._changed.notify()

    def is_open(self, turn_id: str) -> bool:
        return turn_id in self._windows  # one look at a dictionary: no lock needed

    def wait(self) -> bool:
        """Blocks until there is something to do; False when it is time to stop."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._opened or self._closed or any(self._windows.values()))
            return not self._stopped

    def take_changes(self) -> tuple[list[tuple[str, str]], list[str]]:
        """Turns to open and turns to close, in this order: a turn opened and closed meanwhile is in both."""
        with self._changed:
            opened, closed = list(self._opened), list(self._closed)
            self._opened.clear()
            self._closed.clear()
        return opened, closed

    def take_batch(self, size: int, now: float) -> list[Window]:
        """The most urgent windows, at most one of each turn and at most `size`. A turn's first window (deadline 0) is the
        most urgent. Without urgent ones the batch is small, but no smaller than half of what waits."""
        with self._changed:
            heads = sorted((queue[0] for queue in self._windows.values() if queue), key=lambda window: window.deadline)
            urgent = sum(window.deadline < now + URGENT_S for window in heads)
            count = min(size, urgent or max(FEW, len(heads) // 2))
            return [self._windows[window.turn_id].popleft() for window in heads[:count]]


def serve(line: Line, work: Work, backend: DetokenizerBackend) -> None:
    """The working thread: until `Stop`, or the parent is gone. Raises DeviceLost."""
    while work.wait():
        opened, closed = work.take_changes()
        for turn_id, voice in opened:
            try:
                backend.open(turn_id, voice)
            except Exception as error:
                log.exception("open failed turn=%s", turn_id)
                line.send(Failed(turn_id, str(error)))
        for turn_id in closed:
            backend.close(turn_id)
        if batch := work.take_batch(backend.max_batch, time.monotonic()):
            _decode(line, work, backend, batch)


def _decode(line: Line, work: Work, backend: DetokenizerBackend, batch: list[Window]) -> None:
    try:
        sounds = backend.decode(batch)
        for turn_id, made in sounds:
            if work.is_open(turn_id):
                line.send(Marked(turn_id, made) if isinstance(made, tuple) else Sound(turn_id, made))
            elif not any(work.is_open(window.turn_id) for window in batch):
                _end(sounds)
                return
    except (BrokenPipeError, ConnectionError):
        raise
    except DeviceLost:
        for window in batch:
            line.send(Failed(window.turn_id, "its GPU failed; it is being restarted, please ask again"))
        raise
    except Exception as error:
        log.exception("decode failed turns=%s", [window.turn_id for window in batch])
        for window in batch:
            line.send(Failed(window.turn_id, f"{type(error).__name__}: {error}"))
        return
    for window in batch:
        line.send(Done(window.turn_id, window.index))


def _end(sounds: Iterator[tuple[str, Samples | tuple[Mark, ...]]]) -> None:
    close = getattr(sounds, "close", None)  # iterators that are generators stop their work here
    if close is not None:
        close()


def main() -> int:
    line = of_this_process()
    hello = line.receive()
    if not isinstance(hello, Hello):
        return 0  # the parent went away first
    try:
        backend: DetokenizerBackend = load(hello.spec.factory)(**hello.spec.options)
    except Exception as error:
        log.exception("the backend %s cannot start", hello.spec.factory)
        line.send(StartFailed(f"{type(error).__name__}: {error}"))
        return 1
    line.send(Ready(backend.name, backend.sample_rate, backend.hop_tokens, backend.max_turns))
    log.info("ready backend=%s pid=%d", backend.name, os.getpid())
    work = Work()
    threading.Thread(target=line.read, args=(work.accept,), name="commands", daemon=True).start()
    try:
        serve(line, work, backend)
    except ConnectionError:
        log.info("the service is gone: stopping")
    except DeviceLost:
        log.exception("the device is lost: only a new process can go on")
        os._exit(LOST_STATUS)  # at once: libraries would talk to the device at a normal end
    return 0


if __name__ == "__main__":
    sys.exit(main())
