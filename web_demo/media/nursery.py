"""The process that forks decoders: `python3 -m web_demo.media.nursery FD`, started by `decoders.py` only.

It has imported what a decoder needs and has one thread, so that a decoder costs a fork (milliseconds) and each file gets a
process of its own, which ends with it. FD is a socket to the service, with records of a fixed size:

    service -> nursery   Job, with two descriptors: the file, and the pipe that takes the frames of `frames.py`
    nursery -> service   Started once, then for each decoder its number and how it ended
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import socket
import struct
import sys
from dataclasses import dataclass
from typing import BinaryIO

import av

from web_demo.errors import TooLarge, UnsupportedMedia
from web_demo.media import cage, frames

log = logging.getLogger("web_demo.media.nursery")  # whose __name__ is __main__

MIB = 1 << 20
# A decoder maps less than 4 MiB of its own, whatever the length; tables of a container's packets come on top, and those
# take a multiple of what they take in the file.
MEMORY_BYTES = 48 * MIB
MEMORY_PER_BYTE = 2
MOST_MEMORY_BYTES = 512 * MIB
CPU_S = 10  # to begin with, and …
CPU_PER_S = 0.1  # … for each second of sound that came out: the slowest decoders need a tenth of that
NICE = 10  # decoders that only compute leave the processors to whoever answers
STARTED = b"started."
LOST = 1 << 16  # for the number of a signal: there was no process, or nobody knows how it ended


@dataclass(frozen=True)
class Job:
    """`kill`: the decoder of this number is not wanted any more; it comes without descriptors."""

    number: int
    file_bytes: int = 0
    rate: int = 0
    max_s: float = 0.0
    kill: bool = False

    FORM = struct.Struct("=QQId?")

    def packed(self) -> bytes:
        return self.FORM.pack(self.number, self.file_bytes, self.rate, self.max_s, self.kill)

    @classmethod
    def unpacked(cls, data: bytes) -> Job:
        return cls(*cls.FORM.unpack(data))


@dataclass(frozen=True)
class Ended:
    """`signal_number`: 0 by itself, or LOST."""

    number: int
    signal_number: int

    FORM = struct.Struct("=QI")

    def packed(self) -> bytes:
        return self.FORM.pack(self.number, self.signal_number)

    @classmethod
    def unpacked(cls, data: bytes) -> Ended:
        return cls(*cls.FORM.unpack(data))


def memory_bytes(file_bytes: int) -> int:
    """What a decoder of a file of this size may map."""
    return min(MEMORY_BYTES + MEMORY_PER_BYTE * file_bytes, MOST_MEMORY_BYTES)


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group: the service decides
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)-7s %(name)s %(message)s")
    av.logging.set_level(None)  # FFmpeg's lines would quote strangers' files
    from web_demo.media import decode

    decode.warm_up()
    gc.collect()
    gc.freeze()  # pages that the collector does not touch stay shared with the decoders
    filtered = cage.filter_works()
    if not filtered:
        log.warning("this system takes no filter of system calls: decoders run without it")
    log.info("decoders are ready limits=%s", cage.held(filtered=filtered))
    Nursery(socket.socket(fileno=int(sys.argv[1])), filtered=filtered).run()
    return 0


class Nursery:
    def __init__(self, line: socket.socket, *, filtered: bool) -> None:
        self._line = line
        self._filtered = filtered
        self._numbers: dict[int, int] = {}  # of the decoders, by process

    def run(self) -> None:
        """Until the service is gone; no decoder outlives it."""
        wakeup, woken = socket.socketpair()
        wakeup.setblocking(False)
        woken.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(woken.fileno())
        try:
            self._line.sendall(STARTED)
            while True:
                ready, _, _ = select.select((self._line, wakeup), (), ())
                if wakeup in ready:
                    wakeup.recv(4096)
                    self._bury()
                if self._line in ready and not self._take():
                    break
        except ConnectionError:
            log.info("the service is gone: stopping")
        for pid in self._numbers:
            os.kill(pid, signal.SIGKILL)

    def _take(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._line, Job.FORM.size, 2)
        if len(data) < Job.FORM.size:
            return False
        job = Job.unpacked(data)
        if job.kill:
            for pid, number in self._numbers.items():
                if number == job.number:
                    os.kill(pid, signal.SIGKILL)
            return True
        source, sink = descriptors
        try:
            pid = os.fork()
        except OSError as error:  # the system has no room for another process
            log.error("a decoder cannot be started: %s", error)
            self._line.sendall(Ended(job.number, LOST).packed())
        else:
            if not pid:
                _decoder(job, source, sink, filtered=self._filtered)
            self._numbers[pid] = job.number
        os.close(source)
        os.close(sink)
        return True

    def _bury(self) -> None:
        while self._numbers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            number = self._numbers.pop(pid)
            self._line.sendall(Ended(number, os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0).packed())


def _decoder(job: Job, source: int, sink: int, *, filtered: bool) -> None:
    """The life of the forked process. Never returns."""
    try:
        signal.set_wakeup_fd(-1)
        os.nice(NICE)
        file = open(cage.INPUT, "rb", closefd=False)  # noqa: SIM115 - the process ends with it
        most_cpu_s = CPU_S + round(CPU_PER_S * job.max_s)
        cage.enter(source, sink, cage.Limits(memory_bytes(job.file_bytes), CPU_S, most_cpu_s, filtered))
        _decode(job, file)
    except BrokenPipeError:
        os._exit(0)  # nobody wants it any more
    except BaseException:  # noqa: BLE001 - the service hears that it ended without a last word, and logs it
        os._exit(1)
    os._exit(0)


def _decode(job: Job, file: BinaryIO) -> None:
    from web_demo.media.decode import FileDecoder

    decoder = FileDecoder(file, rate=job.rate, max_s=job.max_s)
    samples, allowed_s = 0, CPU_S
    last = frames.pack(frames.DONE)
    try:
        for block in decoder.blocks():
            _write(frames.pack(frames.SAMPLES, block.tobytes()))
            samples += len(block)
            if (now_s := CPU_S + int(CPU_PER_S * samples / job.rate)) > allowed_s:
                cage.allow_cpu(now_s)
                allowed_s = now_s
    except UnsupportedMedia as error:
        last = frames.pack_text(frames.ERROR, f"{frames.UNSUPPORTED} {error.message}")
    except TooLarge as error:
        last = frames.pack_text(frames.ERROR, f"{frames.TOO_LARGE} {error.message}")
    except MemoryError:
        last = frames.pack_text(frames.ERROR, f"{frames.MEMORY} ")
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - told to the service, which logs it
        last = frames.pack_text(frames.ERROR, f"{frames.BROKEN} {type(error).__name__}: {error}")
    for warning in decoder.warnings:
        _write(frames.pack_text(frames.WARNING, warning))
    _write(last)


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(cage.OUTPUT, view) :]


if __name__ == "__main__":
    sys.exit(main())
