"""One file of a stranger's to mono blocks, inside the cage: `python3 -m web_demo.media.nursery` forks a process for each.

FFmpeg finds the format by itself, among all its demuxers but those that would read something else than this file: playlists,
image sequences, capture devices. It opens no other file and no address, and only decoders of sound.

Time is the container's: where its timestamps leave a gap there is silence, so that positions in the sound are positions in
the recording. What cannot be decoded is silent too, and told; decoding goes on behind it.
"""

from __future__ import annotations

import errno
import functools
import io
import os
import wave
from collections.abc import Iterator
from typing import BinaryIO

import av
import av.subtitles.codeccontext  # which PyAV loads with the first file that has subtitles: in the cage it could not
import av.subtitles.stream
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition

from web_demo.errors import TooLarge, UnsupportedMedia
from web_demo.media.mixing import Mixer

READABLE = "send a recording as wav, mp3, flac, ogg, opus, m4a, mp4, webm, aac, wma, aiff, amr or another audio file"
RATES = range(2_000, 768_001)  # Hz
BLOCK_S = 0.5
GAP_S = 0.1  # timestamps jitter by less
BACK_S = 1.0  # timestamps that go back by more begin anew: another recording was joined to the first
MOST_GAP_S = 3600.0  # a jump of more is no pause
LATE_S = 60.0  # a first timestamp up to here is a late start; beyond it a clock that had been running before
SILENT = 2  # the peak of 16-bit sound below which it is none
JUNK_BYTES = 1 << 17  # how far the beginning of MPEG audio is looked for behind something else
MOST_IDLE_ERRORS = 3  # errors of a demuxer without progress, until it is given up

Pcm = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float32]

_BLOCKED = {
    *("concat", "dash", "hls", "imf", "sdp", "rtp", "rtsp", "sap", "webm_dash_manifest", "smoothstreaming", "vobsub"),
    *("image2", "image2pipe", "alias_pix", "brender_pix", "ffmetadata", "lavfi", "libgme", "libmodplug", "libopenmpt"),
    *(
        "tty",
        "bin",
        "xbin",
        "adf",
        "idf",
        "data",
        "alsa",
        "oss",
        "fbdev",
        "kmsgrab",
        "jack",
        "pulse",
        "sndio",
        "x11grab",
    ),
    *(
        "video4linux2,v4l2",
        "avfoundation",
        "dshow",
        "gdigrab",
        "iec61883",
        "decklink",
        "openal",
        "vapoursynth",
        "avisynth",
    ),
}
# Formats whose timestamps come from a clock. In the others they are counted by FFmpeg, as we do, or guessed.
_TIMED = {"mov", "matroska", "ogg", "asf", "mpegts", "mpeg", "flv", "nut", "wtv", "mxf"}
_STARTS_AT_ZERO = {"mov", "matroska"}  # … and these have a timeline that begins at 0
_STATES_LENGTH = {"mov", "flac", "wav", "aiff", "au", "caf", "w64", "tta", "wv", "ape", "voc", "tak", "nistsphere"}


@functools.cache
def _demuxers() -> str:
    """FFmpeg's names of those that may be used, as it wants them."""
    return ",".join(name for name in sorted(_readable(av.formats_available)) if name not in _BLOCKED)


def _readable(names: set[str]) -> Iterator[str]:
    for name in names:
        try:
            form = av.ContainerFormat(name, "r")
        except ValueError:
            continue  # it is only written
        if not form.name.endswith("_pipe"):  # pictures
            yield form.name


@functools.cache
def _decoders() -> str:
    return ",".join(sorted(_of_sound(av.codecs_available)))


def _of_sound(names: set[str]) -> Iterator[str]:
    for name in names:
        try:
            codec = av.Codec(name, "r")
        except ValueError:
            continue  # an encoder only
        if codec.type == "audio":
            yield codec.name


def warm_up() -> None:
    """Whatever is computed once, loads a module or opens a file when it first runs: in the cage it could not."""
    file = io.BytesIO()
    with wave.open(file, "wb") as tone:
        tone.setnchannels(2)
        tone.setsampwidth(2)
        tone.setframerate(44_100)
        tone.writeframes(bytes(4 * 44_100))
    for _ in FileDecoder(file, rate=16_000, max_s=10.0).blocks():
        pass


class FileDecoder:
    """`blocks` gives the sound of `file` once, mono 16-bit at `rate` Hz; `warnings` is whole when it has ended.

    TooLarge is raised as soon as more than `max_s` seconds came out, or the file says that they would; UnsupportedMedia only
    about a file of which nothing can be read; MemoryError when the cage has no more.
    """

    def __init__(self, file: BinaryIO, *, rate: int, max_s: float) -> None:
        self._file = file
        self._rate = rate
        self._max_s = max_s
        self._sound = Sound(rate)
        self._clock_s = 0.0  # of what was decoded, counted by its samples, in the time of the recording
        self._shift_s = 0.0  # what to add to the container's timestamps
        self._faults = 0
        self._first_fault_s = 0.0
        self._notes: list[str] = []

    @property
    def warnings(self) -> tuple[str, ...]:
        if not self._faults:
            return tuple(self._notes)
        places = "one place is" if self._faults == 1 else f"{self._faults} places are"
        damage = f"the file is damaged: {places} missing, the first at {self._first_fault_s:.1f} s"
        return (damage, *self._notes)

    def blocks(self) -> Iterator[Pcm]:
        with self._open() as container:
            track = self._track(container)
            if track.rate and track.rate not in RATES:
                raise _wrong_rate(track.rate)
            form = container.format.name.partition(",")[0]
            claimed_s = _claimed_s(track) if form in _STATES_LENGTH else 0.0
            if claimed_s > 1.1 * self._max_s + 10:
                raise self._too_long()
            self._shift_s = -_origin_s(container, form)
            for packet in self._packets(container, track):
                for block in self._packet(packet, timed=form in _TIMED):
                    yield block
                    if self._sound.samples > (self._max_s + 0.1) * self._rate:  # encoders pad
                        raise self._too_long()
            yield from self._sound.end()
        if self._sound.samples > (self._max_s + 0.1) * self._rate:
            raise self._too_long()
        if not self._sound.samples:
            raise UnsupportedMedia(f"the {form} file has no sound that can be decoded; {READABLE}")
        came_s = self._sound.samples / self._rate
        if came_s < 0.99 * claimed_s - GAP_S:
            self._notes.append(f"the file says that it lasts {claimed_s:.1f} s, but only {came_s:.1f} s are in it")
        if self._sound.peak < SILENT:
            self._notes.append("the recording is silent: there is no sound in it at all")

    def _open(self) -> InputContainer:
        """What begins at the first byte; else what FFmpeg does not find by itself: a file behind an ID3 tag, MPEG audio
        behind anything."""
        for find, form in ((lambda file: 0, None), (_behind_id3, None), (_mpeg_behind_junk, "mp3")):
            start = find(self._file)
            if start is None:
                continue
            try:
                return av.open(
                    Tail(self._file, start),
                    "r",
                    format=form,
                    options={
                        "format_whitelist": _demuxers(),
                        "codec_whitelist": _decoders(),
                        "protocol_whitelist": "none",
                    },
                    metadata_errors="ignore",
                )
            except (av.FFmpegError, ValueError) as error:
                _raise_no_memory(error)
        raise UnsupportedMedia(f"the file is no audio that can be read; {READABLE}")

    def _track(self, container: InputContainer) -> AudioStream:
        """The default track, or the one that FFmpeg likes best among several."""
        tracks = [track for track in container.streams.audio if track.codec_context is not None]
        if not tracks:
            raise UnsupportedMedia(f"the file holds no audio that can be decoded; {READABLE}")
        default = [track for track in tracks if track.disposition & Disposition.default] or tracks
        best = container.streams.best("audio")
        track = next((track for track in default if track is best), default[0])
        if len(tracks) > 1:
            self._notes.append(f"of {len(tracks)} audio tracks number {tracks.index(track) + 1} was read")
        track.codec_context.thread_count = 1
        return track

    def _packets(self, container: InputContainer, track: AudioStream) -> Iterator[av.Packet[AudioStream]]:
        """Goes on behind errors of the demuxer, for as long as it gets on."""
        idle, reached = 0, -1
        while True:
            try:
                for packet in container.demux(track):
                    yield packet
                    reached, idle = self._file.tell(), 0
                return
            except (av.FFmpegError, ValueError) as error:
                _raise_no_memory(error)
                self._fault()
                idle = idle + 1 if self._file.tell() == reached else 0
                reached = self._file.tell()
                if idle >= MOST_IDLE_ERRORS:
                    self._notes.append(f"the file cannot be read further than {self._clock_s:.1f} s")
                    return

    def _packet(self, packet: av.Packet[AudioStream], *, timed: bool) -> Iterator[Pcm]:
        try:
            frames = packet.decode()
        except (av.FFmpegError, ValueError) as error:
            _raise_no_memory(error)
            if packet.size:  # else it is the end, and the decoder has nothing more
                self._fault()
                if not timed and packet.duration and packet.time_base:
                    lost_s = min(float(packet.duration * packet.time_base), 1.0)
                    yield from self._silence(lost_s)
            return
        for frame in frames:
            if frame.sample_rate not in RATES:  # one frame at a forged 1 Hz would be an hour of sound
                if not self._clock_s:
                    raise _wrong_rate(frame.sample_rate)
                self._fault()
                continue
            if frame.is_corrupt:
                self._fault()
            if timed and frame.pts is not None and frame.time_base is not None:
                yield from self._keep_time(float(frame.pts * frame.time_base))
            self._clock_s += frame.samples / frame.sample_rate
            yield from self._sound.take(frame)

    def _keep_time(self, stamp_s: float) -> Iterator[Pcm]:
        ahead_s = stamp_s + self._shift_s - self._clock_s
        if GAP_S < ahead_s <= MOST_GAP_S:
            yield from self._silence(min(ahead_s, self._max_s + 1))
        elif (
            ahead_s > MOST_GAP_S or ahead_s < -BACK_S
        ):  # another clock: of a file that was joined to the first, or broken
            self._shift_s -= ahead_s

    def _silence(self, seconds: float) -> Iterator[Pcm]:
        self._clock_s += seconds
        yield from self._sound.silence_until(round(self._clock_s * self._rate))

    def _fault(self) -> None:
        if not self._faults:
            self._first_fault_s = self._clock_s
        self._faults += 1

    def _too_long(self) -> TooLarge:
        return TooLarge(f"the audio is longer than {self._max_s:g} s, the most that is taken; send it in parts")


class Sound:
    """Frames of any format and rate to blocks: mono 16-bit at `rate` Hz. `samples` were given out."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._block = round(BLOCK_S * rate)
        self._format: tuple[str, str, int] | None = None
        self._resampler: AudioResampler | None = None
        self._mixer = Mixer()
        self._held: list[Floats] = []  # [channels, n]
        self._held_samples = 0
        self.samples = 0
        self.peak = 0

    def take(self, frame: AudioFrame) -> Iterator[Pcm]:
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != self._format:
            yield from self.end()
            self._format = form
            layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
            self._resampler = AudioResampler(format="fltp", layout=layout, rate=self._rate)
        assert self._resampler is not None
        frame.pts = None  # time is kept by whoever gives the frames
        yield from self._hold(self._resampler.resample(frame))

    def silence_until(self, position: int) -> Iterator[Pcm]:
        yield from self.end()
        while (missing := position - self.samples) > 0:
            yield self._out(np.zeros(min(missing, self._block), np.float32))

    def end(self) -> Iterator[Pcm]:
        """What the resampler and this hold back."""
        resampler, self._resampler, self._format = self._resampler, None, None
        if resampler is not None:
            yield from self._hold(resampler.resample(None))
        if self._held_samples:
            yield self._mixed()

    def _hold(self, frames: list[AudioFrame]) -> Iterator[Pcm]:
        for frame in frames:
            self._held.append(frame.to_ndarray().astype(np.float32, copy=False))
            self._held_samples += frame.samples
            if self._held_samples >= self._block:
                yield from self._cut(self._mixed())

    def _cut(self, block: Pcm) -> Iterator[Pcm]:
        """A frame of some formats is long: the service wants frames of its own size."""
        for start in range(0, len(block), self._block):
            yield block[start : start + self._block]

    def _mixed(self) -> Pcm:
        block = np.concatenate(self._held, axis=1)
        self._held, self._held_samples = [], 0
        return self._out(self._mixer.mix(block))

    def _out(self, mono: Floats) -> Pcm:
        np.nan_to_num(mono, copy=False, nan=0.0, posinf=1.0, neginf=-1.0)
        pcm: Pcm = np.clip(np.rint(mono * np.float32(32768)), -32768, 32767).astype(np.int16)
        self.samples += len(pcm)
        self.peak = max(self.peak, int(pcm.max(initial=0)), -int(pcm.min(initial=0)))
        return pcm


class Tail:
    """`file` from `start` on, as FFmpeg wants to see it."""

    def __init__(self, file: BinaryIO, start: int) -> None:
        self._file = file
        self._start = start
        file.seek(start)

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def tell(self) -> int:
        return self._file.tell() - self._start

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        """As FFmpeg's own files: where no file has a place, a negative number and no exception."""
        if whence == os.SEEK_CUR:
            position += self.tell()
        elif whence == os.SEEK_END:
            position += self._file.seek(0, os.SEEK_END) - self._start
        try:
            return self._file.seek(self._start + position) - self._start if position >= 0 else -errno.EINVAL
        except (OSError, ValueError):  # farther than the system, or Python, counts
            return -errno.EINVAL


def _wrong_rate(rate: int) -> UnsupportedMedia:
    return UnsupportedMedia(f"the sample rate is {rate} Hz; {RATES[0]} to {RATES[-1]} are read")


def _raise_no_memory(error: Exception) -> None:
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        raise MemoryError from error


def _claimed_s(track: AudioStream) -> float:
    """How long the file says that the track is; 0.0 where it does not."""
    return float(track.duration * track.time_base) if track.duration and track.time_base else 0.0


def _origin_s(container: InputContainer, form: str) -> float:
    """The timestamp that is the beginning of the recording."""
    start_s = (container.start_time or 0) / av.time_base
    return 0.0 if form in _STARTS_AT_ZERO and 0 <= start_s <= LATE_S else start_s


def _behind_id3(file: BinaryIO) -> int | None:
    """Where a file goes on behind an ID3v2 tag (https://id3.org/id3v2.4.0-structure, 3.1); None: it has none."""
    file.seek(0)
    head = file.read(10)
    if len(head) < 10 or head[:3] != b"ID3":
        return None
    return 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])


def _mpeg_behind_junk(file: BinaryIO) -> int | None:
    """Where MPEG audio may begin behind something else: two headers in a row, of frames of one kind."""
    file.seek(0)
    head = file.read(JUNK_BYTES)
    if head[:8] == b"APETAGEX" and len(head) > 32:
        start = 32 + int.from_bytes(head[12:16], "little")
        return start if start < file.seek(0, os.SEEK_END) else None
    at = head.find(b"\xff", 1)
    while at >= 0:
        length = _mpeg_frame_bytes(head[at : at + 4])
        if length and _mpeg_frame_bytes(head[at + length : at + length + 4]) and head[at + 1] == head[at + length + 1]:
            return at
        at = head.find(b"\xff", at + 1)
    return None


def _mpeg_frame_bytes(header: bytes) -> int:
    """Of a frame of MPEG audio, layer III (ISO 11172-3, 2.4.2.3), with this header; 0: it is none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return 0
    version, rate_index, bit_rate = header[1] >> 3 & 3, header[2] >> 2 & 3, header[2] >> 4
    if version == 1 or rate_index == 3 or not 0 < bit_rate < 15:
        return 0
    rate = (44_100, 48_000, 32_000)[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    if version == 3:
        kbits = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)[bit_rate - 1]
        return 144_000 * kbits // rate + (header[2] >> 1 & 1)
    kbits = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)[bit_rate - 1]
    return 72_000 * kbits // rate + (header[2] >> 1 & 1)
