"""Where the speech model runs: in a process of its own on a GPU, in a thread of the service elsewhere.

In its own process it shares no interpreter with the conversations, whose event loop would keep it waiting between two
steps on the device; and when its GPU is lost, another process takes its place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from web_demo.children.supervisor import Supervisor
from web_demo.engines.s2s.funaudiochat.messages import Abort, Forget, Hello, Made, Ready, Refused, Submit
from web_demo.errors import Unavailable
from web_demo.models.funaudiochat.engine.scheduler import Full, Limits
from web_demo.models.funaudiochat.engine.sequence import Frame, Request
from web_demo.models.funaudiochat.engine.thread import EngineThread
from web_demo.models.runtime.owner import Stopped

if TYPE_CHECKING:
    from web_demo.models.funaudiochat.engine.engine import Engine

log = logging.getLogger(__name__)

Deliver = Callable[[Frame | Exception], None]  # called in the event loop

READY_TIMEOUT_S = 1800.0  # weights from a slow disk, and graphs
SILENT_S = 60.0
STOPPED = "the speech model has stopped; the service must be restarted"
RESTARTING = "the speech model stopped unexpectedly; it is being restarted, please ask again in a minute"


@dataclass(frozen=True)
class ModelSpec:
    """`limits`: None for what the device's memory holds; the rest as of the service's settings."""

    folder: Path
    device: str
    dtype: str = "auto"
    speech_cache: str = "auto"
    limits: Limits | None = None


class SpeechModel(Protocol):
    """`begin`, while the detokenizer starts, then `start`, which measures what memory that has left on the device.

    A turn ends with a frame whose `end` is set, or with an exception: ValueError or Full when it was not started,
    Unavailable when the model went away."""

    def begin(self) -> None: ...

    async def start(self) -> None:
        """Raises SetupError."""
        ...

    @property
    def limits(self) -> Limits: ...  # from its start on

    async def close(self) -> None: ...
    def fault(self) -> str | None: ...

    def submit(self, request: Request, deliver: Deliver) -> None:
        """Raises Unavailable. Everything else, a refusal too, comes through `deliver`."""
        ...

    def abort(self, request_id: str) -> None: ...
    def forget(self, conversation_id: str) -> None: ...


def speech_model(spec: ModelSpec) -> SpeechModel:
    return ModelProcess(spec) if spec.device.startswith("cuda") else ModelThread(spec)


class ModelThread:
    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._thread: EngineThread | None = None

    def begin(self) -> None:
        """Nothing: weights are loaded where they are used."""

    async def start(self) -> None:
        engine = await asyncio.get_running_loop().run_in_executor(None, load, self._spec)
        self._thread = EngineThread(engine)
        self._thread.start()

    @property
    def limits(self) -> Limits:
        return self._running().limits

    async def close(self) -> None:
        if self._thread is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._thread.stop)

    def fault(self) -> str | None:
        """The thread's end is final: a step that failed may have left the batch in any state."""
        broken = self._thread.broken if self._thread is not None else None
        return f"the speech model has stopped ({broken}); the service must be restarted" if broken else None

    def submit(self, request: Request, deliver: Deliver) -> None:
        loop = asyncio.get_running_loop()

        def cross(item: Frame | Exception) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(deliver, Unavailable(STOPPED) if isinstance(item, Stopped) else item)

        try:
            self._running().submit(request, cross)
        except Stopped as error:
            raise Unavailable(STOPPED) from error

    def abort(self, request_id: str) -> None:
        self._running().abort(request_id)

    def forget(self, conversation_id: str) -> None:
        self._running().forget(conversation_id)

    def _running(self) -> EngineThread:
        assert self._thread is not None, "the model is started first"
        return self._thread


class ModelProcess:
    def __init__(self, spec: ModelSpec) -> None:
        self._listeners: dict[str, Deliver] = {}
        self._go = asyncio.Event()
        self._starting: asyncio.Task[None] | None = None
        self._child = Supervisor(
            "speech model",
            "web_demo.engines.s2s.funaudiochat.model_worker",
            Hello(spec),
            on_message=self._route,
            on_death=lambda: self._fail(RESTARTING),
            ready_timeout_s=READY_TIMEOUT_S,
            silent_s=SILENT_S,
            go=self._go,
        )

    def begin(self) -> None:
        """Weights are loaded meanwhile."""
        self._starting = asyncio.create_task(self._child.start(), name="start-speech-model")

    async def start(self) -> None:
        if self._starting is None:
            self.begin()
        self._go.set()
        assert self._starting is not None
        await self._starting

    @property
    def limits(self) -> Limits:
        """Those of the process before, while there is none."""
        ready: Ready = self._child.ready
        return ready.limits

    async def close(self) -> None:
        self._fail("the service closes")
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        await self._child.close()

    @property
    def pid(self) -> int | None:
        return self._child.pid

    def fault(self) -> str | None:
        return self._child.fault() if self._child.running else None

    def submit(self, request: Request, deliver: Deliver) -> None:
        if fault := self._child.fault():
            raise Unavailable(f"{fault}; please try again in a minute")
        self._listeners[request.request_id] = deliver
        self._child.send(Submit.of(request))

    def abort(self, request_id: str) -> None:
        if self._listeners.pop(request_id, None) is not None:
            self._child.send(Abort(request_id))

    def forget(self, conversation_id: str) -> None:
        self._child.send(Forget(conversation_id))

    def _route(self, message: Made | Refused) -> None:
        if isinstance(message, Refused):
            if deliver := self._listeners.pop(message.request_id, None):
                deliver(Full(message.reason) if message.full else ValueError(message.reason))
            return
        for frame in message.frames:
            deliver = self._listeners.get(frame.request_id)
            if frame.end is not None:
                self._listeners.pop(frame.request_id, None)
            if deliver is not None:
                deliver(frame)

    def _fail(self, reason: str) -> None:
        listeners, self._listeners = self._listeners, {}
        for deliver in listeners.values():
            deliver(Unavailable(reason))


def load(spec: ModelSpec, loaded: Callable[[], object] = lambda: None) -> Engine:
    """Weights, caches and graphs, ready to step (minutes for a large checkpoint). `loaded` is called when the weights are there,
    and returns when the memory that is left can be measured. Raises SetupError."""
    from web_demo.models.funaudiochat.engine.capacity import measured_limits
    from web_demo.models.funaudiochat.engine.engine import Engine
    from web_demo.models.funaudiochat.loader import load_model
    from web_demo.models.runtime.device import choose_dtype, require
    from web_demo.models.runtime.float8 import FORMAT
    from web_demo.models.runtime.kernels.best import best_kernels

    require(spec.device)
    float8 = spec.dtype == "float8"
    dtype = choose_dtype("auto" if float8 else spec.dtype, spec.device)
    model, _ = load_model(spec.folder, device=spec.device, dtype=dtype, float8=float8, progress=_log_progress)
    loaded()
    speech_cache = FORMAT if spec.speech_cache == "float8" else None
    kernels = best_kernels(model.device, eight_bit_cache=speech_cache is not None)
    limits = spec.limits or measured_limits(model, speech_cache=speech_cache)
    engine = Engine(model, limits, kernels, speech_cache=speech_cache)
    engine.runner.warm_up()
    return engine


def _log_progress(done: int, total: int) -> None:
    if done == total or done % max(1, total // 10) == 0:
        log.info("loading weights: %d of %d tensors", done, total)
