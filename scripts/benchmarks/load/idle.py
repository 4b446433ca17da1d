"""A recogniser that costs nothing, for what is measured around one."""

from __future__ import annotations

from web_demo.audio.samples import Audio
from web_demo.engines.base import Capabilities, Transcript


class IdleAsr:
    """Says of each piece how long it is, at once."""

    name = "embedded"  # what it stands in for
    model = "idle"
    device = "cpu"
    max_segment_s = 30.0
    capabilities = Capabilities(languages=("en",), max_concurrency=2)

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def fault(self) -> str | None:
        return None

    async def transcribe(self, audio: Audio, **_: object) -> Transcript:
        return Transcript(f"{audio.seconds:.2f}", "en")
