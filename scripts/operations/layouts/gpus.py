"""The NVIDIA GPUs of this machine, as `nvidia-smi` tells them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace

from scripts.operations.services import UsageError

MIB_PER_GIB = 1024
QUERY = ("nvidia-smi", "--query-gpu=index,name,memory.total,memory.used", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Gpu:
    """`index` is the N of `cuda:N` in a service, counted in the order of the PCI bus."""

    index: int
    name: str
    total_gib: float
    free_gib: float


def parse(text: str) -> list[Gpu]:
    """The output of QUERY; raises UsageError for a GPU that tells no memory size."""
    found = []
    for line in filter(str.strip, text.splitlines()):
        try:
            index, name, total, used = (part.strip() for part in line.split(","))
            total_mib, used_mib = int(total), int(used)
        except ValueError:
            raise UsageError(f"nvidia-smi says {line.strip()!r}, which gives no memory size to plan with") from None
        found.append(Gpu(int(index), name, total_mib / MIB_PER_GIB, (total_mib - used_mib) / MIB_PER_GIB))
    return found


def visible(gpus: list[Gpu], environment: Mapping[str, str]) -> list[Gpu]:
    """What CUDA_VISIBLE_DEVICES leaves of them, numbered as a service will see them."""
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return gpus
    words = [word.strip() for word in chosen.split(",") if word.strip()]
    by_index = {str(gpu.index): gpu for gpu in gpus}
    unknown = [word for word in words if word not in by_index]
    if unknown:
        raise UsageError(
            f"CUDA_VISIBLE_DEVICES={chosen}: {unknown[0]!r} is not one of the GPU numbers {', '.join(by_index) or '(none)'}"
        )
    return [replace(by_index[word], index=number) for number, word in enumerate(words)]


def look(environment: Mapping[str, str]) -> list[Gpu]:
    """An empty list where there is no `nvidia-smi`. Raises UsageError when it is there and fails."""
    try:
        done = subprocess.run(QUERY, capture_output=True, text=True, check=False, timeout=30, env=dict(environment))
    except FileNotFoundError:
        return []
    except subprocess.TimeoutExpired:
        raise UsageError("nvidia-smi did not answer within 30 s: is the GPU or its driver stuck?") from None
    if done.returncode != 0:
        raise UsageError(f"nvidia-smi failed: {(done.stderr or done.stdout).strip()}")
    return visible(parse(done.stdout), environment)
