"""One conversation: events of a client in, events for it out. Knows no wire format and no HTTP.

The turn table (turn.py) says what may happen; this file carries it out. There is one reader, `run`, and at most one
answer at a time, which is a task of its own, so the reader is always free to hear an interruption.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from utils.bucket import TokenBucket
from web_demo.audio.echo import Played, WithoutEcho
from web_demo.audio.end_of_turn import CONTEXT_S
from web_demo.audio.foreground import Foreground
from web_demo.audio.patience import ASKED_A_SECOND, ASKED_AT_ONCE, EndOfTurn, Wait, patient
from web_demo.audio.samples import WIRE_RATE, Audio
from web_demo.audio.vad import Edge, TurnDetector, VadRules, VoiceDetector, VoiceModel
from web_demo.detokenizer.source import SpeechSource
from web_demo.engines.base import S2sEngine, ToolResult, TurnRequest
from web_demo.server.conversation.answers import Answers, Kind, Transcripts
from web_demo.server.conversation.events import (
    AddItem,
    Answer,
    AudioDamaged,
    AudioIn,
    Cancel,
    ClientEvent,
    Commit,
    Committed,
    Configure,
    DeleteItem,
    Discard,
    Discarded,
    EndTurn,
    GetItem,
    ItemAdded,
    ItemDeleted,
    ItemFound,
    ItemTruncated,
    Malformed,
    Problem,
    Refused,
    Restart,
    SpeechBegan,
    SpeechEnded,
    Start,
    ToolResults,
    TruncateItem,
    TurnFull,
    Unreadable,
    Write,
    WrongItem,
    WrongToolResults,
)
from web_demo.server.conversation.history import FunctionReturned, History, Item, NoSuchItem, UserSaid, new_id
from web_demo.server.conversation.metrics import S2sMetrics
from web_demo.server.conversation.options import AnswerOptions, SessionOptions
from web_demo.server.conversation.ports import Transcriber, Wire
from web_demo.server.conversation.turn import RULES, Command, Conversation, Event, Keep, Refusal, State
from web_demo.server.conversation.user_audio import UserAudio

log = logging.getLogger(__name__)

LEAST_COMMIT_S = 0.1  # less is nothing: an item costs more than its sound

OF_THE_SESSION = AnswerOptions()

_numbers = itertools.count(1)


@dataclass(frozen=True)
class SessionLimits:
    max_turn_s: float = 120.0  # of user audio; then the turn is ended for the user
    prebuffer_s: float = 0.6  # how far audio is sent ahead of its time


class Session:
    """`run` it once with what the client does; what it answers goes to `wire`. `turns` counts the answers so far.

    `options` are those to begin with, `client` is whose it is. `end_of_turn` says when somebody has finished, in sessions that have
    patience for it. `now` is the clock of everything that is paced or measured, in seconds; `voice_model` makes one for each
    hands-free spell; `transcriber` knows the words of the user where the engine does not.
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
        transcriber: Transcriber | None = None,
        client: str = "",
        end_of_turn: EndOfTurn | None = None,
        voice_model: Callable[[], VoiceModel] = VoiceDetector,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id = f"s{next(_numbers)}"
        self._wire = wire
        self._engine = engine
        self._metrics = metrics
        self._limits = limits
        self._options = options
        self._client = client
        self._end_of_turn = end_of_turn
        self._played = Played(now)  # by the listener, whose microphone may hear it
        self._questions = TokenBucket(ASKED_AT_ONCE, ASKED_A_SECOND, now)
        self._wait: Wait | None = None  # for the pause under way, by meaning
        self._heard_from = 0.0  # of the answer that is begun next
        self._voice_model = voice_model
        self._now = now
        self._conversation = Conversation()
        self._conversation.buffered = options.buffered
        self._user = UserAudio(wire.reader, limits.max_turn_s, now)
        self._speech_announced = False
        self._said_item = new_id()  # the id of what the user is saying, once it is committed
        self._history = History(lambda: engine.capabilities.user_audio_history)
        self._transcripts = Transcripts(wire, self._history, engine, transcriber, client)
        self._answers = Answers(
            wire,
            self._history,
            engine=engine,
            detokenizer=detokenizer,
            metrics=metrics,
            prebuffer_s=limits.prebuffer_s,
            now=now,
            over=partial(self._conversation.on, Event.ANSWER_OVER),  # not of this session: it must be freed at its end
        )

    @property
    def turns(self) -> int:
        return self._answers.count

    @property
    def received_s(self) -> float:
        return self._user.received_s

    @property
    def state(self) -> State:
        return self._conversation.state

    async def idle(self) -> None:
        """Returns as soon as no answer is under way."""
        await self._answers.idle()

    async def run(self, incoming: AsyncGenerator[ClientEvent, None]) -> None:
        """Until `incoming` ends, which is the client hanging up. Then everything of the session is freed.

        Raises an ExceptionGroup, of ConnectionError where the client was lost while something was sent to it.
        """
        try:
            async with asyncio.TaskGroup() as tasks, aclosing(incoming) as events:
                await self._listen(tasks)
                async for event in events:
                    await self._handle(event, tasks)
                await self._answers.close()
                await self._transcripts.close()
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
            case Commit():
                await self._on_commit(tasks)
            case Discard():
                await self._apply(Event.DISCARD, tasks)
                await self._wire.send(Discarded())
            case Write(text):
                await self._apply(Event.WRITTEN, tasks, items=(UserSaid(new_id(), text),))
            case Answer(options):
                await self._on_answer(options, tasks)
            case Cancel(turn):
                if turn is None or not await self._answers.cut_off_beside(turn):
                    await self._apply(Event.CANCEL, tasks)
            case AddItem() | DeleteItem() | TruncateItem() | GetItem():
                await self._on_item(event)
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

    async def _on_commit(self, tasks: asyncio.TaskGroup) -> None:
        if self._conversation.keep is not Keep.NOTHING:
            await self._collect(tasks)
        await self._apply(Event.COMMIT if self._user.seconds >= LEAST_COMMIT_S else Event.EMPTY_COMMIT, tasks)

    async def _on_answer(self, options: AnswerOptions, tasks: asyncio.TaskGroup) -> None:
        speech = self._options.speech if options.speech is None else options.speech
        try:
            self._history.asked(options.context)
        except NoSuchItem as error:
            await self._complain(WrongItem(str(error), missing=True))
            return
        if options.remember or speech:
            await self._apply(Event.ASKED, tasks, options=options)
        elif self._answers.full:
            await self._complain(Refused(Refusal.ALREADY_ANSWERING))
        else:
            await self._reply(options, tasks, beside=True)

    async def _on_item(self, event: AddItem | DeleteItem | TruncateItem | GetItem) -> None:
        try:
            match event:
                case AddItem(item, after):
                    await self._add(item, after)
                case DeleteItem(item_id):
                    self._history.delete(item_id)
                    await self._wire.send(ItemDeleted(item_id))
                case TruncateItem(item_id, heard_s):
                    self._history.truncate(item_id, round(heard_s * WIRE_RATE))
                    await self._wire.send(ItemTruncated(item_id, heard_s))
                case GetItem(item_id):
                    await self._wire.send(ItemFound(self._history.find(item_id)))
        except ValueError as error:
            await self._complain(WrongItem(str(error), missing=isinstance(error, NoSuchItem)))

    async def _add(self, item: Item, after: str | None = None) -> None:
        previous = self._history.add(item, after)
        self._history.prune()
        await self._wire.send(ItemAdded(item, previous))

    async def _collect(self, tasks: asyncio.TaskGroup) -> None:
        """Decode what waits; what of it is kept, and what follows from it, is for the table to say."""
        damaged, received_s = self._user.damaged_packets, self._user.received_s
        async with aclosing(self._user.decode()) as stretches:
            async for stretch in stretches:
                rest = self._user.keep(stretch.samples, self._conversation.keep)
                if self._conversation.keep is Keep.ALL and self._user.full:
                    await self._apply(Event.TURN_FULL if self._options.answers_itself else Event.TURN_CUT, tasks)
                    self._user.keep(rest, self._conversation.keep)
                    self._ignore_unwanted()
                if self._user.noticing:
                    self._answers.postpone()
                if stretch.edge is not None:
                    await self._on_edge(stretch.edge, self._user.time_of(stretch), tasks)
        self._metrics.audio_in.inc(self._user.received_s - received_s)
        if damaged := self._user.damaged_packets - damaged:
            await self._complain(AudioDamaged(damaged))

    async def _on_tool_results(self, results: tuple[ToolResult, ...], tasks: asyncio.TaskGroup) -> None:
        called = sorted(call.call_id for call in self._history.open_calls)
        if not called or (self._conversation.state, Event.TOOLS_ANSWERED) not in RULES:
            await self._complain(Refused(Refusal.NO_CALLS))
        elif sorted(result.call_id for result in results) != called:
            await self._complain(WrongToolResults(tuple(called)))
        else:
            items = tuple(FunctionReturned(new_id(), result) for result in results)
            await self._apply(Event.TOOLS_ANSWERED, tasks, items=items)

    async def _configure(self, options: SessionOptions, tasks: asyncio.TaskGroup) -> None:
        previous, self._options = self._options, options
        self._conversation.buffered = options.buffered
        if (_rules(options), options.prefix_s) != (_rules(previous), previous.prefix_s):
            await self._end_speech()
            await self._listen(tasks)

    async def _listen(self, tasks: asyncio.TaskGroup) -> None:
        """For a voice, or to nothing, as the options say."""
        rules = _rules(self._options)
        self._wait = None
        voice = Foreground(WithoutEcho(self._voice_model(), self._played)) if rules else None
        self._user.listen_with(TurnDetector(rules, voice) if rules else None, self._options.prefix_s)
        self._conversation.hands_free = rules is not None
        if rules is not None:
            await self._apply(Event.HANDS_FREE_ON, tasks)

    async def _on_edge(self, edge: Edge, at_s: float, tasks: asyncio.TaskGroup) -> None:
        if edge is Edge.PAUSED:
            await self._judge()
        elif edge is Edge.ENDED:
            await self._end_speech(at_s)
            heard_s = self._wait.heard_s if self._wait else 0.0
            self._heard_from = self._now() + heard_s - (self._user.received_s - at_s)
            await self._apply(Event.SPEECH_ENDED if self._options.answers_itself else Event.SPEECH_OVER, tasks)
            self._heard_from = 0.0
        elif self._user.speaking:  # else the turn was full at the same moment
            self._speech_announced = True
            await self._wire.send(SpeechBegan(at_s, self._said_item))
            await self._apply(self._voice(), tasks)

    async def _judge(self) -> None:
        """Somebody has fallen silent in the turn: for how long, to have finished."""
        self._wait = None
        patience, model = self._options.patience, self._end_of_turn
        if patience is None or model is None or self._questions.level < 1 or self.state is not State.LISTENING:
            return
        self._questions.take(1)
        probability = await model.ask(self._user.last(CONTEXT_S))
        self._metrics.pauses.labels("timer" if probability is None else "meaning").inc()
        if probability is not None:
            self._wait = patience.after(probability)
            self._user.wait(self._wait.end_s if self._options.speech else self._wait.heard_s)  # text is read at once

    def _voice(self) -> Event:
        """What it means that somebody is noticed now."""
        if not self._options.interrupts_itself:
            return Event.SPEECH_BESIDE
        return Event.SPEECH_BEGAN if self._unheard() is None else Event.SPEECH_WENT_ON

    def _unheard(self) -> Audio | None:
        """What the user said last, if nothing of an answer to it was heard, be it under way or waiting for results of its calls,
        and the turn may be longer. Clients that keep items have it as one, and it stays one."""
        if self._options.buffered or self._answers.heard is True:
            return None
        if self._answers.heard is None and not self._history.open_calls:
            return None
        audio = self._history.asked().audio
        return audio if audio is not None and self._user.has_room_after(audio) else None

    async def _end_speech(self, at_s: float | None = None) -> None:
        """For the client, the speech that it was told of is over. Who still speaks will be noticed as somebody new."""
        if self._speech_announced:
            self._speech_announced = False
            await self._wire.send(SpeechEnded(self._user.received_s if at_s is None else at_s, self._said_item))

    # --- commands of the turn table ---

    async def _apply(
        self,
        event: Event,
        tasks: asyncio.TaskGroup,
        *,
        items: Sequence[Item] = (),
        options: AnswerOptions = OF_THE_SESSION,
    ) -> None:
        """`items` come before the answer that it brings, if it brings one, and `options` are that answer's."""
        transition = self._conversation.on(event)
        if event in (Event.TURN_FULL, Event.TURN_CUT) and transition.command is not Command.NOTHING:
            await self._complain(TurnFull(self._limits.max_turn_s))
        if event is Event.START and transition.command is not Command.REFUSE:
            self._history.forget_calls()
        match transition.command:
            case Command.OPEN_TURN:
                await self._open_turn()
            case Command.COMMIT:
                await self._commit(tasks)
            case Command.ANSWER | Command.REPLY | Command.REPLACE:
                if transition.command is Command.REPLACE:
                    await self._answers.cut_off()
                if transition.command is Command.ANSWER and self._user.seconds > 0:
                    await self._commit(tasks)
                for item in items:
                    await self._add(item)
                await self._reply(options, tasks)
            case Command.INTERRUPT:
                await self._answers.cut_off()
                await self._open_turn()
            case Command.BARGE_IN | Command.CANCEL:
                await self._answers.cut_off(by_voice=event in (Event.SPEECH_BEGAN, Event.SPEECH_WENT_ON))
            case Command.GO_ON:
                await self._go_on()
            case Command.FORGET:
                await self._answers.cut_off()
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
        self._said_item = new_id()

    async def _go_on(self) -> None:
        """Cut the answer off as if it had never begun: what it answers is the beginning of the turn that is open now."""
        if (audio := self._unheard()) is None:
            raise RuntimeError("no answer that nobody heard: the turn table asked for the impossible")
        await self._answers.cut_off(goes_on=True)
        self._history.forget_turn()
        await self._user.go_on_from(audio)

    async def _commit(self, tasks: asyncio.TaskGroup) -> None:
        await self._end_speech()
        item = UserSaid(self._said_item, audio=await self._user.take())
        self._said_item = new_id()
        previous = self._history.add(item)
        await self._wire.send(Committed(item.id, previous, item.audio.seconds if item.audio is not None else 0.0))
        if self._options.transcription:
            self._transcripts.begin(item, tasks)

    async def _reply(self, own: AnswerOptions, tasks: asyncio.TaskGroup, *, beside: bool = False) -> None:
        options, self._answers.count = self._options, self._answers.count + 1
        asked = self._history.asked(own.context)
        slowest, fastest = self._engine.capabilities.speeds
        instructions = options.system_prompt if own.system_prompt is None else own.system_prompt
        request = TurnRequest(
            turn_id=f"{self.id}.{self.turns}",
            conversation_id=self.id if own.remember else f"{self.id}.{self.turns}",
            client=self._client,
            audio=asked.audio,
            text=asked.text,
            history=asked.history,
            system_prompt="\n\n".join(part for part in (instructions, *asked.system) if part),
            language=options.language,
            spoken_language=options.spoken_language,
            sampling=options.sampling,
            speech=options.speech if own.speech is None else own.speech,
            voice=options.voice,
            speed=min(max(options.speed, slowest), fastest),
            tools=options.tools if own.tools is None else own.tools,
            tool_choice=options.tool_choice if own.tool_choice is None else own.tool_choice,
            max_tokens=options.max_tokens if own.max_tokens is None else own.max_tokens,
            tool_exchanges=asked.tool_exchanges,
        )
        kind = Kind(own.remember, not options.buffered, options.paced, not options.transcription)
        await self._answers.begin(
            request,
            kind,
            tasks,
            user_item=asked.user_item,
            beside=beside,
            heard_from=self._heard_from,
            played=self._played if self._conversation.hands_free else None,
        )

    async def _complain(self, problem: Problem) -> None:
        self._metrics.problems.inc()
        await self._wire.send(problem)


def _rules(options: SessionOptions) -> VadRules | None:
    """Of the detector: with patience it also notices pauses, before the timer ends them."""
    rules = options.turn_detection
    return patient(rules) if rules is not None and options.patience is not None else rules
