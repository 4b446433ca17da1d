"""CPU work in threads."""

import asyncio
import os
import sys
import threading

import pytest

from utils.threads import behind, in_background, off_loop


async def test_work_runs_in_another_thread_and_its_result_comes_back():
    def work(left: int, *, right: int) -> tuple[int, int]:
        return left + right, threading.get_ident()

    total, thread = await off_loop(work, 2, right=3)
    assert total == 5
    assert thread != threading.get_ident()


async def test_what_the_work_raises_is_raised():
    def work() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        await off_loop(work)


async def test_the_loop_goes_on_while_work_runs():
    go_on = threading.Event()
    task = asyncio.create_task(off_loop(go_on.wait))
    for _ in range(5):
        await asyncio.sleep(0)  # would never return if the loop were held
    assert not task.done()
    go_on.set()
    assert await task


async def test_a_cancelled_caller_waits_until_the_work_has_ended():
    began, go_on = threading.Event(), threading.Event()
    ended = False

    def work() -> None:
        nonlocal ended
        began.set()
        go_on.wait()
        ended = True

    task = asyncio.create_task(off_loop(work))
    await asyncio.to_thread(began.wait)
    task.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended


async def test_what_somebody_waits_for_does_not_stand_behind_the_background() -> None:
    free = threading.Event()
    waiting = [asyncio.create_task(in_background(free.wait)) for _ in range(50)]
    try:
        assert await asyncio.wait_for(off_loop(lambda: "done"), 10) == "done"
        assert not any(task.done() for task in waiting)
    finally:
        free.set()
    assert await asyncio.gather(*waiting) == [True] * 50


async def test_long_work_goes_behind_piece_by_piece_at_a_lower_priority():
    threads, running = set(), 0

    def work() -> int:
        nonlocal running
        running += 1
        assert running == 1
        threads.add(threading.get_native_id())
        running -= 1
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) if sys.platform == "linux" else 1

    ours = os.getpriority(os.PRIO_PROCESS, 0) if sys.platform == "linux" else 0
    priorities = await asyncio.gather(*(behind(work) for _ in range(20)))
    assert min(priorities) > ours
    assert len(threads) == 1
    if sys.platform == "linux":
        assert await off_loop(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())) == ours
