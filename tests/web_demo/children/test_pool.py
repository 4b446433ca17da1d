import asyncio
import functools
import os
import signal
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.talk import until
from utils.turns import Turn
from web_demo.children.pool import NICE, WorkerPool
from web_demo.errors import EngineFailed, SetupError, Unavailable


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """A new process takes its time on a busy machine."""
    monkeypatch.setattr("web_demo.children.pool.PATIENCE_S", 60.0)


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


def build_importer():
    def imported(name: str) -> str:
        return __import__(name).VALUE

    return imported


async def test_a_worker_finds_the_modules_that_the_service_was_given(tmp_path, monkeypatch):
    """A service may be started with packages of its own on PYTHONPATH."""
    (tmp_path / "only_there.py").write_text("VALUE = 'found'")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    pool = WorkerPool("test", build_importer, 1)
    await pool.start()
    try:
        assert await pool.run("only_there") == "found"
    finally:
        await pool.close()


@pytest.mark.parametrize(
    ("build", "reason"),
    [(build_nothing, "the model is not there"), (build_and_die, r"ended at its start \(exit status 3\)")],
)
async def test_a_pool_that_cannot_start_says_why(build, reason):
    pool = WorkerPool("test", build, 2)
    with pytest.raises(SetupError, match=reason):
        await pool.start()
    await pool.close()


def build_counted(folder: Path, dies: tuple[int, ...] = ()):
    """A doubler; the builds with these numbers end their process instead. A negative task does so as well."""
    number = len(list(folder.iterdir()))
    (folder / str(number)).touch()
    if number in dies:
        os._exit(4)

    def double(task: int) -> int:
        return 2 * task if task >= 0 else os._exit(5)

    return double


def kill(pids):
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.long
async def test_a_pool_that_lost_all_workers_again_and_again_comes_back(tmp_path):
    """Also when those that were to replace them die at their start."""
    pool = WorkerPool("test", functools.partial(build_counted, tmp_path, (2, 3, 4)), 2)
    assert pool.fault() is None
    await pool.start()
    try:
        for _ in range(2):
            assert (pool.capacity, pool.fault()) == (2, None)
            kill(pool.pids)
            await until(lambda: pool.capacity == 0)
            assert pool.fault().startswith("none of 2 test workers is running: the test worker process is restarting")
            assert await pool.run(21) == 42
            await until(lambda: pool.capacity == 2)
    finally:
        await pool.close()
    assert len(list(tmp_path.iterdir())) == 2 + 3 + 2 + 2


async def test_one_lost_worker_is_lost_capacity_and_no_fault(tmp_path):
    pool = WorkerPool("test", functools.partial(build_counted, tmp_path), 2)
    await pool.start()
    try:
        kill(pool.pids[:1])
        await until(lambda: pool.capacity == 1)
        assert pool.fault() is None
        assert pool.lost().startswith("1 of 2 test workers do not run: the test worker process is restarting")
        assert await pool.run(1) == 2
        await until(lambda: pool.capacity == 2)
        assert pool.lost() == ""
    finally:
        await pool.close()


async def test_a_task_whose_worker_is_killed_is_done_by_another():
    pool = WorkerPool("test", build_sleeper, 2)
    await pool.start()
    try:
        running = asyncio.create_task(pool.run(0.5))
        await until(lambda: any(not worker.free for worker in pool._workers))
        kill(worker.child.pid for worker in pool._workers if not worker.free)
        assert await running is None
    finally:
        await pool.close()


async def test_a_task_that_kills_two_workers_is_to_blame_and_the_others_do_not_notice(tmp_path):
    pool = WorkerPool("test", functools.partial(build_counted, tmp_path), 2)
    await pool.start()
    try:
        deadly, other = await asyncio.gather(pool.run(-1), pool.run(4), return_exceptions=True)
        assert isinstance(deadly, EngineFailed)
        assert "died twice" in deadly.message
        assert other == 8
        assert await pool.run(5) == 10
    finally:
        await pool.close()


async def test_without_a_worker_for_long_a_task_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("web_demo.children.pool.PATIENCE_S", 0.1)
    monkeypatch.setattr("web_demo.children.supervisor.FIRST_BACKOFF_S", 60.0)
    pool = WorkerPool("test", functools.partial(build_counted, tmp_path), 1)
    await pool.start()
    try:
        kill(pool.pids)
        await until(lambda: pool.capacity == 0)
        with pytest.raises(Unavailable, match="none of 1 test workers is running"):
            await pool.run(1)
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
        await pool.close()
        with pytest.raises(Unavailable):
            await running
    assert pool.pids == ()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def build_sleeper():
    return time.sleep


@asynccontextmanager
async def one_worker(build):
    """A pool of one, and the worker's process id."""
    pool = WorkerPool("test", build, 1)
    await pool.start()
    try:
        (pid,) = pool.pids
        yield pool, pid
    finally:
        await pool.close()


@pytest.mark.parametrize("busy", [False, True])
async def test_a_worker_that_was_stopped_is_replaced_and_its_task_done_by_another(monkeypatch, busy):
    """SIGSTOP: it lives, and neither works nor answers. Also one that was idle, before anybody waits for it."""
    monkeypatch.setattr("web_demo.children.supervisor.PING_S", 0.2)
    monkeypatch.setattr("web_demo.children.supervisor.IDLE_S", 1.0)
    async with one_worker(build_sleeper) as (pool, pid):
        running = asyncio.create_task(pool.run(0.5)) if busy else None
        await asyncio.sleep(0.1)
        os.kill(pid, signal.SIGSTOP)
        if running is not None:
            assert await running is None
        await until(lambda: pool.pids and pool.pids != (pid,))
        assert await pool.run(0.0) is None


def build_spinner():
    return lambda count: sum(range(count))  # one call, which keeps the GIL


@pytest.mark.parametrize("told", [True, False], ids=["seen to work", "on a system without /proc"])
async def test_a_worker_that_works_and_cannot_answer_is_let_work(monkeypatch, told):
    if not told:
        monkeypatch.setattr("web_demo.children.supervisor._cpu_s", lambda pid: None)
    monkeypatch.setattr("web_demo.children.supervisor.PING_S", 0.05)
    monkeypatch.setattr("web_demo.children.supervisor.IDLE_S", 0.6)
    async with one_worker(build_spinner) as (pool, pid):
        assert await pool.run(100_000_000) == 4999999950000000
        assert pool.pids == (pid,)


async def test_a_service_that_stood_still_itself_kills_no_worker(monkeypatch):
    monkeypatch.setattr("web_demo.children.supervisor.PING_S", 0.2)
    monkeypatch.setattr("web_demo.children.supervisor.IDLE_S", 1.0)
    async with one_worker(build_sleeper) as (pool, pid):
        time.sleep(2.0)  # noqa: ASYNC251 - what stands still
        await asyncio.sleep(0.5)
        assert pool.pids == (pid,)
        assert await pool.run(0.0) is None


def build_looker():
    """Tells which process it is, and its priority, when it has waited so long."""

    def look(wait_s: float) -> tuple[int, int]:
        time.sleep(wait_s)
        return os.getpid(), os.getpriority(os.PRIO_PROCESS, 0)

    return look


async def test_turns_in_the_background_have_a_worker_of_a_lower_priority_unless_only_one_kind_runs(monkeypatch):
    monkeypatch.setattr("web_demo.children.supervisor.FIRST_BACKOFF_S", 60.0)
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    pool = WorkerPool("test", build_looker, 1, background=1)
    await pool.start()
    try:
        front, behind = pool.pids
        assert pool.capacity == 1
        for turn in (None, Turn("a", background=False)):
            assert await asyncio.gather(*(pool.run(0.0, turn=turn) for _ in range(3))) == [(front, ours)] * 3
        later = Turn("a", background=True)
        found = await asyncio.gather(*(pool.run(0.0, turn=later) for _ in range(3)))
        assert found == [(behind, min(ours + NICE, 19))] * 3
        kill([front])
        await until(lambda: pool.pids == (behind,))
        assert (pool.capacity, pool.fault()) == (0, None)
        assert pool.lost().startswith("1 of 2 test workers do not run")
        assert (await pool.run(0.0))[0] == behind
    finally:
        await pool.close()


async def test_a_turn_lasts_while_the_worker_is_busy_with_what_was_cancelled():
    async with one_worker(build_sleeper) as (pool, _):
        turn = Turn("a", background=False)
        running = asyncio.create_task(pool.run(0.5, turn=turn))
        await until(lambda: turn.work is not None)
        running.cancel()
        await asyncio.wait({running})
        assert turn.work is not None
        await turn.work
        assert turn.work is None
        assert pool._workers[0].free


async def test_a_turn_does_not_outlast_the_worker_that_died_over_it():
    async with one_worker(build_sleeper) as (pool, pid):
        turn = Turn("a", background=False)
        running = asyncio.create_task(pool.run(60.0, tries=1, turn=turn))
        await until(lambda: turn.work is not None)
        kill([pid])
        with pytest.raises(EngineFailed):
            await running
        assert turn.work is None
