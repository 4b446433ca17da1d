"""One answer, from the end of the user's turn to the last audio: three tasks joined by bounded channels.

    think: engine steps ─ text at once ─▶ client
             └ speech ─▶ [windows] ─▶ speak: detokenizer, encoder ─▶ [audio] ─▶ play: pacer ─▶ client

A full channel holds back the one before it, so a long answer is made no faster than it is listened to. Cancelling the
task closes the engine's iterator and the detokenizer's turn.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum

from utils.channel import Channel
from utils.threads import in_background, off_loop
from web_demo.audio.echo import Played
from web_demo.audio.recording import Recording
from web_demo.audio.samples import WIRE_RATE, EncodedAudio, Samples, is_audible
from web_demo.detokenizer.source import SpeechSource, TurnSpeech
from web_demo.engines.base import (
    Heard,
    LimitReached,
    S2sEngine,
    SpeechCodes,
    SpeechText,
    TextDelta,
    ToolCall,
    TurnRequest,
)
from web_demo.errors import EngineFailed, NoSound, ServiceError
from web_demo.server.conversation.chunker import Chunker
from web_demo.server.conversation.events import (
    AnswerEnded,
    AnswerFailed,
    ReplyAudio,
    ReplyText,
    ServerEvent,
    ToolCalled,
    Transcribed,
)
from web_demo.server.conversation.metrics import S2sMetrics
from web_demo.server.conversation.pacing import SampleClock
from web_demo.server.conversation.ports import Outlet
from web_demo.server.conversation.reply import SpokenReply

log = logging.getLogger(__name__)

WINDOWS_AHEAD = 4  # sentences or windows that the engine may be ahead of the detokenizer
AHEAD_SAMPLES = 2 * WIRE_RATE  # encoded audio that may wait for its time
NOTICE_S = 0.2  # in which a voice is noticed that is beginning, with the way that its sound has
POSTPONED_S = 0.6
FIRST_SLICE_SAMPLES = WIRE_RATE // 5
SLICE_SAMPLES = WIRE_RATE  # encoded in one go: what a cancelled answer can have encoded in vain


class Outcome(Enum):
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    TOO_EARLY = "too_early"  # cut off before anything was heard of it: the user was not done
    FAILED = "failed"


@dataclass(frozen=True)
class _Window:
    text: str = ""
    codes: tuple[int, ...] = ()
    voice: str = ""
    last: bool = False


class TurnTask:
    """One answer to `request`. `run` it once, as a task; cancel the task to end it, after `silence()`, which takes effect at once:
    nothing more reaches the client. Nothing of it is heard, and no function called, before `heard_from`. `played` is told
    of the sound that goes out; `reply` grows with what is said.

    Afterwards `outcome`, `transcript`, `calls` and `played()` say what came of it. `now` is the clock that paces it, in seconds.
    """

    def __init__(
        self,
        number: int,
        request: TurnRequest,
        *,
        engine: S2sEngine,
        detokenizer: SpeechSource,
        wire: Outlet,
        reply: SpokenReply,
        metrics: S2sMetrics,
        prebuffer_s: float,
        now: Callable[[], float],
        played: Played | None = None,
        heard_from: float = 0.0,
    ) -> None:
        self.number = number
        self.request = request
        self._engine = engine
        self._detokenizer = detokenizer
        self._wire = wire
        self._metrics = metrics
        self._now = now
        self._listener = played
        self._unsent = Recording()  # of the sound that was made, for the listener's echo
        self._heard_from = heard_from
        self._heard_at_last = max(heard_from, now()) + POSTPONED_S
        self._clock = SampleClock(WIRE_RATE, prebuffer_s)
        self._windows: Channel[_Window] = Channel(WINDOWS_AHEAD)
        self._audio: Channel[EncodedAudio] = Channel(AHEAD_SAMPLES, lambda audio: audio.samples)
        self._silenced = False
        self._played = ""  # when it was silenced; its engine may go on for a moment
        self._began = now()
        self._sent = 0  # samples
        self._produced = 0
        self._traced: dict[str, float] | None = None  # when the answer's speech codes came to which stage
        self._audible = False  # whether any of that was more than silence
        self._reply = reply
        self._cut = False  # by the client's limit
        self.transcript = ""  # what the engine understood of the user
        self.calls: list[ToolCall] = []  # functions whose results the answer waits for
        self.outcome: Outcome | None = None

    def silence(self, outcome: Outcome = Outcome.INTERRUPTED) -> None:
        self._played = self.played()
        self._silenced = True
        self.outcome = self.outcome or outcome

    @property
    def heard(self) -> bool:
        """Whether anything of it has reached the user: its sound, or its text where that is all there is."""
        return self._sent > 0 or (not self.request.speech and bool(self._reply.text))

    def played(self) -> str:
        """The reply, as far as the user can have heard (or read) it."""
        if self._silenced:
            return self._played
        if self.outcome is Outcome.FINISHED or not self.request.speech:
            return self._reply.text
        return self._reply.played(self._clock.played(self._sent, self._now()))

    async def run(self) -> None:
        """Raises nothing but cancellation: what goes wrong is told to the client and logged here."""
        problem: str | None = None
        code = EngineFailed.code
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._think(), name=f"think-{self.request.turn_id}")
                tasks.create_task(self._speak(), name=f"speak-{self.request.turn_id}")
                tasks.create_task(self._play(), name=f"play-{self.request.turn_id}")
            await self._send(AnswerEnded(self.number, self._reply.text, self._cut))
            self.outcome = self.outcome or Outcome.FINISHED
        except* ServiceError as group:
            error = _first(group)
            problem, code = error.message, error.code
            log.warning("turn failed turn=%s: %s", self.request.turn_id, problem)
        except* ConnectionError:
            self.outcome = Outcome.INTERRUPTED  # the client hung up: its reader ends the session
        except* Exception as group:
            problem = "the engine made a mistake while answering; please ask again"
            log.exception("turn failed turn=%s", self.request.turn_id, exc_info=group)
        if problem is not None and not self._silenced:
            self.outcome = Outcome.FAILED
            await self._send(AnswerFailed(self.number, problem, code))

    def postpone(self) -> None:
        """Somebody may be beginning to speak: what was not heard yet waits until that is known, for POSTPONED_S at most."""
        self._heard_from = max(self._heard_from, min(self._now() + NOTICE_S, self._heard_at_last))

    async def _may_be_heard(self) -> None:
        """Returns when it is late enough."""
        if (wait_s := self._heard_from - self._now()) > 0:
            await asyncio.sleep(wait_s)
            await self._may_be_heard()  # unless it was postponed meanwhile

    async def _send(self, event: ServerEvent) -> None:
        if not self._silenced:
            await self._wire.send(event)

    async def _think(self) -> None:
        chunker: Chunker | None = None
        first_text = True
        transcribed_at = self._began
        async with aclosing(self._engine.respond(self.request)) as steps:
            async for step in steps:
                match step:
                    case Heard(text):
                        self.transcript, transcribed_at = text, self._now()
                        self._metrics.stage.labels("heard").observe(transcribed_at - self._began)
                        await self._send(Transcribed(self.number, text))
                    case TextDelta(text):
                        if first_text:
                            first_text = False
                            self._metrics.stage.labels("text").observe(self._now() - transcribed_at)
                        self._reply.add_text(text)
                        await self._send(ReplyText(self.number, text))
                    case SpeechText() | SpeechCodes() if not self.request.speech:
                        continue
                    case SpeechText(text, voice, failures):
                        self._metrics.text_failures.inc(failures)
                        await self._windows.put(_Window(text=text, voice=voice))
                    case SpeechCodes(codes):
                        if chunker is None:
                            chunker = Chunker(self._detokenizer.ready.hop_tokens)
                            self._trace("codes", since=transcribed_at)
                        for window in chunker.push(codes):
                            self._trace("window")
                            await self._windows.put(_Window(codes=window))
                    case LimitReached():
                        self._cut = True
                    case ToolCall():
                        await self._may_be_heard()
                        self.calls.append(step)
                        await self._send(ToolCalled(self.number, step))
        await self._windows.put(_Window(codes=chunker.flush() if chunker else (), last=True))
        await self._windows.close()

    async def _speak(self) -> None:
        speech: TurnSpeech | None = None
        writer = self._wire.writer
        if self.request.speech:
            writer.drop()
        try:
            async for window in self._windows:
                if speech is None:
                    if window.last and not window.codes:
                        break  # a reply without speech
                    speech = await self._detokenizer.open(self.request.turn_id)
                await self._speak_window(speech, window)
            if speech is not None:
                if not self._audible:
                    raise NoSound("the voice gave no sound for this answer; its text is all there is of it")
                await self._queue(await off_loop(writer.flush))
        finally:
            if speech is not None:
                speech.close()
        await self._audio.close()

    async def _speak_window(self, speech: TurnSpeech, window: _Window) -> None:
        if window.text:
            self._reply.begin_utterance(window.text)
        asked = self._now()
        first = True
        deadline = self._clock.runs_dry_at(self._produced, asked)
        async for samples in speech.say(
            text=window.text,
            codes=window.codes,
            voice=window.voice,
            last=window.last,
            deadline=deadline,
            speed=self.request.speed,
        ):
            if first:
                first = False
                self._metrics.stage.labels("sound").observe(self._now() - asked)
                self._trace("first")
            self._reply.add_sound(len(samples))
            self._audible = self._audible or is_audible(samples)
            self._produced += len(samples)
            if self._listener is not None:
                self._unsent.append(samples)
            encode = off_loop if self._sent == 0 else in_background  # a listener has something to hear by then
            for slice_ in _slices(samples, first=self._sent == 0):
                await self._queue(await encode(self._wire.writer.write, slice_))
        if window.text:
            self._reply.end_utterance()

    def _trace(self, stage: str, since: float | None = None) -> None:
        """The first time that a turn of speech codes comes to a stage: the time since the one before it."""
        if since is not None:
            self._traced = {}
        if self._traced is None or stage in self._traced:
            return
        now = self._now()
        before = since if since is not None else max(self._traced.values())
        self._traced[stage] = now
        self._metrics.stage.labels(stage).observe(now - before)

    async def _queue(self, encoded: Sequence[EncodedAudio]) -> None:
        for audio in encoded:
            await self._audio.put(audio)

    async def _play(self) -> None:
        async for audio in self._audio:
            if self._sent == 0:
                await self._may_be_heard()
            now = self._now()
            due = self._clock.due(self._sent, now)
            if due > now:
                await asyncio.sleep(due - now)
            if self._silenced:
                return
            self._metrics.lateness.observe(max(self._now() - max(due, now), 0.0))
            if self._sent == 0:
                self._metrics.first_audio.observe(self._now() - self._began)
                self._trace("sent")
            await self._wire.send(ReplyAudio(self.number, audio))
            if self._listener is not None:
                self._listener.add(self._unsent.take(audio.samples), self._clock.plays_at(self._sent))
            self._sent += audio.samples
            self._metrics.audio_out.inc(audio.samples / WIRE_RATE)


def _slices(samples: Samples, *, first: bool) -> Iterator[Samples]:
    """Parts to encode one after the other; the very first one is short, so that it is heard soon."""
    start = 0
    while start < len(samples):
        size = FIRST_SLICE_SAMPLES if first and start == 0 else SLICE_SAMPLES
        yield samples[start : start + size]
        start += size


def _first(group: BaseExceptionGroup[ServiceError]) -> ServiceError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
