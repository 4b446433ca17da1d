"""CUDA graphs behind one call: on a CPU, or switched off, the function simply runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

DISABLE_VARIABLE = "NO_CUDA_GRAPHS"


@dataclass(frozen=True)
class _Graph:
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    output: Tensor


class GraphCache:
    """One graph for each key. An output is only good until the next call of any key: graphs share their memory.

    A captured function takes tensors, returns one tensor, and keeps none that it allocated; what else it reads and writes
    stays at the same addresses. The warm-up and the capture run it with all its effects, on inputs that must therefore be
    harmless: they touch the padding slot alone. Used by one thread at a time.
    """

    def __init__(self, device: torch.device, *, enabled: bool = True) -> None:
        self.enabled = enabled and device.type == "cuda" and os.environ.get(DISABLE_VARIABLE, "") in ("", "0")
        self._device = device
        self._graphs: dict[Hashable, _Graph] = {}
        self._pool: Any = None

    @property
    def captured(self) -> int:
        return len(self._graphs)

    def capture(self, key: Hashable, function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
        """Record `function(*inputs)`; does nothing where graphs are off, or when the key is there already."""
        if not self.enabled or key in self._graphs:
            return
        with torch.cuda.device(self._device):  # the current device is a thread's own, and may be another
            self._graphs[key] = self._record(function, tuple(value.clone() for value in inputs))

    def _record(self, function: Callable[..., Tensor], held: tuple[Tensor, ...]) -> _Graph:
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            function(*held)  # libraries choose their algorithms and allocate workspaces outside the capture
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            output = function(*held)
        return _Graph(graph, held, output)

    def run(self, key: Hashable, function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> Tensor:
        """Replay the graph of `key`, or call the function where none was captured. Raises ValueError for inputs of another
        shape or dtype than were captured."""
        recorded = self._graphs.get(key)
        if recorded is None:
            return function(*inputs)
        for held, value in zip(recorded.inputs, inputs, strict=True):
            if held.shape != value.shape or held.dtype != value.dtype:
                raise ValueError(
                    f"graph {key} takes {held.dtype} {list(held.shape)}, got {value.dtype} {list(value.shape)}; "
                    f"{DISABLE_VARIABLE}=1 runs without graphs"
                )
            held.copy_(value, non_blocking=True)
        with torch.cuda.device(self._device):
            recorded.graph.replay()
        return recorded.output
