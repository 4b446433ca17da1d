"""Real processes, none of them ours but those started here."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from scripts.operations import processes
from scripts.operations.processes import Process


@contextmanager
def sleeper(code: str = "import signal; print('up', flush=True); signal.pause()") -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        yield child
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # its children too: they hold its end of the pipe
        child.communicate()


def found(pid: int) -> Process:
    process = processes.find(pid)
    assert process is not None
    return process


def test_a_process_is_the_same_at_every_look_and_another_one_is_not() -> None:
    with sleeper() as child:
        assert found(child.pid) == found(child.pid)
        assert processes.is_alive(found(child.pid))
        assert found(child.pid) != found(os.getpid())


def test_a_reused_pid_is_recognised_and_the_new_owner_is_left_alone() -> None:
    with sleeper() as child:
        before = Process(child.pid, found(child.pid).started + "0")
        assert not processes.is_alive(before)
        assert processes.group_of(before) == []
        assert processes.end([before], grace_s=0.0) == []
        assert child.poll() is None


def test_a_pid_from_before_a_reboot_owns_no_group() -> None:
    with sleeper() as child:
        ticks = found(child.pid).started.rpartition("/")[2]
        assert processes.end([Process(child.pid, f"another-boot/{ticks}")], grace_s=0.0) == []
        assert child.poll() is None


def test_a_dead_process_that_nobody_has_reaped_counts_as_gone() -> None:
    with sleeper() as child:
        process = found(child.pid)
        os.kill(child.pid, signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert processes.find(child.pid) is None
        assert not processes.is_alive(process)


def test_end_asks_first_and_the_process_ends_by_itself() -> None:
    code = "import signal,sys; signal.signal(15, lambda *_: sys.exit(7)); print('up', flush=True); signal.pause()"
    with sleeper(code) as child:
        assert processes.end([found(child.pid)], grace_s=30.0) == []
        assert child.wait() == 7


def test_a_process_that_will_not_end_is_killed_with_its_children() -> None:
    code = (
        "import signal,subprocess,sys; signal.signal(15, signal.SIG_IGN);"
        "subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']);"
        "print('up', flush=True); signal.pause()"
    )
    with sleeper(code) as child:
        leader = found(child.pid)
        members = processes.group_of(leader)
        assert len(members) == 2
        assert processes.end([leader], grace_s=0.1) == [leader]
        assert not any(map(processes.is_alive, members))


def test_children_that_a_dead_leader_left_behind_are_ended() -> None:
    code = (
        "import signal,subprocess,sys; subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']);"
        "print('up', flush=True); signal.pause()"
    )
    with sleeper(code) as child:
        leader = found(child.pid)
        orphan = next(member for member in processes.group_of(leader) if member != leader)
        child.kill()
        child.wait()
        assert processes.is_alive(orphan)
        processes.end([leader], grace_s=0.0)
        assert not processes.is_alive(orphan)


def test_ps_gives_an_identity_where_there_is_no_proc(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(processes, "_PROC", tmp_path / "absent")
    with sleeper() as child:
        process = found(child.pid)
        assert processes.is_alive(process)
        assert processes.group_of(process) == [process]
        child.kill()
        child.wait()
        assert not processes.is_alive(process)
