import os

import pytest

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


async def test_a_closed_pool_is_unavailable():
    pool = WorkerPool("test", build_doubler, 1)
    with pytest.raises(Unavailable):
        await pool.run(1)
    await pool.start()
    await pool.close()
    with pytest.raises(Unavailable):
        await pool.run(1)
