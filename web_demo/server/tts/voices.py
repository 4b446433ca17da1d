"""`/api/speakers`: list the voices, add one from a recording, delete it again."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from aiohttp import web

from utils.threads import off_loop
from web_demo.audio.samples import Audio
from web_demo.engines.base import TtsEngine, VoicePrompt
from web_demo.engines.tts.text import voice_language
from web_demo.errors import InvalidRequest, Unavailable
from web_demo.media.decoders import Decoders
from web_demo.server.common.answers import json_response
from web_demo.server.common.budgets import client_of
from web_demo.server.common.forms import read_form
from web_demo.server.common.health import Health
from web_demo.server.tts.prompts import BODY_LIMITS, MAX_PROMPT_CHARS, decode
from web_demo.server.tts.recogniser import Recogniser
from web_demo.server.tts.settings import TtsSettings
from web_demo.server.tts.speakers import Speaker, SpeakerStore, check_name
from web_demo.text.plain import plain
from web_demo.text.scripts import has_words

log = logging.getLogger(__name__)


def require_cloning(engine: TtsEngine) -> None:
    if not engine.capabilities.cloning:
        raise InvalidRequest(
            f"the {engine.name} engine cannot speak with the voice of a recording; start the service with "
            "--engine cosyvoice3 (see pretrained_models/README.md for its weights)"
        )


class Voices:
    """The handlers. One change of the store at a time."""

    def __init__(
        self, health: Health, engine: TtsEngine, store: SpeakerStore, decoders: Decoders, settings: TtsSettings
    ) -> None:
        self._health = health
        self._engine = engine
        self._store = store
        self._decoders = decoders
        self._recogniser = Recogniser(settings)
        self._changing = asyncio.Lock()

    async def list(self, request: web.Request) -> web.Response:
        can = self._engine.capabilities
        built_in = [
            {
                "name": name,
                "kind": "built-in",
                **({"language": language} if (language := voice_language(name, can)) else {}),
            }
            for name in can.voices
        ]
        added = [_shown(speaker) for speaker in self._store.list()]
        return json_response({"speakers": built_in + added, "success": True})

    async def add(self, request: web.Request) -> web.Response:
        self._health.require()
        require_cloning(self._engine)
        self._store.require_writable()
        async with read_form(request, BODY_LIMITS, file_field="audio") as form:
            if form.file is None:
                raise InvalidRequest("the form needs a file named 'audio': 3 to 10 s of one person speaking")
            name = check_name(form.get("name"))
            if name in self._engine.capabilities.voices:
                raise InvalidRequest(f"{name!r} is the name of a built-in voice; choose another")
            audio = await decode(self._decoders, form.file)
        transcript = form.get("transcript").strip() or await self._transcribe(audio, client_of(request))
        if not has_words(plain(transcript)):
            raise InvalidRequest(f"transcript must be what is said in the recording, got {transcript!r:.50}")
        if len(transcript) > MAX_PROMPT_CHARS:
            raise InvalidRequest(f"the transcript has {len(transcript)} characters; at most {MAX_PROMPT_CHARS}")
        created = datetime.now(UTC).isoformat(timespec="seconds")
        speaker = Speaker(name, transcript, round(audio.seconds, 2), created)
        async with self._changing:
            await off_loop(self._store.add, speaker, VoicePrompt(audio, transcript))
        log.info("voice added seconds=%.1f", audio.seconds)
        return json_response({"speaker": _shown(speaker), "success": True}, status=201)

    async def delete(self, request: web.Request) -> web.Response:
        async with self._changing:
            await off_loop(self._store.remove, request.match_info["name"])
        return json_response({"success": True})

    async def _transcribe(self, audio: Audio, client: str) -> str:
        """What our own recogniser hears in the recording of `client`."""
        try:
            text = await self._recogniser.text(audio, client)
        except Unavailable as error:
            raise InvalidRequest(
                "the form needs a field 'transcript' with what is said in the recording "
                f"(the recogniser at {self._recogniser.url} that could write it down does not answer)"
            ) from error
        if not text:
            raise InvalidRequest("the recogniser understood nothing in the recording: send the field 'transcript'")
        return text


def _shown(speaker: Speaker) -> dict[str, object]:
    return {
        "name": speaker.name,
        "kind": "added",
        "transcript": speaker.transcript,
        "seconds": speaker.seconds,
        "created": speaker.created,
    }


VOICES = web.AppKey("voices", Voices)


async def list_all(request: web.Request) -> web.Response:
    return await request.app[VOICES].list(request)


async def add(request: web.Request) -> web.Response:
    return await request.app[VOICES].add(request)


async def delete(request: web.Request) -> web.Response:
    return await request.app[VOICES].delete(request)
