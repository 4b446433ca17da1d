"""Worker processes for engines that hold the GIL while they work.

Each worker is a spawned process (never a fork of a process that has threads) which builds its handler once and then
answers one task at a time over its own pipe. Tasks and results are pickled: they pass between our own processes only.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from web_demo.errors import EngineFailed, SetupError, Unavailable

log = logging.getLogger(__name__)

Task = TypeVar("Task")
Result = TypeVar("Result")

START_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class _Failed:
    """What a worker sends when its handler raised: the worker itself lives on."""

    reason: str


@dataclass(frozen=True)
class _Ready:
    pass


@dataclass(frozen=True, eq=False)
class _Worker:
    process: BaseProcess
    pipe: Connection


class WorkerPool(Generic[Task, Result]):
    """`build`, a module-level function, runs once in each worker and returns the handler of tasks.

    A worker that dies fails the task it had with EngineFailed and is replaced; other tasks do not notice. A cancelled
    `run` returns at once, and the worker takes its next task when it is through with the abandoned one: keep tasks
    short (decoding a few seconds of speech costs less than a new process).
    """

    def __init__(self, name: str, build: Callable[[], Callable[[Task], Result]], size: int) -> None:
        self._name = name
        self._build = build
        self._size = size
        self._context = multiprocessing.get_context("spawn")
        self._idle: asyncio.Queue[_Worker] = asyncio.Queue()
        self._workers: set[_Worker] = set()
        self._running: set[asyncio.Task[Any]] = set()
        self._threads: ThreadPoolExecutor | None = None
        self._closing = False

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(worker.process.pid or 0 for worker in self._workers)

    def fault(self) -> str | None:
        """Why there will be no result any more: the last worker died, and so did the one that was to replace it."""
        lost = self._threads is not None and not self._workers and not self._running
        return f"all workers of the {self._name} engine died; the service must be restarted" if lost else None

    async def start(self) -> None:
        """All workers up and warm. Raises SetupError when one cannot start."""
        self._threads = ThreadPoolExecutor(self._size, thread_name_prefix=f"{self._name}-pipe")
        failures: list[Exception] = []
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._size):
                    group.create_task(self._add_worker())
        except* SetupError as errors:
            failures += errors.exceptions  # raised here, Python before 3.11.4 would put it into another group
        if failures:
            raise failures[0]

    async def close(self) -> None:
        self._closing = True
        for worker in self._workers:
            worker.process.kill()  # its pipe breaks, so whoever waits for it fails
        while self._running:
            await asyncio.gather(*self._running, return_exceptions=True)
        workers, self._workers, self._idle = self._workers, set(), asyncio.Queue()
        for worker in workers:
            await self._bury(worker)
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None

    async def run(self, task: Task) -> Result:
        """The handler's result; raises EngineFailed when the handler raised or its worker died."""
        if self._threads is None:
            raise Unavailable(f"the {self._name} workers are not running")
        worker = await self._idle.get()
        serving = asyncio.create_task(self._serve(worker, task))
        self._running.add(serving)
        serving.add_done_callback(self._finished)
        answer = await asyncio.shield(serving)
        if isinstance(answer, _Failed):
            raise EngineFailed(f"the {self._name} engine could not finish this request: {answer.reason}")
        return answer

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, EngineFailed):
            log.error("worker pool failed name=%s", self._name, exc_info=error)

    async def _serve(self, worker: _Worker, task: Task) -> Result | _Failed:
        """One task on one worker, which goes back to the idle ones, or is replaced, whoever still waits for the result."""
        try:
            answer: Result | _Failed = await self._in_thread(_exchange, worker, task)
        except (EOFError, OSError):
            await self._bury(worker)
            if not self._closing:
                log.error("worker died name=%s pid=%s", self._name, worker.process.pid)
                self._replace()
            return _Failed("its worker process died")
        self._idle.put_nowait(worker)
        return answer

    async def _bury(self, worker: _Worker) -> None:
        """No worker any more: ended if it is not, reaped, its pipe closed."""
        self._workers.discard(worker)
        worker.process.kill()
        await asyncio.to_thread(worker.process.join)
        worker.pipe.close()

    def _replace(self) -> None:
        starting = asyncio.create_task(self._add_worker())
        self._running.add(starting)
        starting.add_done_callback(self._finished)

    async def _add_worker(self) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work, args=(theirs, self._build), name=f"{self._name}-worker", daemon=True
        )
        await asyncio.to_thread(process.start)
        theirs.close()
        worker = _Worker(process, ours)
        self._workers.add(worker)
        if self._closing:  # began while this one was on its way
            process.kill()
        try:
            first = await self._in_thread(_receive, worker, START_TIMEOUT_S)
        except (EOFError, OSError) as error:
            await self._bury(worker)
            raise SetupError(f"a worker process of the {self._name} engine died at start (see the log)") from error
        if not isinstance(first, _Ready):
            await self._bury(worker)
            raise SetupError(f"the {self._name} engine cannot start: {getattr(first, 'reason', 'no answer in time')}")
        self._idle.put_nowait(worker)

    async def _in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)


def _exchange(worker: _Worker, task: Any) -> Any:
    worker.pipe.send(task)
    return worker.pipe.recv()


def _receive(worker: _Worker, timeout_s: float) -> Any:
    return worker.pipe.recv() if worker.pipe.poll(timeout_s) else None


def _work(pipe: Connection, build: Callable[[], Callable[[Any], Any]]) -> None:
    """The life of a worker process: until its parent closes the pipe, by choice or by dying."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides when we end
    try:
        handle = build()
    except Exception as error:  # noqa: BLE001  # whatever it is, the parent reports it
        pipe.send(_Failed(f"{type(error).__name__}: {error}"))
        return
    pipe.send(_Ready())
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        try:
            answer = handle(task)
        except Exception as error:
            logging.getLogger(__name__).exception("task failed in a worker")
            answer = _Failed(f"{type(error).__name__}: {error}")
        pipe.send(answer)
