"""Start some programs as one: all of them serve in the end, or none of them is left. What ran before goes on."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.operations import logs, pidfile, probe, processes
from scripts.operations.services import Launch, family

POLL_S = 0.2
MIN_FREE_BYTES = 20_000_000
FAILED_START_GRACE_S = 10.0
LAUNCHER = "scripts.operations.launch"
ROOT = Path(__file__).resolve().parents[2]

Say = Callable[[str], None]


class StartFailed(Exception):
    """The message holds the reason and, where a program ran, the end of its log."""


@dataclass
class Running:
    launch: Launch
    child: subprocess.Popen[bytes]
    began: float = field(default_factory=time.monotonic)
    ready_s: float | None = None
    last: str = "no answer yet"
    health: Mapping[str, Any] = field(default_factory=dict)  # what it says of itself, once it is healthy


@contextlib.contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """One start or stop at a time. The lock is on the folder itself and ends with the process: nothing is left to clean."""
    run_dir.mkdir(parents=True, exist_ok=True)
    handle = os.open(run_dir, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StartFailed("another start or stop is at work right now: wait until it is done") from None
    else:
        yield
    finally:
        os.close(handle)


def start(
    launches: Sequence[Launch],
    run_dir: Path,
    *,
    timeout_s: float,
    say: Say,
    instead: bool = False,
    grace_s: float = 45.0,
) -> list[Running]:
    """Raises StartFailed, after everything that it had started was ended again (on any other exception too).

    With `instead`, those of them that run are stopped first, and have `grace_s` for it."""
    names = {family(launch.name) for launch in launches}
    with locked(run_dir):
        check(launches, run_dir, instead=instead)
        _forget_the_dead(run_dir, names, say)
        _end([item for item in pidfile.read_all(run_dir) if family(item.name) in names], run_dir, grace_s, say)
        _require_ports(launches)
        running: list[Running] = []
        try:
            for launch in launches:
                running.append(_spawn(launch, run_dir))
                say(f"{launch.name}: starting, PID {running[-1].child.pid}, log {launch.log}")
            _wait_until_healthy(running, timeout_s, say)
        except BaseException:
            _abandon(running, run_dir)
            raise
    return running


def check(launches: Sequence[Launch], run_dir: Path, *, instead: bool = False) -> None:
    """Raises StartFailed for what would keep them from starting and can be seen before."""
    if not launches:
        raise StartFailed("there is no service to start")
    names = {family(launch.name) for launch in launches}
    running = [item for item in _known(run_dir) if item.running]
    ours = [item for item in running if family(item.name) in names]
    if ours and not instead:
        raise StartFailed(_already_running(names, ours, launches))
    _require_ports([launch for launch in launches if launch.url not in {item.url for item in ours}])
    for folder in {run_dir, *(launch.log.parent for launch in launches)}:
        _require_room(folder)


def _already_running(names: Collection[str], running: Sequence[pidfile.PidFile], launches: Sequence[Launch]) -> str:
    which = ", ".join(f"{item.name} (PID {item.pid}, {item.url})" for item in running)
    there = {family(item.name) for item in running}
    stop = " ".join(["./scripts/stop_services.sh", *sorted(there)])
    absent = list(dict.fromkeys(family(launch.name) for launch in launches if family(launch.name) not in there))
    alone = f" To start the others beside: --only {','.join(absent)}" if absent else ""
    return f"already running: {which}. Stop it first ({stop}), or start it again with --restart.{alone}"


def stop(run_dir: Path, *, grace_s: float, say: Say, names: Collection[str] = ()) -> bool:
    """Ends what the PID files name, or of that the services `names`. False when a file was damaged and therefore left alone."""
    if not run_dir.is_dir():
        say("nothing is running")
        return True
    clean = True
    with locked(run_dir):
        known: list[pidfile.PidFile] = []
        for path in sorted(run_dir.glob(f"*{pidfile.SUFFIX}")):
            if names and family(path.name.removesuffix(pidfile.SUFFIX)) not in names:
                continue
            try:
                known.append(pidfile.read(path))
            except pidfile.DamagedPidFile as error:
                say(str(error))
                clean = False
        _end(known, run_dir, grace_s, say)
        for name in names:
            if clean and not any(family(item.name) == name for item in known):
                say(f"{name}: is not running")
        if not known and clean and not names:
            say("nothing is running")
    return clean


def _end(known: Sequence[pidfile.PidFile], run_dir: Path, grace_s: float, say: Say) -> None:
    running = {item.pid for item in known if item.running}
    killed = processes.end([item.process for item in known], grace_s)
    for item in known:
        pidfile.remove(run_dir, item.name)
    for item in known:
        if item.process in killed:
            say(f"{item.name}: killed (PID {item.pid}), it had not ended after {grace_s:g} s")
        elif item.pid in running:
            say(f"{item.name}: stopped (PID {item.pid})")
        else:
            say(f"{item.name}: was not running any more (PID {item.pid})")


def _require_ports(launches: Sequence[Launch]) -> None:
    for launch in launches:
        fault = probe.port_fault(launch.host, launch.port)
        if fault is not None:
            setting = launch.port_setting or f"{family(launch.name).upper()}_PORT"
            raise StartFailed(
                f"{launch.name} cannot listen on {launch.host}:{launch.port}: {fault}. "
                f"Stop what uses it (ss -ltnp 'sport = :{launch.port}'), or set {setting}"
            )


def _require_room(folder: Path) -> None:
    """PID files and logs go here: a service that cannot write them dies without a word."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        raise StartFailed(
            f"No space left on the disk of {folder}: {free // 1000} kB free, at least {MIN_FREE_BYTES // 1000} kB are "
            "needed for PID files and logs. Free some and start again"
        )


def _known(run_dir: Path) -> list[pidfile.PidFile]:
    try:
        return pidfile.read_all(run_dir)
    except pidfile.DamagedPidFile as error:
        raise StartFailed(str(error)) from error


def _forget_the_dead(run_dir: Path, names: Collection[str], say: Say) -> None:
    """Of the services to be started; where none runs a start begins anew, and all are forgotten."""
    known = pidfile.read_all(run_dir)
    anew = not any(item.running for item in known)
    for item in known:
        if not item.running and (anew or family(item.name) in names):
            processes.end([item.process], 0.0)  # it died; what it left behind would hold memory and GPU
            pidfile.remove(run_dir, item.name)
            say(f"{item.name}: removed the PID file of a service that has died (PID {item.pid})")


def _spawn(launch: Launch, run_dir: Path) -> Running:
    with logs.open_for_service(launch.log) as log:
        child = subprocess.Popen(
            [
                *(sys.executable, "-m", LAUNCHER, str(run_dir.resolve()), launch.name, launch.url, str(launch.log)),
                *launch.command,
            ],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # cuda:N then means the N of nvidia-smi, which a plan counts by; CUDA's own order is "fastest first".
            env={"CUDA_DEVICE_ORDER": "PCI_BUS_ID", **os.environ, **launch.environment},
        )
    return Running(launch, child)


def _wait_until_healthy(running: Sequence[Running], timeout_s: float, say: Say) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        for item in running:
            _look_at(item, say)
        waiting = [item for item in running if item.ready_s is None]
        if not waiting:
            return
        if time.monotonic() > deadline:
            item = waiting[0]
            raise StartFailed(
                f"{item.launch.name} was not healthy after {timeout_s:g} s (last: {item.last}); "
                f"give it longer with --timeout-s.\n{_tail(item)}"
            )
        time.sleep(POLL_S)


def _look_at(item: Running, say: Say) -> None:
    name = item.launch.name
    status = item.child.poll()
    if status is not None:
        how = f"was killed by signal {-status}" if status < 0 else f"ended with exit status {status}"
        raise StartFailed(f"{name} {how} while it was starting.\n{_tail(item)}")
    if item.ready_s is not None:
        return
    health = probe.health(item.launch.url)
    if health.status == "unhealthy":
        raise StartFailed(f"{name} is unhealthy: {health.reason}\n{_tail(item)}")
    if health.status == "healthy":
        item.ready_s = time.monotonic() - item.began
        item.health = health.body or {}
        say(f"{name}: ready after {item.ready_s:.1f} s{_engine_text(item.health)}")
    item.last = health.reason or health.status


def _engine_text(health: Mapping[str, Any]) -> str:
    """Which engine runs, of what parts, and in which languages."""
    parts = [f"{part} {health[part]}" for part in ("recogniser", "responder", "voice") if part in health]
    languages = health.get("languages")
    if isinstance(languages, list) and languages:
        parts.append(f"languages {', '.join(map(str, languages))}")
    engine = health.get("engine")
    return f", engine {engine}" + (f" ({'; '.join(parts)})" if parts else "") if engine else ""


def advice(running: Sequence[Running], language: str) -> str:
    """What would make things better, as the first service says that knows something; "" where none does."""
    for item in running:
        better = item.health.get("better")
        if isinstance(better, dict) and better:
            return str(better.get(language) or better.get("en") or next(iter(better.values())))
    return ""


def _abandon(running: Sequence[Running], run_dir: Path) -> None:
    leaders = [leader for item in running if (leader := processes.find(item.child.pid)) is not None]
    names = {item.launch.name for item in running}
    known = []
    with contextlib.suppress(pidfile.DamagedPidFile):  # a dead one may have left children
        known = [item.process for item in pidfile.read_all(run_dir) if item.name in names]
    processes.end([*leaders, *known], FAILED_START_GRACE_S)
    for item in running:
        item.child.wait()
        pidfile.remove(run_dir, item.launch.name)


def _tail(item: Running) -> str:
    lines = logs.tail(item.launch.log)
    return f"--- end of {item.launch.log} ---\n{lines}" if lines else f"({item.launch.log} is empty)"
