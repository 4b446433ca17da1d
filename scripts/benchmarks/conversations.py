#!/usr/bin/env python3
"""Simulated people talk to an S2S service over WebSockets: is everyone answered soon, and without a gap?

    python3 scripts/benchmarks/conversations.py --url http://127.0.0.1:8002 --speakers 32          # any running service
    python3 scripts/benchmarks/conversations.py --random /scratch/random-8b --speakers 32          # no weights needed

`--random` starts a service with Fun-Audio-Chat and the CosyVoice3 detokenizer at full size and random weights (what it says
means nothing, what it computes is the same), from a checkpoint folder that is written first if it is not there (19 GB).

All speakers come from one address: start a service of your own with `--max-sessions-per-client`, at least their number.

Method. Every speaker sends a microphone stream in real time, one 40 ms Opus page at a time, for `--user-s` seconds, ends
the turn, listens for `--listen-s` seconds (or to the end of the answer), interrupts, and begins again. Speakers begin
spread over one turn. A listener plays like the public client: from the moment that it holds 0.48 s, without a pause.

    first    from `endTurn` to the first audio message
    gap      a page that came after its time of playing; the listener waits for it, and plays on from there
    memory   of the service's processes (`--random` only) and of the GPU, first and last quarter of the run

Reports as report.py says; exits 1 when there was a gap or an error.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from scripts.benchmarks.load.own_service import ROOT, resident_mb, until_healthy
from scripts.benchmarks.report import Report, quantile, quantile_ms
from scripts.benchmarks.s2s import recorded_speech
from web_demo.audio.opus import FRAME_S, OpusWriter
from web_demo.audio.samples import WIRE_RATE
from web_demo.server.protocal import Action, AudioData, Control, Error, Text, decode, encode

INAUDIBLE_S = 0.001
START_BUFFER_PAGES = 12  # 0.48 s: the public client plays from there
TOKENIZER = ROOT / "tests/web_demo/models/funaudiochat/golden/checkpoint"
READY_TIMEOUT_S = 600
MODULE = "scripts.benchmarks.conversations"  # what this is run by, as a process of its own
FIRST_AUDIO = {"p50": 0.5, "p95": 0.95, "max": 1.0}


# --- listeners --------------------------------------------------------------------------------------------------------


@dataclass
class Playback:
    """What a listener hears of one answer: pages by their time of arrival. Pure."""

    gaps: list[float] = field(default_factory=list)  # seconds
    _arrivals: list[float] = field(default_factory=list)
    _begins: float | None = None  # when page 0 would have been played, moved by every gap

    @property
    def pages(self) -> int:
        return len(self._arrivals)

    def page(self, now: float) -> None:
        number = len(self._arrivals)
        self._arrivals.append(now)
        if self._begins is None:
            if number + 1 >= START_BUFFER_PAGES:
                self._begins = now
            return
        late = now - (self._begins + number * FRAME_S)
        if late > INAUDIBLE_S:
            self.gaps.append(late)
            self._begins += late


@dataclass
class Tally:
    """What all speakers saw."""

    first_s: list[float] = field(default_factory=list)
    gaps_s: list[float] = field(default_factory=list)
    audio_s: float = 0.0
    turns: int = 0
    unanswered: int = 0
    errors: list[str] = field(default_factory=list)


class Speaker:
    """One person: `talk` until the time is over."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, pages: Sequence[bytes], header: bytes, tally: Tally):
        self._socket, self._pages, self._header, self._tally = socket, pages, header, tally
        self._sent = 0
        self._ended_at: float | None = None
        self._playback: Playback | None = None  # of the answer that is listened to
        self._over = asyncio.Event()

    async def talk(self, until: float, user_s: float, listen_s: float) -> None:
        reading = asyncio.create_task(self._read())
        try:
            while time.monotonic() + user_s < until:
                await self._say(user_s)
                await self._listen(listen_s)
                await self._send(Control(Action.START))
        except ConnectionError:  # a refusal says why before that
            self._tally.errors.append("the service closed the connection")
        finally:
            await self._socket.close()
            await reading

    async def _say(self, seconds: float) -> None:
        began = time.monotonic()
        for number in range(round(seconds / FRAME_S)):
            page = self._pages[self._sent % len(self._pages)]
            await self._send(AudioData(page if self._sent else self._header + page))
            self._sent += 1
            await asyncio.sleep(max(0.0, began + (number + 1) * FRAME_S - time.monotonic()))

    async def _listen(self, seconds: float) -> None:
        self._over.clear()
        self._playback = Playback()
        self._ended_at = time.monotonic()
        await self._send(Control(Action.END_TURN))
        self._tally.turns += 1
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)
        heard, self._playback = self._playback, None
        self._tally.gaps_s += heard.gaps
        self._tally.audio_s += heard.pages * FRAME_S
        self._tally.unanswered += heard.pages == 0

    async def _send(self, message: AudioData | Control) -> None:
        await self._socket.send_bytes(encode(message))

    async def _read(self) -> None:
        async for frame in self._socket:
            now = time.monotonic()
            message = decode(frame.data)
            if isinstance(message, Error):
                self._tally.errors.append(message.message)
                self._over.set()
            elif isinstance(message, AudioData) and self._playback is not None and self._ended_at is not None:
                if self._playback.pages == 0:
                    self._tally.first_s.append(now - self._ended_at)
                self._playback.page(now)
            elif isinstance(message, Text) and message.text.startswith("\n[Final"):
                self._over.set()


async def converse(url: str, args: argparse.Namespace, tally: Tally) -> None:
    writer = OpusWriter(WIRE_RATE)
    pages = [page.data for page in writer.write(recorded_speech())]
    until = time.monotonic() + args.seconds
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http, asyncio.TaskGroup() as tasks:
        for number in range(args.speakers):
            socket = await http.ws_connect(f"{url}/api/chat", compress=0, max_msg_size=0)
            own = [*pages[number * 7 % len(pages) :], *pages[: number * 7 % len(pages)]]
            speaker = Speaker(socket, own, writer.header, tally)
            tasks.create_task(speaker.talk(until, args.user_s, args.listen_s))
            await asyncio.sleep((args.user_s + args.listen_s) / args.speakers)


# --- what is watched --------------------------------------------------------------------------------------------------


class Memory:
    """Samples of what the service holds, every second: resident memory of its processes, and the GPU's in use."""

    def __init__(self, pid: int | None) -> None:
        self._pid = pid
        self.host_mb: list[float] = []
        self.gpu_mb: list[float] = []

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            if self._pid is not None:
                self.host_mb.append(resident_mb(self._pid))
            if shutil.which("nvidia-smi"):
                asked = ("nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits")
                done = await asyncio.to_thread(subprocess.run, asked, capture_output=True, check=True)
                self.gpu_mb.append(float(sum(map(float, done.stdout.split()))))

    def report(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, samples in (("host_mb", self.host_mb), ("gpu_mb", self.gpu_mb)):
            if quarter := len(samples) // 4:
                found[f"{name}_first"] = round(quantile(samples[:quarter], 0.5))
                found[f"{name}_last"] = round(quantile(samples[-quarter:], 0.5))
        return found


async def server_values(url: str) -> dict[str, float]:
    """What the server counts, by name and labels."""
    async with aiohttp.ClientSession() as http, http.get(f"{url}/metrics") as response:
        lines = [line for line in (await response.text()).splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def server_metrics(before: dict[str, float], after: dict[str, float]) -> dict[str, Any]:
    """The server's own of this run: the share of frames sent within 20 ms of their time, and where a turn's time went, the
    mean of each stage."""
    values = {name: value - before.get(name, 0.0) for name, value in after.items()}
    count = values["s2s_frame_lateness_seconds_count"]
    within = values['s2s_frame_lateness_seconds_bucket{le="0.02"}']
    stages = {}
    for name, total in values.items():
        if name.startswith("s2s_stage_seconds_sum{"):
            of = values[name.replace("_sum{", "_count{")]
            stages[name.split('"')[1]] = round(total / of * 1000, 1) if of else None
    return {
        "frames": count,
        "within_20ms": round(within / count, 5) if count else float("nan"),
        "stages_mean_ms": stages,
    }


async def measure(url: str, args: argparse.Namespace, pid: int | None) -> dict[str, Any]:
    health = await until_healthy(url, READY_TIMEOUT_S)
    tally, memory, before = Tally(), Memory(pid), await server_values(url)
    watching = asyncio.create_task(memory.watch())
    began = time.monotonic()
    try:
        await converse(url, args, tally)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return {
        **{name: health.get(name) for name in ("engine", "model", "device", "max_sessions")},
        "speakers": args.speakers,
        "seconds": round(time.monotonic() - began, 1),
        "turns": tally.turns,
        "unanswered": tally.unanswered,
        "first_ms": {name: quantile_ms(tally.first_s, part) for name, part in FIRST_AUDIO.items()},
        "audio_s": round(tally.audio_s),
        "gaps": len(tally.gaps_s),
        "gap_ms_worst": round(max(tally.gaps_s, default=0.0) * 1000, 1),
        "errors": len(tally.errors),
        "first_errors": sorted(set(tally.errors))[:3],
        **server_metrics(before, await server_values(url)),
        **memory.report(),
    }


# --- a service with random weights of full size -----------------------------------------------------------------------


def write_random_checkpoint(folder: Path) -> None:
    """The public checkpoint's layout at full size: random bf16 weights, and the tokenizers of the tests' tiny one."""
    import torch
    from safetensors.torch import save_file

    from scripts.benchmarks.funaudiochat import FULL_SIZE
    from web_demo.models.funaudiochat.config import read_config
    from web_demo.models.funaudiochat.loader import random_model

    shutil.copytree(TOKENIZER, folder, ignore=shutil.ignore_patterns("*.safetensors"), dirs_exist_ok=True)
    config = json.loads((TOKENIZER / "config.json").read_text("utf-8"))
    for part in ("text_config", "audio_config"):
        ids = {name: value for name, value in config[part].items() if name.endswith(("_index", "token_id"))}
        config[part] |= FULL_SIZE[part] | (ids if part == "text_config" else {})
    config["hidden_size"] = config["text_config"]["hidden_size"]
    (folder / "config.json").write_text(json.dumps(config, indent=2), "utf-8")
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    model = random_model(read_config(folder), device=device, dtype=torch.bfloat16)
    shards: list[dict[str, torch.Tensor]] = [{}]
    for name, tensor in model.named_parameters():
        if sum(one.nbytes for one in shards[-1].values()) > 4 * 10**9:
            shards.append({})
        shards[-1][name] = tensor.detach().cpu()
    names = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    weight_map = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
    for name, shard in zip(names, shards, strict=True):
        save_file(shard, folder / name, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}), "utf-8")


def random_detokenizer(*, device: str, slots: int, beside_cache: str = "auto") -> Any:
    """The CosyVoice3 backend with random weights (runs in the detokenizer child)."""
    import torch

    from scripts.benchmarks.cosyvoice3 import random_parts, released
    from utils.cosyvoice_detokenizer import CosyVoiceBackend
    from web_demo.engines.s2s.funaudiochat.detokenizer import stream_settings
    from web_demo.models.cosyvoice3.engine.token2wav import Token2Wav
    from web_demo.models.cosyvoice3.voices import DEFAULT_VOICE, Voice, VoiceStore

    flow, vocoder = random_parts(released(), device, "bfloat16")
    settings = stream_settings(flow, vocoder, device=device, slots=slots, beside="bfloat16", beside_cache=beside_cache)
    token2wav = Token2Wav(flow, vocoder, settings)
    token2wav.warm_up()
    voice = Voice(torch.randn(1, 192, generator=torch.Generator().manual_seed(0)))
    return CosyVoiceBackend(token2wav, VoiceStore({DEFAULT_VOICE: voice}))


def serve_random(folder: Path, port: int, slots: int, speech_cache: str) -> int:
    from web_demo.detokenizer.backend import BackendSpec
    from web_demo.engines.s2s.funaudiochat.engine import FunAudioChatS2s
    from web_demo.server.common.program import run
    from web_demo.server.common.settings import configure_logging
    from web_demo.server.s2s.settings import S2sSettings
    from web_demo.server.server import create_app

    configure_logging("INFO")
    options = {"device": "cuda:0", "slots": slots, "beside_cache": speech_cache}
    speech = BackendSpec("scripts.benchmarks.conversations:random_detokenizer", options)
    settings = S2sSettings(port=port, max_sessions=slots, max_sessions_per_client=slots)
    return run(create_app(settings, FunAudioChatS2s(folder, "cuda:0", speech, speech_cache=speech_cache)), settings)


@contextlib.contextmanager
def random_service(folder: Path, args: argparse.Namespace) -> Iterator[int]:
    """The service's process id, while it runs."""
    if not (folder / "model.safetensors.index.json").is_file():
        began = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", MODULE, "--write", str(folder)], cwd=ROOT, check=True
        )  # its GPU memory ends with it
        print(f"wrote {folder} in {time.monotonic() - began:.0f} s", flush=True)
    command = [sys.executable, "-m", MODULE, "--serve", str(folder), "--port", str(args.port)]
    process = subprocess.Popen(
        [*command, "--speakers", str(args.speakers), "--speech-cache", args.speech_cache], cwd=ROOT
    )
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--url", help="of a running S2S service")
    where.add_argument("--random", type=Path, metavar="FOLDER", help="start one with random weights of full size")
    where.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    where.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=8012, help="of the service that --random starts")
    parser.add_argument("--speakers", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--speech-cache", default="auto", choices=("auto", "float8"), help="--random: as the service's")
    parser.add_argument("--user-s", type=float, default=3.0)
    parser.add_argument("--listen-s", type=float, default=10.0)
    args = parser.parse_args(argv)
    if args.write:
        write_random_checkpoint(args.write)
        return 0
    if args.serve:
        return serve_random(args.serve, args.port, args.speakers, args.speech_cache)
    report = Report("conversations", service=str(args.random or args.url))
    if args.random:
        began = time.monotonic()
        with random_service(args.random, args) as pid:
            url = f"http://127.0.0.1:{args.port}"
            asyncio.run(until_healthy(url, READY_TIMEOUT_S))
            print(f"the service was ready after {time.monotonic() - began:.0f} s", flush=True)
            row = asyncio.run(measure(url, args, pid))
    else:
        row = asyncio.run(measure(args.url.rstrip("/"), args, None))
    report.note(**row)
    report.end()
    return 1 if row["gaps"] or row["errors"] or row["unanswered"] else 0


if __name__ == "__main__":
    sys.exit(main())
