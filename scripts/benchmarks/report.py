"""How every benchmark reports: tables for people while it runs, and all of it as one last line of JSON for programs.

    report = Report("tts", engine="embedded")
    report.row(clients=1, first_ms=2.6)     # a line of the table; the names of the columns stand above the first one
    report.note(memory_mb=143.0)            # a single figure
    report.end()

The last line of the output is then one JSON object: `benchmark`, the conditions (the machine's among them), the single
figures, and the rows of each table under its name (`rows` unless another is given). What could not be measured is NaN in
Python, a dash in the table, and null in the JSON.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

MIN_WIDTH = 6


class Report:
    """`conditions` are what the figures depend on, printed at once."""

    def __init__(self, benchmark: str, **conditions: Any) -> None:
        machine = {
            "cpu": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        }
        self._facts: dict[str, Any] = {"benchmark": benchmark, **machine, **conditions}
        self._tables: dict[str, list[dict[str, Any]]] = {}
        self._widths: tuple[str, dict[str, int]] | None = None
        _print_facts(self._facts)

    def row(self, table: str = "rows", /, **values: Any) -> None:
        """Figures that are dicts become columns `name.key` of the table, and stay dicts in the JSON."""
        self._tables.setdefault(table, []).append(values)
        shown = {name: _text(value) for name, value in _flat(values).items()}
        if self._widths is None or self._widths[0] != table or self._widths[1].keys() != shown.keys():
            widths = {name: max(len(name), len(text), MIN_WIDTH) for name, text in shown.items()}
            print("\n" + "  ".join(name.rjust(width) for name, width in widths.items()))
            self._widths = table, widths
        print("  ".join(shown[name].rjust(width) for name, width in self._widths[1].items()), flush=True)

    def note(self, **facts: Any) -> None:
        self._facts |= facts
        _print_facts(facts, "\n")

    def end(self) -> None:
        print(json.dumps(_without_nan(self._facts | self._tables), allow_nan=False, ensure_ascii=False), flush=True)


def quantile(values: Sequence[float], part: float) -> float:
    """Of 0.5 the median; between two values in proportion. NaN of nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    place = part * (len(ordered) - 1)
    below = ordered[math.floor(place)]
    return below + (place - math.floor(place)) * (ordered[math.ceil(place)] - below)


def quantile_ms(seconds: Sequence[float], part: float) -> float:
    return round(1000 * quantile(seconds, part), 1)


def _print_facts(facts: Mapping[str, Any], between: str = "  ") -> None:
    print(between.join(f"{name}: {_text(value)}" for name, value in _flat(facts).items()), flush=True)


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            flat[name] = value
    return flat


def _text(value: Any) -> str:
    return "–" if isinstance(value, float) and math.isnan(value) else str(value)


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
