"""What the operating system lets a decoder of strangers' files do: compute, read one file, write one pipe.

Everywhere: no more than so much address space and so many CPU seconds; no new file descriptors, so that nothing is
opened and nothing connected; no file grows, no core is dumped. On Linux (x86-64, arm64) also a seccomp filter
(https://docs.kernel.org/userspace-api/seccomp_filter.html) that refuses every system call but the few that decoding
needs: no program is started and no other process seen or signalled. Emulated machines may take no filter: whoever starts
caged processes asks `filter_works` and says so. macOS does not enforce the limit on address space (setrlimit(2) there knows
RLIMIT_AS and ignores it).
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

INPUT, OUTPUT = 0, 1  # the only descriptors of a caged process
MOST_OPEN = 1 << 16  # descriptors that are closed where the system knows no limit

# Number of each system call on (x86-64, arm64), from the kernel's tables.
_ALLOWED = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "pread64": (17, 67),
    "readv": (19, 65),
    "writev": (20, 66),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "getpid": (39, 172),
    "exit": (60, 93),
    "getrusage": (98, 165),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "prlimit64": (302, 261),  # of its own CPU seconds, up to the hard limit …
    "getrlimit": (97, 163),  # … which C libraries call by any of these
    "setrlimit": (160, 164),
    "getrandom": (318, 278),
}
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, AUDIT_ARCH of <linux/audit.h>
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 22, 38, 2
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF: load a word of seccomp_data, jump if equal, return
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | 1  # … with EPERM

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Limits:
    """`memory_bytes`: what the process may map beyond what it has when it enters; `filtered`: with the filter of system calls."""

    memory_bytes: int
    cpu_s: int  # that can be raised by `allow_cpu` up to …
    most_cpu_s: int  # … this
    filtered: bool = True


def filter_works() -> bool:
    """Whether this machine has a filter of system calls, tried in a process of its own. Single-threaded processes only."""
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return False
    pid = os.fork()
    if not pid:
        try:
            _install(_filter())
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def held(*, filtered: bool) -> str:
    """What is limited on this machine, in words for a log."""
    names = ["CPU seconds", "descriptors", "file sizes"]
    names += ["address space"] * (sys.platform == "linux") + ["system calls"] * filtered
    return ", ".join(names)


def enter(source: int, sink: int, limits: Limits) -> None:
    """From here on this process has INPUT (`source`) and OUTPUT (`sink`), and what `limits` say, for good. Raises OSError.

    Single-threaded processes only: the filter holds for the thread that calls.
    """
    mapped = _address_space() if sys.platform == "linux" else 0
    os.dup2(source, INPUT)  # both are above the first three: those are taken in every process that we start
    os.dup2(sink, OUTPUT)
    most_open = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    os.closerange(2, MOST_OPEN if most_open == resource.RLIM_INFINITY else most_open)
    for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(kind, (0, 0))
    if sys.platform == "linux":
        most = mapped + limits.memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, max(limits.cpu_s, limits.most_cpu_s)))
    if limits.filtered:
        _install(_filter())


def allow_cpu(seconds: int) -> None:
    """So many CPU seconds since the start of the process, as far as the hard limit goes."""
    most = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (seconds if most == resource.RLIM_INFINITY else min(seconds, most), most))


def _address_space() -> int:
    """Bytes that this process has mapped, of which there is a note in Linux alone."""
    pages = int(Path("/proc/self/statm").read_bytes().split()[0])
    return pages * resource.getpagesize()


def _filter() -> bytes:
    """The program for this machine."""
    column, architecture = _MACHINES[platform.machine()]
    numbers = [numbers[column] for numbers in _ALLOWED.values()]
    program = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    for place, number in enumerate(numbers):
        program.append((_EQUAL, len(numbers) - place, 0, number))
    program += [(_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _install(filters: bytes) -> None:
    code = ctypes.create_string_buffer(filters, len(filters))
    program = ctypes.create_string_buffer(struct.pack("HP", len(filters) // 8, ctypes.addressof(code)))
    prctl = _libc.prctl
    for arguments in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(program), 0, 0),
    ):
        if prctl(*map(ctypes.c_ulong, arguments)):
            error = ctypes.get_errno()
            raise OSError(error, f"prctl({arguments[0]}): {os.strerror(error)}")
