#!/usr/bin/env python3
"""Measure CosyVoice3 in this project's code: token to wave, and text to speech, with random weights of full size.

    python3 scripts/benchmarks/cosyvoice3.py --device cuda:0
    python3 scripts/benchmarks/cosyvoice3.py --device cpu --size tiny --sessions 1 2 --streams 1 2   # tries the script

Method. Weights are random at the released sizes (quality means nothing, time and memory do), the flow and the LM in
--dtype, the vocoder in float32, its pitch in float64. Every time is wall clock around a synchronised call, the median
of --repeats, after all graphs were captured. Token to wave: n streams, each with its 28 first codes (25 spoken), then
50 codes a piece once the context window is full. Sessions in real time: n streams times the seconds of a piece over the
time of the batch. Text to speech: n requests at once of --tokens speech tokens each (the ids that end an utterance are
made unlikely), first audio from submission to the first samples, RTF is the wall time of all over the audio of one;
cpu_s_per_audio_s, of all threads, is what a CPU that does other work too can be judged by.

Reports as report.py says.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scripts.benchmarks.report import Report, quantile
from web_demo.models.cosyvoice3.config import (
    CosyVoice3Config,
    DiTConfig,
    FlowConfig,
    HiftConfig,
    LmConfig,
    MelConfig,
)
from web_demo.models.cosyvoice3.engine.job import Event, Finished, Job, new_job
from web_demo.models.cosyvoice3.engine.synthesizer import Synthesizer
from web_demo.models.cosyvoice3.engine.token2wav import Stream, StreamSettings, Token2Wav, powers_of_two
from web_demo.models.cosyvoice3.flow.flow import Flow
from web_demo.models.cosyvoice3.flow.noise import fixed_noise
from web_demo.models.cosyvoice3.lm.batch import LmBatch
from web_demo.models.cosyvoice3.lm.generate import END_OF_PROMPT, LmInput
from web_demo.models.cosyvoice3.lm.lm import SpeechLm
from web_demo.models.cosyvoice3.load import finish_flow, finish_vocoder
from web_demo.models.cosyvoice3.vocoder.vocoder import Vocoder
from web_demo.models.cosyvoice3.voices import Voice
from web_demo.models.runtime.device import DTYPES
from web_demo.models.runtime.graphs import GraphCache

POSITIONS_S = (2, 10, 30, 60)
TOKENS_A_SECOND = 25


def released() -> CosyVoice3Config:
    """The sizes of Fun-CosyVoice3-0.5B-2512."""
    dit = DiTConfig(
        dim=1024,
        depth=22,
        heads=16,
        dim_head=64,
        ff_mult=2,
        mel_dim=80,
        mu_dim=80,
        spk_dim=80,
        static_chunk_size=50,
    )
    flow = FlowConfig(
        input_size=80,
        output_size=80,
        spk_embed_dim=192,
        vocab_size=6561,
        token_mel_ratio=2,
        pre_lookahead_len=3,
        lookahead_channels=1024,
        cfg_rate=0.7,
        dit=dit,
    )
    three = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    hift = HiftConfig(
        in_channels=80,
        base_channels=512,
        nb_harmonics=8,
        sampling_rate=24_000,
        nsf_alpha=0.1,
        nsf_sigma=0.003,
        nsf_voiced_threshold=10,
        upsample_rates=(8, 5, 3),
        upsample_kernel_sizes=(16, 11, 7),
        n_fft=16,
        hop_len=4,
        resblock_kernel_sizes=(3, 7, 11),
        resblock_dilation_sizes=three,
        source_resblock_kernel_sizes=(7, 7, 11),
        source_resblock_dilation_sizes=three,
        lrelu_slope=0.1,
        audio_limit=0.99,
        conv_pre_look_right=4,
        f0_channels=512,
    )
    lm = LmConfig(
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        rms_norm_eps=1e-6,
        rope_theta=1e6,
        vocab_size=151_936,
        speech_token_size=6561,
        top_p=0.8,
        top_k=25,
        win_size=10,
        tau_r=0.1,
    )
    mel = MelConfig(n_fft=1920, num_mels=80, sampling_rate=24_000, hop_size=480, win_size=1920, fmin=0, fmax=None)
    return CosyVoice3Config(24_000, flow, hift, lm, mel)


def tiny() -> CosyVoice3Config:
    """Small enough for a laptop's CPU: for trying this script, its figures mean nothing."""
    full = released()
    dit = dataclasses.replace(full.flow.dit, dim=64, depth=2, heads=4, dim_head=16)
    return dataclasses.replace(
        full,
        flow=dataclasses.replace(full.flow, dit=dit, lookahead_channels=48),
        hift=dataclasses.replace(full.hift, base_channels=32, f0_channels=24),
        lm=dataclasses.replace(
            full.lm,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            vocab_size=END_OF_PROMPT + 1,
        ),
    )


class TimedGraphs(GraphCache):
    """Waits for the device after each call and keeps its time under the first part of the key."""

    def __init__(self, device: torch.device, *, enabled: bool) -> None:
        super().__init__(device, enabled=enabled)
        self._device = device
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def run(self, key: Hashable, function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> Tensor:
        assert isinstance(key, tuple)
        synchronize(self._device)
        began = time.perf_counter()
        output = super().run(key, function, inputs)
        synchronize(self._device)
        self.seconds[str(key[0])].append(time.perf_counter() - began)
        return output


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def random_parts(config: CosyVoice3Config, device: str, dtype: str) -> tuple[Flow, Vocoder]:
    """Both models of the token→wave path at full size."""
    noise = fixed_noise(config)
    flow, vocoder = Flow(config.flow).eval(), Vocoder(config.hift).eval()
    for module in (flow, vocoder):
        module.requires_grad_(False)
    return finish_flow(flow, noise, device, DTYPES[dtype]), finish_vocoder(vocoder, noise, device)


def random_token2wav(config: CosyVoice3Config, args: argparse.Namespace, slots: int) -> Token2Wav:
    settings = StreamSettings(slots=slots, context_s=args.context_s, batches=powers_of_two(slots), graphs=args.graphs)
    return Token2Wav(*random_parts(config, args.device, args.dtype), settings)


def random_lm(config: CosyVoice3Config, args: argparse.Namespace) -> SpeechLm:
    """An LM that hardly ever ends by itself, so that token counts are those asked for."""
    with torch.device(args.device):
        lm = SpeechLm(config.lm).to(DTYPES[args.dtype]).eval().requires_grad_(False)
    lm.llm_decoder.weight.normal_(0, 1)
    lm.llm_decoder.weight[lm.first_stop_id :] = 0
    return lm


def codes(count: int) -> list[int]:
    found: list[int] = np.random.default_rng(0).integers(0, 6561, count).tolist()
    return found


class Token2WavBench:
    def __init__(self, token2wav: Token2Wav, repeats: int) -> None:
        self._token2wav = token2wav
        self._repeats = repeats
        generator = torch.Generator().manual_seed(0)
        self._voice = Voice(torch.randn(1, 192, generator=generator))
        graphs = TimedGraphs(token2wav.device, enabled=token2wav.graphs.enabled)
        self._graphs = token2wav.graphs = graphs

    def _batch(self, streams: Sequence[Stream], tokens: int) -> dict[str, float]:
        """Milliseconds of one piece of all streams: everything (the host's part too), flow, vocoder."""
        self._graphs.seconds.clear()
        for stream in streams:
            stream.feed(codes(tokens))
        began = time.perf_counter()
        made = self._token2wav.run_batch(streams)
        total = time.perf_counter() - began
        assert len(made) == len(streams), f"{len(made)} of {len(streams)} streams made sound"
        return {
            "total_ms": 1e3 * total,
            **{f"{name}_ms": 1e3 * sum(values) for name, values in self._graphs.seconds.items()},
        }

    def _median(self, measure: Callable[[], dict[str, float]]) -> dict[str, float]:
        runs = [measure() for _ in range(self._repeats)]
        return {key: round(quantile([run[key] for run in runs], 0.5), 2) for key in runs[0]}

    def _first(self, count: int) -> dict[str, float]:
        streams = [self._token2wav.open(self._voice) for _ in range(count)]
        try:
            return self._batch(streams, 28)
        finally:
            for stream in streams:
                self._token2wav.close(stream)

    def sessions(self, count: int) -> dict[str, Any]:
        first = self._median(lambda: self._first(count))
        streams = [self._token2wav.open(self._voice) for _ in range(count)]
        window = self._token2wav.pool.context // self._token2wav.rules.ratio
        for stream in streams:
            stream.feed(codes(28 + window))
        for _ in self._token2wav.run(streams):
            pass
        piece = self._median(lambda: self._batch(streams, 50))
        for stream in streams:
            self._token2wav.close(stream)
        real_time = count * 50 / TOKENS_A_SECOND / (piece["total_ms"] / 1e3)
        return {"sessions": count, "first": first, "piece_2s": piece, "real_time_sessions": round(real_time, 1)}

    def along(self) -> list[dict[str, float]]:
        """Time for a second of audio at several distances from the start of one utterance."""
        stream = self._token2wav.open(self._voice)
        stream.feed(codes(3))
        found = []
        for second in range(0, POSITIONS_S[-1] + 2, 2):
            times = self._batch([stream], 50)
            if second in POSITIONS_S:
                found.append({"at_s": second, "ms_a_second": round(times["total_ms"] / 2, 2)})
        self._token2wav.close(stream)
        return found


class Listener:
    """Collects one request's events with their times."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.first: float | None = None
        self.ended = 0.0
        self.samples = 0
        self.done = threading.Event()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Finished):
            if event.error is not None:
                print(f"benchmark: a request failed: {event.error!r}", file=sys.stderr)
            self.ended = time.perf_counter()
            self.done.set()
            return
        self.samples += len(event)
        if self.first is None:
            self.first = time.perf_counter()


def tts(synthesizer: Synthesizer, rate: int, streams: int, tokens: int) -> dict[str, Any]:
    """`streams` requests at once, all of the same length."""
    voice = Voice(torch.randn(1, 192, generator=torch.Generator().manual_seed(0)))
    given = LmInput(tuple(range(tokens // 20)), (END_OF_PROMPT,))  # spoken with 20 tokens each, the longest allowed
    listeners: list[Listener] = []
    jobs: list[Job] = []
    for seed in range(streams):
        listeners.append(Listener())
        jobs.append(new_job([given], voice, seed=seed, emit=listeners[-1]))
    began, worked = time.perf_counter(), time.process_time()
    for listener, job in zip(listeners, jobs, strict=True):
        listener.began = time.perf_counter()
        synthesizer.submit(job)
    for listener in listeners:
        listener.done.wait()
    wall = max(listener.ended for listener in listeners) - began
    firsts = [listener.first - listener.began for listener in listeners if listener.first is not None]
    audio = statistics.mean(listener.samples for listener in listeners) / rate
    return {
        "streams": streams,
        "first_audio_ms_median": round(1e3 * quantile(firsts, 0.5), 1),
        "first_audio_ms_worst": round(1e3 * max(firsts), 1),
        "audio_s": round(audio, 2),
        "rtf": round(wall / audio, 4),
        "audio_s_per_s": round(streams * audio / wall, 1),
        "cpu_s_per_audio_s": round((time.process_time() - worked) / (streams * audio), 2),
    }


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--dtype", default="bfloat16", choices=sorted(DTYPES))
    parser.add_argument("--size", default="released", choices=("released", "tiny"))
    parser.add_argument("--sessions", type=int, nargs="*", default=[1, 8, 32, 64, 128], help="token to wave")
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 2, 4, 8, 16, 32], help="text to speech")
    parser.add_argument("--tokens", type=int, default=240, help="speech tokens of a TTS request (25 a second)")
    parser.add_argument("--context-s", type=float, default=4.0, help="the flow's window")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--no-graphs", dest="graphs", action="store_false", help="plain calls instead of CUDA graphs")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = arguments(argv)
    torch.manual_seed(0)
    config = released() if args.size == "released" else tiny()
    device = torch.device(args.device)
    report = Report(
        "cosyvoice3",
        weights=f"random, {args.size} size",
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        torch=torch.__version__,
        dtype=args.dtype,
        context_s=args.context_s,
        graphs=args.graphs and device.type == "cuda",
    )
    if args.sessions:
        token2wav = random_token2wav(config, args, max(args.sessions))
        bench = Token2WavBench(token2wav, args.repeats)
        began = time.perf_counter()
        captured = token2wav.warm_up()
        report.note(graphs_captured=captured, warm_up_s=round(time.perf_counter() - began, 1))
        for count in sorted(args.sessions):
            report.row("token2wav", **bench.sessions(count))
        for position in bench.along():
            report.row("along_an_utterance", **position)
        report.note(megabytes_a_session=round(token2wav.bytes_per_slot / 1e6, 1))
        del token2wav, bench
        if device.type == "cuda":
            torch.cuda.empty_cache()
    if args.streams:
        slots = max(args.streams)
        token2wav = random_token2wav(config, args, slots)
        lm = LmBatch(
            random_lm(config, args), slots=slots, capacity=1024, batches=powers_of_two(slots), graphs=args.graphs
        )
        token2wav.warm_up()
        lm.warm_up()
        synthesizer = Synthesizer(lm, token2wav)
        synthesizer.start()
        tts(synthesizer, token2wav.sample_rate, 1, args.tokens)  # the first request pays for what is still lazy
        for streams in sorted(args.streams):
            report.row("tts", **tts(synthesizer, token2wav.sample_rate, streams, args.tokens))
        synthesizer.close()
    if device.type == "cuda":
        report.note(peak_gib=round(torch.cuda.max_memory_allocated(device) / 2**30, 1))
    report.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
