import asyncio
import functools
import os
import time
from pathlib import Path

import pytest

from tests.talk import until
from web_demo.engines.asr.workers import WorkerPool
from web_demo.errors import EngineFailed, SetupError, Unavailable


def build_doubler():
    def double(number: int) -> int:
        if number < 0:
            raise ValueError("negative")
        return 2 * number

    return double


def build_nothing():
    raise ValueError("the model is not there")


def build_and_die():
    os._exit(3)


async def test_a_handler_that_raises_fails_its_task_and_the_worker_lives_on():
    pool = WorkerPool("test", build_doubler, 1)
    await pool.start()
    (pid,) = pool.pids
    try:
        with pytest.raises(EngineFailed, match="ValueError: negative"):
            await pool.run(-1)
        assert await pool.run(21) == 42
        assert pool.pids == (pid,)
    finally:
        await pool.close()


@pytest.mark.parametrize(
    ("build", "reason"), [(build_nothing, "the model is not there"), (build_and_die, "died at start")]
)
async def test_a_pool_that_cannot_start_says_why(build, reason):
    pool = WorkerPool("test", build, 2)
    with pytest.raises(SetupError, match=reason):
        await pool.start()
    await pool.close()


def build_once(marker: Path):
    if marker.exists():
        raise MemoryError("no memory for another worker")
    marker.touch()
    return os._exit


async def test_a_pool_whose_last_worker_cannot_be_replaced_is_at_fault(tmp_path):
    pool = WorkerPool("test", functools.partial(build_once, tmp_path / "built"), 1)
    assert pool.fault() is None
    await pool.start()
    try:
        assert pool.fault() is None
        with pytest.raises(EngineFailed, match="died"):
            await pool.run(3)
        await until(lambda: pool.fault() is not None)
        assert pool.fault() == "all workers of the test engine died; the service must be restarted"
    finally:
        await pool.close()


async def test_a_closed_pool_is_unavailable():
    pool = WorkerPool("test", build_doubler, 1)
    with pytest.raises(Unavailable):
        await pool.run(1)
    await pool.start()
    await pool.close()
    with pytest.raises(Unavailable):
        await pool.run(1)


async def test_closing_while_a_task_runs_ends_it_and_leaves_no_process():
    pool = WorkerPool("tests", build_sleeper, 1)
    await pool.start()
    (pid,) = pool.pids
    running = asyncio.create_task(pool.run(60.0))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(20):
        await pool.close()
        with pytest.raises(EngineFailed):
            await running
    assert pool.pids == ()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def build_sleeper():
    return time.sleep
