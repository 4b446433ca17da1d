"""How far a run is, for people: one line that changes on a terminal, a line now and then in a log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TextIO

TERMINAL_S = 0.2
LOG_S = 30.0
BAR_CHARS = 24


@dataclass
class Progress:
    """Counts. Entries are weighed by their bytes, since nobody knows their seconds before they are read."""

    files: int
    size: int  # bytes, of all
    began: float
    done: int = 0
    failed: int = 0
    size_done: int = 0
    sound_s: float = 0.0

    def line(self, now: float) -> str:
        took_s = max(now - self.began, 1e-9)
        share = self.size_done / self.size if self.size else 1.0
        filled = int(share * BAR_CHARS)
        text = (
            f"[{'#' * filled}{'.' * (BAR_CHARS - filled)}] {self.done + self.failed}/{self.files} files"
            f"  {hours(self.sound_s)} of sound  {self.sound_s / took_s:.1f} x real time"
        )
        if self.failed:
            text += f"  {self.failed} failed"
        if 0 < share < 1:
            text += f"  {clock(took_s / share - took_s)} left"
        return text


class Display:
    """`now` is of a clock that does not jump."""

    def __init__(self, progress: Progress, stream: TextIO, *, quiet: bool = False) -> None:
        self._progress = progress
        self._stream = stream
        self._changes = stream.isatty()
        self._quiet = quiet
        self._next = progress.began if self._changes else progress.began + LOG_S

    def show(self, now: float, *, last: bool = False) -> None:
        if self._quiet or (now < self._next and not last):
            return
        self._next = now + (TERMINAL_S if self._changes else LOG_S)
        line = self._progress.line(now)
        self._stream.write(f"\r\x1b[K{line}" + ("\n" if last else "") if self._changes else f"{line}\n")
        self._stream.flush()

    def say(self, text: str) -> None:
        """A line of its own, above the bar."""
        self._stream.write(f"\r\x1b[K{text}\n" if self._changes else f"{text}\n")
        self._stream.flush()
        self._next = 0.0 if self._changes else self._next


def hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
