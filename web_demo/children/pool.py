"""Worker processes for work that holds the GIL: tasks out, results back, in any number of supervised children.

A worker builds its handler once and then answers one task at a time. Tasks and results are pickled: they pass between our
own processes only.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from web_demo.children.supervisor import Supervisor
from web_demo.errors import EngineFailed, Unavailable

Task = TypeVar("Task")
Result = TypeVar("Result")

START_TIMEOUT_S = 60.0
PATIENCE_S = 10.0  # how long a task waits for a worker when all of them are gone, unless told otherwise
SILENT_S = 120.0  # a task that holds the GIL keeps its worker from answering pings
NICE = 10  # of workers in the background: beside another process that computes they get a tenth of a core


class Turn(Protocol):
    """What a task is done in: one of `utils/turns.py`."""

    @property
    def background(self) -> bool: ...
    def lasts_until(self, work: asyncio.Future[Any]) -> None: ...


@dataclass(frozen=True)
class Work:
    """One task, as it goes to a worker."""

    number: int
    task: Any


@dataclass(frozen=True)
class Answer:
    """`error` "" : `result` is what the handler returned; else what it raised. The worker lives on."""

    number: int
    result: Any = None
    error: str = ""


class _Worker:
    """One supervised child and the answer that it owes."""

    def __init__(
        self,
        name: str,
        build: Callable[[], Callable[[Any], Any]],
        changed: Callable[[], None],
        ready_timeout_s: float,
        background: bool,
    ) -> None:
        self.background = background
        self._changed = changed
        self._owed: asyncio.Future[Answer | None] | None = None
        self._number = 0
        self.child = Supervisor(
            f"{name} worker",
            "web_demo.children.worker",
            partial(_build_nice, build) if background else build,
            on_message=self._answered,
            on_death=self.drop,
            on_back=changed,
            ready_timeout_s=ready_timeout_s,
            silent_s=SILENT_S,
            stop_s=0,  # it has nothing to put in order
        )

    @property
    def free(self) -> bool:
        return self._owed is None and self.child.fault() is None

    def ask(self, task: object) -> asyncio.Future[Answer | None]:
        """The answer, None when the worker dies over it."""
        self._number += 1
        self.child.send(Work(self._number, task))
        self._owed = asyncio.get_running_loop().create_future()
        return self._owed

    def drop(self) -> None:
        self._settle(None)

    def _answered(self, answer: Answer) -> None:
        if answer.number == self._number:
            self._settle(answer)

    def _settle(self, answer: Answer | None) -> None:
        owed, self._owed = self._owed, None
        if owed is not None and not owed.done():
            owed.set_result(answer)
        self._changed()


class WorkerPool(Generic[Task, Result]):
    """`build`, a module-level function, runs once in each worker and returns the handler of tasks.

    A task whose worker dies is given to another one, once; if that dies as well, the task is to blame and fails. Dead
    workers are started again for ever. A cancelled `run` returns at once, and the worker takes its next task when it is
    through with the abandoned one: keep tasks short (decoding a few seconds of speech costs less than a new process).

    `background`: so many workers more, which do the tasks of turns in the background and leave the processors to all others
    (`nice`; for their whole lives, since no process may take that back).
    """

    def __init__(
        self,
        name: str,
        build: Callable[[], Callable[[Task], Result]],
        size: int,
        *,
        background: int = 0,
        ready_timeout_s: float = START_TIMEOUT_S,
        patience_s: float | None = None,
    ) -> None:
        self._name = name
        self._changed = asyncio.Event()
        self._workers = tuple(
            _Worker(name, build, self._changed.set, ready_timeout_s, number >= size)
            for number in range(size + background)
        )
        self._patience_s = PATIENCE_S if patience_s is None else patience_s
        self._running = False

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(worker.child.pid for worker in self._workers if worker.child.pid is not None)

    @property
    def capacity(self) -> int:
        """Workers that serve now, or are expected to before the start; those in the background do not count."""
        return sum(not (worker.background or (self._running and worker.child.pid is None)) for worker in self._workers)

    def lost(self) -> str:
        """Which workers do not serve at this moment, and why; "" while all do."""
        faults = [fault for worker in self._workers if (fault := worker.child.fault()) is not None]
        if not self._running or not faults:
            return ""
        return f"{len(faults)} of {len(self._workers)} {self._name} workers do not run: {faults[0]}"

    def fault(self) -> str | None:
        """Why there is no worker at this moment."""
        if not self._running or self.pids:
            return None
        reason = self._workers[0].child.fault()
        return f"none of {len(self._workers)} {self._name} workers is running: {reason}"

    async def start(self) -> None:
        """All workers up and warm. Raises SetupError when one cannot start."""
        starts = await asyncio.gather(*(worker.child.start() for worker in self._workers), return_exceptions=True)
        for failure in starts:
            if isinstance(failure, BaseException):
                await self.close()
                raise failure
        self._running = True

    async def close(self) -> None:
        """Tasks under way fail. May be called more than once."""
        self._running = False
        await asyncio.gather(*(worker.child.close() for worker in self._workers))
        for worker in self._workers:
            worker.drop()

    async def run(self, task: Task, *, tries: int = 2, turn: Turn | None = None) -> Result:
        """The handler's result. `turn` says which workers do it, and lasts as long as one does. Raises EngineFailed when the
        handler raised or `tries` workers died over the task, Unavailable when there is no worker and none comes back soon."""
        for _ in range(tries):
            worker = await self._free_worker(background=turn is not None and turn.background)
            answering = worker.ask(task)
            if turn is not None:
                turn.lasts_until(answering)
            answer = await asyncio.shield(answering)
            if answer is None:
                continue
            if answer.error:
                raise EngineFailed(f"the {self._name} engine could not finish this request: {answer.error}")
            result: Result = answer.result
            return result
        raise EngineFailed(
            f"the {self._name} engine could not finish this request: its worker process died "
            f"{'twice ' if tries == 2 else ''}over it"
        )

    async def _free_worker(self, *, background: bool) -> _Worker:
        """No await between the look and the use: whoever sees a free worker has it."""
        while True:
            if not self._running:
                raise Unavailable(f"the {self._name} workers are not running")
            if (worker := self._free(background=background)) is not None:
                return worker
            self._changed.clear()
            try:
                async with asyncio.timeout(self._patience_s):
                    await self._changed.wait()
            except TimeoutError:
                if (fault := self.fault()) is not None:
                    raise Unavailable(f"{fault}; please try again in a moment") from None

    def _free(self, *, background: bool) -> _Worker | None:
        """Of those for it; of all, while none of those runs."""
        right = [worker for worker in self._workers if worker.background is background and worker.child.pid is not None]
        return next((worker for worker in right or self._workers if worker.free), None)


def _build_nice(build: Callable[[], Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """In the worker, once it is built: on a busy machine the start would take too long."""
    handle = build()
    os.nice(NICE)
    return handle
