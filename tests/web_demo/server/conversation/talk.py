"""A session in virtual time, without sockets, codecs, models or processes: what goes in are its events, what comes out is
what its wire saw. The engine is `ScriptedS2s`; sound is 16-bit samples on the way in, and counted on the way out."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
from prometheus_client import CollectorRegistry

from tests.speech import Loudness
from web_demo.audio.end_of_turn import EndModel
from web_demo.audio.patience import EndOfTurn
from web_demo.audio.samples import SPEECH_RATE, WIRE_RATE, DecodedAudio, EncodedAudio, Samples, TooMuchSound, from_int16
from web_demo.audio.vad import VadRules
from web_demo.detokenizer.messages import Ready
from web_demo.engines.base import Heard, SpeechCodes, SpeechText, TextDelta, ToolCall, ToolResult
from web_demo.engines.fakes import SAMPLES_PER_CHARACTER, SAMPLES_PER_CODE, ScriptedS2s
from web_demo.errors import EngineFailed
from web_demo.server.conversation.events import (
    AnswerBegan,
    AnswerEnded,
    AnswerFailed,
    AudioIn,
    ClientEvent,
    Configure,
    EndTurn,
    Interrupted,
    Problem,
    ReplyAudio,
    ReplyText,
    ServerEvent,
    Start,
    ToolResults,
)
from web_demo.server.conversation.metrics import S2sMetrics
from web_demo.server.conversation.options import SessionOptions
from web_demo.server.conversation.session import Session, SessionLimits
from web_demo.server.conversation.turn import State

METRICS = S2sMetrics(CollectorRegistry())
MESSAGE_S = 0.04
HANDS_FREE = SessionOptions(turn_detection=VadRules(min_silence_s=0.3))


class PcmReader:
    """16-bit samples at SPEECH_RATE. An odd number of bytes is no sound; b"damaged" is a damaged packet."""

    def __init__(self) -> None:
        self._pending = b""
        self._damaged = 0
        self.charged_ms = 0.0

    @property
    def pending_ms(self) -> float:
        return len(self._pending) / 2 / SPEECH_RATE * 1000

    def push(self, data: bytes, most_ms: float) -> None:
        length_ms = len(data) / 2 / SPEECH_RATE * 1000
        if length_ms > most_ms:
            raise TooMuchSound
        self.charged_ms += length_ms
        if data == b"damaged!":
            self._damaged += 1
        elif len(data) % 2:
            raise ValueError("an odd number of bytes")
        else:
            self._pending += data

    def trim(self, keep_ms: float) -> None:
        keep = round(keep_ms / 1000 * SPEECH_RATE) * 2
        self._pending = self._pending[max(len(self._pending) - keep, 0) :]

    def restart(self) -> None:
        return

    def decode(self, most_ms: float) -> DecodedAudio:
        size = round(most_ms / 1000 * SPEECH_RATE) * 2
        pending, self._pending = self._pending[:size], self._pending[size:]
        damaged, self._damaged = self._damaged, 0
        return DecodedAudio(from_int16(np.frombuffer(pending, np.int16)), damaged)


class FrameWriter:
    """Frames of `frame_s`; 0 makes one frame of whatever comes."""

    def __init__(self, frame_s: float = 0.04) -> None:
        self._frame = round(frame_s * WIRE_RATE)
        self._rest = 0

    def write(self, samples: Samples) -> list[EncodedAudio]:
        size = self._frame or len(samples)
        whole, self._rest = divmod(self._rest + len(samples), size)
        return [EncodedAudio(b"", size)] * whole

    def flush(self) -> list[EncodedAudio]:
        rest, self._rest = self._rest, 0
        return [EncodedAudio(b"", rest)] if rest else []

    def drop(self) -> None:
        self._rest = 0


class FakeWire:
    """Keeps (time, event). While `taking` is clear the client takes nothing; `lost_at` loses it at that many events."""

    def __init__(self, *, frame_s: float = 0.04) -> None:
        self.reader = PcmReader()
        self.writer = FrameWriter(frame_s)
        self.sent: list[tuple[float, ServerEvent]] = []
        self.taking = asyncio.Event()
        self.taking.set()
        self.lost_at: int | None = None
        self._waiting: list[asyncio.Future[None]] = []

    async def send(self, event: ServerEvent) -> None:
        if self.lost_at is not None and len(self.sent) >= self.lost_at:
            raise ConnectionResetError("the client is gone")
        await self.taking.wait()
        await asyncio.sleep(0)
        self.sent.append((asyncio.get_running_loop().time(), event))
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def change(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter


class FakeSynthesizer:
    """Speaks in no time, half a second after the other. Text tells it to misbehave: "[fail]" and "[defect]" raise after half a
    second of sound, "[hang]" never goes on. `open_error` is raised by `open`."""

    ready = Ready("fake", WIRE_RATE, (5, 25), 1000)

    def __init__(self) -> None:
        self.live: set[str] = set()
        self.said: list[str | tuple[int, ...]] = []
        self.open_error: Exception | None = None
        self.loudness = 0.1
        self.voice: Samples | None = None  # at WIRE_RATE, what it says instead of a constant

    async def open(self, turn_id: str) -> "FakeSpeech":
        await asyncio.sleep(0)
        if self.open_error is not None:
            raise self.open_error
        self.live.add(turn_id)
        return FakeSpeech(self, turn_id)


class FakeSpeech:
    def __init__(self, owner: FakeSynthesizer, turn_id: str) -> None:
        self._owner = owner
        self._turn_id = turn_id

    async def say(
        self,
        *,
        text: str = "",
        codes: tuple[int, ...] = (),
        voice: str = "",
        last: bool = False,
        deadline: float = 0.0,
        speed: float = 1.0,
    ) -> AsyncIterator[Samples]:
        self._owner.said.append(text or codes)
        length = round((len(text) * SAMPLES_PER_CHARACTER + len(codes) * SAMPLES_PER_CODE) / speed)
        for start in range(0, length, WIRE_RATE // 2):
            await asyncio.sleep(0)
            size = min(WIRE_RATE // 2, length - start)
            voice = self._owner.voice
            yield np.full(size, self._owner.loudness, np.float32) if voice is None else voice[start : start + size]
            if "[fail]" in text:
                raise EngineFailed("speech synthesis failed: told to")
            if "[defect]" in text:
                raise RuntimeError("secret detail")
            if "[hang]" in text:
                await asyncio.sleep(3600)

    def close(self) -> None:
        self._owner.live.discard(self._turn_id)


class Talk:
    """The client's side of one session. A method returns when the session has dealt with what it sent."""

    def __init__(
        self,
        script: Callable,
        *,
        options: SessionOptions,
        begins: SessionOptions,
        limits: SessionLimits,
        frame_s: float,
        end_model: EndModel | None,
        **engine: object,
    ) -> None:
        self.wire = FakeWire(frame_s=frame_s)
        self.engine = ScriptedS2s(script, **engine)
        self.synthesizer = FakeSynthesizer()
        self.options = options
        self.session = Session(
            self.wire,
            engine=self.engine,
            detokenizer=self.synthesizer,
            metrics=METRICS,
            limits=limits,
            options=begins,
            end_of_turn=EndOfTurn(end_model) if end_model else None,
            voice_model=Loudness,
            now=asyncio.get_running_loop().time,
        )
        self.lost = False  # the session is meant to have ended with an error
        self.side_by_side = False  # answers are meant to have run beside each other
        self._events: asyncio.Queue[tuple[ClientEvent, asyncio.Future[None]] | None] = asyncio.Queue()
        self.running = asyncio.create_task(self.session.run(self._incoming()), name="session")

    async def _incoming(self) -> AsyncGenerator[ClientEvent, None]:
        while (item := await self._events.get()) is not None:
            event, done = item
            yield event
            if not done.done():
                done.set_result(None)

    # --- sending ---

    def post(self, event: ClientEvent) -> asyncio.Future[None]:
        done = asyncio.get_running_loop().create_future()
        self._events.put_nowait((event, done))
        return done

    async def send(self, event: ClientEvent) -> None:
        await asyncio.wait({self.post(event), self.running}, return_when=asyncio.FIRST_COMPLETED)

    async def configure(self, **changes: object) -> None:
        self.options = replace(self.options, **changes)
        await self.send(Configure(self.options))

    async def speak(self, seconds: float = 0.4, level: float = 0.5) -> None:
        """In messages of MESSAGE_S, as fast as they are taken. With `level` 0, silence."""
        for _ in range(round(seconds / MESSAGE_S)):
            await self.send(AudioIn(sound(MESSAGE_S, level)))

    async def ask(self, seconds: float = 0.4) -> None:
        """A whole turn, without `start`."""
        await self.speak(seconds)
        await self.send(EndTurn())

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def answered(self, since: int = 0) -> int:
        return await self.wait_for(AnswerEnded, since)

    async def give_results(self) -> None:
        await self.send(ToolResults((ToolResult("call1", "sunny"),)))

    def hang_up(self) -> None:
        self._events.put_nowait(None)

    # --- receiving ---

    async def wait_for(self, kind: type, since: int = 0) -> int:
        """The position after the first event of this kind from `since` on."""
        while True:
            for position, event in enumerate(self.events(since), since + 1):
                if isinstance(event, kind):
                    return position
            assert not self.running.done(), f"the session ended without {kind.__name__}"
            await self.wire.change()

    def events(self, since: int = 0) -> list[ServerEvent]:
        return [event for _, event in self.wire.sent[since:]]

    def of(self, kind: type, since: int = 0) -> list:
        return [event for event in self.events(since) if isinstance(event, kind)]

    def problems(self, since: int = 0) -> list[Problem]:
        return self.of(Problem, since)

    def text(self, since: int = 0) -> str:
        return "".join(event.delta for event in self.of(ReplyText, since))

    def sound_s(self, since: int = 0) -> float:
        return sum(event.audio.samples for event in self.of(ReplyAudio, since)) / WIRE_RATE

    @property
    def here(self) -> int:
        return len(self.wire.sent)

    async def works(self) -> None:
        """The next proper turn is answered, whatever was before."""
        if self.session.state is not State.LISTENING:
            await self.send(Start())
        asked, here = len(self.engine.turns), self.here
        await self.ask()
        await self.answered(here)
        assert len(self.engine.turns) == asked + 1


@asynccontextmanager
async def talking(
    script: Callable,
    *,
    options: SessionOptions | None = None,
    begins: SessionOptions | None = None,
    limits: SessionLimits | None = None,
    frame_s: float = 0.04,
    end_model: EndModel | None = None,
    **engine: object,
) -> AsyncIterator[Talk]:
    """`begins`: the options of the session at its beginning, before it gets the others. Ends with a hang-up, unless there was one,
    after which nothing of the session may be left."""
    talk = Talk(
        script,
        options=options or SessionOptions(),
        begins=begins or SessionOptions(),
        limits=limits or SessionLimits(),
        frame_s=frame_s,
        end_model=end_model,
        **engine,
    )
    if options is not None:
        await talk.send(Configure(options))
    try:
        yield talk
        talk.hang_up()
        await asyncio.gather(talk.running, return_exceptions=talk.lost)
    finally:
        talk.running.cancel()
        await asyncio.gather(talk.running, return_exceptions=True)
    nothing_is_left(talk)


def nothing_is_left(talk: Talk) -> None:
    assert talk.engine.live == 0
    assert talk.synthesizer.live == set()
    assert talk.session.id in talk.engine.forgotten
    if not talk.side_by_side:
        check_order(talk.events())


def check_order(events: list[ServerEvent]) -> None:
    """What holds of any conversation: answers one after the other, nothing of an answer outside of it."""
    current, last = None, 0
    for event in events:
        match event:
            case AnswerBegan(turn):
                assert current is None
                assert turn == last + 1
                current = last = turn
            case AnswerEnded(turn, _) | Interrupted(turn, _):
                assert turn == current
                current = None
            case AnswerFailed(turn):
                assert turn == current
                current = None
            case _ if getattr(event, "turn", None) is not None:
                assert event.turn == current, event


def sound(seconds: float, level: float = 0.5) -> bytes:
    return np.full(round(seconds * SPEECH_RATE), round(level * 32767), np.int16).tobytes()


# --- scripts of engines ---


def say(*sentences: str):
    """Hear the turn, if it was spoken, then say these sentences."""
    return lambda turn: [
        *([Heard(f"{turn.audio.seconds:.1f} s")] if turn.audio is not None else []),
        *(step for sentence in sentences for step in (TextDelta(sentence + " "), SpeechText(sentence))),
    ]


def sing(turn):
    """42 codes, in groups of five and a rest."""
    return [Heard("la?"), TextDelta("la la"), *[SpeechCodes((1, 2, 3, 4, 5))] * 8, SpeechCodes((6, 7))]


def write(turn):
    return [Heard("?"), TextDelta("just "), TextDelta("text")]


def call(turn):
    """Calls a function; with its result, says it."""
    if turn.tool_exchanges:
        return say(turn.tool_exchanges[-1].results[0].content)(turn)
    return [Heard("?"), ToolCall("call1", "weather", {"city": "Paris"})]


def slow(turn):
    """Understands at once, and is silent for a minute."""
    return [Heard("0.8 s"), 60.0, *say("late")(turn)[1:]]


LONG = "x" * 200  # ten seconds


def first_then(first, then):
    """`first` is the script of the first turn, `then` of the others."""
    return lambda turn: (first if turn.turn_id.endswith(".1") else then)(turn)
