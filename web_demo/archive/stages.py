"""What an archive's work is made of, whoever runs it: the contracts between its stages. Pure.

    entries ──split──▶ parts, in batches ──work──▶ results ──join, in order──▶ one result an entry
            CPU, many at once           one engine a worker         where the run was started

`split` reads entries and cuts them into parts of what an engine takes at once. A runner (`runners/`) says where split and work
happen, in processes of this machine or on a cluster, and gathers batches, each for one engine, of parts of one or of many entries.
Everything here is pickled on its way.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Protocol

from web_demo.errors import ServiceError

Json = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """One recording, text or book. `place`: a path, or a URL of fsspec; `name`: the same in letters that can be shown and written
    down, the entry's key in the manifest; `inside`: its way below the folder where it was found. `columns`: those of the manifest
    that named it."""

    place: str
    name: str
    inside: str
    size: int  # bytes
    changed: str  # a time or a tag of its storage: another one is another file
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """An entry in a run. `number`: its key on the way through the stages; `stem`: what its results are called, without a suffix."""

    number: int
    entry: Entry
    stem: str


@dataclass(frozen=True, eq=False)
class Part:
    """What an engine is given of an entry; `index` counts its parts from 0, `cost_s` is how long it is, in seconds of sound."""

    number: int
    index: int
    cost_s: float
    work: Any


@dataclass(frozen=True, eq=False)
class Result:
    """What an engine made of a part. `took_s`: its share of the time that its batch took."""

    number: int
    index: int
    value: Any
    took_s: float


@dataclass(frozen=True)
class Ended:
    """An entry was read to its end and had so many `parts`; `facts` is what is known of the whole."""

    number: int
    parts: int
    facts: Any = None


@dataclass(frozen=True)
class Failed:
    """Nothing comes of an entry, and why."""

    number: int
    error: str


Split = Part | Ended | Failed
Outcome = Result | Ended | Failed
Batch = tuple[Split, ...]


class Splitter(Protocol):
    """The first stage. One lives in each process that splits."""

    async def start(self) -> None:
        """Not needed, but the first entry comes sooner. Raises SetupError."""
        ...

    def split(self, tasks: Iterable[Task]) -> AsyncGenerator[Split, None]:
        """Parts and ends as they are found; the next task is taken when the one before is through. What is wrong with an entry is
        a Failed, never raised."""
        ...

    async def close(self) -> None: ...


class Worker(Protocol):
    """The second stage: one engine."""

    async def start(self) -> None:
        """Raises SetupError."""
        ...

    async def work(self, parts: Sequence[Part]) -> Sequence[Result | Failed]:
        """One for each part. Raises WorkerLost when the engine can do nothing any more."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Written:
    """What is to be kept of an entry: files by their formats, as bytes or as a file, which is closed when it is kept, and columns
    of its row in the manifest."""

    files: Mapping[str, bytes | IO[bytes]]
    columns: Mapping[str, Any]


class Joiner(Protocol):
    """The last stage, of one entry."""

    def add(self, value: Any) -> None:
        """The next result, in order. May take time; called off the event loop."""
        ...

    def end(self, facts: Any, took_s: float) -> Written:
        """Raises ServiceError where nothing comes of it after all, and `abandon` follows."""
        ...

    def abandon(self) -> None:
        """It comes to nothing: what was kept so far is let go of."""
        ...


class Stages(Protocol):
    """One kind of work on an archive."""

    @property
    def uses_gpu(self) -> bool: ...
    @property
    def is_remote(self) -> bool: ...  # its engine is a server elsewhere, which one worker keeps busy
    @property
    def batch_s(self) -> float: ...  # seconds of work that keep an engine busy between two batches
    @property
    def suffixes(self) -> Mapping[str, str]:
        """Of the files that an entry results in, by format."""
        ...

    @property
    def made_by(self) -> Mapping[str, str]:
        """Columns of every row: the engine, its model, its version."""
        ...

    def splitter(self) -> Splitter: ...
    def worker(self, device: str) -> Worker:
        """`device` "": as the settings say."""
        ...

    def joiner(self, task: Task) -> Joiner: ...


class WorkerLost(Exception):
    """The engine of a worker can do nothing any more: the process has to be another one."""


@dataclass
class _Open:
    joiner: Joiner
    waiting: dict[int, Result] = field(default_factory=dict)  # that came before their turn
    next: int = 0
    took_s: float = 0.0
    ended: Ended | None = None


class Assembly:
    """Brings results of many entries, which come in any order, into the order of each. Not thread-safe; `take` is called for one
    outcome after the other."""

    def __init__(self, stages: Stages, tasks: Mapping[int, Task]) -> None:
        self._stages = stages
        self._tasks = tasks
        self._open: dict[int, _Open] = {}
        self._closed: set[int] = set()

    def take(self, outcome: Outcome) -> Written | Failed | None:
        """What is now whole, or has failed, of the entry of `outcome`. What comes again of an entry that is done, as it does when a
        stage was run a second time, changes nothing."""
        number = outcome.number
        if number in self._closed:
            return None
        if isinstance(outcome, Failed):
            self._close(number)
            return outcome
        entry = self._open.get(number)
        if entry is None:
            entry = self._open[number] = _Open(self._stages.joiner(self._tasks[number]))
        if isinstance(outcome, Ended):
            entry.ended = outcome
        elif outcome.index >= entry.next:
            entry.waiting.setdefault(outcome.index, outcome)
        try:
            for result in _in_turn(entry):
                entry.joiner.add(result.value)
                entry.took_s += result.took_s
            if entry.ended is None or entry.next < entry.ended.parts:
                return None
            written = entry.joiner.end(entry.ended.facts, entry.took_s)
        except ServiceError as error:
            self._close(number)
            return Failed(number, error.message)
        del self._open[number]
        self._closed.add(number)
        return written

    def abandon(self) -> None:
        """What is not whole will never be."""
        for number in list(self._open):
            self._close(number)

    def _close(self, number: int) -> None:
        self._closed.add(number)
        if (entry := self._open.pop(number, None)) is not None:
            entry.joiner.abandon()


def _in_turn(entry: _Open) -> Iterator[Result]:
    while (result := entry.waiting.pop(entry.next, None)) is not None:
        entry.next += 1
        yield result


class Batches:
    """Gathers parts to batches of at most `most_s` seconds of work (one part may have more), and what ends entries with them."""

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._items: list[Split] = []
        self._cost_s = 0.0

    def add(self, item: Split) -> Iterator[Batch]:
        """The batch that is full, if one is."""
        cost_s = item.cost_s if isinstance(item, Part) else 0.0
        if self._items and self._cost_s + cost_s > self._most_s:
            yield self._take()
        self._items.append(item)
        self._cost_s += cost_s

    def end(self) -> Iterator[Batch]:
        if self._items:
            yield self._take()

    def _take(self) -> Batch:
        batch = tuple(self._items)
        self._items, self._cost_s = [], 0.0
        return batch


def grouped(tasks: Sequence[Task], most: int, most_bytes: int) -> Iterator[tuple[Task, ...]]:
    """Tasks in order, in groups that are split by one process one after the other: small files together."""
    group: list[Task] = []
    held = 0
    for task in tasks:
        if group and (len(group) == most or held + task.entry.size > most_bytes):
            yield tuple(group)
            group, held = [], 0
        group.append(task)
        held += task.entry.size
    if group:
        yield tuple(group)


def reason(error: BaseException) -> str:
    """Of what went wrong with an entry, for people."""
    return getattr(error, "message", "") or getattr(error, "strerror", "") or str(error) or type(error).__name__
