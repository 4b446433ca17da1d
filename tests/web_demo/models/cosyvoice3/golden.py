"""The golden model in the public layout, put together from the parts under `data/` (see its README)."""

from __future__ import annotations

from pathlib import Path

from web_demo.models.cosyvoice3.parity import unpacked

DATA = Path(__file__).parent / "data"


def expanded(directory: Path) -> Path:
    """Write a golden directory (`model/` and `cases/`) and return it."""
    return unpacked(DATA, directory)
