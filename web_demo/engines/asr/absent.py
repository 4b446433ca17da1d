"""What stands in the place of the embedded recogniser on a machine for which pocketsphinx has no package: everything else
works, and whoever speaks is told what brings a recogniser."""

from __future__ import annotations

import logging
import platform
from collections.abc import Sequence

from web_demo.audio.samples import Audio
from web_demo.engines.base import Capabilities, Transcript
from web_demo.errors import Unavailable

log = logging.getLogger(__name__)

NO_DEVICE = "none"


def advice() -> str:
    python = ".".join(platform.python_version_tuple()[:2])
    return (
        f"speech is not recognised here: the embedded recogniser, pocketsphinx, is not installed, and has no package for every "
        f"machine (this is Python {python} on {platform.system()} {platform.machine()}). Get a recogniser with "
        "./scripts/download_models.sh --laptop, or point --asr-engine openai at one, or use Python 3.11 or 3.13; text works"
    )


class AbsentAsr:
    """Starts, and refuses all sound."""

    name = "embedded"
    model = "no recogniser"
    device = NO_DEVICE
    max_segment_s = 15.0

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(languages=("en",), lost=advice())

    async def start(self) -> None:
        log.warning("%s", advice())

    async def close(self) -> None:
        return

    def fault(self) -> str | None:
        return None

    async def transcribe(
        self, audio: Audio, *, language: str | None = None, hotwords: Sequence[str] = (), itn: bool = True
    ) -> Transcript:
        raise Unavailable(advice())
