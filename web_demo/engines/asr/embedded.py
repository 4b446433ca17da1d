"""The embedded recogniser: pocketsphinx (English) in worker processes. No GPU, no download, about 150 MB a worker: two where there
are two cores, and then a third of low priority, for what one client asks for beside its first piece (`utils/turns.py`)."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence

from utils.threads import off_loop
from utils.turns import Turn
from web_demo.audio.samples import SPEECH_RATE, Audio
from web_demo.children.pool import WorkerPool
from web_demo.engines import advice
from web_demo.engines.asr.absent import AbsentAsr
from web_demo.engines.asr.pocketsphinx_worker import Decoded, DecodeTask, build
from web_demo.engines.base import AsrEngine, Capabilities, Transcript
from web_demo.errors import InvalidRequest

LANGUAGE = "en"
MAX_WORKERS = 2


def create(settings: object = None) -> AsrEngine:
    """The registry's factory. The engine needs nothing from the service's settings, but takes their `processes`, if they say how
    many."""
    if importlib.util.find_spec("pocketsphinx") is None:  # requirements.txt: where there is a wheel
        return AbsentAsr()
    if asked := getattr(settings, "processes", 0):
        return EmbeddedAsr(workers=asked)
    workers = max(1, min(MAX_WORKERS, os.cpu_count() or 1))
    return EmbeddedAsr(workers, background=workers - 1)  # so that who is alone has as many as there are cores


class EmbeddedAsr:
    """Hotwords that are in the recogniser's vocabulary lift hypotheses that contain them; all others are named in
    `Transcript.ignored_hotwords`. Cancelling `transcribe` frees the caller at once, the worker within the decoding time
    of the segment (a tenth of its length)."""

    name = "embedded"
    model = "pocketsphinx en-us"
    device = "cpu"
    max_segment_s = 15.0  # short enough that the abandoned work of a client that left ends soon

    def __init__(self, workers: int, background: int = 0) -> None:
        self._background = background
        self._pool: WorkerPool[DecodeTask, Decoded] = WorkerPool("embedded ASR", build, workers, background=background)

    @property
    def capabilities(self) -> Capabilities:
        """`max_concurrency` counts the workers that live."""
        places = max(1, self._pool.capacity)
        return Capabilities(
            languages=(LANGUAGE,),
            hotwords=True,
            timestamps="word",
            max_concurrency=places,
            workers=True,
            background=self._background,
            lost=self._pool.lost(),
            better=advice.RECOGNISER,
        )

    async def start(self) -> None:
        await self._pool.start()

    async def close(self) -> None:
        await self._pool.close()

    def fault(self) -> str | None:
        return self._pool.fault()

    async def transcribe(
        self,
        audio: Audio,
        *,
        language: str | None = None,
        hotwords: Sequence[str] = (),
        itn: bool = True,
        turn: Turn | None = None,
    ) -> Transcript:
        """See WorkerAsr."""
        if language not in (None, LANGUAGE):
            raise InvalidRequest(
                f"the embedded recogniser knows English only (language {LANGUAGE!r}), got {language!r}"
            )
        sound = await off_loop(audio.at, SPEECH_RATE)
        decoded = await self._pool.run(DecodeTask(sound.samples, tuple(hotwords)), turn=turn)
        text = " ".join(segment.text for segment in decoded.segments)
        return Transcript(text, LANGUAGE, decoded.segments, decoded.ignored_hotwords)
