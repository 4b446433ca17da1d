"""The child that runs upstream's CosyVoice: `python -m web_demo.engines.tts.upstream.worker FD`, started by its supervisor only.

It runs in upstream's own environment, so it imports little of ours. A thread of upstream's that dies takes the process with it:
what it leaves behind waits for it for ever.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from typing import Any

from web_demo.children.line import Line, StartFailed, Stop
from web_demo.engines.tts.upstream.messages import Abandon, Done, Failed, Loaded, Progress, Sound, Speak
from web_demo.engines.tts.upstream.speaker import Abandoned, Speaker, device_of, load, lost_device
from web_demo.errors import SetupError

log = logging.getLogger("cosyvoice")

PROGRESS_S = 1.0


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group: the parent decides
    keep_quiet()
    line = Line(socket.socket(fileno=int(sys.argv[1])))
    asked = line.receive()
    if asked is None:
        return 0  # the parent went away first
    try:
        upstream = load(asked)
    except SetupError as error:
        line.send(StartFailed(str(error)))
        return 1
    except Exception as error:
        log.exception("upstream cannot load its model")
        line.send(StartFailed(f"upstream cannot load {asked.model_path}: {type(error).__name__}: {error}"))
        return 1
    _Worker(line, upstream).run()
    return 0


def keep_quiet() -> None:
    """Upstream writes what users have said into the log, by the root logger itself, which has no other user."""
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)-7s %(name)s %(message)s", force=True)
    for handler in logging.getLogger().handlers:
        handler.addFilter(lambda record: record.name != "root")


class _Worker:
    def __init__(self, line: Line, upstream: Any) -> None:
        self._line = line
        self._speaker = Speaker(upstream, progress=self._progress, died=self._died)
        self._loaded = Loaded(int(upstream.sample_rate), device_of(upstream))
        self._asked: queue.SimpleQueue[Speak] = queue.SimpleQueue()
        self._told_at = 0.0

    def run(self) -> None:
        threading.Thread(target=self._line.read, args=(self._accept,), name="line", daemon=True).start()
        self._line.send(self._loaded)
        while True:
            self._speak(self._asked.get())

    def _accept(self, message: Any) -> None:
        match message:
            case Stop():
                os._exit(0)  # whatever upstream's threads are doing
            case Abandon():
                self._speaker.abandon(message.number)
            case _:
                self._asked.put(message)

    def _speak(self, asked: Speak) -> None:
        try:
            for samples in self._speaker.speak(asked):
                self._line.send(Sound(asked.number, samples))
        except Abandoned:
            self._line.send(Failed(asked.number, "abandoned"))
        except Exception as error:
            log.exception("synthesis failed")
            self._line.send(Failed(asked.number, type(error).__name__))
            if lost_device(error):
                os._exit(1)
        else:
            self._line.send(Done(asked.number))

    def _progress(self, number: int) -> None:
        now = time.monotonic()
        if now - self._told_at >= PROGRESS_S:
            self._told_at = now
            self._line.send(Progress(number))

    def _died(self, number: int, error: BaseException) -> None:
        log.error("a thread has died, and this process ends", exc_info=error)
        try:
            self._line.send(Failed(number, type(error).__name__))
        finally:
            os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
