"""Unmodified clients against the services of this checkout: starts those with their embedded engines on free ports, runs each
client's program, and prints a table of clients and features. The status is 1 when a feature failed.

python -m tests.clients.run --python .venv-clients/bin/python --node node
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import json
import os
import socket
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web

from tests.clients import model
from tests.clients.report import KEY, SPEECH

ROOT = Path(__file__).parents[2]
FEATURES = (
    "transcribe",
    "speak",
    "speak streamed",
    "captions",
    "spoken turn",
    "text turn",
    "tool call",
    "interruption",
    "truncation",
)
PYTHON_CLIENTS = (
    "openai_python",
    "agents_python",
    "livekit_client",
    "pipecat_client",
    "litellm_client",
    "openwebui_replay",
    "phone",
    "snippets",
)
NODE_CLIENTS = ("openai_js.mjs", "agents_js.mjs")
START_S = 60.0


@dataclass
class Result:
    client: str
    version: str = ""
    features: dict[str, tuple[bool, str]] = field(default_factory=dict)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def language_model() -> AsyncIterator[str]:
    """Its base address."""
    runner = web.AppRunner(model.app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port := free_port())
    await site.start()
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def certificate() -> AsyncIterator[tuple[Path, Path]]:
    """Of localhost, and its key."""
    with tempfile.TemporaryDirectory() as folder:
        cert, key = Path(folder, "cert.pem"), Path(folder, "key.pem")
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", str(cert), "-keyout", str(key)]
        process = await asyncio.create_subprocess_exec(*command, *names, stderr=asyncio.subprocess.DEVNULL)
        if await process.wait():
            raise RuntimeError("openssl made no certificate")
        yield cert, key


@asynccontextmanager
async def behind_tls(address: str, cert: Path, key: Path) -> AsyncIterator[str]:
    """The same service, as a reverse proxy would serve it: some clients speak to wss: alone."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    host, _, port = address.removeprefix("http://").partition(":")

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inside = await asyncio.open_connection(host, int(port))
        await asyncio.gather(copy(reader, inside[1]), copy(inside[0], writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def service(module: str, *arguments: str) -> AsyncIterator[str]:
    """Its address, once it is ready."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        f"web_demo.server.{module}",
        "--port",
        str(port),
        "--engine",
        "embedded",
        *arguments,
    ]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env={**os.environ, "FUN_AUDIO_API_KEY": KEY}, stdout=asyncio.subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(START_S), aiohttp.ClientSession() as session:
            while not await is_healthy(session, address):
                if process.returncode is not None:
                    raise RuntimeError(f"{module} ended with {process.returncode}")
                await asyncio.sleep(0.2)
        yield address
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def is_healthy(session: aiohttp.ClientSession, address: str) -> bool:
    try:
        async with session.get(f"{address}/health") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def run_client(command: list[str], name: str, environment: dict[str, str], verbose: bool) -> Result:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=None if verbose else asyncio.subprocess.DEVNULL,
    )
    output, _ = await process.communicate()
    result = Result(name)
    for line in output.decode(errors="replace").splitlines():
        if not line.startswith("{"):
            continue
        said = json.loads(line)
        if "client" in said:
            result.client, result.version = said["client"], said["version"]
        else:
            result.features[said["feature"]] = (said["ok"], said["note"])
    if process.returncode or not result.features:
        result.features["(program)"] = (False, f"ended with {process.returncode}")
    return result


def table(results: list[Result]) -> str:
    lines = [f"| client | version | {' | '.join(FEATURES)} |", "| --- | --- |" + " --- |" * len(FEATURES)]
    for result in results:
        if not set(result.features) & set(FEATURES):
            continue
        marks = [
            {True: "yes", False: "**no**", None: "–"}[result.features.get(name, (None, ""))[0]] for name in FEATURES
        ]
        lines.append(f"| {result.client} | {result.version or '–'} | {' | '.join(marks)} |")
    return "\n".join(lines)


def commands_of(options: argparse.Namespace) -> dict[str, list[str]]:
    """How each program is run."""
    commands = {name: [options.python, "-m", f"tests.clients.{name}"] for name in PYTHON_CLIENTS}
    if wyoming := os.environ.get("WYOMING_PYTHON", ""):
        commands["wyoming_client"] = [wyoming, "-m", "tests.clients.wyoming_client"]
    if options.node:
        # a browser's WebSocket is behind this option up to Node 21
        commands |= {n: [options.node, "--experimental-websocket", f"tests/clients/{n}"] for n in NODE_CLIENTS}
    return {name: commands[name] for name in options.only.split(",")} if options.only else commands


async def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--python", required=True, help="of the environment that has the clients")
    parser.add_argument("--node", default="", help="leave out for no clients in JavaScript")
    parser.add_argument("--only", default="", help="names of programs in tests/clients, with commas between")
    parser.add_argument("--verbose", action="store_true", help="show what the clients print")
    options = parser.parse_args()
    commands = commands_of(options)
    async with AsyncExitStack() as stack:
        llm = await stack.enter_async_context(language_model())
        s2s = await stack.enter_async_context(service("server", "--llm-base-url", llm, "--llm-model", "scripted"))
        asr = await stack.enter_async_context(service("asr_server"))
        tts = await stack.enter_async_context(service("tts_server"))
        cert, key = await stack.enter_async_context(certificate())
        environment = {
            "S2S_URL": s2s,
            "ASR_URL": asr,
            "TTS_URL": tts,
            "S2S_TLS_URL": await stack.enter_async_context(behind_tls(s2s, cert, key)),
            "ASR_TLS_URL": await stack.enter_async_context(behind_tls(asr, cert, key)),
            "NODE_EXTRA_CA_CERTS": str(cert),
            "SPEECH": str(SPEECH),
        }
        results = [await run_client(command, name, environment, options.verbose) for name, command in commands.items()]
    today = datetime.datetime.now(tz=datetime.UTC).date()
    print(f"\n{today}, Python {sys.version.split()[0]}, embedded engines\n\n{table(results)}\n")
    failed = [(r.client, name, note) for r in results for name, (ok, note) in r.features.items() if not ok]
    for client, name, note in failed:
        print(f"{client}, {name}: {note}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
