"""A run over an archive: what is missing goes through the stages, each result is written whole, and each entry gets its row."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from utils.threads import off_loop
from web_demo.archive import names
from web_demo.archive.listing import Listing
from web_demo.archive.manifest import FAILED, FOLDER, MANIFEST, OK, Manifest, Row
from web_demo.archive.progress import Display, Progress, hours
from web_demo.archive.runners.base import Runner
from web_demo.archive.stages import Assembly, Entry, Failed, Outcome, Stages, Task, Written, grouped
from web_demo.archive.stores import PART, Store
from web_demo.errors import SetupError

log = logging.getLogger(__name__)

GROUP_FILES = 16
GROUP_BYTES = 16 << 20
OUTPUT_IS_LOST = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EIO,
    errno.EACCES,
    errno.EPERM,
    errno.EFBIG,
    errno.ENODEV,
)
NOT_KEPT = ("text",)  # columns that are the entry itself


class OutputLost(Exception):
    """Nothing more can be written: the run ends, and no entry is to blame."""


@dataclass(frozen=True)
class Summary:
    """`left`: entries that a stop left for the next run."""

    done: int
    failed: int
    before: int
    left: int
    sound_s: float
    took_s: float


class Run:
    """`retry_failed`: entries that failed before, and whose files are the same, are tried again. Raises SetupError where the
    output cannot be used."""

    def __init__(self, stages: Stages, output: str, *, retry_failed: bool = False, quiet: bool = False) -> None:
        self._stages = stages
        self._store = Store(output)
        self._manifest = Manifest(self._store)
        self._retry_failed = retry_failed
        self._quiet = quiet

    def missing(self, listing: Listing) -> tuple[list[Task], int]:
        """What is to be done, and how many entries are done, or have failed, already."""
        present = self._store.names()
        for name in {name for name in present if name.rpartition("/")[2].startswith(".") and name.endswith(PART)}:
            self._store.remove(name)  # of a run that was killed
        self._manifest.load(present)
        known = {name: row.result for name, row in self._manifest.rows.items() if row.result}
        stems = names.stems(listing.entries, known, tuple(self._stages.suffixes.values()))
        tasks = [
            Task(number, entry, stem)
            for number, (entry, stem) in enumerate(zip(listing.entries, stems, strict=True))
            if not self._is_done(entry, present)
        ]
        return tasks, len(listing.entries) - len(tasks)

    def _is_done(self, entry: Entry, present: set[str]) -> bool:
        row = self._manifest.rows.get(entry.name)
        if row is None or not row.is_of(entry):
            return False
        if row.status != OK:
            return not self._retry_failed
        return all(f"{row.result}{suffix}" in present for suffix in self._stages.suffixes.values())

    async def over(self, listing: Listing, runner: Runner, tasks: Sequence[Task], before: int) -> Summary:
        """Raises OutputLost when results cannot be written any more; what was written stays."""
        began = time.monotonic()
        progress = Progress(len(tasks), sum(task.entry.size for task in tasks), began)
        display = Display(progress, sys.stderr, quiet=self._quiet)
        by_number = {task.number: task for task in tasks}
        assembly = Assembly(self._stages, by_number)
        groups = list(grouped(tasks, GROUP_FILES, GROUP_BYTES))
        try:
            await self._add(*(self._failed(entry, error) for entry, error in listing.unread))
            with _stopping(lambda: self._stop(runner, display)):
                async with aclosing(runner.outcomes(groups)) as outcomes:
                    async for some in outcomes:
                        await self._take(some, assembly, by_number, progress, display)
                        display.show(time.monotonic())
            await off_loop(self._manifest.fold)
        except OSError as error:
            raise OutputLost(f"{self._store} cannot be written: {error.strerror or error}") from error
        finally:
            assembly.abandon()
            display.show(time.monotonic(), last=True)
        took_s = time.monotonic() - began
        left = len(tasks) - progress.done - progress.failed
        return Summary(progress.done, progress.failed + len(listing.unread), before, left, progress.sound_s, took_s)

    async def _take(
        self,
        outcomes: Sequence[Outcome],
        assembly: Assembly,
        tasks: dict[int, Task],
        progress: Progress,
        display: Display,
    ) -> None:
        ready = [(tasks[number], made) for number, made in await off_loop(_taken, assembly, outcomes)]
        for task, made in await asyncio.gather(*(self._written(task, made) for task, made in ready)):
            progress.size_done += task.entry.size
            if isinstance(made, Written):
                progress.done += 1
                progress.sound_s += made.columns.get("seconds") or 0.0
                await self._add(self._row(task.entry, task.stem, OK, **made.columns))
            else:
                progress.failed += 1
                display.say(f"failed: {task.entry.name}: {made.error}")
                await self._add(self._failed(task.entry, made.error, task.stem))

    async def _written(self, task: Task, made: Written | Failed) -> tuple[Task, Written | Failed]:
        """Raises OSError when nothing can be written any more."""
        if isinstance(made, Failed):
            return task, made
        try:
            await off_loop(self._write, task, made)
        except OSError as error:
            if error.errno in OUTPUT_IS_LOST or error.errno is None:
                raise
            return task, Failed(task.number, f"its result cannot be written: {error.strerror}")
        return task, made

    def _write(self, task: Task, made: Written) -> None:
        for name, content in made.files.items():
            self._store.put(f"{task.stem}{self._stages.suffixes[name]}", content)

    def _failed(self, entry: Entry, error: str, stem: str = "") -> Row:
        return self._row(entry, stem, FAILED, error=error)

    def _row(self, entry: Entry, stem: str, status: str, **columns: Any) -> Row:
        return Row(
            entry.name,
            stem,
            status,
            bytes=entry.size,
            changed=entry.changed,
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            columns={name: value for name, value in entry.columns.items() if name not in NOT_KEPT},
            **{**self._stages.made_by, **columns},
        )

    async def _add(self, *rows: Row) -> None:
        due = [self._manifest.add(row, time.monotonic()) for row in rows]
        if any(due):
            await off_loop(self._manifest.keep)

    def _stop(self, runner: Runner, display: Display) -> None:
        runner.stop()
        display.say("stopping: what is in work is finished first (again to end it at once)")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other runs on this machine out of the same folder. Raises SetupError."""
        if not self._store.is_local:
            yield
            return
        folder = self._store.place(FOLDER)
        try:
            os.makedirs(folder, exist_ok=True)
            lock = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        except OSError as error:
            raise SetupError(f"{self._store} cannot be written: {error.strerror or error}") from error
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise SetupError(f"another run writes into {self._store} at this moment") from error
            yield
        finally:
            os.close(lock)


def _taken(assembly: Assembly, outcomes: Sequence[Outcome]) -> list[tuple[int, Written | Failed]]:
    return [(one.number, made) for one in outcomes if (made := assembly.take(one)) is not None]


@contextmanager
def _stopping(stop: Any) -> Iterator[None]:
    """The first SIGINT or SIGTERM calls `stop`, the second ends the run."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    asked = 0

    def on_signal() -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            stop()
        else:
            task.cancel()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def told(summary: Summary, output: str, kind: str) -> str:
    """The end of a run, for people."""
    speed = summary.sound_s / summary.took_s if summary.took_s else 0.0
    lines = [
        f"{summary.done} {kind} done ({hours(summary.sound_s)} of sound, {speed:.1f} x real time), "
        f"{summary.failed} failed, {summary.before} were there before; {MANIFEST} in {output} has a row for each"
    ]
    if summary.left:
        lines.append(f"{summary.left} are left: the same command goes on with them")
    if summary.failed:
        lines.append("those that failed are tried again with --retry-failed")
    return "\n".join(lines)
