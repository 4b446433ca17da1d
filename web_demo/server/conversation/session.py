"""One conversation: events of a client in, events for it out. Knows no wire format and no HTTP.

The turn table (turn.py) says what may happen; this file carries it out. There is one reader, `run`, and at most one
answer at a time, which is a task of its own, so the reader is always free to hear an interruption.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from web_demo.audio.vad import Edge
from web_demo.detokenizer.source import SpeechSource
from web_demo.engines.base import Exchange, S2sEngine, ToolExchange, ToolResult, TurnRequest
from web_demo.server.conversation.events import (
    AudioIn,
    ClientEvent,
    Configure,
    EndTurn,
    Interrupted,
    Malformed,
    Problem,
    Restart,
    SpeechBegan,
    SpeechEnded,
    Start,
    ToolResults,
    Wire,
)
from web_demo.server.conversation.metrics import S2sMetrics
from web_demo.server.conversation.options import SessionOptions
from web_demo.server.conversation.turn import Command, Conversation, Event, State
from web_demo.server.conversation.turn_task import Outcome, TurnTask
from web_demo.server.conversation.user_audio import HEAR_MS, Ears, UserAudio

log = logging.getLogger(__name__)

HISTORY_PAIRS = 8
CANCEL_DEADLINE_S = 5.0

_numbers = itertools.count(1)


@dataclass(frozen=True)
class SessionLimits:
    max_turn_s: float = 120.0  # of user audio; then the turn is ended for the user
    lead_s: float = 0.6  # how far audio is sent ahead of its time


class Session:
    def __init__(
        self,
        wire: Wire,
        *,
        engine: S2sEngine,
        detokenizer: SpeechSource,
        metrics: S2sMetrics,
        limits: SessionLimits,
        options: SessionOptions,
    ) -> None:
        self.id = f"s{next(_numbers)}"
        self.turns = 0
        self._wire = wire
        self._engine = engine
        self._detokenizer = detokenizer
        self._metrics = metrics
        self._limits = limits
        self._options = options
        self._conversation = Conversation()
        self._user = UserAudio(wire.reader, limits.max_turn_s)
        self._ears: Ears | None = None
        self._history: deque[Exchange] = deque(maxlen=HISTORY_PAIRS)
        self._answer: TurnTask | None = None
        self._waiting_for_tools: TurnTask | None = None
        self._answering: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def received_s(self) -> float:
        return self._user.received_s

    async def idle(self) -> None:
        """Returns as soon as no answer is under way."""
        await self._idle.wait()

    async def run(self, incoming: AsyncIterator[ClientEvent]) -> None:
        """Until `incoming` ends, which is the client hanging up. Then everything of the session is freed."""
        try:
            async with asyncio.TaskGroup() as tasks:
                async for event in incoming:
                    await self._handle(event, tasks)
                await self._end_answer(tell=False)
        finally:
            await self._engine.forget(self.id)

    # --- events of the client ---

    async def _handle(self, event: ClientEvent, tasks: asyncio.TaskGroup) -> None:
        match event:
            case AudioIn(payload):
                await self._on_audio(payload, tasks)
            case Start():
                await self._apply(Event.START, tasks)
            case EndTurn():
                await self._on_end_turn(tasks)
            case Restart():
                await self._apply(Event.RESTART, tasks)
            case Configure(options):
                await self._configure(options, tasks)
            case ToolResults(results):
                await self._on_tool_results(results, tasks)
            case Malformed(reason):
                await self._complain(reason)

    async def _on_audio(self, payload: bytes, tasks: asyncio.TaskGroup) -> None:
        try:
            self._user.push(payload)
        except ValueError as error:
            await self._complain(str(error))
        if self._ears is not None:
            if self._user.is_due(HEAR_MS):
                await self._listen(self._ears, tasks)
        elif not self._conversation.collects:
            self._user.ignore()
        elif self._user.is_due():
            await self._collect()
            if self._user.full:
                await self._on_full(tasks)

    async def _on_end_turn(self, tasks: asyncio.TaskGroup) -> None:
        if self._conversation.collects:
            await self._collect()
        await self._apply(Event.END_TURN if self._user.seconds > 0 else Event.EMPTY_TURN, tasks)

    async def _on_tool_results(self, results: tuple[ToolResult, ...], tasks: asyncio.TaskGroup) -> None:
        waiting = self._waiting_for_tools
        called = sorted(call.call_id for call in waiting.calls) if waiting is not None else []
        if waiting is not None and sorted(result.call_id for result in results) != called:
            await self._complain(f"tool_results must have one result for each of {', '.join(called)}")
        elif waiting is None or self._conversation.on(Event.TOOLS_ANSWERED).command is not Command.CONTINUE:
            await self._complain("no answer waits for tool results")
        else:
            self._continue_answer(waiting, results, tasks)

    async def _on_full(self, tasks: asyncio.TaskGroup) -> None:
        await self._complain(
            f"a turn may last {self._limits.max_turn_s:g} s: it is ended here and answered; go on in the next turn"
        )
        await self._apply(Event.TURN_FULL, tasks)

    async def _configure(self, options: SessionOptions, tasks: asyncio.TaskGroup) -> None:
        previous, self._options = self._options, options
        if options.turn_detection == previous.turn_detection:
            return
        self._ears = Ears(options.turn_detection) if options.turn_detection else None
        self._conversation.hands_free = self._ears is not None
        if self._ears is not None:
            await self._apply(Event.HANDS_FREE_ON, tasks)

    async def _collect(self, ears: Ears | None = None) -> list[Edge]:
        damaged, received_s = self._user.damaged_packets, self._user.received_s
        edges = await self._user.collect(ears)
        self._metrics.audio_in.inc(self._user.received_s - received_s)
        if damaged := self._user.damaged_packets - damaged:
            await self._complain(f"{damaged} Opus packet(s) were damaged and left out")
        return edges

    async def _listen(self, ears: Ears, tasks: asyncio.TaskGroup) -> None:
        """Hands-free: every sound goes past voice activity, during an answer too."""
        for edge in await self._collect(ears):
            if edge is Edge.BEGAN:
                await self._wire.send(SpeechBegan())
                await self._apply(Event.SPEECH_BEGAN, tasks)
            else:
                await self._wire.send(SpeechEnded())
                await self._apply(Event.SPEECH_ENDED, tasks)
        if self._user.full:
            await self._on_full(tasks)
        if not ears.speaking and self._conversation.state is not State.LISTENING:
            self._user.keep_last(ears.prefix_s(self._options.prefix_s))

    # --- commands of the turn table ---

    async def _apply(self, event: Event, tasks: asyncio.TaskGroup) -> None:
        outcome = self._conversation.on(event)
        match outcome.command:
            case Command.OPEN_TURN:
                self._waiting_for_tools = None
                await self._user.open()
            case Command.ANSWER:
                await self._begin_answer(tasks)
            case Command.INTERRUPT:
                await self._end_answer()
                if event is Event.START:  # an interruption by voice is part of the turn already
                    await self._user.open()
            case Command.FORGET:
                await self._end_answer()
                self._history.clear()
                await self._engine.forget(self.id)
                await self._user.open()
            case Command.REFUSE:
                await self._complain(outcome.reason)

    async def _begin_answer(self, tasks: asyncio.TaskGroup) -> None:
        request = TurnRequest(
            turn_id=self._next_turn_id(),
            conversation_id=self.id,
            audio=await self._user.take(),
            history=tuple(self._history),
            system_prompt=self._options.system_prompt,
            language=self._options.language,
            sampling=self._options.sampling,
            speech=self._options.speech,
            tools=self._options.tools,
        )
        self._run(request, tasks)

    def _continue_answer(self, waiting: TurnTask, results: tuple[ToolResult, ...], tasks: asyncio.TaskGroup) -> None:
        """The model called functions and got their results: the same turn again, with these."""
        before = waiting.request
        exchanges = (*before.tool_exchanges, ToolExchange(tuple(waiting.calls), results))
        self._run(dataclasses.replace(before, turn_id=self._next_turn_id(), tool_exchanges=exchanges), tasks)

    def _next_turn_id(self) -> str:
        self.turns += 1
        return f"{self.id}.{self.turns}"

    def _run(self, request: TurnRequest, tasks: asyncio.TaskGroup) -> None:
        self._waiting_for_tools = None
        self._answer = TurnTask(
            self.turns,
            request,
            engine=self._engine,
            detokenizer=self._detokenizer,
            wire=self._wire,
            metrics=self._metrics,
            lead_s=self._limits.lead_s,
        )
        self._idle.clear()
        self._answering = tasks.create_task(self._run_answer(self._answer), name=f"answer-{request.turn_id}")

    async def _run_answer(self, answer: TurnTask) -> None:
        try:
            await answer.run()
        finally:
            self._remember(answer)
            if self._answer is answer:
                self._answer = None
                self._conversation.on(Event.ANSWER_OVER)
                self._idle.set()

    def _remember(self, answer: TurnTask) -> None:
        outcome = answer.outcome or Outcome.INTERRUPTED
        self._metrics.turns.labels(outcome.value).inc()
        said = answer.said()
        if answer.calls and outcome is Outcome.FINISHED:
            self._waiting_for_tools = answer  # the turn is remembered with the answer that follows the results
            return
        if outcome is Outcome.FAILED and not said:
            return
        audio = answer.request.audio if self._engine.capabilities.user_audio_history else None
        self._history.append(Exchange(answer.heard, said, audio))

    async def _end_answer(self, *, tell: bool = True) -> None:
        """Cut the answer off: nothing of it is sent from here on; its work ends within a deadline."""
        answer, task = self._answer, self._answering
        if answer is None or task is None:
            return
        self._answer = None
        answer.silence()
        task.cancel()
        if tell:
            await self._wire.send(Interrupted(answer.number, answer.said()))
        _, pending = await asyncio.wait({task}, timeout=CANCEL_DEADLINE_S)
        if pending:
            log.error("an answer did not end within %g s turn=%s", CANCEL_DEADLINE_S, answer.request.turn_id)
        self._idle.set()

    async def _complain(self, message: str) -> None:
        self._metrics.problems.inc()
        await self._wire.send(Problem(message))
