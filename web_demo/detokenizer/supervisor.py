"""The service's side of the detokenizer child: routes what it says to the turns.

    async with Detokenizer(spec) as detokenizer:
        async with await detokenizer.open(turn_id) as speech:
            async for samples in speech.say(text="Hello."):
                …

When the child dies, every waiting turn fails with a reason, and the next ones wait for the new child.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from web_demo.audio.samples import Samples
from web_demo.children.supervisor import Supervisor
from web_demo.detokenizer.backend import BackendSpec, Mark, Window
from web_demo.detokenizer.messages import Close, Command, Decode, Done, Failed, Hello, Marked, Open, Ready, Reply, Sound
from web_demo.errors import EngineFailed, Unavailable

READY_TIMEOUT_S = 300.0


class Detokenizer:
    """A SpeechSource. `on_restart` is called when the child died."""

    def __init__(
        self,
        spec: BackendSpec,
        *,
        ready_timeout_s: float = READY_TIMEOUT_S,
        open_timeout_s: float = 10.0,
        on_restart: Callable[[], None] = lambda: None,
    ) -> None:
        self._open_timeout_s = open_timeout_s
        self._on_restart = on_restart
        self._turns: dict[str, Speech] = {}
        self._child = Supervisor(
            "detokenizer",
            "web_demo.detokenizer.worker",
            Hello(spec),
            on_message=self._route,
            on_death=self._died,
            ready_timeout_s=ready_timeout_s,
        )

    async def __aenter__(self) -> Detokenizer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Returns when the child is ready; raises SetupError when its backend cannot start."""
        await self._child.start()

    async def close(self) -> None:
        self._fail_turns("the service is shutting down")
        await self._child.close()

    @property
    def pid(self) -> int | None:
        return self._child.pid

    @property
    def ready(self) -> Ready:
        """What the backend said of itself. It stays while the child is being restarted."""
        if self._child.ready is None:
            raise RuntimeError("the detokenizer was not started: use 'async with Detokenizer(spec)'")
        ready: Ready = self._child.ready
        return ready

    @property
    def max_turns(self) -> int:
        """Turns that can be open at once; 0 before the start."""
        return self.ready.max_turns if self._child.ready is not None else 0

    def fault(self) -> str | None:
        return self._child.fault()

    async def open(self, turn_id: str, voice: str = "") -> Speech:
        """The speech of one turn. Waits while the child restarts; raises Unavailable when that takes too long."""
        if not self._child.running:
            raise Unavailable("the speech synthesiser is not running")
        try:
            await asyncio.wait_for(self._child.wait_ready(), self._open_timeout_s)
        except TimeoutError as error:
            raise Unavailable("the speech synthesiser is restarting; please try again in a moment") from error
        speech = Speech(self, turn_id)
        self._turns[turn_id] = speech
        self._send(Open(turn_id, voice))
        return speech

    def _send(self, command: Command) -> None:
        self._child.send(command)

    def _forget(self, turn_id: str) -> None:
        if self._turns.pop(turn_id, None) is not None:
            self._send(Close(turn_id))

    def _route(self, reply: Reply) -> None:
        if isinstance(reply, Sound | Marked | Done | Failed) and (speech := self._turns.get(reply.turn_id)):
            speech._arrived.put_nowait(reply)

    def _died(self) -> None:
        self._fail_turns("the speech synthesiser stopped unexpectedly; it is being restarted, please ask again")
        self._on_restart()

    def _fail_turns(self, reason: str) -> None:
        turns, self._turns = self._turns, {}
        for turn_id, speech in turns.items():
            speech._arrived.put_nowait(Failed(turn_id, reason))


class Speech:
    """The sound of one turn. Leaving its `async with` frees the turn in the child, at once if work is under way."""

    def __init__(self, detokenizer: Detokenizer, turn_id: str) -> None:
        self._detokenizer = detokenizer
        self._turn_id = turn_id
        self._arrived: asyncio.Queue[Sound | Marked | Done | Failed] = asyncio.Queue()
        self._index = 0

    async def __aenter__(self) -> Speech:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._detokenizer._forget(self._turn_id)

    async def say(
        self,
        *,
        text: str = "",
        codes: tuple[int, ...] = (),
        voice: str = "",
        last: bool = False,
        deadline: float = 0.0,
        speed: float = 1.0,
        marks: list[Mark] | None = None,
    ) -> AsyncIterator[Samples]:
        """Sends one window and yields its sound as it is made. One window at a time. Raises EngineFailed."""
        window = Window(self._turn_id, self._index, codes, text, voice, last, deadline, speed, marks is not None)
        self._index += 1
        self._detokenizer._send(Decode(window))
        while True:
            match await self._arrived.get():
                case Sound(_, samples):
                    yield samples
                case Marked(_, made) if marks is not None:
                    marks += made
                case Done():
                    return
                case Failed(_, reason):
                    raise EngineFailed(f"speech synthesis failed: {reason}")
