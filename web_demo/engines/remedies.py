"""What to type for what an engine lacks: commands that work as they are printed, in the folder of the checkout."""

from __future__ import annotations

import os
import sys
from pathlib import Path

MODELS = "requirements-models.txt"


def get_weights(name: str) -> str:
    """`name`: s2s, asr or tts."""
    return f"./scripts/download_models.sh --only {name}"


def get_packages(file: str = MODELS) -> str:
    """Into the environment that this program runs in."""
    python = Path(sys.executable)
    shown = python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python
    return f"{os.fspath(shown)} -m pip install -r {file}"
