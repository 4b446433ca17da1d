"""Deployment modes A to D: which service runs on which GPU, and whether it fits. Pure.

A  one GPU of 24 GB    S2S and its detokenizer, no speech to text
B  two GPUs            S2S | detokenizer and speech to text
C  one big GPU         S2S, detokenizer, speech to text
D  three services      C and the text-to-speech service; with a second GPU everything but S2S goes there

`auto` is the fullest that fits: one of these, or any other division among the GPUs, and at last fewer services.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, pairwise
from typing import Literal

from scripts.operations.layouts.gpus import Gpu
from scripts.operations.services import Options, UsageError

Mode = Literal["A", "B", "C", "D"]
Part = Literal["s2s", "detokenizer", "tts", "asr", "whisper"]

Needs = Mapping[Part, int]

NEEDS_GIB: Needs = {
    "s2s": 18,
    "detokenizer": 4,
    "tts": 4,
    "asr": 3,
    "whisper": 6,  # 1.55 B parameters in 16 bit, activations, and a cache for some requests at once
}
# With --dtype float8: 10.7 of weights, what is left free of a card of 24, and caches of some conversations.
NEEDS_GIB_8_BITS: Needs = {**NEEDS_GIB, "s2s": 14}
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
Layout = tuple[tuple[Part, ...], ...]
# What is on a GPU for each service; what `auto` gives up first when there is no room is the last.
PARTS_OF: Mapping[str, tuple[Part, ...]] = {
    "s2s": ("s2s", "detokenizer"),
    "asr": ("asr",),
    "tts": ("tts",),
    "whisper": ("whisper",),
}
TITLES = {"s2s": "speech to speech", "asr": "speech to text", "tts": "text to speech"}


class DoesNotFit(UsageError):
    """The GPUs cannot hold it; the message is the arithmetic."""


@dataclass(frozen=True)
class Plan:
    """`mode` is "embedded" where nothing is on a GPU. `no_room`: the services that were wanted and are not in `gpu_of` for
    want of memory; S2S answers all the same then, by its embedded engine."""

    mode: str
    gpu_of: Mapping[Part, Gpu]
    arithmetic: tuple[str, ...] = ()
    no_room: tuple[str, ...] = ()
    needs: Needs = field(default_factory=lambda: NEEDS_GIB)

    def device_of(self, part: Part) -> str | None:
        return f"cuda:{self.gpu_of[part].index}" if part in self.gpu_of else None

    def options(self, *, use_vllm: bool, with_tts: bool = False) -> Options:
        if not self.gpu_of:
            return Options(with_tts=with_tts, use_vllm=use_vllm, embedded=frozenset(self.no_room))
        detokenizer = self.gpu_of.get("detokenizer")
        return Options(
            s2s_device=self.device_of("s2s"),
            tts_gpu=detokenizer.index if detokenizer else None,
            tts_device=self.device_of("tts"),
            asr_device=self.device_of("asr"),
            with_asr="asr" in self.gpu_of,
            with_tts="tts" in self.gpu_of,
            use_vllm=use_vllm,
            embedded=frozenset({"s2s"} - set(self.gpu_of)),
        )

    def left_out(self) -> tuple[str, ...]:
        """What to tell of `no_room`, and what can be done."""
        lines = []
        for name in self.no_room:
            need = f"{TITLES[name]} has no room, it needs {' + '.join(str(self.needs[part]) for part in PARTS_OF[name])} GiB"
            if name == "s2s" or not self.gpu_of:
                lines.append(f"{need}: the embedded engine on the CPU does it")
            else:
                start = f"{name.upper()}_ARGS='--engine embedded' ./scripts/start_services.sh --only {name}"
                lines.append(f"{need}: left out; on the CPU: {start}")
        return tuple(lines)


def needs_of(s2s_options: Sequence[str]) -> Needs:
    """GiB of each part, where the S2S service is started with these further options."""
    words = [word for option in s2s_options for word in option.split("=", 1)]
    return NEEDS_GIB_8_BITS if ("--dtype", "float8") in pairwise(words) else NEEDS_GIB


def plan(mode: Mode, gpus: Sequence[Gpu], running: Collection[Part] = (), needs: Needs = NEEDS_GIB) -> Plan:
    """Raises DoesNotFit. `running`: parts that are on the GPUs already, and out of their free memory."""
    if not gpus:
        raise DoesNotFit(
            f"mode {mode} needs an NVIDIA GPU, and none was found. Without --mode the services run on the CPU"
        )
    return fit(f"mode {mode}", mode, LAYOUTS[mode], gpus, running, needs)


def automatic(gpus: Sequence[Gpu], *, with_tts: bool, running: Collection[Part] = (), needs: Needs = NEEDS_GIB) -> Plan:
    """The fullest that fits, in the lettered mode for it if that does; with as many services as have room, the conversation
    first. Without room for any, or without a GPU: the embedded engines."""
    if not gpus:
        return Plan("embedded", {}, ("no NVIDIA GPU: the embedded engines on the CPU",))
    wanted = ("s2s", "asr", *(("tts",) if with_tts else ()))
    for chosen in _fewer_and_fewer(wanted):
        no_room = tuple(name for name in wanted if name not in chosen)
        parts = [part for name in chosen for part in PARTS_OF[name]]
        for mode, layout in _divisions(parts, len(gpus)):
            try:
                found = fit(f"mode {mode}", mode, [layout], gpus, running, needs)
            except DoesNotFit:
                continue
            return replace(found, no_room=no_room)
    sizes = ", ".join(f"{gpu.free_gib:.1f} GiB free on GPU {gpu.index} ({gpu.name})" for gpu in gpus)
    return Plan("embedded", {}, (f"no room for any model, {sizes}: the embedded engines on the CPU",), wanted, needs)


def _fewer_and_fewer(wanted: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """All of them, then less; the conversation is given up last."""
    subsets = [chosen for count in range(len(wanted), 0, -1) for chosen in combinations(wanted, count)]
    yield from sorted(subsets, key=lambda chosen: "s2s" not in chosen)


def _divisions(parts: Sequence[Part], gpus: int) -> Iterator[tuple[str, Layout]]:
    """Ways to put them on so many GPUs, with the mode's letter where it has one: those of the modes, the others, from the
    least company for S2S to all in one."""
    lettered = [
        (mode, layout) for mode in ("B", "C", "A", "D") for layout in LAYOUTS[mode] if {*sum(layout, ())} == {*parts}
    ]
    yield from ((mode, layout) for mode, layout in lettered if len(layout) <= gpus)
    known = {frozenset(map(frozenset, layout)) for _, layout in lettered}
    others = [layout for layout in _partitions(tuple(parts)) if len(layout) <= gpus]
    for layout in sorted(
        others, key=lambda layout: (max(len(share) for share in layout if share[0] == parts[0]), len(layout))
    ):
        if frozenset(map(frozenset, layout)) not in known:
            yield "auto", layout


def _partitions(parts: tuple[Part, ...]) -> Iterator[Layout]:
    """Every division of the parts; the first part stands in the first share."""
    if not parts:
        yield ()
        return
    first, rest = parts[0], parts[1:]
    for count in range(len(rest) + 1):
        for company in combinations(rest, count):
            for others in _partitions(tuple(part for part in rest if part not in company)):
                yield ((first, *company), *others)


def fit(
    title: str,
    mode: str,
    layouts: Sequence[Layout],
    gpus: Sequence[Gpu],
    running: Collection[Part] = (),
    needs: Needs = NEEDS_GIB,
) -> Plan:
    """The first layout that fits, the most demanding share on the GPU with the most memory. Raises DoesNotFit.

    Where parts run already, GPUs are taken by their size and not by what is free, so that the plan is the one that began them."""
    roomiest = sorted(gpus, key=lambda gpu: (-(gpu.total_gib if running else gpu.free_gib), gpu.index))
    problems = []
    for layout in layouts:
        if len(layout) > len(gpus):
            problems.append(f"needs {len(layout)} GPUs, there is {len(gpus)}")
            continue
        shares = sorted(layout, key=lambda share: _need(share, needs), reverse=True)
        placed = list(zip(shares, roomiest, strict=False))
        lines = tuple(_line(share, gpu, running, needs) for share, gpu in placed)
        full = [_need([part for part in share if part not in running], needs) > gpu.free_gib for share, gpu in placed]
        if not any(full):
            return Plan(mode, {part: gpu for share, gpu in placed for part in share}, lines, needs=needs)
        problems += [line for line, is_full in zip(lines, full, strict=True) if is_full]
    raise DoesNotFit("\n".join(f"{title} does not fit: {problem}" for problem in problems))


def memory_share(part: Part, gpu: Gpu) -> float:
    """For vLLM's --gpu-memory-utilization: the part's need as a share of the whole GPU, in hundredths, rounded up."""
    return -(-100 * NEEDS_GIB[part] // gpu.total_gib) / 100


def _need(share: Collection[Part], needs: Needs) -> int:
    return sum(needs[part] for part in share)


def _line(share: Sequence[Part], gpu: Gpu, running: Collection[Part], needs: Needs) -> str:
    terms = " + ".join(f"{part} {needs[part]}" for part in share)
    total = f" = {_need(share, needs)}" if len(share) > 1 else ""
    there = [part for part in share if part in running]
    more = f", {' + '.join(there)} of it there already" if there else ""
    return (
        f"GPU {gpu.index} ({gpu.name}): {terms}{total} GiB needed{more}, {gpu.free_gib:.1f} free of {gpu.total_gib:.1f}"
    )
