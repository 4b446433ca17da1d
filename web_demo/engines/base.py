"""The nouns and the contracts that services and engines share. No aiohttp, no torch.

An engine has `start()` and `close()` and does its one thing; closing an async generator that it returned cancels the
work behind it. What is optional is a declared capability, never a `hasattr`. Engines raise the errors of
`web_demo.errors`; anything else that escapes is a defect and is logged as one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from utils.turns import Turn
from web_demo.audio.samples import Audio, Samples
from web_demo.detokenizer.backend import BackendSpec, Mark
from web_demo.detokenizer.source import SpeechSource

# --- what every engine declares ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Capabilities:
    """What an engine can do; a service answers a request for anything else with a clear error."""

    languages: tuple[str, ...] = ()  # ISO 639 codes, the default one first; empty: any
    hotwords: bool = False
    prompts: bool = False  # a hotword may be any text: it goes before what is recognised, as Whisper's prompt
    itn: bool = False  # written numbers ("twenty one" -> "21") on request
    timestamps: Literal["none", "segment", "word"] = "none"  # of what is recognised; of speech: "word" for marks
    partials: tuple[
        str, ...
    ] = ()  # languages in which texts of utterances that go on are made of what is new: a StreamingAsr
    translation: bool = False  # of speech in any language into English text: a TranslatingAsr
    voices: tuple[str, ...] = ()
    voice_languages: Mapping[str, str] = field(default_factory=dict)  # ISO 639 codes, of voices whose names do not tell
    cloning: bool = False  # speaks with the voice of a reference recording
    speeds: tuple[float, float] = (1.0, 1.0)  # of speech, slowest and fastest; 1 is normal
    instructions: bool = False  # can be told how to speak; of a conversation: follows a system prompt
    min_piece_chars: int = 1  # of text spoken in one go: below it speech is not good …
    max_piece_chars: int = 200  # … and above it not stable, or too long for others to wait
    backend: BackendSpec | None = None  # the detokenizer backend that is this voice, for who has that child anyway
    user_audio_history: bool = False  # wants the sound of earlier user turns, not only their text
    max_concurrency: int = 1
    workers: bool = False  # its processes go on with what is cancelled, and some may yield to others: a WorkerAsr
    background: int = 0  # how much such an engine does beside `max_concurrency`, for who has some of that already
    lost: str = ""  # why it does less at this moment than it was started for
    better: Mapping[str, str] = field(default_factory=dict)  # what would be better here, by language of who reads it


class Engine(Protocol):
    """Life cycle and description. `start` may take minutes (weights); it raises SetupError when it cannot serve.

    `close` may come before the start or twice. Where it let go of something that work needs, later work raises a
    ServiceError.
    """

    @property
    def name(self) -> str: ...  # as in `--engine`
    @property
    def model(self) -> str: ...  # shown in /health
    @property
    def device(self) -> str: ...  # "cpu", "cuda:0", or the base URL of a remote server
    @property
    def capabilities(self) -> Capabilities: ...

    async def start(self) -> None: ...
    async def close(self) -> None: ...

    def fault(self) -> str | None:
        """Why the started engine cannot serve any more, or not until it has started a part of itself again; None while
        it can. `/health` shows it and new work is refused with it. Looks only, never waits."""
        ...


# --- speech to text ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Word:
    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Segment:
    """A stretch of speech; `words` is None where the engine has no word times. `voiced`: the stretches of it with a voice, start
    and end in seconds, where that is all that is known of when its words are said."""

    text: str
    start_s: float
    end_s: float
    words: tuple[Word, ...] | None = None
    voiced: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Transcript:
    text: str
    language: str
    segments: tuple[Segment, ...] = ()
    ignored_hotwords: tuple[str, ...] = ()


class AsrEngine(Engine, Protocol):
    async def transcribe(
        self, audio: Audio, *, language: str | None = None, hotwords: Sequence[str] = (), itn: bool = True
    ) -> Transcript:
        """One utterance, a few seconds to `max_segment_s` long; silence gives an empty text. Cancellation stops it."""
        ...

    @property
    def max_segment_s(self) -> float: ...  # longer audio is split at silences by the service


class WorkerAsr(AsrEngine, Protocol):
    """An engine that declares `workers`."""

    async def transcribe(
        self,
        audio: Audio,
        *,
        language: str | None = None,
        hotwords: Sequence[str] = (),
        itn: bool = True,
        turn: Turn | None = None,
    ) -> Transcript:
        """As an AsrEngine's. The work yields to others when `turn` is in the background, and the turn lasts until it is done,
        which may be after a cancellation."""
        ...


class TranslatingAsr(AsrEngine, Protocol):
    """An engine that declares `translation`."""

    async def translate(self, audio: Audio, *, hotwords: Sequence[str] = ()) -> Transcript:
        """As `transcribe`, in English."""
        ...


class StreamingAsr(AsrEngine, Protocol):
    """An engine that declares `partials`."""

    async def partial(self, utterance: str, audio: Audio) -> str:
        """The text so far of an utterance that goes on, which has the name `utterance` among all; `audio` is all of it until now.
        What was heard of it before is not heard again. Punctuation and numbers come with `transcribe`."""
        ...


# --- text to speech ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VoicePrompt:
    """A reference recording and what is said in it."""

    audio: Audio
    text: str


@dataclass(frozen=True)
class SpeechRequest:
    """`text` is words (`web_demo/text/frontend.py`), at most `max_piece_chars` of the engine's capabilities long: longer
    ones are cut before, in one place (`engines/tts/text.py`), and asked for piece by piece. `marks` given: an engine with times of
    words (`timestamps`) has put into it what it says when, at the end."""

    text: str
    voice: str  # "": the engine's default
    speed: float = 1.0
    prompt: VoicePrompt | None = None
    instruction: str = ""  # how to speak, where the engine can be told
    marks: list[Mark] | None = field(default=None, compare=False)
    streamed: bool = True  # False: nobody listens before all of it is there


class TtsEngine(Engine, Protocol):
    @property
    def sample_rate(self) -> int: ...

    def synthesize(self, request: SpeechRequest) -> AsyncGenerator[Samples, None]:
        """Chunks of mono float32 at `sample_rate`, the first as soon as it exists; none for a text without words."""
        ...


# --- speech to speech -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sampling:
    """None: the engine's own default."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    seed: int | None = None


@dataclass(frozen=True)
class ToolCall:
    """The model asks the client to call one of its functions."""

    call_id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class ToolResult:
    call_id: str
    content: str


@dataclass(frozen=True)
class ToolExchange:
    """Functions that the model called while answering this turn, and what the client sent back."""

    calls: tuple[ToolCall, ...]
    results: tuple[ToolResult, ...]  # one for each call, in any order


@dataclass(frozen=True)
class Exchange:
    """One past pair of the conversation; either side may be missing, where somebody spoke twice. A cancelled answer holds only
    what the user had heard."""

    user_text: str  # "" where nobody knows it
    assistant_text: str
    user_audio: Audio | None = None  # for engines with `user_audio_history`, and where the text is not known
    tool_exchanges: tuple[ToolExchange, ...] = ()  # before the answer


@dataclass(frozen=True)
class TurnRequest:
    """One user turn, with all that the answer may depend on: what the user said, or wrote, or both; or neither, where the
    assistant is to speak unasked."""

    turn_id: str  # unique in the process
    conversation_id: str  # the same for all turns of a session: the key of caches kept between turns
    audio: Audio | None = None  # what the user said, SPEECH_RATE
    text: str = ""  # what the user wrote
    client: str = (
        ""  # whose it is: many conversations may be one client's, and engines that have turns are fair to clients
    )
    history: tuple[Exchange, ...] = ()  # oldest first
    system_prompt: str = ""  # "": the engine's own default
    language: str = "en"  # of the texts that an engine itself has to say
    spoken_language: str = ""  # of the user, an ISO 639 code, for a recogniser that knows it; "": not said
    sampling: Sampling = field(default_factory=Sampling)
    speech: bool = True  # False: the answer is read, not heard; an engine need not make its speech
    voice: str = ""  # whose; "", and one that the engine does not have, is its default
    speed: float = 1.0  # of speech, within the engine's `speeds`; 1 is normal
    tools: tuple[Mapping[str, Any], ...] = ()  # JSON schema of the functions that the client offers
    max_tokens: int = 0  # of the reply, as the engine counts what it writes, calls too; 0: the engine's own limit
    tool_choice: str = ""  # the name of one that must be called, or "required" for any; "": as the model likes
    tool_exchanges: tuple[ToolExchange, ...] = ()  # of this turn, oldest first


@dataclass(frozen=True)
class Heard:
    """What the recogniser understood, for engines that have one."""

    text: str


@dataclass(frozen=True)
class TextDelta:
    """The next piece of the reply's text, whole characters only."""

    text: str


@dataclass(frozen=True)
class SpeechText:
    """Text for the detokenizer to speak now: a sentence or a clause. `voice` "" is the backend's default; `failures`: rules of
    the text front end that raised over it and were left out."""

    text: str
    voice: str = ""
    failures: int = 0


@dataclass(frozen=True)
class SpeechCodes:
    """Speech tokens for the detokenizer, 25 a second, only those that a vocoder takes."""

    codes: tuple[int, ...]


@dataclass(frozen=True)
class LimitReached:
    """The last step of a reply that `max_tokens` of the turn ended, and not its writer."""


Step = Heard | TextDelta | SpeechText | SpeechCodes | ToolCall | LimitReached


class S2sEngine(Engine, Protocol):
    @property
    def speech(
        self,
    ) -> BackendSpec | SpeechSource: ...  # the detokenizer backend, or what else makes sound of its steps
    @property
    def parts(self) -> Mapping[str, str]: ...  # what it is made of, for /health and the page: part -> description

    async def preload(self) -> None:
        """What need not wait for the detokenizer, which starts at the same time: imports, weights; nothing that measures what
        memory the device has left."""
        ...

    def respond(self, turn: TurnRequest) -> AsyncGenerator[Step, None]:
        """The answer, step by step, as it is made. Closing the iterator ends the work within one step."""
        ...

    async def transcribe(self, audio: Audio, client: str = "") -> str | None:
        """The words in the sound of a turn of `client`, "" where there are none; None from engines that know no words of the user.
        What an answer to the same `Audio` finds out is found out once."""
        ...

    async def forget(self, conversation_id: str) -> None:
        """The conversation is over: free what was kept for it."""
        ...
