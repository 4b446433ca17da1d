#!/usr/bin/env python3
"""How fast Fun-Audio-Chat answers, and how many people at once: tokens alone, no vocoder.

    python3 scripts/benchmarks/funaudiochat.py                                    # full size, random bf16 weights, cuda:0
    python3 scripts/benchmarks/funaudiochat.py --config DIR --device cpu --quick   # the shape of another checkpoint
    python3 scripts/benchmarks/funaudiochat.py --checkpoint DIR --only float8      # its weights too: what 8 bits do to them

Method. The weights are random and of full size (what the model says means nothing; what it moves and computes is the same),
unless a checkpoint is given.
Sampling is on (temperature 0.8, top-p 0.9, repetition penalty 1.2, one bad word). Times are wall-clock, around calls that
end with the results on the host.

    frame     one 200 ms frame of all sessions (backbone, five speech head steps, sampling) at a context; the caches hold
              random numbers, as a prefill would leave them
    prefill   a new turn with this much speech: audio encoder, backbone, speech head, up to before the first frame
    third     from the end of a turn of 3 s to its third group of codes, alone and beside running sessions
    live      sessions that all run while turns end and new ones (3 s of speech) arrive: time between two frames
    naive     the reference path, one session
    cache     the speech head's caches in 8 bits: the same as for float8
    float8    weights in 8 bits: time of a frame, and how far the results are from those of the same weights in 16 bits
    profile   kernels of a frame and of a prefill by their time (not among the default parts)
    floor     bytes that a frame must read at least (weights once, speech head five times, caches) / `--bandwidth`

Variants of the frame: plain torch operations without and with CUDA graphs, Triton kernels with CUDA graphs (the default of
the service). Reports as report.py says.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor

from scripts.benchmarks.report import Report, quantile
from utils.constant import SPOKEN_S2M_PROMPT
from web_demo.audio.samples import from_wav
from web_demo.models.funaudiochat.config import FunAudioChatConfig, parse_config, read_config
from web_demo.models.funaudiochat.engine.decoder import PagedDecoder
from web_demo.models.funaudiochat.engine.engine import Engine
from web_demo.models.funaudiochat.engine.runner import Runner, bytes_per_page
from web_demo.models.funaudiochat.engine.scheduler import Limits
from web_demo.models.funaudiochat.engine.sequence import PrefillChunk, Request, Turn, prefix_keys
from web_demo.models.funaudiochat.loader import load_model, random_model
from web_demo.models.funaudiochat.model import FunAudioChat
from web_demo.models.funaudiochat.processor import AudioInput, Processor, Prompt, PromptAudio, rounded_up_codes
from web_demo.models.funaudiochat.reference import generate
from web_demo.models.funaudiochat.settings import GenerationSettings
from web_demo.models.runtime.float8 import FORMAT
from web_demo.models.runtime.graphs import DISABLE_VARIABLE
from web_demo.models.runtime.kernels.base import Kernels
from web_demo.models.runtime.kernels.best import best_kernels

# The public 8B checkpoint's sizes.
FULL_SIZE: dict[str, Any] = {
    "audio_token_index": 151669,
    "text_config": {
        "hidden_size": 4096, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8,
        "head_dim": 128, "intermediate_size": 12288, "vocab_size": 151936, "rope_theta": 5e6, "rms_norm_eps": 1e-6,
        "max_position_embeddings": 40960, "tie_word_embeddings": False,
        "audio_bos_index": 151670, "audio_eos_index": 151671, "sil_index": 151673, "eos_token_id": 151645,
    },
    "audio_config": {
        "d_model": 1280, "encoder_layers": 32, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120,
        "output_dim": 4096, "codebook_size": 6565, "bos_token_id": 6561, "eos_token_id": 6562, "pad_token_id": 6564,
        "crq_transformer_config": {
            "hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
            "head_dim": 128, "intermediate_size": 3072, "vocab_size": 6565, "rope_theta": 1e6, "rms_norm_eps": 1e-6,
            "max_position_embeddings": 40960,
        },
    },
}  # fmt: skip

SPEECH = Path(__file__).resolve().parents[2] / "tests" / "data" / "speech"
PAGE_TOKENS = 16
SYSTEM_TOKENS = 40  # text of a prompt beside its speech
SESSIONS = (1, 2, 4, 8, 16, 32, 64, 128)
CONTEXTS = (300, 2000)
SPEECH_S = (3.0, 10.0, 30.0)
LIVE_SESSIONS = (32, 64, 128, 192, 256)
FRAME_LIMIT_S = 0.2


class Times(Report):
    def add(self, what: str, seconds: Sequence[float], **about: Any) -> None:
        places = {f"p{part}_ms": round(quantile(seconds, part / 100) * 1000, 2) for part in (50, 95, 99)}
        self.row(what=what, **about, n=len(seconds), **places)


class Bench:
    def __init__(
        self,
        config: FunAudioChatConfig,
        device: str,
        dtype: torch.dtype,
        *,
        quick: bool,
        bandwidth: float,
        report: Times,
        checkpoint: Path | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.config, self.device, self.quick = config, torch.device(device), quick
        self.dtype, self.bandwidth = dtype, bandwidth
        self.report = report
        self.model = self._model(float8=False)
        self.frames_measured = 5 if quick else 60
        self.speech_cache: torch.dtype | None = None
        self.kernels = best_kernels(self.device)
        self._serial = 0

    # --- pieces ---

    def _model(self, *, float8: bool) -> FunAudioChat:
        """The same weights at every call."""
        if self.checkpoint is None:
            return random_model(self.config, device=self.device, dtype=self.dtype, float8=float8)
        return load_model(self.checkpoint, device=self.device, dtype=self.dtype, float8=float8)[0]

    def settings(self, new_tokens: int) -> GenerationSettings:
        bad_words = () if self.config.sil_id is None else ((self.config.audio_bos_id, self.config.sil_id),)
        return GenerationSettings(max_new_tokens=new_tokens, eos_ids=(-1,), bad_words=bad_words, seed=self._serial)

    def request(self, speech_s: float, text_tokens: int, new_tokens: int) -> Request:
        """A turn with random text and random sound."""
        self._serial += 1
        generator = torch.Generator().manual_seed(self._serial)
        text = torch.randint(0, 256, (text_tokens,), generator=generator).tolist()
        audios: tuple[PromptAudio, ...] = ()
        ids = text
        if speech_s:
            codes = round(25 * speech_s)
            slots = -(-codes // self.config.audio.group_size)
            mel = torch.randn(self.config.audio.mel_bins, round(100 * speech_s), generator=generator)
            pad = torch.full((codes,), self.config.audio.pad_id)
            audios = (PromptAudio(pad, mel, slots, f"random {self._serial}"),)
            ids = text[:-5] + [self.config.audio_id] * slots + text[-5:]
        return Request(f"r{self._serial}", Prompt(tuple(ids), audios), self.settings(new_tokens))

    def free_pages(self) -> int:
        """Pages that fit beside what is allocated, with room for graphs and activations."""
        if self.device.type != "cuda":
            return 2000
        gc.collect()  # an engine and its graphs refer to each other
        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info(self.device)
        return int(free - 0.08 * total) // bytes_per_page(self.model, PAGE_TOKENS, self.speech_cache)

    def limits(self, sessions: int, context: int, new_tokens: int) -> Limits | None:
        """Limits for that many sessions of that length, or None when they do not fit."""
        pages = sessions * -(-(context + new_tokens) // PAGE_TOKENS) + 1
        if pages > self.free_pages():
            return None
        return Limits(sessions, pages, PAGE_TOKENS, max_context=context + new_tokens, max_new_tokens=new_tokens)

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    # --- measurements ---

    def measure_frames(self, kernels: Kernels, variant: str, sessions: Sequence[int], contexts: Sequence[int]) -> None:
        for context in contexts:
            for count in sessions:
                limits = self.limits(count, context, self.frames_measured + 8)
                if limits is None:
                    self.report.row(what="frame", variant=variant, sessions=count, context=context, n=0)
                    continue
                self.report.add("frame", self._frames(kernels, limits, count, context), variant=variant, sessions=count,
                                context=context, floor_ms=round(self.floor_s(count, context) * 1000, 2))  # fmt: skip

    def _frames(self, kernels: Kernels, limits: Limits, count: int, context: int) -> list[float]:
        runner, turns = self._running(kernels, limits, count, context)
        times = []
        for frame in range(self.frames_measured + 5):
            self.synchronize()
            began = time.perf_counter()
            runner.decode(turns)
            if frame >= 5:
                times.append(time.perf_counter() - began)
            for turn in turns:
                turn.generated += 1
        return times

    def _running(self, kernels: Kernels, limits: Limits, count: int, context: int) -> tuple[Runner, list[Turn]]:
        """Sessions in the midst of their answers, with caches as a prefill would leave them."""
        runner = Runner(self.model, limits, kernels, speech_cache=self.speech_cache)
        with torch.inference_mode():
            for stack in (runner.backbone, runner.crq):
                for cache in stack.caches:
                    for side in (cache.keys, cache.values):  # by way of bfloat16: 8 bits have no random numbers
                        side.copy_(torch.randn(side.shape, dtype=torch.bfloat16, device=side.device))
        per_turn = limits.pages_per_turn
        turns = []
        for slot in range(count):
            request = self.request(0.0, context, limits.max_new_tokens)
            turn = Turn(request, prefix_keys(request.prompt, self.config.audio_id), slot=slot)
            turn.pages = list(range(1 + slot * per_turn, 1 + (slot + 1) * per_turn))
            runner.admit(turn)
            turns.append(turn)
        return runner, turns

    def measure_prefill(self, kernels: Kernels) -> None:
        limits = self.limits(1, 1024, 16)
        assert limits is not None, "the device cannot hold one session"
        runner = Runner(self.model, limits, kernels, speech_cache=self.speech_cache)
        runner.warm_up()
        for speech_s in SPEECH_S:
            attempts = [self._prefill_once(runner, speech_s) for _ in range(2 + max(3, self.frames_measured // 6))]
            self.report.add("prefill", [seconds for seconds, _ in attempts[2:]], speech_s=speech_s,
                            positions=attempts[0][1])  # fmt: skip

    def _prefill_once(self, runner: Runner, speech_s: float) -> tuple[float, int]:
        """Seconds, and positions filled."""
        request = self.request(speech_s, SYSTEM_TOKENS, 16)
        turn = Turn(request, prefix_keys(request.prompt, self.config.audio_id), slot=0)
        turn.pages = list(range(1, runner.limits.pages))
        self.synchronize()
        began = time.perf_counter()
        runner.admit(turn)
        runner.prefill([PrefillChunk(turn, 0, turn.prefill_length)])
        self.synchronize()
        return time.perf_counter() - began, turn.prefill_length

    def measure_third_group(self, kernels: Kernels, running: int) -> None:
        limits = self.limits(running + 1, 512, 500)
        if limits is None:
            self.report.row(what="third", running=running, n=0)
            return
        engine = Engine(self.model, limits, kernels, speech_cache=self.speech_cache)
        engine.runner.warm_up()
        for _ in range(running):
            engine.submit(self.request(3.0, SYSTEM_TOKENS, 500))
        for _ in range(running + 4):
            engine.step()
        times = []
        for _ in range(2 if self.quick else 12):
            request = self.request(3.0, SYSTEM_TOKENS, 8)
            self.synchronize()
            began, groups = time.perf_counter(), 0
            engine.submit(request)
            while groups < 3 and engine.busy:
                mine = [frame for frame in engine.step() if frame.request_id == request.request_id]
                groups += sum(bool(frame.codes) for frame in mine)
                if any(frame.end for frame in mine):
                    break
            if groups >= 3:  # random weights may end their speech before
                times.append(time.perf_counter() - began)
            engine.abort(request.request_id)
        if times:
            self.report.add("third", times, running=running)

    def measure_live(self, kernels: Kernels, sessions: int) -> bool:
        """Whether all kept up. Turns last 40 to 103 frames; each that ends is followed by a new one."""
        limits = self.limits(sessions, 192, 112)
        if limits is None:
            self.report.row(what="live", sessions=sessions, n=0)
            return False
        engine = Engine(self.model, limits, kernels, speech_cache=self.speech_cache)
        engine.runner.warm_up()

        def arrive() -> None:
            engine.submit(self.request(3.0, SYSTEM_TOKENS, 40 + self._serial * 7 % 64))

        for _ in range(sessions):
            if engine.scheduler.waiting >= limits.max_waiting - 1:
                engine.step()
            arrive()
        while len(engine.scheduler.active) < sessions or engine.scheduler.waiting:
            engine.step()
        last_frame: dict[str, float] = {}
        gaps: list[float] = []
        arrivals = 0
        for _ in range(8 if self.quick else 200):
            frames = engine.step()
            now = time.perf_counter()
            for frame in frames:
                if frame.request_id in last_frame:
                    gaps.append(now - last_frame[frame.request_id])
                last_frame[frame.request_id] = now
                if frame.end is not None:
                    arrive()
                    arrivals += 1
        self.report.add(
            "live", gaps, sessions=sessions, arrivals=arrivals, missed=sum(gap > FRAME_LIMIT_S for gap in gaps)
        )
        self.report.row(what="memory", sessions=sessions, gib=self.memory_gib())
        return quantile(gaps, 0.99) < FRAME_LIMIT_S

    def measure_naive(self) -> None:
        times = []
        request = self.request(3.0, SYSTEM_TOKENS, 4 if self.quick else 14)
        began = time.perf_counter()
        for _ in generate(self.model, request.prompt, request.settings):
            self.synchronize()
            times.append(time.perf_counter() - began)
            began = time.perf_counter()
        self.report.add("naive", times[2:], sessions=1, context=len(request.prompt.ids))

    def floor_s(self, sessions: int, context: int) -> float:
        crq = self.model.audio_invert_tower
        once = [self.model.language_model.model.layers, self.model.language_model.lm_head, crq.pre_matching]
        each_code = [crq.crq_transformer.layers, crq.input_matching, crq.output_matching]
        group = self.config.audio.group_size
        weights = sum(p.nbytes for module in once for p in module.parameters())
        speech = sum(p.nbytes for module in each_code for p in module.parameters()) + self.model.codebook.nbytes
        caches = sessions * self._cache_bytes(context)
        return float(weights + group * speech + caches) / self.bandwidth

    def _cache_bytes(self, context: int) -> int:
        """What one session's frame reads: the backbone's cache once, the speech head's once a code."""
        group = self.config.audio.group_size
        backbone = PagedDecoder.position_bytes(self.config.text, self.dtype)
        speech = PagedDecoder.position_bytes(self.config.crq, self.speech_cache or self.dtype)
        return context * (backbone + group * group * speech)

    def memory_gib(self) -> float:
        return round(torch.cuda.memory_allocated(self.device) / 2**30, 1) if self.device.type == "cuda" else 0.0

    # --- parts ---

    def naive(self) -> None:
        self.measure_naive()

    def variants(self) -> None:
        """The frame without the kernels of its own, to see what those bring."""
        some = (1,) if self.quick else (1, 32, 64)
        with without_graphs():
            self.measure_frames(Kernels(), "torch, no graphs", some[:1], CONTEXTS[:1])
        if self.device.type == "cuda":
            self.measure_frames(Kernels(), "torch, graphs", some, CONTEXTS[:1])

    def frames(self) -> None:
        sessions, contexts = ((1, 4), CONTEXTS[:1]) if self.quick else (SESSIONS, CONTEXTS)
        self.measure_frames(self.kernels, type(self.kernels).__name__, sessions, contexts)

    def prefill(self) -> None:
        self.measure_prefill(self.kernels)

    def third(self) -> None:
        for running in (0, 3) if self.quick else (0, 32):
            self.measure_third_group(self.kernels, running)

    def live(self) -> None:
        for sessions in (4,) if self.quick else LIVE_SESSIONS:
            if not self.measure_live(self.kernels, sessions):
                break

    def float8(self) -> None:
        """The model in 8 bits takes the place of the other one, from here on."""
        prompts = self._prompts()
        before = self._logits(prompts)
        del self.model  # both at once may not fit
        gc.collect()
        self.model = self._model(float8=True)
        self._compare("float8", before, self._logits(prompts))
        self.report.row(what="memory", weights="float8", sessions=0, gib=self.memory_gib())
        sessions = (1,) if self.quick else (1, 8, 32, 64)
        self.measure_frames(self.kernels, f"{type(self.kernels).__name__}, float8", sessions, CONTEXTS[:1])

    def cache(self) -> None:
        """The speech head's caches in 8 bits."""
        prompts = self._prompts()
        before = self._logits(prompts)
        self.speech_cache = FORMAT
        self._compare("cache", before, self._logits(prompts))
        sessions = (1,) if self.quick else (1, 8, 32, 64, 128)
        self.measure_frames(self.kernels, f"{type(self.kernels).__name__}, 8-bit cache", sessions, CONTEXTS[:1])
        self.speech_cache = None

    def _compare(self, what: str, before: Sequence[Tensor], after: Sequence[Tensor]) -> None:
        for name, one, other in zip(("text", "speech"), before, after, strict=True):
            error = ((other - one).norm() / one.norm()).item()
            agree = (one.argmax(dim=-1) == other.argmax(dim=-1)).float().mean().item()
            divergence = F.kl_div(other.log_softmax(-1), one.log_softmax(-1), log_target=True, reduction="batchmean")
            self.report.row(what=what, logits=name, positions=len(one), relative_error=round(error, 4),
                            same_argmax=round(agree, 4), kl_nats=round(divergence.item(), 6))  # fmt: skip

    def _prompts(self) -> list[Prompt]:
        """Recorded speech for a real checkpoint, noise and random tokens for random weights."""
        if self.checkpoint is None:
            return [self.request(10.0, SYSTEM_TOKENS + 100, 16).prompt]
        processor = Processor(self.checkpoint, self.config)
        text = processor.render([("system", SPOKEN_S2M_PROMPT), ("user", processor.audio_template)])
        prompts = []
        for path in sorted(SPEECH.glob("*.wav")):
            samples = from_wav(path.read_bytes()).at(processor.sample_rate).samples
            codes = rounded_up_codes(len(samples), processor.sample_rate)
            prompts.append(processor.prompt(text, [AudioInput(samples, codes)]))
        return prompts

    def _logits(self, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
        """Text logits at every position of the prompts, and speech logits at every sub-position, float32 on the CPU."""
        limits = self.limits(1, 1024, 16)
        assert limits is not None, "the device cannot hold one session"
        runner = Runner(self.model, limits, self.kernels, speech_cache=self.speech_cache)
        text, speech = zip(*(self._logits_of(runner, prompt) for prompt in prompts), strict=True)
        return torch.cat(text), torch.cat(speech)

    @torch.inference_mode()
    def _logits_of(self, runner: Runner, prompt: Prompt) -> tuple[Tensor, Tensor]:
        model, head = self.model, self.model.audio_invert_tower
        turn = Turn(Request("logits", prompt, self.settings(16)), prefix_keys(prompt, self.config.audio_id), slot=0)
        turn.pages = list(range(1, runner.limits.pages))
        runner.admit(turn)
        count = turn.prefill_length
        batch = runner.prompts.prompt_batch([PrefillChunk(turn, 0, count)])
        hidden, inner = runner.prompts.prompt_states(len(batch.vectors), batch.numbers, batch.vectors, speech=True)
        assert inner is not None
        inner = inner[: count * self.config.audio.group_size]
        speech = F.linear(head.output_matching(inner), model.codebook)
        return F.linear(hidden[:count], model.language_model.lm_head.weight).float().cpu(), speech.float().cpu()

    def profile(self) -> None:
        if self.device.type != "cuda":
            raise SystemExit("the profile is of CUDA kernels")
        for count in (1, 32):
            limits = self.limits(count, 300, 40)
            assert limits is not None, "the device cannot hold the sessions"
            runner, turns = self._running(self.kernels, limits, count, 300)
            self._profile(f"frame of {count}", partial(runner.decode, turns))
        limits = self.limits(1, 1024, 16)
        assert limits is not None, "the device cannot hold one session"
        runner = Runner(self.model, limits, self.kernels, speech_cache=self.speech_cache)
        runner.warm_up()
        for speech_s in SPEECH_S[:2]:
            self._profile(f"prefill of {speech_s:g} s", partial(self._prefill_once, runner, speech_s))

    def _profile(self, title: str, function: Callable[[], object]) -> None:
        for _ in range(3):
            function()
        self.synchronize()
        began = time.perf_counter()
        function()
        self.synchronize()
        wall_s = time.perf_counter() - began
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as found:
            function()
            self.synchronize()
        rows = sorted(found.key_averages(), key=lambda row: -row.self_device_time_total)
        device_ms = sum(row.self_device_time_total for row in rows) / 1000
        print(f"--- {title}: {wall_s * 1000:.2f} ms, kernels {device_ms:.2f} ms")
        for row in rows[:20]:
            mean_us = row.self_device_time_total / row.count
            print(f"{row.self_device_time_total:10.1f} us {row.count:6d} x {mean_us:8.2f} us  {row.key[:100]}")


@contextmanager
def without_graphs() -> Iterator[None]:
    os.environ[DISABLE_VARIABLE] = "1"
    try:
        yield
    finally:
        del os.environ[DISABLE_VARIABLE]


PARTS = ("naive", "variants", "frames", "prefill", "third", "live", "cache", "float8", "profile")


def conditions(args: argparse.Namespace, dtype: torch.dtype) -> dict[str, Any]:
    cuda = args.device.startswith("cuda")
    return {
        "device": torch.cuda.get_device_name(args.device) if cuda else platform.processor() or platform.machine(),
        "dtype": str(dtype).removeprefix("torch."),
        "weights": str(args.checkpoint) if args.checkpoint else "random",
        "config": str(args.config) if args.config else "full size (9.45 B)",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "sampling": "temperature 0.8, top-p 0.9, repetition penalty 1.2",
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--config", type=Path, help="checkpoint folder whose config.json gives the sizes (default: the 8B's)"
    )
    parser.add_argument(
        "--checkpoint", type=Path, help="folder of a checkpoint whose weights are used, not random ones"
    )
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument(
        "--bandwidth",
        type=float,
        default=4.28e12,
        help="bytes a second, for the floor (default: an H200; an H100: 3.0e12)",
    )
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS[:-1], help="these parts alone")
    parser.add_argument("--quick", action="store_true", help="few frames and few sessions: whether it runs at all")
    args = parser.parse_args(argv)
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        print(
            "benchmarks/funaudiochat.py: no CUDA device; --device cpu --config DIR --quick runs a small model",
            file=sys.stderr,
        )
        return 2
    args.config = args.config or args.checkpoint
    dtype = torch.float32 if args.config and not args.device.startswith("cuda") else torch.bfloat16
    config = read_config(args.config) if args.config else parse_config(FULL_SIZE)
    bench = Bench(
        config,
        args.device,
        dtype,
        quick=args.quick,
        bandwidth=args.bandwidth,
        report=Times("funaudiochat", **conditions(args, dtype)),
        checkpoint=args.checkpoint,
    )
    began = time.perf_counter()
    bench.report.row(what="memory", sessions=0, gib=bench.memory_gib())
    for part in PARTS:
        if part in args.only:
            getattr(bench, part)()
    bench.report.note(seconds=round(time.perf_counter() - began, 1))
    bench.report.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
