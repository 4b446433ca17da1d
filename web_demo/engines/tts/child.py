"""Speech by a voice that lives in a child process, where it is one of the text-to-speech engines."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator

from web_demo.audio.samples import Samples
from web_demo.detokenizer.source import SpeechSource
from web_demo.engines.base import SpeechRequest


async def spoken(process: SpeechSource, request: SpeechRequest) -> AsyncGenerator[Samples, None]:
    """The sound of one request, as it is made. Raises EngineFailed and Unavailable."""
    turn = await process.open(uuid.uuid4().hex, request.voice)
    async with turn:
        # The deadline makes the child take sentences in the order in which they were asked for.
        said = turn.say(
            text=request.text, last=True, deadline=time.monotonic(), speed=request.speed, marks=request.marks
        )
        async for samples in said:
            yield samples
