"""Deployment modes A to D: which service runs on which GPU, and whether it fits. Pure.

A  one GPU of 24 GB    S2S and its detokenizer, no speech to text
B  two GPUs            S2S | detokenizer and speech to text
C  one big GPU         S2S, detokenizer, speech to text
D  three services      C and the text-to-speech service; with a second GPU everything but S2S goes there
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scripts.operations.gpus import Gpu
from scripts.operations.services import Options, UsageError

Mode = Literal["A", "B", "C", "D"]
Part = Literal["s2s", "detokenizer", "tts", "asr", "whisper"]

NEEDS_GIB: Mapping[Part, int] = {
    "s2s": 18,
    "detokenizer": 4,
    "tts": 4,
    "asr": 3,
    "whisper": 6,  # 1.55 B parameters in 16 bit, activations, and a cache for some requests at once
}
# For each mode the layouts to try, the preferred one first; a layout lists what shares a GPU.
LAYOUTS: Mapping[Mode, tuple[tuple[tuple[Part, ...], ...], ...]] = {
    "A": ((("s2s", "detokenizer"),),),
    "B": ((("s2s",), ("detokenizer", "asr")),),
    "C": ((("s2s", "detokenizer", "asr"),),),
    "D": ((("s2s",), ("detokenizer", "tts", "asr")), (("s2s", "detokenizer", "tts", "asr"),)),
}
# Scheme B: speech to text is Whisper by vLLM.
VLLM_LAYOUTS: tuple[tuple[tuple[Part, ...], ...], ...] = (
    (("s2s",), ("detokenizer", "tts", "whisper")),
    (("s2s", "detokenizer", "tts", "whisper"),),
)


class DoesNotFit(UsageError):
    """The GPUs cannot hold it; the message is the arithmetic."""


@dataclass(frozen=True)
class Plan:
    """`mode` is "embedded" where there is no GPU: the services then run without one."""

    mode: str
    gpu_of: Mapping[Part, Gpu]
    arithmetic: tuple[str, ...] = ()

    def device_of(self, part: Part) -> str | None:
        return f"cuda:{self.gpu_of[part].index}" if part in self.gpu_of else None

    def options(self, *, use_vllm: bool, with_tts: bool = False) -> Options:
        if self.mode == "embedded":
            return Options(with_tts=with_tts, use_vllm=use_vllm)
        detokenizer = self.gpu_of.get("detokenizer")
        return Options(
            s2s_device=self.device_of("s2s"),
            tts_gpu=detokenizer.index if detokenizer else None,
            tts_device=self.device_of("tts"),
            asr_device=self.device_of("asr"),
            with_asr="asr" in self.gpu_of,
            with_tts="tts" in self.gpu_of,
            use_vllm=use_vllm,
        )


def plan(mode: Mode, gpus: Sequence[Gpu]) -> Plan:
    """Raises DoesNotFit."""
    if not gpus:
        raise DoesNotFit(
            f"mode {mode} needs an NVIDIA GPU, and none was found. Without --mode the services run on the CPU"
        )
    return fit(mode, LAYOUTS[mode], gpus)


def automatic(gpus: Sequence[Gpu], *, with_tts: bool) -> Plan:
    """The fullest mode that fits: D if text to speech was asked for, else B, C, A. No GPU: the embedded engines."""
    if not gpus:
        return Plan("embedded", {}, ("no NVIDIA GPU: the embedded engines on the CPU",))
    refusals = []
    candidates: tuple[Mode, ...] = ("D",) if with_tts else ("B", "C", "A")
    for mode in candidates:
        try:
            return plan(mode, gpus)
        except DoesNotFit as error:
            refusals.append(str(error))
    raise DoesNotFit("\n".join(refusals))


def fit(title: str, layouts: Sequence[Sequence[Sequence[Part]]], gpus: Sequence[Gpu]) -> Plan:
    """The first layout that fits, the most demanding share on the GPU with the most free memory."""
    roomiest = sorted(gpus, key=lambda gpu: (-gpu.free_gib, gpu.index))
    problems = []
    for layout in layouts:
        if len(layout) > len(gpus):
            problems.append(f"needs {len(layout)} GPUs, there is {len(gpus)}")
            continue
        shares = sorted(layout, key=_need, reverse=True)
        placed = list(zip(shares, roomiest, strict=False))
        lines = tuple(_line(share, gpu) for share, gpu in placed)
        if all(_need(share) <= gpu.free_gib for share, gpu in placed):
            return Plan(title, {part: gpu for share, gpu in placed for part in share}, lines)
        problems += [line for line, (share, gpu) in zip(lines, placed, strict=True) if _need(share) > gpu.free_gib]
    raise DoesNotFit("\n".join(f"mode {title} does not fit: {problem}" for problem in problems))


def memory_share(part: Part, gpu: Gpu) -> float:
    """For vLLM's --gpu-memory-utilization: the part's need as a share of the whole GPU, in hundredths, rounded up."""
    return -(-100 * NEEDS_GIB[part] // gpu.total_gib) / 100


def _need(share: Sequence[Part]) -> int:
    return sum(NEEDS_GIB[part] for part in share)


def _line(share: Sequence[Part], gpu: Gpu) -> str:
    terms = " + ".join(f"{part} {NEEDS_GIB[part]}" for part in share)
    total = f" = {_need(share)}" if len(share) > 1 else ""
    return f"GPU {gpu.index} ({gpu.name}): {terms}{total} GiB needed, {gpu.free_gib:.1f} free of {gpu.total_gib:.1f}"
