"""Strangers' files to sound, for a service: each in a process of its own, under limits of the operating system."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Protocol

import numpy as np

from utils.threads import off_loop
from web_demo.audio.samples import SPEECH_RATE, Audio, Samples, from_int16
from web_demo.errors import ServiceError, SetupError, TooLarge, Unavailable, UnsupportedMedia
from web_demo.media import frames
from web_demo.media.nursery import LOST, MIB, STARTED, Ended, Job, memory_bytes

log = logging.getLogger(__name__)

START_S = 60.0
SILENT_S = 60.0  # a decoder that gives nothing for so long is stuck
END_S = 2.0  # between the end of a decoder's pipe and its own
SPARE_S = 2.0  # of sound beyond the most: a decoder stops by itself within a block of it
MOST_WARNINGS = 16
ROOT = Path(__file__).resolve().parents[2]


class HasFileno(Protocol):
    def fileno(self) -> int:
        """Of a regular file, or memory that looks like one."""
        ...


class Decoding:
    """The sound of one file. `blocks` may be gone through once; `warnings` is whole when they have ended, and `seconds`
    counts what came."""

    def __init__(self, source: asyncio.StreamReader, ended: asyncio.Future[int], job: Job) -> None:
        self._source = source
        self._ended = ended
        self._rate = job.rate
        self._file_bytes = job.file_bytes
        self._most_samples = round((job.max_s + SPARE_S) * job.rate)
        self._samples = 0
        self.warnings: list[str] = []

    @property
    def seconds(self) -> float:
        return self._samples / self._rate

    async def blocks(self) -> AsyncGenerator[Samples, None]:
        """Mono float32, half a second at most. Raises UnsupportedMedia when nothing can be read, TooLarge when it is too long,
        or too much work before anything came, Unavailable when the decoder is lost. What else stops in mid-file is a warning."""
        while True:
            try:
                async with asyncio.timeout(SILENT_S):
                    kind, body = await frames.read(self._source)
            except TimeoutError:
                self._stopped(TooLarge(f"decoding the file gave nothing for {SILENT_S:g} s"))
                return
            except ValueError as error:
                self._broken(str(error))
                return
            except asyncio.IncompleteReadError:
                await self._broken_off()
                return
            if kind == frames.SAMPLES:
                samples = from_int16(np.frombuffer(body[: len(body) // 2 * 2], np.int16))
                self._samples += len(samples)
                if self._samples > self._most_samples:  # whose decoder was broken: it stops by itself
                    raise TooLarge("more sound came out of the file than it may hold")
                yield samples
            elif kind == frames.WARNING:
                if len(self.warnings) < MOST_WARNINGS:
                    self.warnings.append(frames.printable(body.decode("ascii", "replace")))
            elif kind == frames.ERROR:
                self._failed(body.decode("ascii", "replace"))
                return
            else:
                return

    async def whole(self) -> Audio:
        """All of it at once: for recordings whose cap is short."""
        found = [block async for block in self.blocks()]
        return Audio(np.concatenate(found) if found else np.zeros(0, np.float32), self._rate)

    def _failed(self, text: str) -> None:
        code, _, message = frames.printable(text).partition(" ")
        if code == frames.TOO_LARGE:
            raise TooLarge(message)
        if code == frames.MEMORY:
            most = memory_bytes(self._file_bytes) / MIB
            self._stopped(TooLarge(f"decoding the file takes more than {most:.0f} MiB of memory"))
        elif code == frames.UNSUPPORTED:
            raise UnsupportedMedia(message)
        else:
            self._broken(message)

    async def _broken_off(self) -> None:
        await asyncio.wait([self._ended], timeout=END_S)
        number = self._ended.result() if self._ended.done() else 0
        if number == LOST:
            raise Unavailable("the process that decoded the file is gone; please send it again")
        if number == signal.SIGXCPU:
            self._stopped(TooLarge("decoding the file takes too much computing for its length"))
            return
        self._broken(f"it ended by {signal.Signals(number).name if number in set(signal.Signals) else number}")

    def _broken(self, why: str) -> None:
        log.error("a decoder of a file of %d bytes failed at_s=%.1f: %s", self._file_bytes, self.seconds, why)
        self._stopped(UnsupportedMedia("the file broke the decoder"))

    def _stopped(self, error: ServiceError) -> None:
        if not self._samples:
            raise type(error)(f"{error.message}; convert it to WAV or FLAC, or send another")
        self.warnings.append(f"{error.message}: only the first {self.seconds:.1f} s were used")


class Decoders:
    """`start` is not needed before the first file, but makes it quicker. Nothing of a file is left when its decoding ends."""

    def __init__(self) -> None:
        self._nursery: _Nursery | None = None
        self._starting = asyncio.Lock()
        self._count = 0

    async def start(self) -> None:
        """Raises SetupError."""
        await self._running()

    async def close(self) -> None:
        nursery, self._nursery = self._nursery, None
        if nursery is not None:
            await nursery.close()

    @asynccontextmanager
    async def decoding(
        self, file: HasFileno, size: int, *, max_s: float, rate: int = SPEECH_RATE
    ) -> AsyncIterator[Decoding]:
        """The sound of `file`, which has `size` bytes, at `rate` Hz. The file may be closed as soon as the block is entered;
        leaving the block ends the work."""
        if not size:
            raise UnsupportedMedia("the audio file is empty (0 bytes)")
        try:
            nursery = await self._running()
        except SetupError as error:
            raise Unavailable(f"files cannot be decoded now: {error}") from error
        self._count += 1
        job = Job(self._count, size, rate, max_s)
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb", 0) as pipe:
            try:
                source = await off_loop(file.fileno)  # a spooled file is written out by that
                ended = await nursery.begin(job, source, writing)
            except OSError as error:
                raise Unavailable("files cannot be decoded now; please try again in a moment") from error
            finally:
                os.close(writing)
            try:
                sound = asyncio.StreamReader(frames.MAX_BYTES)
                transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                    lambda: asyncio.StreamReaderProtocol(sound), pipe
                )
                with closing(transport):
                    yield Decoding(sound, ended, job)
            finally:
                if not ended.done():
                    nursery.kill(job.number)

    async def _running(self) -> _Nursery:
        async with self._starting:
            if self._nursery is not None and not self._nursery.alive:
                log.error("the process that forks decoders is gone: starting another")
                await self.close()
            if self._nursery is None:
                self._nursery = await _Nursery.spawn()
            return self._nursery


class _Nursery:
    """The service's end of one life of `nursery.py`."""

    def __init__(self, process: asyncio.subprocess.Process, line: socket.socket) -> None:
        self._process = process
        self._line = line
        self._endings: dict[int, asyncio.Future[int]] = {}
        self._sending = asyncio.Lock()
        self._reading = asyncio.create_task(self._read(), name="decoders")

    @classmethod
    async def spawn(cls) -> _Nursery:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "web_demo.media.nursery",
                str(theirs.fileno()),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                cwd=ROOT,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
                    "OPENBLAS_NUM_THREADS": "1",  # a process with more than one thread cannot be forked safely
                    "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",  # macOS: the decoders use none of Apple's frameworks
                },
            )
        ours.setblocking(False)
        try:
            said = await asyncio.wait_for(_exactly(ours, len(STARTED)), START_S)
        except TimeoutError:
            said = b""
        if said != STARTED:
            ours.close()
            if process.returncode is None:
                process.kill()
            await process.wait()
            raise SetupError("the process that decodes files does not start (web_demo.media.nursery; see the log)")
        log.info("decoders are forked by pid=%d", process.pid)
        return cls(process, ours)

    @property
    def alive(self) -> bool:
        return not self._reading.done()

    async def begin(self, job: Job, source: int, sink: int) -> asyncio.Future[int]:
        """The number of the signal that ends the decoder, 0 for none, or LOST. Raises OSError."""
        ended = self._endings[job.number] = asyncio.get_running_loop().create_future()
        try:
            async with self._sending:
                while True:
                    try:
                        socket.send_fds(self._line, [job.packed()], [source, sink])
                        return ended
                    except BlockingIOError:
                        await asyncio.sleep(0.01)
        except BaseException:
            del self._endings[job.number]
            raise

    def kill(self, number: int) -> None:
        try:
            self._line.send(Job(number, kill=True).packed())
        except OSError as error:  # full, or gone: the decoder ends when it finds its pipe closed, or out of CPU seconds
            log.info("decoder %d is left to itself: %s", number, error)

    async def close(self) -> None:
        self._line.close()  # which ends it, and it its decoders
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        try:
            await asyncio.wait_for(self._process.wait(), 5)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _read(self) -> None:
        try:
            while data := await _exactly(self._line, Ended.FORM.size):
                ended = Ended.unpacked(data)
                future = self._endings.pop(ended.number, None)
                if future is not None and not future.done():
                    future.set_result(ended.signal_number)
        finally:
            for future in self._endings.values():
                if not future.done():
                    future.set_result(LOST)
            self._endings.clear()


async def _exactly(line: socket.socket, count: int) -> bytes:
    """So many bytes; none when the other end is gone."""
    data = b""
    while len(data) < count:
        try:
            part = await asyncio.get_running_loop().sock_recv(line, count - len(data))
        except OSError:
            return b""
        if not part:
            return b""
        data += part
    return data
