"""The services' log files: a fresh one each start, the last ones kept."""

from __future__ import annotations

from io import FileIO
from pathlib import Path

KEPT = 5
TAIL_LINES = 30
TAIL_BYTES = 16_384


def open_for_service(path: Path) -> FileIO:
    """Moves older logs one on (.1 is the newest of them) and opens a new one. Appending, so that logrotate's
    `copytruncate` works while the service writes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in range(KEPT - 1, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number + 1}"))
    if path.exists():
        path.replace(path.with_name(f"{path.name}.1"))
    return path.open("ab", buffering=0)


def tail(path: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a log; empty when there is none."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
