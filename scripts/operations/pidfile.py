"""`run/NAME.pid`: what was started, so that exactly that can be stopped."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.operations.processes import Process, is_alive

SUFFIX = ".pid"


class DamagedPidFile(Exception):
    """The file is not one of ours; nothing may be killed on its word."""


@dataclass(frozen=True)
class PidFile:
    name: str
    pid: int
    started: str
    url: str
    log: str

    @property
    def process(self) -> Process:
        return Process(self.pid, self.started)

    @property
    def running(self) -> bool:
        return is_alive(self.process)


def path_of(run_dir: Path, name: str) -> Path:
    return run_dir / f"{name}{SUFFIX}"


def write(run_dir: Path, content: PidFile) -> None:
    """Atomic: a reader sees the whole file or none."""
    path = path_of(run_dir, content.name)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(asdict(content), indent=1) + "\n")
    draft.replace(path)


def read(path: Path) -> PidFile:
    """Raises DamagedPidFile."""
    try:
        raw = json.loads(path.read_text())
        content = PidFile(
            name=str(raw["name"]),
            pid=int(raw["pid"]),
            started=str(raw["started"]),
            url=str(raw["url"]),
            log=str(raw["log"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedPidFile(f"{path} is damaged ({error!r}): look what it should be, then delete it") from error
    if content.name + SUFFIX != path.name or content.pid <= 1:
        raise DamagedPidFile(f"{path} names the service {content.name!r} and PID {content.pid}: delete it")
    return content


def read_all(run_dir: Path) -> list[PidFile]:
    return [read(path) for path in sorted(run_dir.glob(f"*{SUFFIX}"))]


def remove(run_dir: Path, name: str) -> None:
    path_of(run_dir, name).unlink(missing_ok=True)
