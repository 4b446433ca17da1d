"""Live Ogg-Opus streams (RFC 6716, RFC 7845): float32 in, pages out, and back.

Reading: packets are checked and then decoded by libopus, through `sphn` or `av` (`opus_decoders.py`). sphn breaks for good on
a damaged page and makes seconds of sound out of an empty packet; so it only ever sees packets that were checked, in pages
that are ours.
Writing: libopus through `av`. Restricted low delay at 48 kbit/s and complexity 0 takes about an eighth of the time of
sphn's encoder, lets other threads run, and, at not quite twice its bit rate, keeps the spectrum closer to the original
(scripts/benchmarks/opus.py).
"""

from __future__ import annotations

import math
import random
import struct
from collections import deque

import av
import numpy as np

from web_demo.audio import ogg, opus_decoders
from web_demo.audio.opus_decoders import HEAD, TAGS
from web_demo.audio.samples import SPEECH_RATE, WIRE_RATE, DecodedAudio, EncodedAudio, Samples, TooMuchSound

FRAME_S = 0.04  # one packet, one page, one message
BITRATE = 48_000
GRANULE_RATE = 48_000  # positions in an Ogg-Opus stream always count at 48 kHz
_MAX_PACKET_MS = 120.0
_LEAST_CHARGE_MS = 5.0  # of any packet: a shorter, a damaged or an empty one is work too
_HEAD_CHARGE_MS = 20.0  # for the decoder that a new stream needs
_BYTES_PER_MS = 64.0  # the most that Opus has for a millisecond (510 kbit/s)
_BATCH_MS = 1000.0  # sphn fails for good on more than about 5 s in one call


class OpusError(ValueError):
    """Bytes that are not a readable Ogg-Opus stream; what was readable is kept."""


class OpusWriter:
    """One Ogg-Opus stream, a page a result: `header` goes before the first page that is sent. Samples that do not fill a frame
    wait for more, or for `flush`. Pages may be left out (an answer that was cut off): decoders take that as a loss."""

    def __init__(self, rate: int = WIRE_RATE) -> None:
        self._codec = av.CodecContext.create("libopus", "w")
        self._codec.sample_rate = rate
        self._codec.layout = "mono"
        self._codec.format = "flt"
        self._codec.bit_rate = BITRATE
        self._codec.options = {
            "application": "lowdelay",
            "compression_level": "0",
            "frame_duration": str(round(FRAME_S * 1000)),
        }
        self._codec.open()
        self._rate = rate
        self._frame = round(FRAME_S * rate)
        self._rest = np.zeros(0, np.float32)
        self._encoded = 0  # samples given to the encoder
        self._sequence = 2  # after the two pages of the header
        self._serial = random.getrandbits(32)
        self.header = ogg.write_page(
            [bytes(self._codec.extradata or b"")], granule=0, serial=self._serial, sequence=0, flags=ogg.FIRST
        ) + ogg.write_page([TAGS], granule=0, serial=self._serial, sequence=1)

    def write(self, samples: Samples) -> list[EncodedAudio]:
        pending = np.concatenate((self._rest, samples)) if len(self._rest) else samples
        whole = len(pending) // self._frame * self._frame
        self._rest = pending[whole:].copy()
        return [self._page(pending[start : start + self._frame]) for start in range(0, whole, self._frame)]

    def flush(self) -> list[EncodedAudio]:
        """The last samples, padded with silence far enough to be heard whole. The stream may go on afterwards."""
        if not self._encoded and not len(self._rest):
            return []
        look_ahead = struct.unpack_from("<H", self._codec.extradata or b"", 10)[0] * self._rate // GRANULE_RATE
        padding = -(len(self._rest) + look_ahead) % self._frame + look_ahead
        return self.write(np.zeros(padding, np.float32))

    def drop(self) -> None:
        """Forget the samples that wait for a whole frame."""
        self._rest = np.zeros(0, np.float32)

    def _page(self, frame: Samples) -> EncodedAudio:
        sound = av.AudioFrame.from_ndarray(frame[None], format="flt", layout="mono")
        sound.sample_rate = self._rate
        sound.pts = self._encoded
        packets = [bytes(packet) for packet in self._codec.encode(sound)]
        self._encoded += len(frame)
        granule = self._encoded * GRANULE_RATE // self._rate
        data = ogg.write_page(packets, granule=granule, serial=self._serial, sequence=self._sequence)
        self._sequence += 1
        return EncodedAudio(data, len(frame))


class OpusReader:
    """Ogg-Opus bytes to samples at `rate`. Headers are optional, a new stream may begin at any page.

    `push` only takes the stream apart; `decode` does the work and may run in another thread, while nothing else is called.
    Both keep what is good; `push` then raises OpusError about what was not, `decode` counts it.
    """

    def __init__(self, rate: int = SPEECH_RATE) -> None:
        self._rate = rate
        self._demuxer = ogg.Demuxer()
        self._pending: deque[tuple[bytes, float]] = deque()  # packet, milliseconds; a head packet starts a new decoder
        self._decoder: opus_decoders.Decoder | None = None  # made when there is something to decode
        self.pending_ms = 0.0
        self.charged_ms = 0.0  # of all that was pushed

    def push(self, data: bytes, most_ms: float = math.inf) -> None:
        """Charges what the bytes cost before the work: the sound in them by the packets' own word, 5 ms at least for each
        packet and 20 for a new stream, or a second for 64 kB where that is more. Raises TooMuchSound when that is more than
        `most_ms`: what is within it is kept, the rest of `data` left out."""
        skipped = self._demuxer.skipped_bytes
        problem = ""
        paid_ms, spent_ms = min(len(data) / _BYTES_PER_MS, most_ms), 0.0
        try:
            for packet in self._demuxer.feed(data):
                duration, charge = 0.0, _LEAST_CHARGE_MS
                if packet.startswith(HEAD):
                    charge = _HEAD_CHARGE_MS
                elif not packet.startswith(b"OpusTags"):
                    try:
                        duration = packet_ms(packet)
                    except OpusError as error:
                        problem = str(error)
                spent_ms += max(duration, charge)
                if spent_ms > most_ms:
                    raise TooMuchSound
                if packet.startswith(HEAD):
                    self._begin_stream(packet)
                elif duration:
                    self._pending.append((packet, duration))
                    self.pending_ms += duration
            if len(data) / _BYTES_PER_MS > most_ms:
                raise TooMuchSound
        except TooMuchSound:
            self._demuxer.reset()
            paid_ms = most_ms
            raise
        finally:
            self.charged_ms += max(paid_ms, min(spent_ms, most_ms))
        if skipped := self._demuxer.skipped_bytes - skipped:
            problem = f"{skipped} bytes are no part of an Ogg page"
        if problem:
            raise OpusError(f"{problem}; audio messages carry slices of an Ogg-Opus stream")

    def _begin_stream(self, head: bytes) -> None:
        if self._pending and self._pending[-1][0].startswith(HEAD):
            self._pending.pop()
        self._pending.append((head[: len(HEAD)], 0.0))

    def restart(self) -> None:
        """Forget the page that is not whole yet."""
        self._demuxer.reset()

    def trim(self, keep_ms: float) -> None:
        """Forget the oldest pending sound, but for about `keep_ms`: enough for the decoder to find its feet again."""
        while self._pending and self.pending_ms - self._pending[0][1] >= keep_ms:
            packet, duration = self._pending.popleft()
            self.pending_ms -= duration
            if packet.startswith(HEAD):
                self._decoder = None

    def decode(self, most_ms: float = math.inf) -> DecodedAudio:
        """The oldest pending packets: all of them, or about `most_ms` (a packet too much). Damaged ones are left out and
        counted."""
        sound: list[Samples] = []
        damaged = 0
        done_ms = 0.0
        pending = self._pending
        while pending and done_ms < most_ms:
            if pending[0][0].startswith(HEAD):
                pending.popleft()
                self._decoder = None
                continue
            batch: list[bytes] = []
            length = segments = 0.0
            while pending and not pending[0][0].startswith(HEAD) and done_ms + length < most_ms:
                packet, duration = pending[0]
                segments += len(packet) // 255 + 1
                if batch and (length + duration > _BATCH_MS or segments > 255):
                    break
                length += duration
                batch.append(packet)
                pending.popleft()
            done_ms += length
            try:
                sound.append(self._decode(batch))
            except ValueError:  # one packet is damaged, and the decoder may be too: go on with a new one
                self._decoder = None
                damaged += self._salvage(batch, sound)
        self.pending_ms = max(self.pending_ms - done_ms, 0.0) if pending else 0.0
        return DecodedAudio(np.concatenate(sound) if sound else np.zeros(0, np.float32), damaged)

    def flush(self) -> Samples:
        """What decoding held back at the end of a stream: nothing."""
        return np.zeros(0, np.float32)

    def _decode(self, batch: list[bytes]) -> Samples:
        if self._decoder is None:
            self._decoder = opus_decoders.decoder(self._rate)
        return self._decoder.decode(batch)

    def _salvage(self, batch: list[bytes], sound: list[Samples]) -> int:
        damaged = 0
        for packet in batch:
            try:
                sound.append(self._decode([packet]))
            except ValueError:
                self._decoder = None
                damaged += 1
        return damaged


_FRAME_MS = (10, 20, 40, 60) * 3 + (10, 20) * 2 + (2.5, 5, 10, 20) * 4  # by configuration number


def packet_ms(packet: bytes) -> float:
    """Duration of a packet by its first bytes (RFC 6716, section 3.1). Raises OpusError for an impossible one."""
    if not packet:  # sphn would make five seconds of sound of it
        raise OpusError("an Opus packet is empty")
    code = packet[0] & 3
    if code > 1 and len(packet) < 2:
        raise OpusError("an Opus packet is cut short")
    frames = packet[1] & 63 if code == 3 else min(code + 1, 2)
    duration = frames * _FRAME_MS[packet[0] >> 3]
    if not 0 < duration <= _MAX_PACKET_MS:
        raise OpusError(f"an Opus packet claims to last {duration:g} ms")
    return duration
