"""The child with the speech LM in vLLM: `python -m web_demo.models.cosyvoice3.lm.vllm.worker FD`, started by its supervisor only,
in vLLM's own environment."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from typing import Any

from web_demo.children.line import Line, Started, StartFailed, Stop, of_this_process

from .messages import Begin, Drop, Spoken, Step

log = logging.getLogger("vllm-lm")


def main() -> int:
    line = of_this_process()
    asked = line.receive()
    if asked is None:
        return 0  # the parent went away first
    try:
        from .engine import SpeechEngine

        engine = SpeechEngine(asked)
    except ImportError as error:
        line.send(StartFailed(f"{sys.prefix} has no vLLM that fits ({error}): ./scripts/full_setup.sh --with-vllm"))
        return 1
    except Exception as error:
        log.exception("vLLM cannot load the speech LM")
        line.send(StartFailed(f"{type(error).__name__}: {error}"))
        return 1
    received: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def accept(message: Any) -> None:
        if isinstance(message, Stop):
            os._exit(0)  # whatever vLLM is doing
        received.put(message)

    threading.Thread(target=line.read, args=(accept,), name="line", daemon=True).start()
    line.send(Started())
    while True:
        while not engine.busy or not received.empty():
            _obey(engine, line, received.get())
        if spoken := tuple(engine.step()):
            line.send(Step(spoken))


def _obey(engine: Any, line: Line, message: Begin | Drop) -> None:
    if isinstance(message, Drop):
        engine.drop(message.number)
        return
    try:
        engine.begin(message)
    except ValueError as error:
        line.send(Step((Spoken(message.number, (), ended=True, error=str(error)),)))


if __name__ == "__main__":
    sys.exit(main())
