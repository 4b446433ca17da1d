"""Human recordings with their transcripts (their origin: tests/data/speech/README.md)."""

import json
from pathlib import Path

import pytest

from web_demo.audio.samples import Audio, from_wav

SPEECH = Path(__file__).parents[3] / "data" / "speech"


@pytest.fixture(scope="session")
def recordings() -> dict[str, tuple[Audio, str]]:
    transcripts = json.loads((SPEECH / "transcripts.json").read_text())
    return {name: (from_wav((SPEECH / f"{name}.wav").read_bytes()), text) for name, text in transcripts.items()}
