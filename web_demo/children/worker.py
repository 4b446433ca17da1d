"""A worker process of a `WorkerPool`: `python3 -m web_demo.children.worker FD`, started by its supervisor only."""

from __future__ import annotations

import logging
import queue
import sys
import threading
from typing import Any

from web_demo.children.line import Started, StartFailed, Stop, of_this_process
from web_demo.children.pool import Answer, Work

log = logging.getLogger("worker")


def main() -> int:
    line = of_this_process()
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
