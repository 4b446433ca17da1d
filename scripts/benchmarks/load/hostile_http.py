"""Attacks with requests: bodies that unpack, that never end or that nobody reads, names that are not ours, and processes that are
killed."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
import struct
import zlib
from contextlib import ExitStack, suppress
from pathlib import Path

from scripts.benchmarks.load.own_service import family
from scripts.benchmarks.load.scene import Scene, attack, read_status

FORM = "Content-Type: multipart/form-data; boundary=x"
FILE_FIELD = b'--x\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\n'
UPLOAD_BYTES = 23_000_000
RECOGNISER = "web_demo.children.worker"


def packed(parts: list[tuple[bytes, int]]) -> bytes:
    """A gzip of `parts`, each bytes that are repeated so many times: packed once, then copied (a full flush makes what follows
    independent of what went before)."""
    body, checksum, size = b"", 0, 0
    for content, times in parts:
        packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        block = packer.compress(content) + packer.flush(zlib.Z_FULL_FLUSH)
        body += block * times
        size += len(content) * times
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + body + b"\x03\0" + struct.pack("<II", checksum, size & 0xFFFFFFFF)


@attack("C4", "1.5 GB of file parts, packed to 1.5 MB", "400 413 429 broken", asr=60, tts=60)
async def packed_parts(scene: Scene) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="%s"; filename="a"\r\n\r\n'
    body = packed(
        [
            item
            for name in (b"audio", b"a", b"b", b"c", b"d", b"e")
            for item in ((part % name, 1), (bytes(1 << 20), 250), (b"\r\n", 1))
        ]
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Encoding": "gzip"}

    async def send() -> None:
        service = scene.chance.choice(("asr", "tts", "s2s"))
        path = "/api/synthesize" if service == "tts" else "/api/transcribe"
        await scene.post(service, path, data=body, headers=headers)

    await scene.forever(3, send)


@attack("C4", "a JSON body of 250 MB, packed to 0.25 MB", "413 429 broken", tts=80)
async def packed_json(scene: Scene) -> None:
    body = packed([(b'{"text": "', 1), (b"a" * (1 << 20), 250), (b'"}', 1)])
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    await scene.forever(3, lambda: scene.post("tts", "/api/synthesize", data=body, headers=headers))


@attack("H2", "uploads of 23 MB that break off before their end", "left closed 413 429", asr=60, tts=120)
async def broken_off(scene: Scene) -> None:
    chunk = bytes(1 << 20)

    async def send() -> None:
        service = scene.chance.choice(("asr", "tts", "s2s"))
        path = "/api/synthesize" if service == "tts" else "/api/transcribe"
        kind = "Content-Type: application/json" if service == "tts" else FORM
        _, writer = await scene.raw(service, f"POST {path} HTTP/1.1\r\n{kind}\r\nContent-Length: {UPLOAD_BYTES + 1000}")
        with suppress(ConnectionError):
            writer.write(b'{"text": "' if service == "tts" else FILE_FIELD)
            for _ in range(UPLOAD_BYTES // len(chunk)):
                writer.write(chunk)
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.transport.abort()
        scene.outcomes["left"] += 1

    await scene.forever(4, send, 0.2)


@attack("H3", "a recogniser's process killed every 4 s", "killed", slows=True, needs_processes=True, asr=250, s2s=250)
async def killed_workers(scene: Scene) -> None:
    await signalled(scene, signal.SIGKILL)


@attack("H3", "a recogniser's process stopped", "killed", slows=True, needs_processes=True, asr=250, s2s=250)
async def stopped_worker(scene: Scene) -> None:
    await signalled(scene, signal.SIGSTOP)


async def signalled(scene: Scene, number: signal.Signals) -> None:
    """All recognisers of the ASR service, again and again; or one of them, once."""
    scene.ready.set()
    while True:
        recognisers = [pid for pid in family(scene.pids["asr"])[1:] if RECOGNISER in command_of(pid)]
        for pid in recognisers if number is signal.SIGKILL else recognisers[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
                scene.outcomes["killed"] += 1
        await asyncio.sleep(4.0 if number is signal.SIGKILL else 1e6)


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:  # it ended meanwhile
        return ""


@attack("H4", "50 uploads of a byte a second", "waiting 408 413 429 closed", asr=40, s2s=40)
async def slow_uploads(scene: Scene) -> None:
    async def send() -> None:
        service = scene.chance.choice(("asr", "s2s"))
        reader, writer = await scene.raw(service, f"POST /api/transcribe HTTP/1.1\r\n{FORM}\r\nContent-Length: 1000000")
        writer.write(FILE_FIELD)
        scene.outcomes["waiting"] += 1
        await drip(scene, reader, writer, b"a")

    await scene.forever(50, send)


async def drip(scene: Scene, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, byte: bytes) -> None:
    """A byte a second, until the service says something."""
    said = asyncio.create_task(read_status(reader))
    try:
        while not said.done():
            writer.write(byte)
            await asyncio.wait({said}, timeout=1.0)
        scene.outcomes[said.result()] += 1
    finally:
        said.cancel()
        writer.transport.abort()


@attack(
    "H4",
    "100 JSON bodies that never come, and 100 connections without a word",
    "waiting 408 429 closed",
    tts=40,
    s2s=40,
)
async def silent_bodies(scene: Scene) -> None:
    async def send() -> None:
        service = scene.chance.choice(("tts", "s2s"))
        silent = scene.chance.random() < 0.5
        head = (
            "" if silent else "POST /api/synthesize HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 100"
        )
        reader, writer = await scene.raw(service, head)
        scene.outcomes["waiting"] += 1
        scene.outcomes[await read_status(reader)] += 1
        writer.close()

    await scene.forever(200, send, 0.1)


@attack("H4", "34 answers that nobody reads, through the page and directly", "waiting 429 closed", tts=120, s2s=60)
async def unread_answers(scene: Scene) -> None:
    body = json.dumps(
        {"text": "Good morning, this is a long text. " * 140, "stream": True, "speaker_id": "英文女"}
    ).encode()

    async def send() -> None:
        service = scene.chance.choice(("tts", "s2s"))
        reader, writer = await scene.raw(
            service, f"POST /api/synthesize HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        )
        writer.write(body)
        status = await read_status(reader)
        scene.outcomes["waiting" if status == "200" else status] += 1
        if status == "200":
            await asyncio.sleep(20.0)  # a little is buffered here, and no more is taken
        writer.transport.abort()

    await scene.forever(34, send, 0.2)


@attack("M1", "a stranger's name in Host", "403", s2s=20, asr=20, tts=20)
async def other_host(scene: Scene) -> None:
    places = (("tts", "/api/speakers"), ("asr", "/metrics"), ("s2s", "/api/services"), ("s2s", "/health"))

    async def ask() -> None:
        service, path = scene.chance.choice(places)
        await scene.ask("GET", service, path, headers={"Host": "evil.example"})

    await scene.forever(2, ask, 0.02)


@attack("M2", "packed bodies through the page", "200 429", s2s=40, tts=60)
async def packed_through(scene: Scene) -> None:
    body = gzip.compress(json.dumps({"text": "Good morning.", "speaker_id": "英文女"}).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    await scene.forever(2, lambda: scene.post("s2s", "/api/synthesize", data=body, headers=headers), 0.1)


@attack("M3", "packed bodies that are broken", "400 429", s2s=40, asr=40, tts=40)
async def broken_gzip(scene: Scene) -> None:
    whole = gzip.compress(b'{"text": "' + b"Good morning. " * 100 + b'"}')

    async def send() -> None:
        service, path, kind = scene.chance.choice(
            (
                ("tts", "/api/synthesize", "application/json"),
                ("s2s", "/api/synthesize", "application/json"),
                ("asr", "/api/transcribe", "multipart/form-data; boundary=x"),
            )
        )
        damaged = bytearray(whole)
        damaged[12] ^= 0xFF
        headers = {"Content-Type": kind, "Content-Encoding": "gzip"}
        await scene.post(service, path, data=bytes(damaged[: scene.chance.randrange(11, len(whole))]), headers=headers)

    await scene.forever(2, send, 0.05)


@attack("M4", "clients of the page that leave in an upload", "left", s2s=60, asr=60)
async def left_in_upload(scene: Scene) -> None:
    async def send() -> None:
        _, writer = await scene.raw("s2s", f"POST /api/transcribe HTTP/1.1\r\n{FORM}\r\nContent-Length: 1000000")
        writer.write(FILE_FIELD + bytes(300_000))
        await asyncio.sleep(0.1)
        writer.transport.abort()
        scene.outcomes["left"] += 1

    await scene.forever(8, send)


@attack("L", "more connections than descriptors", "waiting", slows=True, needs_processes=True, s2s=40)
async def no_descriptors(scene: Scene) -> None:
    """The run has left the S2S service few of them."""
    with ExitStack() as held:
        scene.ready.set()
        while True:
            if scene.outcomes["waiting"] < 137:
                _, writer = await scene.raw("s2s")
                held.callback(writer.transport.abort)
                scene.outcomes["waiting"] += 1
            else:
                await asyncio.sleep(1.0)
