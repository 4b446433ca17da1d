"""What a client appends, whose format may change while it speaks."""

from __future__ import annotations

from web_demo.audio.pcm import PcmReader
from web_demo.audio.samples import DecodedAudio
from web_demo.server.common.realtime.audio import AudioFormat

MOST_FORMATS = 8  # whose sound waits at the same time; of who changes it more often, the oldest is forgotten


class SwitchingReader:
    """An `AudioReader`. What came before a change of format is decoded as it was meant."""

    def __init__(self, audio: AudioFormat) -> None:
        self._format = audio
        self._readers: list[PcmReader] = [audio.reader()]  # all but the last hold a rest of an earlier format
        self._charged_before_ms = 0.0

    def change(self, audio: AudioFormat) -> None:
        if audio == self._format:
            return
        self._format = audio
        self._charged_before_ms += self._readers[-1].charged_ms
        if self._readers[-1].pending_ms <= 0:
            self._readers.pop()
        self._readers = [*self._readers[1 - MOST_FORMATS :], audio.reader()]

    @property
    def pending_ms(self) -> float:
        return sum(reader.pending_ms for reader in self._readers)

    @property
    def charged_ms(self) -> float:
        return self._charged_before_ms + self._readers[-1].charged_ms

    def push(self, data: bytes, most_ms: float) -> None:
        self._readers[-1].push(data, most_ms)

    def restart(self) -> None:
        self._readers[-1].restart()

    def trim(self, keep_ms: float) -> None:
        self._drop_spent()
        for reader in self._readers[:-1]:
            reader.trim(0.0)
        self._readers[-1].trim(keep_ms)

    def decode(self, most_ms: float) -> DecodedAudio:
        self._drop_spent()
        return self._readers[0].decode(most_ms)

    def _drop_spent(self) -> None:
        while len(self._readers) > 1 and self._readers[0].pending_ms <= 0:
            del self._readers[0]
