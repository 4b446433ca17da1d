"""An event loop whose time jumps to the next timer as soon as nothing else is to be done: an hour passes in no time, and the
same way each time. For code without sockets, threads and processes; work for a thread pool is done in the loop itself.

A wait that nothing can end any more is an error at once, not a hang.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Stuck(RuntimeError):
    """Every task waits for another one."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """`steps` counts the loop's rounds; `at_step(n, work)` calls `work` at the beginning of the n-th round from now."""

    def __init__(self) -> None:
        self.steps = 0
        self._virtual_s = 0.0
        self._planned: dict[int, Callable[[], object]] = {}
        super().__init__(_Jump(self))

    def time(self) -> float:
        return self._virtual_s

    def at_step(self, number: int, work: Callable[[], object]) -> None:
        self._planned[self.steps + number] = work

    def advance(self, timeout_s: float | None) -> None:
        self.steps += 1
        if timeout_s is None:
            raise Stuck(
                "nothing is left that could happen: " + ", ".join(task.get_name() for task in asyncio.all_tasks(self))
            )
        self._virtual_s += max(timeout_s, 0.0)
        if work := self._planned.pop(self.steps, None):
            self.call_soon(work)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """In the next round, so that its caller can be cancelled while it waits."""
        future = self.create_future()
        self.call_soon(_run, future, func, args)
        return future


def _run(future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        result = func(*args)
    except Exception as error:  # noqa: BLE001 - it belongs to whoever waits
        future.set_exception(error)
    else:
        future.set_result(result)


class _Jump(selectors.SelectSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        self._loop.advance(timeout)
        return []


def run(main: Coroutine[Any, Any, T]) -> T:
    """The result of `main`, in virtual time from 0 on. Fails when a task or an asynchronous generator is left over."""
    loop = VirtualTimeLoop()
    generators: list[str] = []
    try:
        result = loop.run_until_complete(main)
        left = asyncio.all_tasks(loop)
        assert not left, f"tasks left behind: {[task.get_name() for task in left]}"
        generators = [repr(generator) for generator in loop._asyncgens if generator.ag_frame is not None]
        return result
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        assert not generators, f"generators left open: {generators}"
