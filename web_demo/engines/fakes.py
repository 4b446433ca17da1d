"""Engines that do nothing real: for tests and for benchmarks of everything round an engine.

`ScriptedS2s` answers with the steps that it was given; `ToneBackend` speaks text as a tone whose length is known.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence

import numpy as np

from web_demo.audio.samples import WIRE_RATE, Audio, Samples
from web_demo.detokenizer.backend import BackendSpec, Window
from web_demo.detokenizer.source import SpeechSource
from web_demo.engines.base import Capabilities, Heard, Step, TurnRequest
from web_demo.errors import DeviceLost

TONE_HZ = 440.0
SAMPLES_PER_CHARACTER = WIRE_RATE // 20  # 50 ms
SAMPLES_PER_CODE = WIRE_RATE // 25


class ScriptedS2s:
    """`script(turn)` gives the steps of its answer; a number among them is a pause in seconds.

    `live` counts the answers under way, `turns` keeps every request; it is at fault while `broken` says so.
    """

    name = "scripted"
    model = "script"
    device = "cpu"
    parts: Mapping[str, str] = {}

    def __init__(
        self,
        script: Callable[[TurnRequest], Sequence[Step | float | Exception]],
        *,
        speech: BackendSpec | SpeechSource | None = None,
        capabilities: Capabilities | None = None,
    ) -> None:
        self._script = script
        self.speech: BackendSpec | SpeechSource = speech or BackendSpec("web_demo.engines.fakes:ToneBackend")
        self.capabilities = capabilities or Capabilities(instructions=True, max_concurrency=1000)
        self.turns: list[TurnRequest] = []
        self.live = 0
        self.forgotten: list[str] = []
        self.broken: str | None = None

    async def preload(self) -> None:
        """Nothing: no device is waited for."""

    async def start(self) -> None:
        return

    async def close(self) -> None:
        return

    def fault(self) -> str | None:
        return self.broken

    async def respond(self, turn: TurnRequest) -> AsyncGenerator[Step, None]:
        self.turns.append(turn)
        self.live += 1
        try:
            for step in self._script(turn):
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, float | int):
                    await asyncio.sleep(step)
                else:
                    yield step
        finally:
            self.live -= 1

    async def transcribe(self, audio: Audio, client: str = "") -> str | None:
        """What its script has it hear in a turn of that sound, if anything."""
        heard = (step.text for step in self._script(TurnRequest("", "", audio)) if isinstance(step, Heard))
        return next(heard, None)

    async def forget(self, conversation_id: str) -> None:
        self.forgotten.append(conversation_id)


class ToneBackend:
    """Text becomes 50 ms of tone a character, codes 40 ms each, in pieces of `piece_s`.

    Text tells it to misbehave: "[raise]" fails that window, "[lose]" loses the device, "[die]" ends the process, "[slow]"
    takes its time.
    """

    name = "tone"
    sample_rate = WIRE_RATE
    hop_tokens = (5, 25)
    max_turns = 10_000

    def __init__(self, *, piece_s: float = 0.5, max_batch: int = 1, start_error: str = "") -> None:
        if start_error:
            raise RuntimeError(start_error)
        self.max_batch = max_batch
        self._piece = round(piece_s * WIRE_RATE)

    def open(self, turn_id: str, voice: str) -> None:
        if voice == "nobody":
            raise ValueError("no such voice: nobody")

    def decode(self, windows: Sequence[Window]) -> Iterator[tuple[str, Samples]]:
        for window in windows:
            if "[raise]" in window.text:
                raise RuntimeError("told to raise")
            if "[lose]" in window.text:
                raise DeviceLost("told to lose the device")
            if "[die]" in window.text:
                os._exit(17)
            length = len(window.text) * SAMPLES_PER_CHARACTER + len(window.codes) * SAMPLES_PER_CODE
            sound = (0.3 * np.sin(2 * np.pi * TONE_HZ / WIRE_RATE * np.arange(length))).astype(np.float32)
            for start in range(0, length, self._piece):
                if "[slow]" in window.text:
                    time.sleep(0.05)
                yield window.turn_id, sound[start : start + self._piece]

    def close(self, turn_id: str) -> None:
        return
