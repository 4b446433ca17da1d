"""The three services as their own programs on free ports, as an operator starts them, and what their processes take of the
machine (Linux: read from /proc)."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType

from scripts.benchmarks.load.own_service import ROOT, family

MODULES = {
    "asr": "web_demo.server.asr_server",
    "tts": "web_demo.server.tts_server",
    "s2s": "web_demo.server.server",
}  # in the order of their start: the last one is told where the others are
READY_S = 180.0  # a machine that is busy takes its time
STOP_S = 10.0
DRAIN_S = 5.0
_LISTENING = re.compile(r"listening url=(\S+)")
_MISTAKES = re.compile(r"^Traceback \(most recent call last\)|Task exception was never retrieved", re.MULTILINE)
_BEFORE, _AFTER = 300, 4000  # characters of the log that are shown around a mistake


@dataclass(frozen=True)
class Usage:
    """Of one process, or of several together."""

    memory_mb: float = 0.0
    descriptors: int = 0
    threads: int = 0
    processes: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.memory_mb + other.memory_mb,
            self.descriptors + other.descriptors,
            self.threads + other.threads,
            self.processes + other.processes,
        )


def usage_of(pid: int) -> Usage:
    """Nothing for a process that is gone."""
    try:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
        return Usage(int(status["VmRSS"].split()[0]) / 1000, descriptors, int(status["Threads"]), 1)
    except (OSError, KeyError):  # a zombie has no VmRSS
        return Usage()


class Program:
    """One service. `log` is what it wrote so far."""

    def __init__(self, name: str, folder: Path, *options: str) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        keys = ("FUN_AUDIO_API_KEY", "FUN_AUDIO_ALLOWED_HOSTS")
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", MODULES[name], "--port", "0", "--drain-s", f"{DRAIN_S:g}", *options],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={key: value for key, value in os.environ.items() if key not in keys},
            )

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def mistakes(self) -> list[str]:
        """Errors in the log that nobody caught: of each the log around it."""
        log = self.log
        return [log[max(0, found.start() - _BEFORE) : found.end() + _AFTER] for found in _MISTAKES.finditer(log)]

    @property
    def children(self) -> list[int]:
        return family(self.process.pid)[1:]

    def url(self) -> str:
        """Waits until it listens. Raises SystemExit."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if found := _LISTENING.search(self.log):
                return found[1]
            time.sleep(0.05)
        raise SystemExit(f"{self.name} does not listen:\n{self.log[-2000:]}")

    def usage(self) -> Usage:
        return usage_of(self.process.pid)

    def usage_of_children(self) -> Usage:
        return sum(map(usage_of, self.children), Usage())


class OwnStack:
    """Lives as long as the block. `options`: further ones for a service, by its name."""

    def __init__(self, options: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self._options = options or {}
        self.programs: dict[str, Program] = {}
        self.urls: dict[str, str] = {}

    def __enter__(self) -> OwnStack:
        signal.signal(signal.SIGTERM, _leave)  # whoever ends this run ends its services too
        self._folder = tempfile.TemporaryDirectory(prefix="fun-audio-stack-")
        try:
            for name in MODULES:
                neighbours = [word for other, url in self.urls.items() for word in (f"--{other}-url", url)]
                engine = ["--engine", "embedded"]
                known = neighbours if name == "s2s" else neighbours[:2] if name == "tts" else []
                program = Program(name, Path(self._folder.name), *engine, *known, *self._options.get(name, ()))
                self.programs[name] = program
                self.urls[name] = program.url()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def usage(self) -> dict[str, Usage]:
        """Of each service, and of the children of each that has some (`s2s+`)."""
        found: dict[str, Usage] = {}
        for name, program in self.programs.items():
            found[name] = program.usage()
            if (children := program.usage_of_children()).processes:
                found[f"{name}+"] = children
        return found

    def mistakes(self) -> dict[str, int]:
        """How many errors nobody caught, by the service; what the log says of each goes to the standard error."""
        found = {name: program.mistakes for name, program in self.programs.items()}
        for name, excerpts in found.items():
            for excerpt in excerpts:
                print(f"--- {name} caught this nowhere:\n{excerpt}\n---", file=sys.stderr, flush=True)
        return {name: len(excerpts) for name, excerpts in found.items()}

    def died(self) -> list[str]:
        return [name for name, program in self.programs.items() if program.process.poll() is not None]

    def stop(self) -> float:
        """Asks all to stop; the seconds until no process was left. Raises SystemExit after STOP_S."""
        families = {pid: name for name, program in self.programs.items() for pid in family(program.process.pid)}
        began = time.monotonic()
        for program in self.programs.values():
            program.process.send_signal(signal.SIGTERM)
        while left := [pid for pid in families if _runs(pid)]:
            if time.monotonic() - began > STOP_S:
                raise SystemExit(
                    f"the stack did not stop in {STOP_S:g} s: left are {sorted(families[pid] for pid in left)}"
                )
            for program in self.programs.values():
                program.process.poll()
            time.sleep(0.05)
        return time.monotonic() - began

    def _end(self) -> None:
        for program in self.programs.values():
            for pid in reversed(family(program.process.pid)):
                if program.process.poll() is None or pid != program.process.pid:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            program.process.wait()
        self._folder.cleanup()


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _runs(pid: int) -> bool:
    return usage_of(pid).processes > 0


@contextlib.contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Nothing of it is left after the block."""
    try:
        yield process
    finally:
        process.kill()
        process.wait()
