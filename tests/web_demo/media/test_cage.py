"""What a caged process can do, tried in one."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PROLOGUE = """
    import os, socket, sys, tempfile
    from web_demo.media import cage
    source = open(sys.executable, "rb")
    reading, writing = os.pipe()
    file = open(cage.INPUT, "rb", closefd=False)
    said = os.dup(1)
    def attempt(work):
        try:
            work()
        except (OSError, MemoryError) as error:
            return type(error).__name__
        return "done"
    cage.enter(source.fileno(), said, cage.Limits(64 << 20, 1, 4))
"""


def caged(work: str) -> subprocess.CompletedProcess[str]:
    program = textwrap.dedent(PROLOGUE) + textwrap.dedent(work)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=False)


def says(expression: str) -> str:
    return caged(f"os.write(cage.OUTPUT, str({expression}).encode()); os._exit(0)").stdout


@pytest.mark.parametrize(
    "work",
    [
        "open('/etc/passwd')",
        "socket.socket()",
        "os.pipe()",
        "os.fork()",
        "os.execv('/bin/true', ['true'])",
        "os.kill(os.getppid(), 0)",
        "os.stat('/etc/passwd')",
        "os.listdir('/')",
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="the filter of system calls is Linux's")
def test_nothing_outside_is_reached(work):
    assert says(f"attempt(lambda: {work})") in ("PermissionError", "OSError")


def test_its_file_is_read():
    assert says("file.read(4)") == str(Path(sys.executable).read_bytes()[:4])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces it")
def test_memory_has_an_end():
    assert says("attempt(lambda: bytearray(32 << 20))") == "done"
    assert says("attempt(lambda: bytearray(128 << 20))") == "MemoryError"


def test_computing_has_an_end():
    assert caged("while True: pass").returncode in (-signal.SIGXCPU, -signal.SIGKILL)


def test_computing_can_be_allowed_up_to_a_limit():
    assert says("[cage.allow_cpu(1000), cage.resource.getrlimit(cage.resource.RLIMIT_CPU)[0]]") == "[None, 4]"
