"""Which process is meant, beyond doubt: a PID together with the moment it was started.

A PID alone is reused by the system. Every service leads a session (and so a process group) of its own, which its children
belong to: ending a service means asking the leader, which drains and ends its children, and then making sure of the group.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

POLL_S = 0.05
_PROC = Path("/proc/self/stat")  # Linux; elsewhere `ps` is asked


@dataclass(frozen=True)
class Process:
    """`started` is opaque: equal for two sightings of a PID only if they saw one and the same process."""

    pid: int
    started: str


def find(pid: int) -> Process | None:
    """The process that has this PID now; None when there is none, or when it is dead and only not yet reaped."""
    if not _PROC.exists():
        return _find_with_ps(pid)
    fields = _stat_fields(pid)
    if fields is None or fields[0] in ("Z", "X"):
        return None
    return Process(pid, f"{_boot()}/{fields[19]}")


def is_alive(process: Process) -> bool:
    return find(process.pid) == process


def group_of(leader: Process) -> list[Process]:
    """The living members of the process group that `leader` founded, itself included.

    A group outlives its leader, and as long as it has a member the system gives its number to no new process. So where the
    leader is gone and nobody has its PID, whoever is in the group is a child it left behind.
    """
    now = find(leader.pid)
    if now not in (None, leader) or not leader.started.startswith(_boot()):
        return []
    if _PROC.exists():
        numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        pairs = [(pid, int(fields[2])) for pid in numbers if (fields := _stat_fields(pid)) is not None]
    else:
        pairs = [(int(pid), int(group)) for pid, group in map(str.split, _ps("-A", "-o", "pid=,pgid=").splitlines())]
    found = (find(pid) for pid, group in pairs if group == leader.pid)
    return [process for process in found if process is not None]


def end(leaders: Sequence[Process], grace_s: float) -> list[Process]:
    """SIGTERM to each leader, up to `grace_s` seconds for all of them to drain, then SIGKILL for whatever is left of their
    groups. Returns the leaders that had to be killed. A PID that meanwhile belongs to another process is left alone."""
    for leader in leaders:
        _send(leader, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while any(map(is_alive, leaders)) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    killed = [leader for leader in leaders if is_alive(leader)]
    while left := [member for leader in leaders for member in group_of(leader)]:
        for member in left:
            _send(member, signal.SIGKILL)
        time.sleep(POLL_S)
    return killed


def _send(process: Process, number: signal.Signals) -> None:
    if is_alive(process):
        with contextlib.suppress(ProcessLookupError):  # it ended by itself just now
            os.kill(process.pid, number)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip() if _PROC.exists() else ""


def _stat_fields(pid: int) -> list[str] | None:
    """/proc/PID/stat from its third field on (the second, the name, may hold spaces and brackets): state, parent, group, …;
    the start time in clock ticks since boot is at index 19."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def _find_with_ps(pid: int) -> Process | None:
    state, _, started = _ps("-o", "state=,lstart=", "-p", str(pid)).strip().partition(" ")
    return Process(pid, started.strip()) if state and not state.startswith("Z") else None


def _ps(*options: str) -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(["ps", *options], capture_output=True, text=True, check=False, env=environment).stdout
