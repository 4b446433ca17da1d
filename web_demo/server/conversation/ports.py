"""What a session needs of others, in no wire's format: a wire with its codec (and `detokenizer.source`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from web_demo.audio.samples import DecodedAudio, EncodedAudio, Samples
from web_demo.server.conversation.events import ServerEvent


class AudioReader(Protocol):
    """The user's sound as it arrives. `push` raises ValueError about what is no audio, and keeps what is good.

    `decode` takes all that was pushed, at SPEECH_RATE, and runs in a thread; nothing else is called meanwhile.
    """

    @property
    def pending_ms(self) -> float: ...
    def push(self, data: bytes) -> None: ...
    def trim(self, keep_ms: float) -> None: ...
    def decode(self) -> DecodedAudio: ...


class AudioWriter(Protocol):
    """The answer's sound on its way out: float32 [n] at WIRE_RATE to what the wire sends. Called in a thread, one call at a time.

    `flush` gives what `write` held back; `drop` forgets it.
    """

    def write(self, samples: Samples) -> Sequence[EncodedAudio]: ...
    def flush(self) -> Sequence[EncodedAudio]: ...
    def drop(self) -> None: ...


class Wire(Protocol):
    @property
    def reader(self) -> AudioReader: ...
    @property
    def writer(self) -> AudioWriter: ...

    async def send(self, event: ServerEvent) -> None:
        """Raises ConnectionError when the client is gone or too slow to be waited for."""
        ...
