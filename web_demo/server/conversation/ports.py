"""What a session needs of others, in no wire's format: a wire with its codec (and `detokenizer.source`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from web_demo.audio.samples import Audio, DecodedAudio, EncodedAudio, Samples
from web_demo.server.conversation.events import ServerEvent


class AudioReader(Protocol):
    """The user's sound as it arrives. `push` charges what it costs before the work, raises TooMuchSound when that is more than
    `most_ms` and leaves out what is beyond; it raises ValueError about what is no audio, and keeps what is good.

    `decode` takes the oldest of what was pushed, about `most_ms`, at SPEECH_RATE, and runs in a thread; nothing else is called
    meanwhile. `restart`: what is not whole belongs to nothing that follows.
    """

    @property
    def pending_ms(self) -> float: ...
    @property
    def charged_ms(self) -> float: ...  # of all that was pushed
    def push(self, data: bytes, most_ms: float) -> None: ...
    def restart(self) -> None: ...
    def trim(self, keep_ms: float) -> None: ...
    def decode(self, most_ms: float) -> DecodedAudio: ...


class AudioWriter(Protocol):
    """The answer's sound on its way out: float32 [n] at WIRE_RATE to what the wire sends. Called in a thread, one call at a time.

    `flush` gives what `write` held back; `drop` forgets it.
    """

    def write(self, samples: Samples) -> Sequence[EncodedAudio]: ...
    def flush(self) -> Sequence[EncodedAudio]: ...
    def drop(self) -> None: ...


class Outlet(Protocol):
    @property
    def writer(self) -> AudioWriter: ...

    async def send(self, event: ServerEvent) -> None:
        """Raises ConnectionError when the client is gone or too slow to be waited for."""
        ...


class Wire(Outlet, Protocol):
    @property
    def reader(self) -> AudioReader: ...


class Transcriber(Protocol):
    async def __call__(self, audio: Audio, client: str) -> str:
        """The words in it, for whose it is. Raises the errors of `web_demo.errors`."""
        ...
