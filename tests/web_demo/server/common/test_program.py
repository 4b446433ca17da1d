"""A service as a process: it stops when it is told to, whatever its loop does; it lives on without descriptors, without a disk for
its log, and beside peers that say nothing."""

from __future__ import annotations

import asyncio
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from web_demo.server.common import hangup
from web_demo.server.common.watchdog import EXIT_STUCK

ROOT = Path(__file__).parents[4]


class Program:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self.port = 0

    async def until(self, pattern: str) -> str:
        """The first line of the log, from now on, in which `pattern` is found."""
        assert self.process.stderr is not None
        while True:
            line = (await self.process.stderr.readline()).decode()
            assert line, f"the program ended before {pattern!r}: {self.lines}"
            self.lines.append(line)
            if re.search(pattern, line):
                return line

    async def ended(self) -> int:
        """Its exit status, with the rest of its log in `lines`."""
        assert self.process.stderr is not None
        self.lines += (await self.process.stderr.read()).decode().splitlines()
        return await self.process.wait()


@asynccontextmanager
async def running(*arguments: str, descriptors: int | None = None) -> AsyncIterator[Program]:
    def limited() -> None:
        if descriptors is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.web_demo.server.common.tiny_program", *arguments),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=limited,
    )
    program = Program(process)
    try:
        async with asyncio.timeout(60):
            program.port = int((await program.until("listening url=")).rpartition(":")[2])
            yield program
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ask(program: Program, path: str) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection("127.0.0.1", program.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await writer.drain()
    return writer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_signal_is_obeyed(number: int) -> None:
    async with running() as program:
        program.process.send_signal(number)
        assert await program.ended() == 0
    assert "stopped" in program.lines[-1]


@pytest.mark.long
async def test_uploads_that_never_end_do_not_hold_up_the_end() -> None:
    async with running() as program:
        held = []
        for _ in range(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", program.port)
            writer.write(b"POST /api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n{")
            held.append((reader, writer))
        async with aiohttp.ClientSession() as http:
            taken = 0.0
            while taken < 20 << 20:
                async with http.get(f"http://127.0.0.1:{program.port}/metrics") as answer:
                    taken = float(re.findall(r"\nservice_bodies_bytes (\S+)", await answer.text())[0])
        program.process.send_signal(signal.SIGTERM)
        for reader, writer in held:
            assert (await reader.readline()).startswith(b"HTTP/1.1 503")
            writer.close()
        assert await program.ended() == 0
    assert not [line for line in program.lines if "still running" in line]


@pytest.mark.long
async def test_uploads_that_break_off_leave_the_process_as_small_as_it_was() -> None:
    """20 of 23 MB at a time, twice, without a collection: at most 20 MB over the start, and nothing in the log."""
    head = b'--b\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\n'

    async def broken_off(port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        request = b"POST /api/form HTTP/1.1\r\nHost: localhost\r\nContent-Length: 24000000\r\n"
        writer.write(request + b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + head)
        for _ in range(22):
            writer.write(bytes(1 << 20))
            await writer.drain()
        writer.transport.abort()

    async with running() as program:
        before = _resident_mb(program.process.pid)
        async with aiohttp.ClientSession() as http:
            metrics = ""
            for hangups in (20, 40):  # more at once than these would be refused: one client has room for half of a GiB
                await asyncio.gather(*(broken_off(program.port) for _ in range(20)))
                while f"service_hangups_total {hangups}.0" not in metrics:
                    async with http.get(f"http://127.0.0.1:{program.port}/metrics") as answer:
                        metrics = await answer.text()
        assert _resident_mb(program.process.pid) - before <= 20
        assert "service_errors_total{" not in metrics
        program.process.send_signal(signal.SIGTERM)
        assert await program.ended() == 0
    told = [line for line in program.lines if "WARNING" in line or "ERROR" in line]
    assert not [line for line in told if "common.watchdog" not in line]  # a busy machine is not what this is about


def _resident_mb(pid: int) -> float:
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) / 1024


async def test_a_stop_signal_is_obeyed_by_a_process_whose_loop_is_stuck() -> None:
    async with running() as program:
        writer = await ask(program, "/api/stick?seconds=600")
        await program.until("the event loop is stuck for")
        program.process.send_signal(signal.SIGTERM)
        assert await program.ended() == EXIT_STUCK
        writer.close()
    log = "\n".join(program.lines)
    assert "asked to stop, and the event loop is stuck" in log
    assert re.search(r"tiny_program\.py.*in _stick", log)


async def test_a_loop_that_was_stuck_is_in_the_log_with_its_stack_and_serves_on() -> None:
    async with running() as program:
        writer = await ask(program, "/api/stick?seconds=1.5")
        await program.until("the event loop is stuck for")
        await program.until(r"tiny_program\.py.*in _stick")
        await program.until("the event loop moves again after")
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{program.port}/health") as answer:
            assert answer.status == 200
        writer.close()
        program.process.send_signal(signal.SIGTERM)
        assert await program.ended() == 0


async def test_what_is_no_request_is_one_line_of_the_log_without_the_key_in_it() -> None:
    requests = (
        b"GET /?api_key=secret\xff HTTP/1.1\r\n\r\n",
        b"GET /api/open?api_key=secret TTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization\xf0: Bearer secret\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nX-API-Key: secret\r\nContent-Length: -5\r\n\r\n",
    )
    async with running() as program:
        for request in requests:
            reader, writer = await asyncio.open_connection("127.0.0.1", program.port)
            writer.write(request)
            assert b" 400 " in await reader.readline()
            writer.close()
        program.process.send_signal(signal.SIGTERM)
        assert await program.ended() == 0
    assert len([line for line in program.lines if "Error handling request" in line and "INFO" in line]) == len(requests)
    assert not [line for line in program.lines if "Traceback" in line or "secret" in line or "ERROR" in line]


async def test_without_free_descriptors_new_connections_wait_and_the_log_stays_short() -> None:
    async with running(descriptors=64) as program:
        held = []
        for _ in range(137):
            with suppress(OSError):
                held.append((await asyncio.open_connection("127.0.0.1", program.port))[1])
        await program.until("no descriptor is free")
        await asyncio.sleep(2.5)  # asyncio tries again every second
        for writer in held:
            writer.transport.abort()
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{program.port}/health") as answer:
            assert answer.status == 200
        program.process.send_signal(signal.SIGTERM)
        assert await program.ended() == 0
    assert len(program.lines) < 15, program.lines
    assert sum("descriptor" in line for line in program.lines) == 1


async def test_a_service_without_room_for_its_log_serves_and_stops(tmp_path: Path) -> None:
    """Its standard error is a full disk, so its port is asked of the kernel."""
    with open("/dev/full", "wb") as full:  # noqa: ASYNC230 - a device
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.web_demo.server.common.tiny_program", "--log-level", "debug"),
            cwd=ROOT,
            stderr=full,
        )
    try:
        async with asyncio.timeout(60):
            while (port := _listens(process.pid)) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            async with aiohttp.ClientSession() as http:
                for path, status in (("/health", 200), ("/api/broken", 500), ("/api/open", 200)):
                    async with http.get(f"http://127.0.0.1:{port}{path}") as answer:
                        assert answer.status == status
            process.send_signal(signal.SIGTERM)
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode in (0, 120)  # 120: Python could not flush standard error


def _listens(pid: int) -> int | None:
    """The TCP port on which a process listens."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            inodes |= set(re.findall(r"socket:\[(\d+)\]", str(link.readlink())))
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in inodes:
            return int(fields[1].rpartition(":")[2], 16)
    return None


async def test_tls_serves_and_a_peer_that_speaks_plainly_or_not_at_all_disturbs_nobody(tmp_path: Path) -> None:
    """With the certificate that scripts/make_cert.sh makes, which is good for this machine's names and addresses."""
    (tmp_path / "scripts").mkdir()
    script = shutil.copy(ROOT / "scripts" / "make_cert.sh", tmp_path / "scripts")
    making = await asyncio.create_subprocess_exec("bash", script, "voice.lan", stdout=subprocess.DEVNULL)
    assert await making.wait() == 0
    cert, key = tmp_path / "run" / "tls" / "cert.pem", tmp_path / "run" / "tls" / "key.pem"
    assert key.stat().st_mode & 0o077 == 0
    async with running("--ssl-cert", str(cert), "--ssl-key", str(key)) as program:
        silent = (await asyncio.open_connection("127.0.0.1", program.port))[1]
        plain = await ask(program, "/health")
        trusting = ssl.create_default_context(cafile=str(cert))
        async with aiohttp.ClientSession() as http:
            for name in ("127.0.0.1", "localhost"):
                async with http.get(f"https://{name}:{program.port}/health", ssl=trusting) as answer:
                    assert answer.status == 200
            url = f"https://127.0.0.1:{program.port}/health"
            async with http.get(url, ssl=trusting, server_hostname="voice.lan") as answer:
                assert answer.status == 200
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await http.get(url, ssl=trusting, server_hostname="voice.example")
        for writer in (silent, plain):
            writer.close()
        program.process.send_signal(signal.SIGTERM)
        assert await program.ended() == 0
    assert not [line for line in program.lines if "Traceback" in line]


@pytest.mark.parametrize("missing", [(), ("TCP_KEEPIDLE", "TCP_USER_TIMEOUT")], ids=["Linux", "a system without them"])
def test_a_vanished_peer_is_noticed_with_what_the_system_has(monkeypatch, missing):
    for name in missing:
        monkeypatch.delattr(socket, name)
    with socket.socket() as connection:
        hangup.notice_vanished(connection)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
        if not missing:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == hangup.GONE_S // 2
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == hangup.GONE_S * 1000
