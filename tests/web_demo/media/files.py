"""Files that try a decoder."""

import io
import struct

import av

from web_demo.audio.samples import Audio, to_int16


def paused(audio: Audio, *, at_s: float, for_s: float) -> bytes:
    """`audio`, at 48 kHz, as a webm whose recorder was paused after `at_s` seconds: nothing is in the file for the pause, and
    timestamps go on behind it."""
    file, frame_samples = io.BytesIO(), 960
    with av.open(file, "w", format="webm") as output:
        stream = output.add_stream("libopus", rate=audio.rate, layout="mono")
        for start in range(0, len(audio.samples) - frame_samples + 1, frame_samples):
            part = to_int16(audio.samples[start : start + frame_samples])
            frame = av.AudioFrame.from_ndarray(part[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = audio.rate, start
            for packet in stream.encode(frame):
                if start >= at_s * audio.rate:
                    packet.pts += round(for_s * packet.time_base.denominator)
                    packet.dts = packet.pts
                output.mux(packet)
    return file.getvalue()


def with_subtitles(audio: Audio) -> bytes:
    """A matroska file with a track of subtitles behind the one of sound: a second track of sound with another type and codec
    written over (https://www.rfc-editor.org/rfc/rfc9559, TrackType and CodecID)."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        sound, _ = (output.add_stream(codec, rate=audio.rate, layout="mono") for codec in ("flac", "pcm_s16le"))
        frame = av.AudioFrame.from_ndarray(to_int16(audio.samples)[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = audio.rate, 0
        output.mux([*sound.encode(frame), *sound.encode(None)])
    head, codec_id, tail = file.getvalue().partition(b"A_PCM/INT/LIT")
    between, kind, rest = tail.partition(b"\x83\x81\x02")
    assert codec_id
    assert kind
    return head + b"S_TEXT/UTF8\0\0" + between + b"\x83\x81\x11" + rest


def claims_samples(count: int) -> bytes:
    """An m4a whose table of sample sizes says that there are `count` samples, all of one byte."""

    def box(kind: bytes, *parts: bytes) -> bytes:
        body = b"".join(parts)
        return struct.pack(">I4s", len(body) + 8, kind) + body

    sound = struct.pack(">6xH8xHHIHH", 1, 1, 16, 0, 0, 0)[:-4] + struct.pack(">I", 16_000 << 16)
    table = box(
        b"stbl",
        box(b"stsd", struct.pack(">II", 0, 1), box(b"mp4a", sound)),
        box(b"stts", struct.pack(">IIII", 0, 1, count, 1024)),
        box(b"stsc", struct.pack(">IIIII", 0, 1, 1, count, 1)),
        box(b"stsz", struct.pack(">III", 0, 1, count)),
        box(b"stco", struct.pack(">III", 0, 1, 0)),
    )
    media = box(
        b"mdia",
        box(b"mdhd", struct.pack(">IIIIIHH", 0, 0, 0, 16_000, 0, 0, 0)),
        box(b"hdlr", struct.pack(">II4s12xx", 0, 0, b"soun")),
        box(b"minf", box(b"smhd", bytes(8)), table),
    )
    track = box(b"trak", box(b"tkhd", struct.pack(">IIIII", 7, 0, 0, 1, 0), bytes(60)), media)
    head = box(b"mvhd", struct.pack(">IIIII", 0, 0, 0, 1000, 0), bytes(80))
    return box(b"ftyp", b"M4A \0\0\0\0") + box(b"moov", head, track) + box(b"mdat", bytes(64))
