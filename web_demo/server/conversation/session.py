"""One conversation: events of a client in, events for it out. Knows no wire format and no HTTP.

The turn table (turn.py) says what may happen; this file carries it out. There is one reader, `run`, and at most one
answer at a time, which is a task of its own, so the reader is always free to hear an interruption.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from web_demo.audio.vad import Edge, TurnDetector, VoiceDetector, VoiceModel
from web_demo.detokenizer.source import SpeechSource
from web_demo.engines.base import Exchange, S2sEngine, ToolExchange, ToolResult, TurnRequest
from web_demo.server.conversation.events import (
    AnswerBegan,
    AudioDamaged,
    AudioIn,
    ClientEvent,
    Configure,
    EndTurn,
    Interrupted,
    Malformed,
    Problem,
    Refused,
    Restart,
    SpeechBegan,
    SpeechEnded,
    Start,
    ToolResults,
    TurnFull,
    Unreadable,
    WrongToolResults,
)
from web_demo.server.conversation.metrics import S2sMetrics
from web_demo.server.conversation.options import SessionOptions
from web_demo.server.conversation.ports import Wire
from web_demo.server.conversation.turn import Command, Conversation, Event, Keep, Refusal, State
from web_demo.server.conversation.turn_task import Outcome, TurnTask
from web_demo.server.conversation.user_audio import UserAudio

log = logging.getLogger(__name__)

HISTORY_PAIRS = 8
CANCEL_DEADLINE_S = 5.0

_numbers = itertools.count(1)


@dataclass(frozen=True)
class SessionLimits:
    max_turn_s: float = 120.0  # of user audio; then the turn is ended for the user
    prebuffer_s: float = 0.6  # how far audio is sent ahead of its time


class Session:
    """`run` it once with what the client does; what it answers goes to `wire`. `turns` counts the answers so far.

    `options` are those to begin with, `client` is whose it is. `now` is the clock of everything that is paced or measured, in
    seconds; `voice_model` makes one for each hands-free spell.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        engine: S2sEngine,
        detokenizer: SpeechSource,
        metrics: S2sMetrics,
        limits: SessionLimits,
        options: SessionOptions,
        client: str = "",
        voice_model: Callable[[], VoiceModel] = VoiceDetector,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id = f"s{next(_numbers)}"
        self.turns = 0
        self._wire = wire
        self._engine = engine
        self._detokenizer = detokenizer
        self._metrics = metrics
        self._limits = limits
        self._options = options
        self._client = client
        self._voice_model = voice_model
        self._now = now
        self._conversation = Conversation()
        self._user = UserAudio(wire.reader, limits.max_turn_s, now)
        self._speech_announced = False
        self._history: deque[Exchange] = deque(maxlen=HISTORY_PAIRS)
        self._answer: TurnTask | None = None
        self._waiting_for_tools: TurnTask | None = None
        self._answering: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def received_s(self) -> float:
        return self._user.received_s

    @property
    def state(self) -> State:
        return self._conversation.state

    async def idle(self) -> None:
        """Returns as soon as no answer is under way."""
        await self._idle.wait()

    async def run(self, incoming: AsyncGenerator[ClientEvent, None]) -> None:
        """Until `incoming` ends, which is the client hanging up. Then everything of the session is freed.

        Raises an ExceptionGroup, of ConnectionError where the client was lost while something was sent to it.
        """
        try:
            async with asyncio.TaskGroup() as tasks, aclosing(incoming) as events:
                async for event in events:
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
                await self._complain(Unreadable(reason))

    async def _on_audio(self, payload: bytes, tasks: asyncio.TaskGroup) -> None:
        try:
            self._user.push(payload)
        except ValueError as error:
            await self._complain(Unreadable(str(error)))
        if not self._ignore_unwanted() and self._user.is_due:
            await self._collect(tasks)

    def _ignore_unwanted(self) -> bool:
        """Whether nobody listens at this moment."""
        if self._conversation.keep is not Keep.NOTHING:
            return False
        self._user.ignore()
        return True

    async def _on_end_turn(self, tasks: asyncio.TaskGroup) -> None:
        if self._conversation.keep is not Keep.NOTHING:
            await self._collect(tasks)
        await self._apply(Event.END_TURN if self._user.seconds > 0 else Event.EMPTY_TURN, tasks)

    async def _collect(self, tasks: asyncio.TaskGroup) -> None:
        """Decode what waits; what of it is kept, and what follows from it, is for the table to say."""
        damaged, received_s = self._user.damaged_packets, self._user.received_s
        async with aclosing(self._user.decode()) as stretches:
            async for stretch in stretches:
                rest = self._user.keep(stretch.samples, self._conversation.keep)
                if self._conversation.keep is Keep.ALL and self._user.full:
                    await self._apply(Event.TURN_FULL, tasks)
                    self._user.keep(rest, self._conversation.keep)
                    self._ignore_unwanted()
                if stretch.edge is not None:
                    await self._on_edge(stretch.edge, self._user.time_of(stretch), tasks)
        self._metrics.audio_in.inc(self._user.received_s - received_s)
        if damaged := self._user.damaged_packets - damaged:
            await self._complain(AudioDamaged(damaged))

    async def _on_tool_results(self, results: tuple[ToolResult, ...], tasks: asyncio.TaskGroup) -> None:
        waiting = self._waiting_for_tools
        called = sorted(call.call_id for call in waiting.calls) if waiting is not None else []
        if waiting is not None and sorted(result.call_id for result in results) != called:
            await self._complain(WrongToolResults(tuple(called)))
        elif waiting is None or self._conversation.on(Event.TOOLS_ANSWERED).command is not Command.CONTINUE:
            await self._complain(Refused(Refusal.NO_CALLS))
        else:
            await self._continue_answer(waiting, results, tasks)

    async def _configure(self, options: SessionOptions, tasks: asyncio.TaskGroup) -> None:
        previous, self._options = self._options, options
        if (options.turn_detection, options.prefix_s) == (previous.turn_detection, previous.prefix_s):
            return
        await self._end_speech()
        rules = options.turn_detection
        self._user.listen_with(TurnDetector(rules, self._voice_model()) if rules else None, options.prefix_s)
        self._conversation.hands_free = rules is not None
        if rules is not None:
            await self._apply(Event.HANDS_FREE_ON, tasks)

    async def _on_edge(self, edge: Edge, at_s: float, tasks: asyncio.TaskGroup) -> None:
        if edge is Edge.ENDED:
            await self._end_speech(at_s)
            await self._apply(Event.SPEECH_ENDED, tasks)
        elif self._user.speaking:  # else the turn was full at the same moment
            self._speech_announced = True
            await self._wire.send(SpeechBegan(at_s))
            await self._apply(Event.SPEECH_BEGAN, tasks)

    async def _end_speech(self, at_s: float | None = None) -> None:
        """For the client, the speech that it was told of is over. Who still speaks will be noticed as somebody new."""
        if self._speech_announced:
            self._speech_announced = False
            await self._wire.send(SpeechEnded(self._user.received_s if at_s is None else at_s))

    # --- commands of the turn table ---

    async def _apply(self, event: Event, tasks: asyncio.TaskGroup) -> None:
        transition = self._conversation.on(event)
        match transition.command:
            case Command.OPEN_TURN:
                self._waiting_for_tools = None
                await self._open_turn()
            case Command.ANSWER:
                if event is Event.TURN_FULL:
                    await self._complain(TurnFull(self._limits.max_turn_s))
                await self._begin_answer(tasks)
            case Command.INTERRUPT:
                await self._end_answer()
                await self._open_turn()
            case Command.BARGE_IN:
                await self._end_answer()
            case Command.FORGET:
                await self._end_answer()
                self._waiting_for_tools = None
                self._history.clear()
                self._user.restart()
                await self._engine.forget(self.id)
                await self._open_turn()
            case Command.REFUSE:
                if transition.refusal is not None:
                    await self._complain(Refused(transition.refusal))

    async def _open_turn(self) -> None:
        await self._end_speech()
        await self._user.open()

    async def _begin_answer(self, tasks: asyncio.TaskGroup) -> None:
        await self._end_speech()
        request = TurnRequest(
            turn_id=self._next_turn_id(),
            conversation_id=self.id,
            client=self._client,
            audio=await self._user.take(),
            history=tuple(self._history),
            system_prompt=self._options.system_prompt,
            language=self._options.language,
            sampling=self._options.sampling,
            speech=self._options.speech,
            tools=self._options.tools,
        )
        await self._run(request, tasks)

    async def _continue_answer(
        self, waiting: TurnTask, results: tuple[ToolResult, ...], tasks: asyncio.TaskGroup
    ) -> None:
        """The model called functions and got their results: the same turn again, with these."""
        before = waiting.request
        exchanges = (*before.tool_exchanges, ToolExchange(tuple(waiting.calls), results))
        await self._run(dataclasses.replace(before, turn_id=self._next_turn_id(), tool_exchanges=exchanges), tasks)

    def _next_turn_id(self) -> str:
        self.turns += 1
        return f"{self.id}.{self.turns}"

    async def _run(self, request: TurnRequest, tasks: asyncio.TaskGroup) -> None:
        self._waiting_for_tools = None
        self._answer = TurnTask(
            self.turns,
            request,
            engine=self._engine,
            detokenizer=self._detokenizer,
            wire=self._wire,
            metrics=self._metrics,
            prebuffer_s=self._limits.prebuffer_s,
            now=self._now,
        )
        self._idle.clear()
        await self._wire.send(AnswerBegan(self.turns))
        self._answering = tasks.create_task(self._run_answer(self._answer), name=f"answer-{request.turn_id}")

    async def _run_answer(self, answer: TurnTask) -> None:
        try:
            await answer.run()
        finally:
            if self._answer is answer:  # else `_end_answer` sees to it
                self._remember(answer)
                self._answer = None
                self._conversation.on(Event.ANSWER_OVER)
                self._idle.set()

    def _remember(self, answer: TurnTask) -> None:
        outcome = answer.outcome or Outcome.INTERRUPTED
        self._metrics.turns.labels(outcome.value).inc()
        played = answer.played()
        if answer.calls and outcome is Outcome.FINISHED:
            self._waiting_for_tools = answer  # the turn is remembered with the answer that follows the results
            return
        if outcome is Outcome.FAILED and not played:
            return
        audio = answer.request.audio if self._engine.capabilities.user_audio_history else None
        self._history.append(Exchange(answer.transcript, played, audio))

    async def _end_answer(self, *, tell: bool = True) -> None:
        """Cut the answer off: nothing of it is sent from here on; its work ends within a deadline."""
        answer, task = self._answer, self._answering
        if answer is None or task is None:
            return
        self._answer = None
        answer.silence()
        task.cancel()
        if tell:
            await self._wire.send(Interrupted(answer.number, answer.played()))
        _, pending = await asyncio.wait({task}, timeout=CANCEL_DEADLINE_S)
        if pending:
            log.error("an answer did not end within %g s turn=%s", CANCEL_DEADLINE_S, answer.request.turn_id)
        self._remember(answer)
        self._idle.set()

    async def _complain(self, problem: Problem) -> None:
        self._metrics.problems.inc()
        await self._wire.send(problem)
