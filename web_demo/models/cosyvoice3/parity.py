"""Compare this package with golden data of the reference implementation; see `scripts/check_parity.py`.

A golden directory holds `model/` (a model directory) and `cases/` with `index.json`, whose cases name a safetensors
file each. It may be compact, as the tests' own is: the weights as safetensors, without the rows of the embedding tables
that no case uses (`unpacked` puts them in the public layout).

The limits are for float32 on a CPU; elsewhere sums run in another order, and `_ELSEWHERE` times as much is allowed.
Speech made from a mel has loose limits, because the phase is a running sum of the pitch: mel noise of 1e-5 moves it by
1e-3; given the reference's own source the limit is tight.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from web_demo.models.parity import CaseResult

from .parity_cases import CHECKS, Golden

_ELSEWHERE = 10.0


class Differences:
    """Collects what a case compares."""

    def __init__(self, scale: float) -> None:
        self._scale = scale
        self.values: dict[str, float] = {}
        self.problems: list[str] = []

    def close(self, name: str, got: Tensor, wanted: Tensor, limit: float, mean: float | None = None) -> None:
        """Largest (and, if asked, mean) absolute difference within a limit; -inf equals -inf."""
        if got.shape != wanted.shape:
            self.problems.append(f"{name}: shape {list(got.shape)}, expected {list(wanted.shape)}")
            return
        got, wanted = got.double().cpu(), wanted.double().cpu()
        difference = torch.where(got == wanted, 0.0, (got - wanted).abs())
        largest = float(difference.max()) if difference.numel() else 0.0
        self.values[name] = max(largest, self.values.get(name, 0.0))
        if not largest <= limit * self._scale:
            self.problems.append(f"{name}: differs by {largest:.2e}, limit {limit * self._scale:.0e}")
        if mean is not None and not float(difference.mean()) <= mean * self._scale:
            self.problems.append(f"{name}: mean difference {float(difference.mean()):.2e}, limit {mean:.0e}")

    def equal(self, name: str, got: object, wanted: object) -> None:
        if got != wanted:
            self.problems.append(f"{name}: {_short(got)}, expected {_short(wanted)}")


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def check(golden: Path, *, device: str = "cpu") -> Iterator[CaseResult]:
    """One result for each case of the index, in its order. A kind that is not known is reported as a problem."""
    if not (golden / "model" / "flow.safetensors").exists():
        yield from _check(golden, device)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield from _check(unpacked(golden, Path(folder) / "golden"), device)


def unpacked(compact: Path, directory: Path) -> Path:
    """Write a compact golden directory in the public layout, and return it; unused rows are filled with noise."""
    shutil.copytree(compact, directory, ignore=shutil.ignore_patterns("flow.safetensors", "llm.safetensors"))
    flow = load_file(compact / "model" / "flow.safetensors")
    flow["input_embedding.weight"] = _table(6561, flow.pop("input_embedding.ids"), flow.pop("input_embedding.rows"))
    torch.save(flow, directory / "model" / "flow.pt")
    llm = load_file(compact / "model" / "llm.safetensors")
    words = _table(151_936, llm.pop("embed_tokens.ids"), llm.pop("embed_tokens.rows"))
    llm |= {f"llm.model.{name}.weight": words for name in ("model.embed_tokens", "lm_head")}
    torch.save(llm, directory / "model" / "llm.pt")
    return directory


def _table(size: int, ids: Tensor, rows: Tensor) -> Tensor:
    table = torch.randn(size, rows.shape[1], generator=torch.Generator().manual_seed(1))
    table[ids.long()] = rows
    return table


def _check(golden: Path, device: str) -> Iterator[CaseResult]:
    index: Mapping[str, Any] = json.loads((golden / "cases" / "index.json").read_text("utf-8"))
    if device != "cpu":
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    models = Golden(golden, device)
    noise = index.get("noise")
    if noise:
        yield _run("noise", lambda found: models.check_noise(golden / "cases" / noise["file"], found), 1.0)
    for case in index["cases"]:
        check_case = CHECKS.get(case["kind"])
        if check_case is None:
            yield CaseResult(case["name"], problems=(f"unknown kind {case['kind']!r}",))
            continue
        tensors = load_file(golden / "cases" / case["file"])
        scale = 1.0 if device == "cpu" else _ELSEWHERE

        def compare(found: Differences, case: Any = case, tensors: Any = tensors, run: Any = check_case) -> None:
            run(models, case, tensors, found)

        yield _run(case["name"], compare, scale)


def _run(name: str, compare: Callable[[Differences], None], scale: float) -> CaseResult:
    found = Differences(scale)
    compare(found)
    return CaseResult(name, found.values, tuple(found.problems))
