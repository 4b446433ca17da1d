"""Attacks with sound: streams that claim hours, files that claim more, and conversations by the dozen."""

from __future__ import annotations

import asyncio
import io
import struct
from contextlib import suppress

import aiohttp
import numpy as np
import soundfile

from scripts.benchmarks.load.scene import Scene, attack
from scripts.benchmarks.load.users import RECORDING
from web_demo.audio import ogg
from web_demo.audio.opus import OpusWriter
from web_demo.audio.samples import WIRE_RATE, from_wav
from web_demo.server.protocal import Action, AudioData, Control, Error, Metadata, Text, decode, encode

TWO_FRAMES_OF_60_MS = bytes(((3 << 3) | 1,))  # a packet of one byte: 120 ms (RFC 6716, 3.1 and 3.2)
STREAM = "/api/transcribe/stream"


@attack("C1", "a sample rate of 29 digits", "400", asr=20)
async def wild_rate(scene: Scene) -> None:
    path = f"{STREAM}?rate=00001600099999999999999999999"
    await scene.forever(4, lambda: scene.ask("GET", "asr", path, headers=UPGRADE), 0.02)


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
}


def hours(pages: int) -> bytes:
    """Half a minute of sound in each page of 537 bytes."""
    page = [TWO_FRAMES_OF_60_MS] * 255
    return b"".join(ogg.write_page(page, granule=0, serial=1, sequence=number) for number in range(pages))


@attack("C2", "4 hours of sound in 256 kB, in a turn and hands-free", "told busy closed", s2s=60)
async def hours_of_opus(scene: Scene) -> None:
    whole, small = encode(AudioData(hours(476))), encode(AudioData(hours(61)))

    async def talk() -> None:
        async with scene.talk() as socket:
            if scene.chance.random() < 0.75:
                await socket.send_bytes(encode(Metadata({"turn_detection": {"type": "server_vad"}})))
                await socket.send_bytes(small)
            else:
                await socket.send_bytes(whole)
            await told(scene, socket, 3.0)

    await scene.forever(3, talk)


@attack("C2", "the same on live captions", "told busy closed 429", asr=60)
async def hours_of_captions(scene: Scene) -> None:
    message = hours(1900)

    async def talk() -> None:
        async with scene.talk("asr", f"{STREAM}?format=opus") as socket:
            await socket.send_bytes(message)
            await told(scene, socket, 3.0)

    await scene.forever(3, talk)


async def told(
    scene: Scene, socket: aiohttp.ClientWebSocketResponse, seconds: float, *, silent: str = "closed"
) -> None:
    """What a service says to it in so many seconds; `silent` when nothing is wrong."""
    outcome = silent
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for frame in socket:
                if frame.type is aiohttp.WSMsgType.BINARY and isinstance(message := decode(frame.data), Error):
                    outcome = "busy" if "in use" in message.message or "are yours" in message.message else "told"
                elif frame.type is aiohttp.WSMsgType.TEXT and '"error"' in frame.data:
                    outcome = "told"
    scene.outcomes[outcome] += 1


@attack("C3", "601 bytes of m4a that claim 60 million samples", "400 413 415 422 429", asr=150)
async def claimed_samples(scene: Scene) -> None:
    await upload_forever(scene, m4a(60_000_000), 3)


def m4a(samples: int) -> bytes:
    """The boxes of an AAC file without sound, whose table of sizes says so many samples."""

    def box(kind: bytes, *parts: bytes) -> bytes:
        body = b"".join(parts)
        return struct.pack(">I4s", 8 + len(body), kind) + body

    def full(kind: bytes, *parts: bytes) -> bytes:
        return box(kind, bytes(4), *parts)

    unity = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    esds = full(
        b"esds",
        bytes.fromhex("0319000000041140150000000000000000000000000505021408"),
        bytes.fromhex("060102"),
    )
    mp4a = box(
        b"mp4a",
        bytes(6),
        struct.pack(">H8sHHIHH", 1, bytes(8), 1, 16, 0, 0, 0)[:20],
        struct.pack(">I", 16000 << 16),
        esds,
    )
    table = box(
        b"stbl",
        full(b"stsd", struct.pack(">I", 1), mp4a),
        full(b"stts", struct.pack(">III", 1, samples, 1024)),
        full(b"stsc", struct.pack(">IIII", 1, 1, samples, 1)),
        full(b"stsz", struct.pack(">II", 4, samples)),
        full(b"stco", struct.pack(">II", 1, 40)),
    )
    minf = box(
        b"minf", full(b"smhd", bytes(4)), box(b"dinf", full(b"dref", struct.pack(">I", 1), full(b"url "))), table
    )
    media = box(
        b"mdia",
        full(b"mdhd", struct.pack(">IIIIHH", 0, 0, 16000, 16000, 0x55C4, 0)),
        full(b"hdlr", bytes(4), b"soun", bytes(12), b"\0"),
        minf,
    )
    track = box(b"trak", full(b"tkhd", struct.pack(">IIIII", 0, 0, 1, 0, 1000), bytes(16), unity, bytes(8)), media)
    movie = box(b"moov", full(b"mvhd", struct.pack(">IIII", 0, 0, 1000, 1000), bytes(12), unity, bytes(28)), track)
    return box(b"ftyp", b"M4A \0\0\0\0M4A isom") + movie + box(b"mdat", bytes(16))


@attack("C3", "two hours of silence in a small FLAC, four at once", "200 400 413 415 422 429", asr=250)
async def long_flac(scene: Scene) -> None:
    await upload_forever(scene, silent_flac(7100), 4)


def silent_flac(seconds: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(seconds * 8000, np.int16), 8000, format="FLAC")
    return buffer.getvalue()


@attack("M7", "recordings of two minutes whose client leaves while they are recognised", "left 200 429", asr=250)
async def left_recordings(scene: Scene) -> None:
    buffer = io.BytesIO()
    sound = from_wav(RECORDING.read_bytes())
    soundfile.write(buffer, np.tile(sound.samples, 40), sound.rate, format="FLAC")

    async def send() -> None:
        form = aiohttp.FormData()
        form.add_field("audio", buffer.getvalue(), filename="speech")
        try:
            async with asyncio.timeout(1.0):
                await scene.post("asr", "/api/transcribe", data=form)
        except TimeoutError:
            scene.outcomes["left"] += 1

    await scene.forever(6, send, 0.2)


async def upload_forever(scene: Scene, content: bytes, at_once: int) -> None:
    def form() -> aiohttp.FormData:
        made = aiohttp.FormData()
        made.add_field("audio", content, filename="speech")
        return made

    await scene.forever(at_once, lambda: scene.post("asr", "/api/transcribe", data=form()))


@attack("H1", "heads of streams without end", "told busy closed", s2s=60)
async def heads(scene: Scene) -> None:
    head = OpusWriter(WIRE_RATE).header
    message = encode(AudioData(head * ((1 << 19) // len(head))))

    async def talk() -> None:
        async with scene.talk() as socket:
            for _ in range(20):
                await socket.send_bytes(message)
            await told(scene, socket, 1.0)

    await scene.forever(2, talk)


@attack("H1", "live captions with a bad packet in every message", "told busy closed 429", asr=60)
async def bad_packets(scene: Scene) -> None:
    page = ogg.write_page([b"\xff" * 1000] * 60, granule=0, serial=1, sequence=0)

    async def talk() -> None:
        async with scene.talk("asr", f"{STREAM}?format=opus") as socket:
            for _ in range(20):
                await socket.send_bytes(page * 16)
            await told(scene, socket, 1.0)

    await scene.forever(2, talk)


@attack("M6", "half an Ogg page, then a right turn", "answered busy", s2s=40)
async def half_pages(scene: Scene) -> None:
    """Whoever sends the half page is heard himself after it."""
    writer = OpusWriter(WIRE_RATE)
    pages = [page.data for page in writer.write(from_wav(RECORDING.read_bytes()).at(WIRE_RATE).samples)]

    async def talk() -> None:
        async with scene.talk() as socket:
            await socket.send_bytes(encode(AudioData(hours(1)[:300])))
            await socket.send_bytes(encode(AudioData(writer.header)))
            for page in pages:
                await socket.send_bytes(encode(AudioData(page)))
            await socket.send_bytes(encode(Control(Action.END_TURN)))
            scene.outcomes[await answer(socket, complaints=True)] += 1  # about the half page

    await scene.forever(1, talk, 0.5)


@attack("M7", "one client with all the conversations it gets, all speaking at once", "answered busy closed", s2s=120)
async def many_sessions(scene: Scene) -> None:
    writer = OpusWriter(WIRE_RATE)
    pages = [page.data for page in writer.write(from_wav(RECORDING.read_bytes()).at(WIRE_RATE).samples)]
    speech = encode(AudioData(writer.header + b"".join(pages)))

    async def talk() -> None:
        async with scene.talk() as socket:
            for _ in range(5):
                await socket.send_bytes(speech)
                await socket.send_bytes(encode(Control(Action.END_TURN)))
                outcome = await answer(socket)
                scene.outcomes[outcome] += 1
                if outcome != "answered":
                    await asyncio.sleep(1.0)
                    return
                await socket.send_bytes(encode(Control(Action.START)))

    await scene.forever(60, talk)


@attack(
    "M7", "one client whose turn of two minutes takes every place of the recogniser", "answered busy closed", s2s=120
)
async def long_turn(scene: Scene) -> None:
    turn = two_minutes()

    async def talk() -> None:
        async with scene.talk() as socket:
            for message in turn:
                await socket.send_bytes(message)
            scene.outcomes[await answer(socket)] += 1

    await scene.forever(2, talk, 0.2)


@attack("M7", "the same by one who leaves while it is recognised, again and again", "left busy", s2s=120)
async def left_turns(scene: Scene) -> None:
    turn = two_minutes()

    async def talk() -> None:
        async with scene.talk() as socket:
            for message in turn:
                await socket.send_bytes(message)
            await told(scene, socket, 1.0, silent="left")

    await scene.forever(6, talk, 0.2)


def two_minutes() -> list[bytes]:
    """The messages of a turn of speech, its end too."""
    writer = OpusWriter(WIRE_RATE)
    sound = from_wav(RECORDING.read_bytes()).at(WIRE_RATE).samples
    pages = [page.data for page in writer.write(np.tile(sound, 40))]
    parts = [b"".join(pages[start : start + 50]) for start in range(0, len(pages), 50)]
    parts[0] = writer.header + parts[0]
    return [*(encode(AudioData(part)) for part in parts), encode(Control(Action.END_TURN))]


async def answer(socket: aiohttp.ClientWebSocketResponse, *, complaints: bool = False) -> str:
    """How a turn was answered: by its first sound. `complaints`: other errors than a refusal are passed over."""
    async for frame in socket:
        match decode(frame.data):
            case AudioData():
                return "answered"
            case Error(reason):
                if "in use" in reason or "are yours" in reason:
                    return "busy"
                if not complaints:
                    return "failed"
            case Text(text) if text.startswith("\n[Final: "):
                return "silent"
    return "closed"
