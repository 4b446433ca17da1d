"""A worker process of a `WorkerPool`: `python3 -m web_demo.children.worker FD`, started by its supervisor only."""

from __future__ import annotations

import logging
import queue
import signal
import socket
import sys
import threading
from typing import Any

from web_demo.children.line import Line, Started, StartFailed, Stop
from web_demo.children.pool import Answer, Work

log = logging.getLogger("worker")


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group: the parent decides
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)-7s %(name)s %(message)s")
    line = Line(socket.socket(fileno=int(sys.argv[1])))
    try:
        build = line.receive()
        if build is None:
            return 0  # the parent went away first
        handle = build()
    except Exception as error:
        log.exception("the worker cannot start")
        line.send(StartFailed(f"{type(error).__name__}: {error}"))
        return 1
    line.send(Started())
    received: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=line.read, args=(received.put,), name="tasks", daemon=True).start()
    try:
        while not isinstance(work := received.get(), Stop):
            line.send(_done(handle, work))
    except ConnectionError:
        log.info("the service is gone: stopping")
    return 0


def _done(handle: Any, work: Work) -> Answer:
    try:
        return Answer(work.number, handle(work.task))
    except Exception as error:
        log.exception("task failed")
        return Answer(work.number, error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    sys.exit(main())
