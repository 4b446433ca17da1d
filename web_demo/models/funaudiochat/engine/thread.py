"""The one thread that owns the model. Others ask it through a queue and get frames by a callback from it."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from web_demo.models.funaudiochat.engine.scheduler import Full
from web_demo.models.funaudiochat.engine.sequence import Frame, Request

if TYPE_CHECKING:
    from web_demo.models.funaudiochat.engine.engine import Engine

logger = logging.getLogger(__name__)

Deliver = Callable[[Frame | Exception], None]  # called in the engine's thread; must not block


@dataclass(frozen=True)
class _Submit:
    request: Request
    deliver: Deliver


@dataclass(frozen=True)
class _Abort:
    request_id: str


@dataclass(frozen=True)
class _Forget:
    conversation_id: str


@dataclass(frozen=True)
class _Stop:
    pass


_Command = _Submit | _Abort | _Forget | _Stop


class EngineStopped(Exception):
    """The thread has ended: the service closes, or the engine broke (the log says how)."""


class EngineThread:
    """Runs `engine` until `stop`. A turn ends with a frame whose `end` is set, or with an exception (not started)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._commands: queue.SimpleQueue[_Command] = queue.SimpleQueue()
        self._listeners: dict[str, Deliver] = {}
        self._lock = threading.Lock()  # a submit and the end of the thread must not miss each other
        self._ended = False
        self.broken: str | None = None  # the type of the error that ended the thread; None while it runs or was stopped
        self._thread = threading.Thread(target=self._run, name="funaudiochat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def submit(self, request: Request, deliver: Deliver) -> None:
        """Raises EngineStopped. Everything else, a refusal too, comes through `deliver`."""
        with self._lock:
            if self._ended:
                raise EngineStopped("the model's thread has ended")
            self._commands.put(_Submit(request, deliver))

    def abort(self, request_id: str) -> None:
        """Takes effect between two frames; nothing more is delivered for that request then."""
        self._commands.put(_Abort(request_id))

    def forget(self, conversation_id: str) -> None:
        self._commands.put(_Forget(conversation_id))

    def stop(self, timeout_s: float = 30.0) -> None:
        """Ends running turns as aborted, then the thread."""
        self._commands.put(_Stop())
        self._thread.join(timeout_s)

    def _run(self) -> None:
        failure: Exception = EngineStopped("the service closes")
        try:
            self._engine.bind_thread()
            while self._obey():
                for frame in self._engine.step():
                    self._deliver(frame)
        except Exception as error:
            logger.exception("the engine broke; every turn ends")
            self.broken = type(error).__name__
            failure = EngineStopped(f"the engine broke: {self.broken}")
        finally:
            with self._lock:
                self._ended = True
            while not self._commands.empty():
                command = self._commands.get()
                if isinstance(command, _Submit):
                    self._listeners[command.request.request_id] = command.deliver
            for deliver in self._listeners.values():
                deliver(failure)
            self._listeners.clear()

    def _obey(self) -> bool:
        """Work off the commands, waiting for one when there is nothing to compute. False: stop."""
        while not (self._commands.empty() and self._engine.busy):
            match self._commands.get():
                case _Submit(request, deliver):
                    self._submit(request, deliver)
                case _Abort(request_id):
                    self._engine.abort(request_id)
                    self._listeners.pop(request_id, None)
                case _Forget(conversation_id):
                    self._engine.forget(conversation_id)
                case _Stop():
                    return False
        return True

    def _submit(self, request: Request, deliver: Deliver) -> None:
        try:
            self._engine.submit(request)
        except (Full, ValueError) as error:
            deliver(error)
        else:
            self._listeners[request.request_id] = deliver

    def _deliver(self, frame: Frame) -> None:
        deliver = self._listeners.get(frame.request_id)
        if frame.end is not None:
            self._listeners.pop(frame.request_id, None)
        if deliver is not None:
            deliver(frame)
