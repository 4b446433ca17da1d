"""Which GPU a child sees that takes the first one it sees."""

from __future__ import annotations

import re

from web_demo.errors import SetupError


def one_gpu(device: str, visible: str | None, engine: str) -> dict[str, str]:
    """Variables for a child's environment, so that it sees only `device`: auto (nothing is changed), cpu, cuda or cuda:N.
    `visible`: what CUDA_VISIBLE_DEVICES is here; N counts in it. Raises SetupError for a device that cannot be had."""
    if device == "auto":
        return {}
    if device == "cpu":
        return {"CUDA_VISIBLE_DEVICES": ""}
    if (number := re.fullmatch(r"cuda(?::(\d+))?", device)) is None:
        raise SetupError(f"--device {device}: {engine} runs on cuda:N or cpu")
    index = int(number[1] or 0)
    if visible is None:
        return {"CUDA_VISIBLE_DEVICES": str(index)}
    names = [name.strip() for name in visible.split(",") if name.strip()]
    if index >= len(names):
        raise SetupError(
            f"--device {device}: CUDA_VISIBLE_DEVICES={visible!r} shows {len(names)} GPUs"
            + (f", cuda:0 to cuda:{len(names) - 1}" if names else "")
        )
    return {"CUDA_VISIBLE_DEVICES": names[index]}
