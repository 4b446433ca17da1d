#!/usr/bin/env python3
"""Talk one real turn with the S2S service, and try the ASR and TTS services where they run.

    python3 scripts/test_deployment.py --host 127.0.0.1 --port 8002 [--audio FILE] [--save reply.wav]
    python3 scripts/test_deployment.py --url https://voice.example.org

Without addresses it looks where ./scripts/start_services.sh in the same environment puts them: HOST, S2S_PORT, S2S_ARGS and
so on. With --url alone, the others are reached through the page's address, as the page does.

The recording is sent as a microphone would send it, in real time. Prints a table for each service; exits 0 when all that
run do their work, 1 when one does not, 2 when it was called wrongly. An ASR or TTS service that does not run is no
failure, unless --only names it. It is also the example of a client: PROTOCOL.md beside web_demo/server/protocal.py says what
the messages mean.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import re
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import av
import numpy as np

from scripts.operations import console, pidfile, services
from scripts.operations.services import ASR, S2S, TTS
from web_demo.audio.opus import FRAME_S, OpusReader, OpusWriter
from web_demo.audio.samples import WIRE_RATE, Audio, Samples, from_wav, silence, to_wav
from web_demo.server.common.settings import API_KEY_VARIABLE
from web_demo.server.protocal import (
    Action,
    AudioData,
    Control,
    Error,
    Handshake,
    Message,
    Metadata,
    ProtocolError,
    Text,
    decode,
    encode,
)

RUN_DIR = Path(__file__).resolve().parents[1] / "run"
WANTS_KEY = f"the service wants an API key: give the right one with --api-key, or as {API_KEY_VARIABLE}"
DEFAULT_AUDIO = Path(__file__).resolve().parent / "data" / "go_forward_ten_meters.wav"
SPOKEN_TEST = "你好，这是一次测试。"  # for TTS, whose default speaker is a Chinese one
CONNECT_S = 10.0
ANSWER_S = 120.0  # from the end of the turn to the end of the answer
AUDIBLE = 0.01  # of full scale

Row = tuple[str, str]


class Failed(Exception):
    """A service did not do its work; the message says what came instead."""


# --- speech to speech -------------------------------------------------------------------------------------------------


@dataclass
class Turn:
    """One turn as the client sees it. `connected_s` and `handshake_s` count from the beginning, `first_text_s`,
    `first_audio_s` and `total_s` from the end of the user's turn."""

    connected_s: float = 0.0
    handshake_s: float = 0.0
    first_text_s: float | None = None
    first_audio_s: float | None = None
    total_s: float = 0.0
    heard: str = ""
    reply: str = ""
    audio: Audio = field(default_factory=lambda: silence(0, WIRE_RATE))


async def talk(http: aiohttp.ClientSession, url: str, speech: Audio) -> Turn:
    """Raises Failed, or what aiohttp raises when there is no connection."""
    turn = Turn()
    began = time.monotonic()
    async with http.ws_connect(f"{url}/api/chat", max_msg_size=1 << 20) as socket:
        turn.connected_s = time.monotonic() - began
        if not isinstance(first := await receive(socket), Handshake):
            raise Failed(f"the first message must be the handshake, got a {type(first).__name__} message")
        turn.handshake_s = time.monotonic() - began
        await socket.send_bytes(encode(Metadata({"events": True})))  # asks for the transcript
        speaking = asyncio.create_task(speak(socket, speech))
        try:
            await listen(socket, turn, speaking)
        finally:
            speaking.cancel()
            await asyncio.wait({speaking})
    return turn


async def speak(socket: aiohttp.ClientWebSocketResponse, speech: Audio) -> float:
    """Send the speech at the pace of a microphone, then end the turn. Returns when that was (time.monotonic)."""
    writer = OpusWriter(WIRE_RATE)
    header = writer.header  # goes in front of the first page
    frame = round(FRAME_S * WIRE_RATE)
    began = time.monotonic()
    for start in range(0, len(speech.samples), frame):
        await asyncio.sleep(began + start / WIRE_RATE - time.monotonic())
        for page in writer.write(speech.samples[start : start + frame]):
            await socket.send_bytes(encode(AudioData(header + page.data)))
            header = b""
    for page in writer.flush():
        await socket.send_bytes(encode(AudioData(header + page.data)))
        header = b""
    await socket.send_bytes(encode(Control(Action.END_TURN)))
    return time.monotonic()


async def listen(socket: aiohttp.ClientWebSocketResponse, turn: Turn, speaking: asyncio.Task[float]) -> None:
    """Take the answer until its final text."""
    reader = OpusReader(WIRE_RATE)

    def since_end() -> float:
        return time.monotonic() - speaking.result() if speaking.done() else 0.0

    while True:
        match await receive(socket):
            case Text("[Processing...]"):
                continue
            case Text(text) if text.startswith("\n[Final: "):
                turn.reply = text.removeprefix("\n[Final: ").removesuffix("]")
                turn.total_s = since_end()
                break
            case Text(_):
                turn.first_text_s = since_end() if turn.first_text_s is None else turn.first_text_s
            case AudioData(payload):
                turn.first_audio_s = since_end() if turn.first_audio_s is None else turn.first_audio_s
                reader.push(payload)
            case Metadata({"event": "transcript", "text": str(text)}):
                turn.heard = text
            case _:  # pings, and whatever a later version may send: not for us
                continue
    turn.audio = Audio(reader.decode().samples, WIRE_RATE)


async def receive(socket: aiohttp.ClientWebSocketResponse) -> Message:
    """The next message. Raises Failed for an error message, and when the connection ends."""
    frame = await socket.receive()
    if frame.type is not aiohttp.WSMsgType.BINARY:
        raise Failed(f"the service closed the connection (code {socket.close_code}) before the answer was over")
    try:
        message = decode(frame.data)
    except ProtocolError as error:
        raise Failed(f"the service sent what is not of the protocol: {error}") from error
    if isinstance(message, Error):
        raise Failed(f"the service says: {message.message}")
    return message


async def check_s2s(http: aiohttp.ClientSession, url: str, speech: Audio, save: Path | None) -> list[Row]:
    async with asyncio.timeout(CONNECT_S + speech.seconds + ANSWER_S):
        turn = await talk(http, url, speech)
    if save is not None:
        await asyncio.to_thread(save.write_bytes, to_wav(turn.audio))
    expect_sound(turn.audio.samples)
    return [
        ("connected", f"{turn.connected_s:.3f} s"),
        ("handshake", f"{turn.handshake_s:.3f} s"),
        ("spoken", f"{speech.seconds:.2f} s"),
        ("first text", shown(turn.first_text_s)),
        ("first audio", shown(turn.first_audio_s)),
        ("total", shown(turn.total_s)),
        ("audio", f"{turn.audio.seconds:.2f} s"),
        ("heard", turn.heard or "(the engine tells no transcript)"),
        ("reply", turn.reply),
    ]


def shown(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.3f} s after the end of the turn"


def expect_sound(samples: Samples) -> None:
    if not len(samples):
        raise Failed("the answer has no audio")
    if (peak := float(np.abs(samples).max())) < AUDIBLE:
        raise Failed(f"the answer is silent: {len(samples)} samples, none above {peak:.4f} of full scale")


# --- speech to text, text to speech -----------------------------------------------------------------------------------


async def check_asr(http: aiohttp.ClientSession, url: str, speech: Audio) -> list[Row]:
    form = aiohttp.FormData()
    form.add_field("audio", to_wav(speech), filename="speech.wav", content_type="audio/wav")
    began = time.monotonic()
    async with http.post(f"{url}/api/transcribe", data=form) as response:
        body = await success(response)
    if not isinstance(text := body.get("text"), str) or not text.strip():
        raise Failed(f"nothing was recognised: {json.dumps(body, ensure_ascii=False)[:200]}")
    return [("answered", f"{time.monotonic() - began:.3f} s"), ("language", str(body.get("language"))), ("text", text)]


async def check_tts(http: aiohttp.ClientSession, url: str) -> list[Row]:
    began = time.monotonic()
    async with http.post(f"{url}/api/synthesize", json={"text": SPOKEN_TEST}) as response:
        body = await success(response)
    elapsed_s = time.monotonic() - began
    try:
        audio = from_wav(base64.b64decode(body["audio"]))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:  # soundfile's errors are RuntimeErrors
        raise Failed(f"'audio' must be a WAV file in base64: {error}") from error
    expect_sound(audio.samples)
    return [
        ("answered", f"{elapsed_s:.3f} s"),
        ("audio", f"{audio.seconds:.2f} s at {audio.rate} Hz"),
        ("text", SPOKEN_TEST),
    ]


async def success(response: aiohttp.ClientResponse, *, says_so: bool = True) -> Mapping[str, Any]:
    """The JSON body of a good answer; `says_so`: with `"success": true` in it."""
    raw = await response.read()
    if response.status == 401:
        raise Failed(WANTS_KEY)
    try:
        body = json.loads(raw)
    except ValueError:
        raise Failed(f"HTTP {response.status}, and no JSON: {raw[:200]!r}") from None
    if response.status != 200 or not isinstance(body, dict) or (says_so and body.get("success") is not True):
        raise Failed(f"HTTP {response.status}: {json.dumps(body, ensure_ascii=False)[:400]}")
    return body


async def is_running(http: aiohttp.ClientSession, target: Target) -> bool:
    """Whether anything listens there. Raises Failed when it does and is not healthy."""
    if target.behind:
        async with http.get(f"{target.url}/api/services") as response:
            services_of = (await success(response, says_so=False)).get("services")
        known = services_of.get(target.name) if isinstance(services_of, dict) else None
        return isinstance(known, dict) and known.get("status") != "down"
    try:
        async with http.get(f"{target.url}/health") as response:
            body = await response.text()
    except (aiohttp.ClientConnectorDNSError, aiohttp.ClientSSLError):
        raise
    except aiohttp.ClientConnectorError:
        return False
    if response.status != 200:
        raise Failed(f"/health answers HTTP {response.status}: {body[:400]}")
    return True


# --- the program ------------------------------------------------------------------------------------------------------


def read_audio(path: Path) -> Audio:
    """Any file that ffmpeg reads, at the rate of the wire. Raises OSError or ValueError."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise ValueError("it has no sound")
            resampler = av.AudioResampler(format="flt", layout="mono", rate=WIRE_RATE)
            frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
            frames += resampler.resample(None)
    except av.FFmpegError as error:
        raise ValueError(error.strerror or str(error)) from error
    if not frames:
        raise ValueError("it has no sound")
    return Audio(np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(np.float32), WIRE_RATE)


def reason(error: Exception, url: str) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"the certificate of {url} is not trusted: --ca FILE names one to trust, --insecure trusts any"
        case aiohttp.ClientConnectorSSLError():
            return f"what answers at {url} speaks no TLS that is known here: is it http://?"
        case aiohttp.ClientConnectorDNSError():
            return f"there is no such name: {url}"
        case aiohttp.ClientConnectorError():
            return f"nothing answers at {url}: is the service started (./scripts/start_services.sh)?{elsewhere()}"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | ConnectionResetError() if url.startswith(
            "http:"
        ):
            return f"it closed the connection at {url}: does it serve https:// (--url)?"
        case aiohttp.WSServerHandshakeError(status=401):
            return WANTS_KEY
        case aiohttp.WSServerHandshakeError(status=403):
            return f"refused with HTTP 403: the service at {url} is not known by that name (its --allowed-host)"
        case aiohttp.WSServerHandshakeError(status=status):
            return f"the WebSocket was refused with HTTP {status}: is an S2S service at {url}?"
        case TimeoutError():
            return "no answer in time"
        case _:
            return str(error) or type(error).__name__


def elsewhere() -> str:
    """What start_services.sh started in this checkout, where that may help."""
    try:
        known = [f"{item.name} at {item.url}" for item in pidfile.read_all(RUN_DIR) if item.running]
    except (pidfile.DamagedPidFile, OSError):
        return ""
    return f" Started here: {', '.join(known)}" if known else ""


def report(name: str, url: str, rows: list[Row], outcome: str) -> None:
    print(f"{name}  {url}")
    for label, value in [*rows, ("outcome", outcome)]:
        print(f"  {label:<12} {value}")
    print(flush=True)


@dataclass(frozen=True)
class Target:
    """A service and where it is; `behind`: reached through the address of the page. `required`: it must run."""

    name: str
    url: str
    key: str = ""
    behind: bool = False
    required: bool = False


def targets(args: argparse.Namespace, environment: Mapping[str, str]) -> list[Target]:
    """Those that `args` choose; it gets the certificate that S2S_ARGS name. Raises UsageError."""
    args.ca = args.ca or (None if args.url else services.argument(S2S, "--ssl-cert", environment))
    chosen = args.only or [service.name for service in (S2S, ASR, TTS)]
    found = []
    for service in (S2S, ASR, TTS):
        given = {"s2s": args.url, "asr": args.asr_url, "tts": args.tts_url}[service.name]
        port = {"s2s": args.port, "asr": args.asr_port, "tts": args.tts_port}[service.name]
        behind = bool(args.url and not given and port is None)
        url = given or (args.url if behind else services.address(service, environment, args.host, port))
        key = args.api_key or services.argument(S2S if behind else service, "--api-key", environment)
        key = key or environment.get(API_KEY_VARIABLE, "")
        required = service is S2S or bool(args.only)
        if service.name in chosen:
            found.append(Target(service.name, url.rstrip("/"), key, behind, required))
    return found


async def run_all(args: argparse.Namespace, speech: Audio, chosen: Sequence[Target]) -> bool:
    """Whether everything that runs does its work."""
    work: dict[str, Callable[[aiohttp.ClientSession, str], Awaitable[list[Row]]]] = {
        "s2s": lambda http, url: check_s2s(http, url, speech, args.save),
        "asr": lambda http, url: check_asr(http, url, speech),
        "tts": check_tts,
    }
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=ANSWER_S)
    trust = trusted(args)
    good = True
    for target in chosen:
        headers = {"Authorization": f"Bearer {target.key}"} if target.key else {}
        connector = aiohttp.TCPConnector(ssl=trust)
        rows: list[Row] = []
        outcome = "ok"
        async with aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector) as http:
            try:
                if target.required or await is_running(http, target):
                    rows = await work[target.name](http, target.url)
                else:
                    outcome = "not running, left out"
            except (Failed, aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
                outcome = f"FAILED: {reason(error, target.url)}"
                good = False
        report(target.name.upper(), target.url, rows, outcome)
    return good


def trusted(args: argparse.Namespace) -> ssl.SSLContext | bool:
    """Raises OSError for a file that is no certificate."""
    return False if args.insecure else ssl.create_default_context(cafile=args.ca) if args.ca else True


def address(text: str) -> str:
    if not re.fullmatch(r"https?://[^/?#\s]+(/[^?#\s]*)?", text):
        raise argparse.ArgumentTypeError(f"an address is http://HOST:PORT or https://HOST/PATH, got {text!r}")
    return text


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", help="default: HOST of the environment, else 127.0.0.1")
    parser.add_argument("--port", type=int, help="of the S2S service (default: S2S_PORT, else 8002)")
    parser.add_argument("--asr-port", type=int, help="default: ASR_PORT, else 8003")
    parser.add_argument("--tts-port", type=int, help="default: TTS_PORT, else 8004")
    parser.add_argument(
        "--url", type=address, help="the whole address of the S2S service, such as https://voice.example.org/talk"
    )
    parser.add_argument("--asr-url", type=address, help="that of the ASR service, if not through --url")
    parser.add_argument("--tts-url", type=address, help="that of the TTS service, if not through --url")
    parser.add_argument(
        "--only", action="append", choices=("s2s", "asr", "tts"), help="try this one, which must run (repeat for more)"
    )
    parser.add_argument(
        "--ca", metavar="FILE", help="certificate to trust (default: the one in S2S_ARGS, else the system's)"
    )
    parser.add_argument("--insecure", action="store_true", help="trust any certificate")
    parser.add_argument(
        "--audio", type=Path, default=DEFAULT_AUDIO, help="what to say (default: go forward ten meters)"
    )
    parser.add_argument("--save", type=Path, help="write the spoken answer to this WAV file")
    parser.add_argument("--api-key", default="", help=f"better in the environment: {API_KEY_VARIABLE}")
    return parser.parse_args(argv)


@console.program
def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    try:
        chosen = targets(args, os.environ)
        trusted(args)
    except (services.UsageError, OSError) as error:
        print(f"test_deployment: {error}", file=sys.stderr)
        return 2
    try:
        speech = read_audio(args.audio)
    except (OSError, ValueError) as error:
        print(f"test_deployment: cannot read {args.audio}: {error}", file=sys.stderr)
        return 2
    return 0 if asyncio.run(run_all(args, speech, chosen)) else 1


if __name__ == "__main__":
    sys.exit(main())
