"""Stages without sound: texts whose lines become capitals, one part a line. What a line says tells them to misbehave."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from web_demo.archive.stages import Ended, Failed, Part, Result, Split, Task, Written
from web_demo.errors import SetupError


@dataclass(frozen=True)
class Capitals:
    """`[die]` in a line ends the process that works on it, `[fail]` fails its text, `[slow]` takes a while, `[once PATH]` ends the
    process if nothing is at PATH yet, and puts something there; `[orphan PATH]` its parent too."""

    batch_s: float = 3.0
    uses_gpu: bool = False
    is_remote: bool = False
    suffixes: dict[str, str] = field(default_factory=lambda: {"txt": ".txt"})
    made_by: dict[str, str] = field(
        default_factory=lambda: {"engine": "capitals", "model": "A-Z", "engine_version": "1"}
    )
    slow_s: float = 0.3
    start_error: str = ""

    def splitter(self) -> Lines:
        return Lines(self)

    def worker(self, device: str) -> Writer:
        return Writer(self)

    def joiner(self, task: Task) -> Joined:
        return Joined()


class Lines:
    def __init__(self, stages: Capitals) -> None:
        self._stages = stages

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def split(self, tasks: Iterable[Task]) -> AsyncGenerator[Split, None]:
        for task in tasks:
            for item in _lines(task):
                yield item


def _lines(task: Task) -> list[Split]:
    try:
        lines = Path(task.entry.place).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return [Failed(task.number, f"no text: {type(error).__name__}")]
    return [*(Part(task.number, at, 1.0, line) for at, line in enumerate(lines)), Ended(task.number, len(lines), 0)]


class Writer:
    def __init__(self, stages: Capitals) -> None:
        self._stages = stages

    async def start(self) -> None:
        if self._stages.start_error:
            raise SetupError(self._stages.start_error)

    async def close(self) -> None: ...

    async def work(self, parts: Sequence[Part]) -> Sequence[Result | Failed]:
        return [self._one(part) for part in parts]

    def _one(self, part: Part) -> Result | Failed:
        if "[die]" in part.work:
            os._exit(9)
        if "[once " in part.work:
            mark = Path(part.work.split("[once ")[1].rstrip("]"))
            if not mark.exists():
                mark.touch()
                os._exit(9)
        if "[orphan " in part.work:
            mark = Path(part.work.split("[orphan ")[1].rstrip("]"))
            if not mark.exists():
                mark.touch()
                os.kill(os.getppid(), signal.SIGKILL)
                os._exit(9)
        if "[slow]" in part.work:
            time.sleep(self._stages.slow_s)
        if "[fail]" in part.work:
            return Failed(part.number, "told to fail")
        return Result(part.number, part.index, part.work.upper(), 0.5)


class Joined:
    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, value: str) -> None:
        self._lines.append(value)

    def abandon(self) -> None: ...

    def end(self, facts: int, took_s: float) -> Written:
        return Written({"txt": "\n".join(self._lines).encode()}, {"seconds": float(len(self._lines)), "words": facts})
