"""What every client program here says of itself, a JSON object a line: its name and version, then each feature that was tried."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

S2S, ASR, TTS = (os.environ.get(name, "") for name in ("S2S_URL", "ASR_URL", "TTS_URL"))  # without a path
SPEECH = Path(os.environ.get("SPEECH", "tests/data/speech/go_forward_ten_meters.wav"))  # "go forward ten meters"
KEY = "key-of-the-client-tests"
TIMEOUT_S = 40.0

Feature = Callable[[], Awaitable[str | None]]


def require(holds: object, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def require_words(text: str) -> str:
    """Of SPEECH, as the embedded recogniser hears it."""
    require("forward" in text.lower(), f"heard {text!r}")
    return text


def version_of(package: str) -> str:
    return importlib.metadata.version(package)


async def _try(feature: Feature) -> tuple[bool, str]:
    try:
        return True, await asyncio.wait_for(feature(), TIMEOUT_S) or ""
    except Exception as error:  # noqa: BLE001 - whatever a client raises is its result
        traceback.print_exc()
        return False, f"{type(error).__name__}: {error}"[:300]


async def _run(features: dict[str, Feature]) -> None:
    wanted = os.environ.get("FEATURES", "")
    for name, feature in features.items():
        if not wanted or name in wanted.split(","):
            ok, note = await _try(feature)
            print(json.dumps({"feature": name, "ok": ok, "note": note}), flush=True)


def run(client: str, version: str, features: dict[str, Feature]) -> None:
    """Each feature alone, one after another."""
    print(json.dumps({"client": client, "version": version}), flush=True)
    asyncio.run(_run(features))
