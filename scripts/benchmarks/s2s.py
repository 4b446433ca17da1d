#!/usr/bin/env python3
"""How many conversations one core carries, and how soon an answer is heard: the S2S service without a big model.

    python3 scripts/benchmarks/s2s.py                      # null engine: 20 to 200 sessions
    python3 scripts/benchmarks/s2s.py --wire realtime      # the same, by OpenAI's protocol: base64 PCM in JSON
    python3 scripts/benchmarks/s2s.py --engine embedded    # the embedded engine on human speech, one session

Method. The service and its detokenizer child run in processes of their own, kept to one core (Linux); the clients run in
this process on the other cores. Every client sends a microphone stream without a pause, one 40 ms Opus page at a time in
real time, as the public client does. It lets `--user-s` seconds count as its turn, ends the turn, listens to the answer
(`--answer-s` seconds of recorded speech, given at once by the null engine) to its last word, and begins again. By Realtime, whose
sound counts also during an answer, it clears the buffer then.

    late      99th percentile of how long after its time the service sent an audio frame (its own histogram: an upper bound)
    first     from `endTurn` to the first audio message, as the client sees it (median, 95th percentile)
    cpu       of the service and its child, in cores
    memory    resident memory of both beyond what they have with no session, a session

Reports as report.py says.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import math
import os
import sys
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import aiohttp
import numpy as np
from aiohttp import web

from scripts.benchmarks.load.own_service import ROOT, OwnService, serve, until_healthy
from scripts.benchmarks.report import Report, quantile, quantile_ms
from web_demo.audio.opus import FRAME_S, OpusWriter
from web_demo.audio.samples import WIRE_RATE, Audio, Samples, from_wav, to_int16
from web_demo.detokenizer.backend import BackendSpec, Window
from web_demo.engines.base import SpeechText, Step, TextDelta, TurnRequest
from web_demo.engines.fakes import ScriptedS2s
from web_demo.server.protocal import Action, AudioData, Control, Text, decode, encode
from web_demo.server.s2s.settings import S2sSettings
from web_demo.server.server import create_app

SPEECH = ROOT / "tests" / "data" / "speech"
TICK_S = 0.005  # the clients' pages leave in eight groups, not all at once


# --- the service's side -----------------------------------------------------------------------------------------------


class RecordedBackend:
    """Answers any text at once with recorded speech of the length that the text says, in seconds."""

    name = "recorded"
    sample_rate = WIRE_RATE
    max_batch = 1
    max_turns = 10_000
    hop_tokens: tuple[int, ...] = ()

    def __init__(self) -> None:
        self._speech = recorded_speech()

    def open(self, turn_id: str, voice: str) -> None:
        return

    def decode(self, windows: Sequence[Window]) -> Iterator[tuple[str, Samples]]:
        for window in windows:
            if window.text:
                yield window.turn_id, np.resize(self._speech, round(float(window.text) * WIRE_RATE))

    def close(self, turn_id: str) -> None:
        return


class NullS2s(ScriptedS2s):
    """Answers at once, one second of speech after the other."""

    def __init__(self, answer_s: int) -> None:
        super().__init__(lambda turn: [], speech=BackendSpec("scripts.benchmarks.s2s:RecordedBackend"))
        self._answer_s = answer_s

    async def respond(self, turn: TurnRequest) -> AsyncGenerator[Step, None]:
        yield TextDelta("null")
        for _ in range(self._answer_s):
            yield SpeechText("1")


def recorded_speech() -> Samples:
    return np.concatenate([from_wav(path.read_bytes()).at(WIRE_RATE).samples for path in sorted(SPEECH.glob("*.wav"))])


def app_of(engine: str, answer_s: int) -> web.Application:
    settings = S2sSettings(port=0, max_sessions=10_000, engine="embedded")
    return create_app(settings, NullS2s(answer_s) if engine == "null" else None)


# --- the clients' side ------------------------------------------------------------------------------------------------


class Client:
    """One conversation; `tick` sends the next page of its microphone, of which a turn has so many."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, turn_pages: int) -> None:
        self._socket = socket
        self._turn_pages = turn_pages
        self._sent = 0
        self._in_turn = 0
        self._ended_at: float | None = None
        self._answered = self._waiting = False
        self.first_audio_s: list[float] = []
        self.turns = 0
        self.errors: list[str] = []

    async def tick(self) -> None:
        await self.send_page(self._sent)
        self._sent += 1
        if self._answered:
            await self.begin_turn()
            self._answered, self._ended_at, self._in_turn = False, None, 0
        elif self._ended_at is None:
            self._in_turn += 1
            if self._in_turn >= self._turn_pages:
                await self.end_turn()
                self._ended_at = time.monotonic()
                self._waiting = True

    async def read(self) -> None:
        async for frame in self._socket:
            self.take(frame.data)

    async def close(self) -> None:
        await self._socket.close()

    async def send_page(self, number: int) -> None:
        raise NotImplementedError

    async def begin_turn(self) -> None:
        raise NotImplementedError

    async def end_turn(self) -> None:
        raise NotImplementedError

    def take(self, message: Any) -> None:
        """One from the service: `heard` its audio, `over` its answer, or an error."""
        raise NotImplementedError

    def heard(self) -> None:
        if self._waiting and self._ended_at is not None:
            self._waiting = False
            self.first_audio_s.append(time.monotonic() - self._ended_at)

    def over(self) -> None:
        self.turns += 1
        self._answered = True


class ChatClient(Client):
    PATH = "/api/chat"

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, turn_pages: int) -> None:
        super().__init__(socket, turn_pages)
        self._header, self._pages = opus_stream()

    async def send_page(self, number: int) -> None:
        page = self._pages[number % len(self._pages)]
        await self._socket.send_bytes(encode(AudioData(self._header + page if number == 0 else page)))

    async def begin_turn(self) -> None:
        await self._socket.send_bytes(encode(Control(Action.START)))

    async def end_turn(self) -> None:
        await self._socket.send_bytes(encode(Control(Action.END_TURN)))

    def take(self, message: bytes) -> None:
        if message[0] == 1:  # audio: no more work than that
            self.heard()
        elif message[0] == 2:
            text = decode(message)
            if isinstance(text, Text) and text.text.startswith("\n[Final"):
                self.over()
        elif message[0] == 5:
            self.errors.append(message[1:].decode())


class RealtimeClient(Client):
    PATH = "/v1/realtime?model=null"
    BY_HAND = '{"type":"session.update","session":{"type":"realtime","audio":{"input":{"turn_detection":null}}}}'

    async def send_page(self, number: int) -> None:
        if number == 0:
            await self._socket.send_str(self.BY_HAND)
        pages = pcm_pages()
        await self._socket.send_str(pages[number % len(pages)])

    async def begin_turn(self) -> None:
        await self._socket.send_str('{"type":"input_audio_buffer.clear"}')

    async def end_turn(self) -> None:
        await self._socket.send_str('{"type":"input_audio_buffer.commit"}')
        await self._socket.send_str('{"type":"response.create"}')

    def take(self, message: str) -> None:
        if message.startswith('{"type":"response.output_audio.delta"'):  # no more work than that
            self.heard()
        elif message.startswith('{"type":"response.done"'):
            self.over()
        elif message.startswith('{"type":"error"'):
            self.errors.append(message)


CLIENTS: dict[str, type[ChatClient | RealtimeClient]] = {"chat": ChatClient, "realtime": RealtimeClient}


@cache
def opus_stream() -> tuple[bytes, list[bytes]]:
    writer = OpusWriter(WIRE_RATE)
    return writer.header, [page.data for page in writer.write(recorded_speech())]


@cache
def pcm_pages() -> list[str]:
    """Whole events, made once: what the clients cost is not measured."""
    data, size = to_int16(recorded_speech()).tobytes(), round(FRAME_S * WIRE_RATE) * 2
    pages = (base64.b64encode(data[start : start + size]).decode() for start in range(0, len(data) - size, size))
    return [f'{{"type":"input_audio_buffer.append","audio":"{page}"}}' for page in pages]


@dataclass(frozen=True)
class Row:
    sessions: int
    late_p99_ms: float
    within_20ms: float
    first_median_ms: float
    first_p95_ms: float
    cpu_cores: float
    memory_mb_per_session: float
    turns: int
    errors: int


async def measure(service: OwnService, wire: str, sessions: int, seconds: float, user_s: float) -> Row:
    kind = CLIENTS[wire]
    idle_mb = service.memory_mb()
    groups = round(FRAME_S / TICK_S)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        clients = []
        for number in range(sessions):
            socket = await http.ws_connect(f"{service.url}{kind.PATH}", compress=0)
            turn_pages = round(user_s / FRAME_S) + number % 25  # so that they do not all speak in step
            clients.append(kind(socket, turn_pages))
        reading = [asyncio.create_task(client.read()) for client in clients]
        await _tick(clients, groups, 3.0)  # warm-up: the first turns of all
        before, cpu_s, began = await _histogram(http, service), service.cpu_s(), time.monotonic()
        await _tick(clients, groups, seconds)
        after, wall_s = await _histogram(http, service), time.monotonic() - began
        first = [value for client in clients for value in client.first_audio_s]
        row = Row(
            sessions,
            *_late(before, after),
            quantile_ms(first, 0.5),
            quantile_ms(first, 0.95),
            round((service.cpu_s() - cpu_s) / wall_s, 2),
            round((service.memory_mb() - idle_mb) / sessions, 2),
            sum(client.turns for client in clients),
            sum(len(client.errors) for client in clients),
        )
        for client in clients:
            await client.close()
        await asyncio.gather(*reading)
    return row


async def _tick(clients: Sequence[Client], groups: int, seconds: float) -> None:
    began = time.monotonic()
    for number in range(round(seconds / TICK_S)):
        for client in clients[number % groups :: groups]:
            await client.tick()
        await asyncio.sleep(max(began + (number + 1) * TICK_S - time.monotonic(), 0))


async def _histogram(http: aiohttp.ClientSession, service: OwnService) -> dict[float, float]:
    async with http.get(f"{service.url}/metrics") as response:
        lines = (await response.text()).splitlines()
    prefix = 's2s_frame_lateness_seconds_bucket{le="'
    return {
        float(line[len(prefix) : line.index('"}')]): float(line.split()[-1])
        for line in lines
        if line.startswith(prefix)
    }


def _late(before: dict[float, float], after: dict[float, float]) -> tuple[float, float]:
    """The bucket below which 99 % of the frames lie, in ms, and the share of frames within 20 ms."""
    counts = {bound: after[bound] - before[bound] for bound in sorted(after)}
    total = counts[float("inf")]
    if not total:
        return math.nan, math.nan
    late = next(bound for bound, count in counts.items() if count >= 0.99 * total)
    return late * 1000, round(counts[0.02] / total, 4)


# --- one session on human speech --------------------------------------------------------------------------------------


async def embedded_latency(service: OwnService, rounds: int, report: Report) -> None:
    """Whole utterances in real time, then `endTurn`: seconds to the first audio, for each recording."""
    async with aiohttp.ClientSession() as http:
        await until_healthy(service.url)
        for path in sorted(SPEECH.glob("*.wav")):
            audio = from_wav(path.read_bytes())
            values = [await _one_turn(http, service, audio) for _ in range(rounds)]
            report.row(
                recording=path.stem, seconds=round(audio.seconds, 2), first_audio_ms=round(quantile(values, 0.5))
            )


async def _one_turn(http: aiohttp.ClientSession, service: OwnService, audio: Audio) -> float:
    writer = OpusWriter(WIRE_RATE)
    pages = [*writer.write(audio.at(WIRE_RATE).samples), *writer.flush()]
    async with http.ws_connect(f"{service.url}/api/chat") as socket:
        await socket.receive_bytes()
        await socket.send_bytes(encode(AudioData(writer.header)))
        began = time.monotonic()
        for number, page in enumerate(pages):
            await asyncio.sleep(max(began + number * FRAME_S - time.monotonic(), 0))
            await socket.send_bytes(encode(AudioData(page.data)))
        await socket.send_bytes(encode(Control(Action.END_TURN)))
        ended = time.monotonic()
        while (await socket.receive_bytes())[0] != 1:
            continue
        return (time.monotonic() - ended) * 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("null", "embedded"), default="null")
    parser.add_argument("--wire", choices=tuple(CLIENTS), default="chat", help="of the null engine's clients")
    parser.add_argument("--sessions", default="20,60,100,150,200", help="numbers of sessions, one after the other")
    parser.add_argument("--seconds", type=float, default=20.0, help="measured time for each number")
    parser.add_argument("--user-s", type=float, default=3.0)
    parser.add_argument("--answer-s", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5, help="turns for each recording (embedded)")
    parser.add_argument("--serve", choices=("null", "embedded"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        asyncio.run(serve(app_of(args.serve, args.answer_s)))
        return 0
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    apart = len(cores) > 1 and args.engine == "null"
    words = ("--serve", args.engine, "--answer-s", str(args.answer_s))
    report = Report("s2s", engine=args.engine, wire=args.wire)
    with OwnService("scripts.benchmarks.s2s", *words, core=cores[0] if apart else None) as service:
        if apart:
            os.sched_setaffinity(0, set(cores[1:]))
        if args.engine == "embedded":
            asyncio.run(embedded_latency(service, args.rounds, report))
        else:
            asyncio.run(null_table(service, args, report))
    report.end()
    return 0


async def null_table(service: OwnService, args: argparse.Namespace, report: Report) -> None:
    await until_healthy(service.url)
    for sessions in map(int, args.sessions.split(",")):
        report.row(**asdict(await measure(service, args.wire, sessions, args.seconds, args.user_s)))
        await asyncio.sleep(1.0)


if __name__ == "__main__":
    sys.exit(main())
