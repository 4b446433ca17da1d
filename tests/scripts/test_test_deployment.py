"""The deployment test, run as a user runs it, against services on real sockets."""

import asyncio
import base64
import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web

from scripts import test_deployment as script
from tests.talk import Server, s2s, serving, tone, until
from tests.tls import certificate
from web_demo.audio.samples import Audio, from_wav, silence, to_wav
from web_demo.engines.base import Heard, SpeechText, TextDelta, TurnRequest
from web_demo.engines.fakes import ScriptedS2s
from web_demo.errors import EngineFailed
from web_demo.server.common.settings import API_KEY_VARIABLE

ROOT = Path(__file__).parents[2]


@dataclass
class Run:
    status: int
    output: str
    errors: str

    def row(self, label: str, section: str = "S2S") -> str:
        """The value of a row of one service's table."""
        (table,) = [part for part in self.output.split("\n\n") if part.startswith(section)]
        return next(line.split(maxsplit=1)[1] for line in rows_of(table) if line.startswith(label))


def rows_of(table: str) -> list[str]:
    """Lines as "label value", with the blanks of two-word labels left out."""
    lines = (line.strip() for line in table.splitlines()[1:])
    return [line.replace("first text", "first-text").replace("first audio", "first-audio") for line in lines]


async def run(*arguments: object) -> Run:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "scripts" / "test_deployment.py"),
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, API_KEY_VARIABLE: ""},
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), 60.0)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    assert b"Traceback" not in errors, errors.decode()
    return Run(process.returncode, output.decode(), errors.decode())


async def tried(capsys: pytest.CaptureFixture[str], *arguments: object, **environment: str) -> Run:
    """As `run`, in this process."""
    args = script.parse([str(argument) for argument in arguments])
    chosen = script.targets(args, environment)
    good = await script.run_all(args, tone(0.3), chosen)
    return Run(0 if good else 1, capsys.readouterr().out, "")


@pytest.fixture
def nobody() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answer(turn: TurnRequest) -> list[object]:
    return [Heard("go forward"), TextDelta("You said "), TextDelta("forward."), SpeechText("You said forward.")]


def alone(port: int, nobody: int) -> tuple[object, ...]:
    """Arguments for the S2S service alone."""
    return ("--port", port, "--asr-port", nobody, "--tts-port", nobody)


async def test_a_turn_is_talked_in_real_time_and_its_answer_shown_and_saved(nobody, tmp_path):
    engine = ScriptedS2s(answer)
    async with serving(s2s(engine)) as server:
        result = await run(*alone(server.port, nobody), "--save", tmp_path / "reply.wav")
    assert result.status == 0, result.output + result.errors
    assert result.row("heard") == "go forward"
    assert result.row("reply") == "You said forward."
    assert result.row("outcome") == "ok"
    for label in ("first-text", "first-audio", "total"):
        assert result.row(label).endswith("after the end of the turn")
    assert result.row("outcome", "ASR") == result.row("outcome", "TTS") == "not running, left out"
    spoken = from_wav((ROOT / "scripts" / "data" / "go_forward_ten_meters.wav").read_bytes())
    (turn,) = engine.turns
    assert turn.audio.seconds == pytest.approx(spoken.seconds, abs=0.1)
    reply = from_wav((tmp_path / "reply.wav").read_bytes())
    assert reply.rate == 24_000
    assert reply.seconds == pytest.approx(len("You said forward.") * 0.05, abs=0.15)
    assert np.abs(reply.samples).max() > 0.2


async def test_another_recording_may_be_sent(nobody, tmp_path):
    (tmp_path / "short.wav").write_bytes(to_wav(tone(0.7, rate=44_100)))
    engine = ScriptedS2s(answer)
    async with serving(s2s(engine)) as server:
        result = await run(*alone(server.port, nobody), "--audio", tmp_path / "short.wav")
    assert result.status == 0, result.output + result.errors
    assert engine.turns[0].audio.seconds == pytest.approx(0.7, abs=0.1)


async def test_a_port_where_nothing_listens_is_said_and_fails(nobody):
    result = await run(*alone(nobody, nobody))
    assert result.status == 1
    assert f"nothing answers at http://127.0.0.1:{nobody}" in result.row("outcome")
    assert "start_services.sh" in result.output


@pytest.mark.parametrize(
    ("script_of", "said"),
    [
        (lambda turn: [EngineFailed("the model ran out of memory")], "the service says: the model ran out of memory"),
        (lambda turn: [TextDelta("only text")], "the answer has no audio"),
    ],
    ids=["error", "no audio"],
)
async def test_an_answer_that_is_none_fails_and_says_why(nobody, capsys, script_of: Callable, said):
    async with serving(s2s(ScriptedS2s(script_of))) as server:
        result = await tried(capsys, *alone(server.port, nobody))
    assert result.status == 1
    assert said in result.row("outcome")


async def test_the_api_key_is_sent_and_a_missing_one_is_explained(nobody, capsys):
    async with serving(s2s(ScriptedS2s(answer), api_key="sesame")) as server:
        arguments = alone(server.port, nobody)
        assert (await tried(capsys, *arguments, "--api-key", "sesame")).status == 0
        assert (await tried(capsys, *arguments, **{API_KEY_VARIABLE: "sesame"})).status == 0
        refused = await tried(capsys, *arguments)
    assert refused.status == 1
    assert "--api-key" in refused.row("outcome")


@pytest.mark.parametrize(
    "arguments", [("--audio", "no/such/file.wav"), ("--audio", ROOT / "LICENSE"), ("--port", "http"), ("--what",)]
)
async def test_a_wrong_call_is_a_usage_error(arguments):
    result = await run(*arguments)
    assert result.status == 2
    assert result.errors
    assert result.output == ""


# --- ASR and TTS ---


@asynccontextmanager
async def service(path: str, reply: object, *, health: int = 200) -> AsyncIterator[tuple[int, list[web.Request]]]:
    """A service that answers one path with this JSON; gives its port and the requests that it got."""
    got: list[web.Request] = []

    async def handle(request: web.Request) -> web.Response:
        await request.read()
        got.append(request)
        return web.json_response(reply)

    async def state(request: web.Request) -> web.Response:
        return web.json_response({"status": "healthy" if health == 200 else "loading"}, status=health)

    app = web.Application(client_max_size=1 << 24)
    app.router.add_post(path, handle)
    app.router.add_get("/health", state)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1], got
    finally:
        await runner.cleanup()


async def tried_with(capsys: pytest.CaptureFixture[str], port: int, nobody: int, *, asr: int = 0, tts: int = 0) -> Run:
    return await tried(capsys, "--port", port, "--asr-port", asr or nobody, "--tts-port", tts or nobody)


def wav(audio: Audio) -> str:
    return base64.b64encode(to_wav(audio)).decode()


async def test_asr_and_tts_are_tried_where_they_run(nobody, capsys):
    heard = {"text": "go forward", "language": "英文", "success": True}
    spoken = {"audio": wav(tone(1.5)), "sample_rate": 24_000, "duration": 1.5, "success": True}
    async with (
        serving(s2s(ScriptedS2s(answer))) as server,
        service("/api/transcribe", heard) as (asr, transcribed),
        service("/api/synthesize", spoken) as (tts, synthesized),
    ):
        result = await tried_with(capsys, server.port, nobody, asr=asr, tts=tts)
    assert result.status == 0, result.output + result.errors
    assert result.row("text", "ASR") == "go forward"
    assert result.row("audio", "TTS") == "1.50 s at 24000 Hz"
    assert transcribed[0].content_type == "multipart/form-data"
    assert synthesized[0].content_type == "application/json"


@pytest.mark.parametrize(
    ("reply", "health", "said"),
    [
        ({"text": " ", "success": True}, 200, "nothing was recognised"),
        ({"success": False, "error": {"code": "busy", "message": "the queue is full"}}, 200, "the queue is full"),
        ([], 200, "HTTP 200"),
        ({}, 503, "/health answers HTTP 503"),
    ],
    ids=["empty", "error", "no object", "loading"],
)
async def test_an_asr_service_that_runs_and_does_not_work_is_a_failure(nobody, capsys, reply, health, said):
    async with (
        serving(s2s(ScriptedS2s(answer))) as server,
        service("/api/transcribe", reply, health=health) as (asr, _),
    ):
        result = await tried_with(capsys, server.port, nobody, asr=asr)
    assert result.status == 1
    assert result.row("outcome") == "ok"
    assert said in result.row("outcome", "ASR")


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ({"audio": wav(silence(1.0, 24_000)), "success": True}, "the answer is silent"),
        ({"audio": "bm8gd2F2", "success": True}, "must be a WAV file in base64"),
        ({"success": True}, "must be a WAV file in base64"),
    ],
    ids=["silent", "no wav", "nothing"],
)
async def test_a_tts_service_that_runs_and_does_not_speak_is_a_failure(nobody, capsys, reply, said):
    async with serving(s2s(ScriptedS2s(answer))) as server, service("/api/synthesize", reply) as (tts, _):
        result = await tried_with(capsys, server.port, nobody, tts=tts)
    assert result.status == 1
    assert said in result.row("outcome", "TTS")


# --- where the services are ---


async def test_ports_and_keys_of_the_environment_are_those_of_the_start_script(nobody, capsys):
    async with serving(s2s(ScriptedS2s(answer), api_key="sesame")) as server:
        where = {"S2S_PORT": str(server.port), "ASR_PORT": str(nobody), "TTS_PORT": str(nobody)}
        own_key = {**where, "S2S_ARGS": "--max-sessions 8 --api-key=sesame"}
        assert (await tried(capsys, **own_key)).status == 0
        assert (await tried(capsys, **where, **{API_KEY_VARIABLE: "sesame"})).status == 0
        assert "wants an API key" in (await tried(capsys, **where)).row("outcome")


def test_a_port_of_the_environment_that_is_none_is_a_usage_error(monkeypatch, capsys):
    monkeypatch.setenv("S2S_PORT", "http")
    assert script.main([]) == 2
    assert "S2S_PORT must be a port" in capsys.readouterr().err


async def test_a_service_that_is_named_must_run_and_the_others_are_left_alone(nobody, capsys):
    result = await tried(capsys, "--only", "asr", "--asr-port", nobody)
    assert result.status == 1
    assert result.output.count("outcome") == 1
    assert "nothing answers" in result.row("outcome", "ASR")


async def test_one_address_reaches_all_three_as_the_page_does(nobody, capsys):
    heard = {"text": "go forward", "language": "en", "success": True}
    nowhere = f"http://127.0.0.1:{nobody}"
    async with service("/api/transcribe", heard) as (asr, transcribed):
        app = s2s(ScriptedS2s(answer), api_key="sesame", asr_url=f"http://127.0.0.1:{asr}", tts_url=nowhere)
        async with serving(app) as server:
            url = f"http://127.0.0.1:{server.port}/"
            result = await tried(capsys, "--url", url, **{API_KEY_VARIABLE: "sesame"})
            refused = await tried(capsys, "--url", url, "--only", "asr")
    assert result.status == 0, result.output
    assert (result.row("text", "ASR"), len(transcribed)) == ("go forward", 1)
    assert result.row("outcome", "TTS") == "not running, left out"
    assert "wants an API key" in refused.row("outcome", "ASR")


async def test_https_is_spoken_with_the_certificate_that_is_trusted(capsys, tmp_path):
    cert, key = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    app = s2s(ScriptedS2s(answer))
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        server = Server(app, runner)
        await until(lambda: server.service.health.state()[0] == "healthy")
        port = server.port
        url = f"127.0.0.1:{port}"
        for known in (("--ca", cert), ("--insecure",)):
            assert (await tried(capsys, "--only", "s2s", "--url", f"https://{url}", *known)).status == 0
        own = {"S2S_PORT": str(port), "S2S_ARGS": f"--ssl-cert {cert} --ssl-key {key}"}
        assert (await tried(capsys, "--only", "s2s", **own)).status == 0
        stranger = await tried(capsys, "--only", "s2s", "--url", f"https://{url}")
        plain = await tried(capsys, "--only", "s2s", "--url", f"http://{url}")
    finally:
        await runner.cleanup()
    assert "--ca FILE names one to trust" in stranger.row("outcome")
    assert "does it serve https" in plain.row("outcome")


def test_a_file_that_is_no_certificate_is_a_usage_error():
    assert script.main(["--ca", str(ROOT / "LICENSE"), "--only", "s2s"]) == 2


@pytest.mark.parametrize("url", ["127.0.0.1:8002", "ws://127.0.0.1:8002", "http://", "http://a/?b"])
def test_what_is_no_address_is_a_usage_error(url, capsys):
    with pytest.raises(SystemExit):
        script.main(["--url", url])
    assert "an address is http://HOST:PORT" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["cards_001", "librivox_0880"])
def test_a_recording_is_read_at_the_rate_of_the_wire(name):
    path = ROOT / "tests" / "data" / "speech" / f"{name}.wav"
    audio = script.read_audio(path)
    assert audio.rate == 24_000
    assert audio.seconds == pytest.approx(from_wav(path.read_bytes()).seconds, abs=0.01)
