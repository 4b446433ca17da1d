"""Two S2S replicas behind HAProxy with the configuration of deploy/haproxy, all real, on the loopback address."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from scripts.operations import pidfile, probe, stack
from scripts.operations.services import Launch
from tests.scripts.operations.test_manager import free_port

CONFIG = Path(__file__).resolve().parents[2] / "deploy" / "haproxy" / "haproxy.cfg"
LIMIT_S = 60.0
UNKNOWN = b"\xff"  # a message type that there is not: the session answers it with an error and lives on
ERROR = 5

pytestmark = [pytest.mark.long, pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")]


class Cluster:
    def __init__(self, folder: Path) -> None:
        self.run_dir = folder / "run"
        self.port = free_port()
        self.launches = [self.replica(f"s2s{number}", folder) for number in (1, 2)]
        stack.start(self.launches, self.run_dir, timeout_s=120.0, say=lambda _: None)
        addresses = {f"S2S_{number}": f"127.0.0.1:{launch.port}" for number, launch in enumerate(self.launches, 1)}
        self.proxy = subprocess.Popen(
            ["haproxy", "-db", "-f", str(CONFIG)],
            env={**os.environ, **addresses, "LISTEN": f"127.0.0.1:{self.port}"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @staticmethod
    def replica(name: str, folder: Path) -> Launch:
        port = free_port()
        own = (
            "--engine",
            "embedded",
            "--max-sessions-per-client",
            "4",
        )  # all talk from here, and a busy machine holds four
        command = (sys.executable, "-m", "web_demo.server.server", *own, "--port", str(port))
        return Launch(name, name, command, "127.0.0.1", port, folder / f"{name}.log")

    def signal(self, name: str, number: signal.Signals) -> None:
        os.kill(pidfile.read(pidfile.path_of(self.run_dir, name)).pid, number)

    def close(self) -> None:
        self.proxy.terminate()
        self.proxy.wait()
        stack.stop(self.run_dir, grace_s=10.0, say=lambda _: None)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.close()


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIMIT_S)) as session:
        yield session


async def talk(client: aiohttp.ClientSession, cluster: Cluster) -> aiohttp.ClientWebSocketResponse:
    """A session through the balancer, open: its handshake has come."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                socket = await client.ws_connect(f"http://127.0.0.1:{cluster.port}/api/chat")
            except aiohttp.ClientError:  # the balancer is starting, or has not yet seen a replica go
                await asyncio.sleep(0.05)
                continue
            assert (await socket.receive_bytes())[0] == 0
            return socket


async def lives(socket: aiohttp.ClientWebSocketResponse) -> bool:
    await socket.send_bytes(UNKNOWN)
    async with asyncio.timeout(LIMIT_S):
        while True:
            message = await socket.receive()
            if message.type is aiohttp.WSMsgType.BINARY and message.data[0] == ERROR:
                return True
            if message.type is not aiohttp.WSMsgType.BINARY:
                return False


async def ended(socket: aiohttp.ClientWebSocketResponse) -> int | None:
    async with asyncio.timeout(LIMIT_S):
        async for _ in socket:
            pass
    return socket.close_code


async def sessions(client: aiohttp.ClientSession, launch: Launch) -> int:
    async with client.get(f"{launch.url}/health") as response:
        return int((await response.json())["sessions"])


async def four_sessions(
    client: aiohttp.ClientSession, cluster: Cluster
) -> tuple[list[aiohttp.ClientWebSocketResponse], list[aiohttp.ClientWebSocketResponse]]:
    """Four conversations, two on each replica; which is where is found out by counting."""
    on_first, on_second = [], []
    for _ in range(4):
        before = await sessions(client, cluster.launches[0])
        socket = await talk(client, cluster)
        (on_first if await sessions(client, cluster.launches[0]) > before else on_second).append(socket)
    assert (len(on_first), len(on_second)) == (2, 2)
    return on_first, on_second


async def test_a_killed_replica_takes_its_own_sessions_with_it_and_no_other(
    cluster: Cluster, client: aiohttp.ClientSession
) -> None:
    on_first, on_second = await four_sessions(client, cluster)
    cluster.signal("s2s1", signal.SIGKILL)
    for socket in on_first:
        await ended(socket)
    assert [await lives(socket) for socket in on_second] == [True, True]
    newcomer = await talk(client, cluster)
    assert await lives(newcomer)
    assert await sessions(client, cluster.launches[1]) == 3


async def test_a_drained_replica_says_goodbye_and_newcomers_go_elsewhere(
    cluster: Cluster, client: aiohttp.ClientSession
) -> None:
    on_first, on_second = await four_sessions(client, cluster)
    cluster.signal("s2s1", signal.SIGTERM)
    assert [await ended(socket) for socket in on_first] == [aiohttp.WSCloseCode.GOING_AWAY] * 2
    assert [await lives(socket) for socket in on_second] == [True, True]
    assert await lives(await talk(client, cluster))
    assert probe.health(cluster.launches[1].url).status == "healthy"
    async with client.get(f"http://127.0.0.1:{cluster.port}/metrics") as response:
        assert response.status == 404  # the numbers are not for the public
