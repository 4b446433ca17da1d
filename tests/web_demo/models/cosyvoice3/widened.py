"""The golden model with wider layers that compute the same: vLLM's attention knows no head of 4 numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from torch import Tensor

HEAD = 64


def widened(model: Path, directory: Path) -> Path:
    """Write a model directory (of which only the LM is wider) and return it.

    Every hidden vector is padded with zeros. A norm over n times the numbers divides by a root n times smaller, which its weight
    and epsilon take back. In a head, number i of each half goes to where the wider head turns by the same angle, and queries
    are longer by what the score is divided by more.
    """
    shutil.copytree(model, directory)
    path = directory / "CosyVoice-BlankEN" / "config.json"
    config = json.loads(path.read_text())
    hidden, heads, kv_heads = (
        config[f"{name}"] for name in ("hidden_size", "num_attention_heads", "num_key_value_heads")
    )
    head, wide = hidden // heads, HEAD * heads
    path.write_text(json.dumps({**config, "hidden_size": wide, "rms_norm_eps": config["rms_norm_eps"] * hidden / wide}))
    half = torch.arange(head // 2) * (HEAD // head)
    place = torch.cat([half, half + HEAD // 2])  # of a head's numbers in the wider one

    def rows(count: int) -> Tensor:
        return (torch.arange(count)[:, None] * HEAD + place).flatten()

    def spread(tensor: Tensor, index: Tensor, size: int, dim: int) -> Tensor:
        shape = list(tensor.shape)
        shape[dim] = size
        return tensor.new_zeros(shape).index_copy_(dim, index, tensor)

    def wider(name: str, tensor: Tensor) -> Tensor:
        if "norm.weight" in name:
            return spread(tensor, torch.arange(hidden), wide, 0) * (hidden / wide) ** 0.5
        for part, count in (("q_proj", heads), ("k_proj", kv_heads), ("v_proj", kv_heads)):
            if part in name:
                tensor = spread(tensor, rows(count), HEAD * count, 0) * (
                    (HEAD / head) ** 0.5 if part == "q_proj" else 1
                )
                break
        if "o_proj" in name:
            tensor = spread(tensor, rows(heads), wide, 1)
        if "o_proj" in name or "down_proj" in name:
            return spread(tensor, torch.arange(hidden), wide, 0)
        if tensor.ndim == 2 and tensor.shape[1] == hidden:  # what reads a hidden vector, and the tables of them
            return spread(tensor, torch.arange(hidden), wide, 1)
        return tensor

    llm = torch.load(directory / "llm.pt", weights_only=True)
    torch.save({name: wider(name, tensor) for name, tensor in llm.items()}, directory / "llm.pt")
    return directory
