"""The human recordings of tests/data/speech."""

import functools
import json
from pathlib import Path

from web_demo.audio.samples import Audio, from_wav

FOLDER = Path(__file__).parent / "data" / "speech"
TRANSCRIPTS: dict[str, str] = json.loads((FOLDER / "transcripts.json").read_text())


@functools.cache
def recording(name: str) -> Audio:
    return from_wav((FOLDER / f"{name}.wav").read_bytes())
