"""The golden model in the public layout, put together from the parts under `data/` (see its README)."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

DATA = Path(__file__).parent / "data"


def expanded(directory: Path) -> Path:
    """Write a golden directory (`model/` and `cases/`) and return it."""
    shutil.copytree(DATA, directory, ignore=shutil.ignore_patterns("*.safetensors", "README.md"))
    shutil.copytree(DATA / "cases", directory / "cases", dirs_exist_ok=True)
    flow = load_file(DATA / "model" / "flow.safetensors")
    flow["input_embedding.weight"] = _table(6561, flow.pop("input_embedding.ids"), flow.pop("input_embedding.rows"))
    torch.save(flow, directory / "model" / "flow.pt")
    llm = load_file(DATA / "model" / "llm.safetensors")
    words = _table(151_936, llm.pop("embed_tokens.ids"), llm.pop("embed_tokens.rows"))
    llm["llm.model.model.embed_tokens.weight"] = words
    llm["llm.model.lm_head.weight"] = words
    torch.save(llm, directory / "model" / "llm.pt")
    return directory


def _table(size: int, ids: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    table = torch.randn(size, rows.shape[1], generator=torch.Generator().manual_seed(1))
    table[ids.long()] = rows
    return table
