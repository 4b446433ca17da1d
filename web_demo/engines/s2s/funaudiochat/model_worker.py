"""The speech model's process: `python3 -m web_demo.engines.s2s.funaudiochat.model_worker FD`, started by `ModelProcess` only.

One thread reads commands, the thread of the engine owns the model, the main thread waits for the end.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from functools import partial

from web_demo.children.line import Go, Line, StartFailed, Stop, of_this_process
from web_demo.engines.s2s.funaudiochat.messages import Abort, Forget, Hello, Made, Ready, Refused, Submit
from web_demo.engines.s2s.funaudiochat.model import load
from web_demo.models.funaudiochat.engine.scheduler import Full
from web_demo.models.funaudiochat.engine.sequence import Frame
from web_demo.models.funaudiochat.engine.thread import EngineThread

log = logging.getLogger("speech_model")

BROKEN_STATUS = 3  # of a process whose model is in no known state any more


class Host:
    """Between the line and the engine's thread."""

    def __init__(self, line: Line, thread: EngineThread) -> None:
        self._line, self._thread = line, thread
        self._made: list[Frame] = []
        self.stopping = threading.Event()
        thread.stepped, thread.over = self._send, self._over

    def accept(self, command: Submit | Abort | Forget | Stop) -> None:
        match command:
            case Submit():
                self._thread.submit(command.request(), partial(self._deliver, command.request_id))
            case Abort(request_id):
                self._thread.abort(request_id)
            case Forget(conversation_id):
                self._thread.forget(conversation_id)
            case Stop():
                self.stopping.set()

    def _deliver(self, request_id: str, item: Frame | Exception) -> None:
        if isinstance(item, Frame):
            self._made.append(item)
        elif isinstance(item, Full | ValueError):
            self._line.send(Refused(request_id, str(item), isinstance(item, Full)))

    def _send(self) -> None:
        if self._made:
            self._line.send(Made(tuple(self._made)))
            self._made.clear()

    def _over(self) -> None:
        if self._thread.broken is not None:
            os._exit(BROKEN_STATUS)  # at once: libraries would talk to the device at a normal end


def _wait_for_go(line: Line) -> None:
    if not isinstance(line.receive(), Go):
        sys.exit(0)  # the parent is gone


def main() -> int:
    line = of_this_process()
    hello = line.receive()
    if not isinstance(hello, Hello):
        return 0  # the parent went away first
    try:
        engine = load(hello.spec, partial(_wait_for_go, line))
    except Exception as error:
        log.exception("the speech model cannot start")
        line.send(StartFailed(f"{type(error).__name__}: {error}"))
        return 1
    thread = EngineThread(engine)
    host = Host(line, thread)
    thread.start()
    line.send(Ready(engine.scheduler.limits))
    log.info("ready pid=%d", os.getpid())
    threading.Thread(target=line.read, args=(host.accept,), name="commands", daemon=True).start()
    host.stopping.wait()
    thread.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
