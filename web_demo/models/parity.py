"""What a parity check of any model reports: one line a case, so that every model is checked by the same command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class CaseResult:
    """Outcome of one golden case.

    `differences` maps a tensor's name to its largest absolute difference from the golden one; `problems` says in words
    what is out of tolerance or wrong (an empty tuple means that the case passed).
    """

    name: str
    differences: Mapping[str, float] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.problems


class Check(Protocol):
    """`web_demo.models.<model>.parity.check`: compares every case of a golden directory, lazily, on `device`."""

    def __call__(self, golden: Path, *, device: str = "cpu") -> Iterator[CaseResult]: ...
