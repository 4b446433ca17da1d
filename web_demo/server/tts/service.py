"""The TTS service behind its HTTP faces: its engine, its voices, and what of a request goes to the engine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from aiohttp import web

from utils.threads import off_loop
from utils.turns import Turns
from web_demo.audio.samples import Audio
from web_demo.engines.base import SpeechRequest, TtsEngine, VoicePrompt
from web_demo.engines.choice import Choice, choose
from web_demo.engines.tts import cosyvoice
from web_demo.engines.tts.word_times import SpokenWord, marks_of, spoken_words
from web_demo.errors import InvalidRequest, NotFound, SetupError
from web_demo.media.decoders import Decoders
from web_demo.server.common.budgets import Budget, client_of, half
from web_demo.server.common.forms import spooled
from web_demo.server.common.service import EngineHost
from web_demo.server.tts import prompts, requests, voices
from web_demo.server.tts.metrics import TtsMetrics
from web_demo.server.tts.recogniser import Recogniser
from web_demo.server.tts.references import Recording
from web_demo.server.tts.requests import SpeechOptions, SynthesisRequest
from web_demo.server.tts.settings import TtsSettings
from web_demo.server.tts.speakers import SpeakerStore, normal
from web_demo.server.tts.speech import Said
from web_demo.text.plain import plain
from web_demo.text.scripts import has_words

log = logging.getLogger(__name__)

MAX_SCHEME_CHARS = 32  # of a URL


def choose_engine(settings: TtsSettings) -> Choice:
    """As `choose`, but what only the cosyvoice engine can do asks for that one first. Raises SetupError."""
    if settings.use_vllm and settings.engine in ("cosyvoice", "embedded", "openai"):
        raise SetupError(f"--use-vllm works with --engine cosyvoice3 only, not with --engine {settings.engine}")
    if not settings.use_trt:
        return choose("tts", settings)
    if settings.engine not in ("auto", "cosyvoice"):
        raise SetupError(f"--use-trt works with --engine cosyvoice only, not with --engine {settings.engine}")
    why_not = cosyvoice.unavailable(settings)
    if settings.engine == "cosyvoice" or why_not is None:
        return Choice("cosyvoice", "the engine for --use-trt")
    other = choose("tts", settings)
    log.warning("--use-trt is without effect: %s", why_not)
    return Choice(other.name, f"cosyvoice, for --use-trt: {why_not}; {other.reason}")


class TtsService(EngineHost[TtsSettings, TtsEngine]):
    """The engine, the voices, and who may use them when."""

    def __init__(self, settings: TtsSettings, engine: TtsEngine, choice: Choice, metrics: TtsMetrics) -> None:
        super().__init__(settings, engine, choice)
        self.metrics = metrics
        self.speakers = SpeakerStore(settings.speakers_dir)
        self.decoders = Decoders()  # their process is started by the first recording
        self.places = Budget(
            lambda: settings.max_requests,
            per_client=lambda: half(settings.max_requests),
            refused=metrics.requests.labels("busy").inc,
        )
        self.stream_places = Budget(
            lambda: settings.max_streams,
            per_client=lambda: half(settings.max_streams),
            of="streams of text",
            refused=metrics.requests.labels("busy").inc,
        )
        self.recogniser = Recogniser(settings)
        self.turns = Turns(engine.capabilities.max_concurrency)

    async def close(self) -> None:
        await super().close()
        await self.decoders.close()

    def describe(self) -> dict[str, Any]:
        return {
            **super().describe(),
            **self._vllm(),
            "cloning": self.engine.capabilities.cloning,
            "timestamps": self.engine.capabilities.timestamps,
            "aligner": self.settings.asr_url,
            "speeds": self.engine.capabilities.speeds,
            "keeps_voices": self.settings.speakers_dir is not None,
            "requests": self.places.taken,
            "max_requests": self.settings.max_requests,
            "streams": self.stream_places.taken,
            "max_streams": self.settings.max_streams,
        }

    def _vllm(self) -> dict[str, Any]:
        """Whether the language model runs in vLLM; else why not. An engine that cannot do as it was told does not start."""
        if not self.settings.use_vllm:
            return {"vllm_enabled": False, "vllm_reason": "not asked for: --use-vllm, with --engine cosyvoice3"}
        if self.engine.name != "cosyvoice3":
            reason = f"the {self.engine.name} engine runs, which has no language model: {self.choice.reason}"
            return {"vllm_enabled": False, "vllm_reason": reason}
        return {"vllm_enabled": True}

    def require_room(self, request: web.Request) -> None:
        """Before a body is read in vain. Raises Busy or Unavailable."""
        self.health.require()
        self.places.require_room(client_of(request))

    @contextmanager
    def admitted(self, request: web.Request) -> Iterator[str]:
        """A place for one request whose body is there; whose it is, for its turns. Raises Busy or Unavailable."""
        self.health.require()
        client = client_of(request)
        with self.places.admit(client), self.metrics.under_way.track_inprogress():
            yield client

    @contextmanager
    def text_stream(self, request: web.Request) -> Iterator[str]:
        """As `admitted`, for a stream of text."""
        self.health.require()
        client = client_of(request)
        with self.stream_places.admit(client), self.metrics.streams.track_inprogress():
            yield client

    def said_in(self, voice: str) -> str:
        """What is said in the recording of a voice that was added; "" for any other."""
        return self.speakers.transcript(normal(voice))

    async def engine_requests(self, asked: SynthesisRequest, *, streamed: bool = True) -> list[SpeechRequest]:
        """One request for the engine for each piece of the text, all with the same voice. `streamed`: the client gets sound while
        it is made."""
        voice, prompt = await self.voice(asked)
        marked = asked.timestamps
        return [
            SpeechRequest(piece, voice, asked.speed, prompt, asked.instruction, [] if marked else None, streamed)
            for piece in asked.pieces
        ]

    async def require_word_times(self, language: str) -> None:
        """Raises InvalidRequest where neither the engine nor the recogniser has times of words."""
        if self.engine.capabilities.timestamps == "word":
            return
        if why_not := await self.recogniser.without_words(language):
            raise InvalidRequest(
                f'timestamps: "word" cannot be had: the {self.engine.name} engine has no times of words, and {why_not}'
            )

    async def words(self, said: Said, client: str, language: str) -> tuple[SpokenWord, ...]:
        """When each word of a piece is said, in seconds of all sound: as the engine tells it, else as the recogniser hears it."""
        request, begins_s = said.request, said.begins_s
        if self.engine.capabilities.timestamps == "word":
            marks = tuple(request.marks or ())
        else:
            audio = Audio(said.samples, self.engine.sample_rate)
            marks = await off_loop(marks_of, request.text, await self.recogniser.words(audio, client, language))
        start_s, end_s = said.start_s - begins_s, said.end_s - begins_s
        words = await off_loop(spoken_words, request.text, marks, end_s, begins_s=start_s)
        return tuple(
            replace(word, start_s=round(word.start_s + begins_s, 3), end_s=round(word.end_s + begins_s, 3))
            for word in words
        )

    async def voice(self, asked: SpeechOptions) -> tuple[str, VoicePrompt | None]:
        """The engine's name of the voice that is asked for, and the recording that it is made of. Raises NotFound and
        InvalidRequest."""
        voice = normal(asked.voice)
        if asked.recording is not None:
            return voice, await self._prompt(asked.recording)
        if voice in self.speakers:
            return voice, await off_loop(self.speakers.prompt, voice)
        return self._known_voice(voice), None

    async def _prompt(self, asked: Recording) -> VoicePrompt:
        voices.require_cloning(self.engine)
        if not has_words(plain(asked.text)):
            raise InvalidRequest(
                f"{asked.field} needs {asked.text_field}: what is said in the recording, word for word"
            )
        if len(asked.text) > prompts.MAX_PROMPT_CHARS:
            raise InvalidRequest(
                f"{asked.text_field} has {len(asked.text)} characters; 30 s of speech have at most "
                f"{prompts.MAX_PROMPT_CHARS}"
            )
        async with spooled(await off_loop(self._recording, asked)) as recording:
            audio = await prompts.decode(self.decoders, recording)
        return VoicePrompt(audio, asked.text)

    def _recording(self, asked: Recording) -> bytes:
        if asked.content:
            return asked.content
        if "://" in asked.source[:MAX_SCHEME_CHARS]:
            raise InvalidRequest(
                f"{asked.field} cannot be a URL: send the recording itself, as data:audio/wav;base64,…"
            )
        if asked.source.startswith("data:") or not asked.may_be_path:
            return prompts.from_base64(asked.source)
        return prompts.from_path(asked.source, self.settings.prompt_dir)

    def _known_voice(self, voice: str) -> str:
        known = self.engine.capabilities.voices
        if not known or voice in known:  # an engine that lists none decides itself
            return voice
        if (alias := requests.OPENAI_VOICES.get(voice)) is not None:
            return alias if alias in known else ""  # their names promise no more than some voice
        raise NotFound(f"there is no voice {voice[:100]!r}; there are: {', '.join(self.voices())}", param="voice")

    def voices(self) -> tuple[str, ...]:
        """The names of all that can be asked for, those that were added first."""
        return (*(speaker.name for speaker in self.speakers.list()), *self.engine.capabilities.voices)


SERVICE = web.AppKey("tts", TtsService)
