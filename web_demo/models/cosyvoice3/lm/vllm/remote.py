"""The speech LM in a child with vLLM, as the synthesizer sees it: the same calls as `LmBatch`, whose tokens come by themselves.

The child belongs to the service's event loop, the calls come from the synthesizer's thread; between them go messages.
"""

from __future__ import annotations

import asyncio
import os
import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from web_demo.children.gpus import one_gpu
from web_demo.children.supervisor import ROOT, Supervisor
from web_demo.errors import EngineFailed, SetupError, Unavailable

from ..batch import Utterance
from ..generate import LmInput
from .messages import Begin, Drop, Load, Spoken, Step

OWN_PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
GET_VLLM = "./scripts/full_setup.sh --with-vllm"

READY_S = 900.0  # vLLM compiles the model and records its graphs
WAIT_S = 0.02  # a step without a token: the synthesizer looks after its sound again
STALL_S = 60.0  # with work, and without a token


@dataclass(frozen=True)
class _Died:
    """The child ended over the utterances up to this number."""

    last: int


class VllmLm:
    """`start` and `close` in the event loop; `add`, `step` and `remove` in one other thread."""

    def __init__(self, directory: Path, *, device: str, dtype: str, slots: int, capacity: int, python: Path) -> None:
        """Raises SetupError for a device that vLLM cannot have, or without the environment that has it."""
        if not python.exists():
            raise SetupError(f"there is no {python}, which has vLLM: {GET_VLLM}, or --vllm-python")
        self._slots = slots
        self._utterances: dict[int, Utterance] = {}
        self._arrived: queue.SimpleQueue[Step | _Died] = queue.SimpleQueue()
        self._heard_at = time.monotonic()
        self._number = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._child = Supervisor(
            "speech LM in vLLM",
            "web_demo.models.cosyvoice3.lm.vllm.worker",
            Load(str(directory), dtype, slots, capacity),
            on_message=self._arrived.put,
            on_death=self._died,
            ready_timeout_s=READY_S,
            stop_s=0,  # it has nothing to put in order
            python=str(python),
            environment=one_gpu(device, os.environ.get("CUDA_VISIBLE_DEVICES"), "vLLM"),
        )

    async def start(self) -> None:
        """Raises SetupError when vLLM cannot load the model."""
        self._loop = asyncio.get_running_loop()
        await self._child.start()

    async def close(self) -> None:
        await self._child.close()
        self._died()

    def fault(self) -> str | None:
        return self._child.fault()

    @property
    def free(self) -> int:
        return self._slots - len(self._utterances)

    @property
    def largest(self) -> int:
        """Utterances that one step takes at most: all of them."""
        return self._slots

    def add(self, given: LmInput, seed: int | None) -> Utterance:
        """Its tokens come with later steps; what is wrong with it, too. Raises Unavailable while there is no child. `seed` None:
        always the most likely token."""
        if (fault := self._child.fault()) is not None:
            raise Unavailable(f"{fault}; please try again in a moment")
        if not self._utterances:
            self._heard_at = time.monotonic()
        self._number += 1
        utterance = Utterance(given, self._number, np.random.default_rng(seed), given.max_tokens)
        self._utterances[self._number] = utterance
        self._soon(self._send, Begin(self._number, given, seed))
        return utterance

    def remove(self, utterance: Utterance) -> None:
        """At the end, or when cancelled."""
        if self._utterances.pop(utterance.slot, None) is not None and not utterance.ended:
            self._soon(self._send, Drop(utterance.slot))

    def step(self, utterances: Sequence[Utterance]) -> None:
        """What has come of any utterance; waits a little where nothing has."""
        try:
            self._take(self._arrived.get(timeout=WAIT_S))
            while not self._arrived.empty():
                self._take(self._arrived.get())
        except queue.Empty:
            if time.monotonic() - self._heard_at > STALL_S:
                self._heard_at = time.monotonic()
                self._soon(self._child.kill, f"made no token for {STALL_S:g} s")

    def _take(self, message: Step | _Died) -> None:
        self._heard_at = time.monotonic()
        if isinstance(message, Step):
            for spoken in message.spoken:
                if (utterance := self._utterances.get(spoken.number)) is not None:
                    _extend(utterance, spoken)
            return
        for number, utterance in self._utterances.items():
            if number <= message.last and not utterance.ended:
                utterance.ended = True
                utterance.error = EngineFailed("the vLLM process ended over this text, and is started again")

    def _soon(self, call: Callable[..., None], *arguments: object) -> None:
        """In the loop of the service; nothing once that is closed, and with it the child."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *arguments)

    # --- in the event loop --------------------------------------------------------------------------------------------

    def _send(self, message: Begin | Drop) -> None:
        if self._child.fault() is None:
            self._child.send(message)
        else:
            self._died()  # it ended since the caller looked

    def _died(self) -> None:
        self._arrived.put(_Died(self._number))


def _extend(utterance: Utterance, spoken: Spoken) -> None:
    utterance.tokens += spoken.tokens
    utterance.ended = spoken.ended
    if spoken.error:
        utterance.error = ValueError(spoken.error)
