"""The engine in the thread that owns its model: requests in from any thread, frames out by a callback."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from web_demo.models.funaudiochat.engine.scheduler import Full, Limits
from web_demo.models.funaudiochat.engine.sequence import Frame, Request
from web_demo.models.runtime.owner import OwnerThread, Stopped

if TYPE_CHECKING:
    from web_demo.models.funaudiochat.engine.engine import Engine

Deliver = Callable[[Frame | Exception], None]  # called in the engine's thread; must not block


class EngineThread:
    """Runs `engine` until `stop`. A turn ends with a frame whose `end` is set, or with an exception: ValueError or Full when
    it was not started, Stopped when the thread ended.

    `stepped` is called in the thread after the frames of a step were delivered, `over` at its end.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._listeners: dict[str, Deliver] = {}
        self.stepped: Callable[[], None] = lambda: None
        self.over: Callable[[], None] = lambda: None
        self._owner = OwnerThread(
            "funaudiochat",
            step=self._step,
            idle_s=lambda: self._engine.idle_s(),
            ended=self._ended,
            prepare=engine.bind_thread,
        )

    def start(self) -> None:
        self._owner.start()

    @property
    def limits(self) -> Limits:
        return self._engine.scheduler.limits

    @property
    def broken(self) -> str | None:
        """The type of the error that ended the thread; None while it runs or was stopped."""
        return self._owner.broken

    def submit(self, request: Request, deliver: Deliver) -> None:
        """Raises Stopped. Everything else, a refusal too, comes through `deliver`."""
        self._owner.do(lambda: self._submit(request, deliver))

    def abort(self, request_id: str) -> None:
        """Takes effect between two frames; nothing more is delivered for that request then."""
        with suppress(Stopped):
            self._owner.do(lambda: self._abort(request_id))

    def forget(self, conversation_id: str) -> None:
        with suppress(Stopped):
            self._owner.do(lambda: self._engine.forget(conversation_id))

    def stop(self, timeout_s: float = 30.0) -> None:
        """Ends running turns, then the thread."""
        self._owner.stop(timeout_s)

    def _step(self) -> None:
        for frame in self._engine.step():
            self._deliver(frame)
        self.stepped()

    def _submit(self, request: Request, deliver: Deliver) -> None:
        try:
            self._engine.submit(request)
        except (Full, ValueError) as error:
            deliver(error)
        else:
            self._listeners[request.request_id] = deliver

    def _abort(self, request_id: str) -> None:
        self._engine.abort(request_id)
        self._listeners.pop(request_id, None)

    def _deliver(self, frame: Frame) -> None:
        deliver = self._listeners.get(frame.request_id)
        if frame.end is not None:
            self._listeners.pop(frame.request_id, None)
        if deliver is not None:
            deliver(frame)

    def _ended(self) -> None:
        failure = Stopped(f"the engine broke: {self.broken}" if self.broken else "the service closes")
        for deliver in self._listeners.values():
            deliver(failure)
        self._listeners.clear()
        self.over()
