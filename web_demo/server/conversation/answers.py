"""What one session has under way. Its answers: at most one of its conversation, and beside it a few in writing that this knows
nothing of; each is a task of its own, and what it says becomes items of the conversation as it says it. And transcripts: what the
user said, in words, for clients that want to read it, found out beside the answer and never before it."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from web_demo.audio.echo import Played
from web_demo.audio.samples import Audio
from web_demo.detokenizer.source import SpeechSource
from web_demo.engines.base import S2sEngine, TurnRequest
from web_demo.errors import ServiceError, Unavailable
from web_demo.server.conversation.events import (
    AnswerBegan,
    Interrupted,
    ItemAdded,
    ReplyAudio,
    ReplyText,
    ServerEvent,
    ToolCalled,
    Transcribed,
    TranscriptionFailed,
)
from web_demo.server.conversation.history import AssistantSaid, FunctionCalled, History, UserSaid, new_id
from web_demo.server.conversation.metrics import S2sMetrics
from web_demo.server.conversation.ports import AudioWriter, Outlet, Transcriber
from web_demo.server.conversation.turn_task import Outcome, TurnTask

log = logging.getLogger(__name__)

CANCEL_DEADLINE_S = 5.0
MAX_BESIDE = 4
MOST_WAITING = 16  # transcripts of one session


@dataclass(frozen=True)
class Kind:
    """What becomes of an answer: of the conversation or not, and whether a turn that fails is forgotten with it."""

    remember: bool = True
    forget_failed: bool = True
    paced: bool = True
    repeats_transcript: bool = True


class Answers:
    """`over` is called when the conversation's answer has ended by itself. `count` numbers all that began."""

    def __init__(
        self,
        outlet: Outlet,
        history: History,
        *,
        engine: S2sEngine,
        detokenizer: SpeechSource,
        metrics: S2sMetrics,
        prebuffer_s: float,
        now: Callable[[], float],
        over: Callable[[], object],
    ) -> None:
        self.count = 0
        self._outlet = outlet
        self._history = history
        self._engine = engine
        self._detokenizer = detokenizer
        self._metrics = metrics
        self._prebuffer_s = prebuffer_s
        self._now = now
        self._over = over
        self._current: _Answer | None = None
        self._beside: dict[int, _Answer] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    async def idle(self) -> None:
        """Returns as soon as no answer of the conversation is under way."""
        await self._idle.wait()

    @property
    def heard(self) -> bool | None:
        """Whether anything of the conversation's answer has reached the user; None where none is under way."""
        return self._current.task.heard if self._current is not None else None

    def postpone(self) -> None:
        """Somebody may be beginning to speak: what of the conversation's answer was not heard yet waits until that is known."""
        if self._current is not None:
            self._current.task.postpone()

    @property
    def full(self) -> bool:
        """As many answers as may be are under way beside the conversation's."""
        return len(self._beside) >= MAX_BESIDE

    async def begin(
        self,
        request: TurnRequest,
        kind: Kind,
        tasks: asyncio.TaskGroup,
        *,
        user_item: str = "",
        beside: bool = False,
        heard_from: float = 0.0,
        played: Played | None = None,
    ) -> None:
        """`user_item`: the id of what it answers. `beside`: the conversation's own answer may go on. `heard_from` and `played` are
        TurnTask's."""
        answer = _Answer(self.count, kind, user_item, self._outlet, self._history)
        answer.task = self._task(answer, request, heard_from, played)
        if beside:
            self._beside[answer.number] = answer
        else:
            self._current = answer
            self._idle.clear()
        await self._outlet.send(AnswerBegan(answer.number, answer.item_id))
        answer.running = tasks.create_task(self._run(answer), name=f"answer-{request.turn_id}")

    async def _run(self, answer: _Answer) -> None:
        try:
            await answer.task.run()
        except asyncio.CancelledError as error:
            # a frame in it keeps the error, and so itself, and the session with all its sound
            error.__traceback__ = None
            raise
        finally:
            if self._current is answer:  # else `cut_off` sees to it
                self._remember(answer)
                self._current = None
                self._over()
                self._idle.set()
            elif self._beside.pop(answer.number, None) is not None:
                self._remember(answer)
            if not answer.kind.remember:
                await self._engine.forget(answer.task.request.conversation_id)

    def _remember(self, answer: _Answer) -> None:
        outcome = answer.task.outcome or Outcome.INTERRUPTED
        self._metrics.turns.labels(outcome.value).inc()
        if not answer.kind.remember or outcome is Outcome.TOO_EARLY:
            return
        played = answer.task.played()
        if outcome is Outcome.FAILED and not played and answer.kind.forget_failed:
            self._history.forget_turn()
        self._history.said(answer.item_id, played)
        self._history.prune()

    async def cut_off(self, *, tell: bool = True, by_voice: bool = False, goes_on: bool = False) -> None:
        """End the conversation's answer: nothing of it is sent from here on; its work ends within a deadline. `goes_on`: the turn
        that it answers does, and the answer is not remembered."""
        answer, self._current = self._current, None
        if answer is not None:
            await self._end(answer, tell=tell, by_voice=by_voice, goes_on=goes_on)
            self._idle.set()

    async def cut_off_beside(self, number: int, *, tell: bool = True) -> bool:
        """The same for another one. Whether there was one."""
        answer = self._beside.pop(number, None)
        if answer is not None:
            await self._end(answer, tell=tell)
        return answer is not None

    async def close(self) -> None:
        """All of them, without a word."""
        await self.cut_off(tell=False)
        for number in list(self._beside):
            await self.cut_off_beside(number, tell=False)

    async def _end(self, answer: _Answer, *, tell: bool, by_voice: bool = False, goes_on: bool = False) -> None:
        answer.task.silence(Outcome.TOO_EARLY if goes_on else Outcome.INTERRUPTED)
        if answer.running is not None:
            answer.running.cancel()
        if tell:
            await self._outlet.send(Interrupted(answer.number, answer.task.played(), goes_on, by_voice))
        if answer.running is not None:
            _, pending = await asyncio.wait({answer.running}, timeout=CANCEL_DEADLINE_S)
            if pending:
                turn_id = answer.task.request.turn_id
                log.error("an answer did not end within %g s turn=%s", CANCEL_DEADLINE_S, turn_id)
            answer.running = None
        self._remember(answer)

    def _task(self, answer: _Answer, request: TurnRequest, heard_from: float, played: Played | None) -> TurnTask:
        return TurnTask(
            answer.number,
            request,
            engine=self._engine,
            detokenizer=self._detokenizer,
            wire=answer,
            metrics=self._metrics,
            prebuffer_s=self._prebuffer_s if answer.kind.paced else math.inf,
            now=self._now,
            heard_from=heard_from,
            played=played,
        )


class _Answer:
    """One answer with its items. An `Outlet` for its task."""

    task: TurnTask  # set right after it is made, since each needs the other

    def __init__(self, number: int, kind: Kind, user_item: str, outlet: Outlet, history: History) -> None:
        self.number = number
        self.kind = kind
        self.item_id = new_id()
        self.running: asyncio.Task[None] | None = None
        self._user_item = user_item
        self._outlet, self._history = outlet, history
        self._shown = not kind.remember

    @property
    def writer(self) -> AudioWriter:
        return self._outlet.writer

    async def send(self, event: ServerEvent) -> None:
        match event:
            case Transcribed(turn, text):
                news = self._history.understood(self._user_item, text)
                if not news and not self.kind.repeats_transcript:
                    return
                audio = self.task.request.audio
                event = Transcribed(turn, text, self._user_item, audio.seconds if audio is not None else 0.0)
            case ReplyText() | ReplyAudio() if not self._shown:
                self._shown = True
                item = AssistantSaid(self.item_id, reply=self.task.reply, under_way=True)
                await self._outlet.send(ItemAdded(item, self._history.add(item)))
                if self.task.silenced:  # meanwhile
                    return
            case ToolCalled(_, call):
                called = FunctionCalled(new_id(), call)
                previous = self._history.add(called) if self.kind.remember else None
                event = replace(event, item_id=called.id, previous=previous)
        await self._outlet.send(event)


class Transcripts:
    """Of one session, one after the other. The engine is asked first, then `transcriber`."""

    def __init__(
        self, outlet: Outlet, history: History, engine: S2sEngine, transcriber: Transcriber | None, client: str
    ) -> None:
        self._outlet = outlet
        self._history = history
        self._engine = engine
        self._transcriber = transcriber
        self._client = client
        self._turn = asyncio.Lock()
        self._under_way: set[asyncio.Task[None]] = set()

    def begin(self, item: UserSaid, tasks: asyncio.TaskGroup) -> None:
        if item.audio is not None:
            work = self._transcribe(item.id, item.audio, too_many=len(self._under_way) >= MOST_WAITING)
            task = tasks.create_task(work, name=f"transcript-{item.id}")
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _transcribe(self, item_id: str, audio: Audio, *, too_many: bool) -> None:
        try:
            if too_many:
                raise Unavailable(f"{MOST_WAITING} transcripts of this conversation are waited for already")
            async with self._turn:
                text = await self._words(audio)
        except ServiceError as error:
            await self._outlet.send(TranscriptionFailed(item_id, error.message))
        except Exception:
            log.exception("transcription failed item=%s", item_id)
            await self._outlet.send(TranscriptionFailed(item_id, "the recogniser made a mistake"))
        else:
            if self._history.understood(item_id, text):
                await self._outlet.send(Transcribed(None, text, item_id, audio.seconds))

    async def _words(self, audio: Audio) -> str:
        text = await self._engine.transcribe(audio, self._client)
        if text is None:
            if self._transcriber is None:
                raise Unavailable("this service has no recogniser beside its speech model")
            text = await self._transcriber(audio, self._client)
        return text
