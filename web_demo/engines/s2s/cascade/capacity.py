"""How many people a recogniser on this machine can hear at the same time: measured at the start, not guessed."""

from __future__ import annotations

import asyncio
import math
import time

import numpy as np

from web_demo.audio.samples import SPEECH_RATE, Audio
from web_demo.engines.base import AsrEngine
from web_demo.errors import ServiceError, SetupError

TURN_S = 3.0  # of speech in a usual turn
SOON_S = 2.5  # in which all are to be heard who end their turns in the same moment; the voice needs the rest of 3 s
LEAST = 4  # a machine that is busy while it is measured still serves these
REPEATS = 2  # the best counts: the first may pay for what is still lazy

_measured: dict[tuple[str, int], int] = {}  # by recogniser and places: a machine is measured once a process


def voiced_sound() -> Audio:
    """TURN_S seconds of a humming voice in syllables. It costs a recogniser what speech does (pocketsphinx: 0.10 s a second
    where recorded speech takes 0.08 to 0.09; white noise, which it takes for silence, 0.004)."""
    t = np.arange(round(TURN_S * SPEECH_RATE)) / SPEECH_RATE
    hum = sum(
        np.sin(2 * np.pi * 120 * number * t + number * np.sin(2 * np.pi * 3 * t)) / number for number in range(1, 30)
    )
    syllables = np.clip(np.sin(2 * np.pi * 4 * t), 0, 1)
    breath = np.random.default_rng(0).standard_normal(len(t))
    return Audio((0.1 * syllables * hum + 0.01 * breath).astype(np.float32), SPEECH_RATE)


async def measured_sessions(recogniser: AsrEngine) -> int:
    """Sessions whose turns, ended all at once, are heard within SOON_S. Raises SetupError when it cannot recognise."""
    places = recogniser.capabilities.max_concurrency
    key = (f"{recogniser.name} {recogniser.model} {recogniser.device}", places)
    if key not in _measured:
        _measured[key] = max(LEAST, int(SOON_S / await _fastest_s(recogniser, places) * places))
    return _measured[key]


async def _fastest_s(recogniser: AsrEngine, places: int) -> float:
    """Seconds for one turn in each place."""
    least_s = math.inf
    try:
        for _ in range(REPEATS):
            sounds = [voiced_sound() for _ in range(places)]
            began = time.perf_counter()
            await asyncio.gather(*(recogniser.transcribe(sound) for sound in sounds))
            least_s = min(least_s, time.perf_counter() - began)
    except ServiceError as error:
        raise SetupError(f"the recogniser {recogniser.name} cannot recognise speech: {error.message}") from error
    return least_s
