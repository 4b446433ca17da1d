"""CUDA graphs in one place: capture once, check every call, and be a plain call where there is no CUDA."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

DISABLE_VARIABLE = "FUNAUDIOCHAT_NO_CUDA_GRAPH"
_WARM_UP_CALLS = 2  # lets libraries pick algorithms and allocate workspaces before the capture


def enabled(device: torch.device) -> bool:
    return device.type == "cuda" and os.environ.get(DISABLE_VARIABLE, "") in ("", "0")


class Graphed:
    """`function` of one tensor, captured with static input and output.

    What else the function reads and writes must stay at the same addresses. The warm-up and the capture run it on
    `example`, with all their effects, so the example must be harmless. The result is overwritten by the next call.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], example: Tensor, *, pool: Any = None) -> None:
        self._function = function
        self._input = example.clone()
        self._graph: torch.cuda.CUDAGraph | None = None
        if enabled(example.device) and not torch.cuda.is_current_stream_capturing():
            self._capture(pool)

    def _capture(self, pool: Any) -> None:
        side: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP_CALLS):
                self._function(self._input)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            self._output = self._function(self._input)
        self._graph = graph

    def __call__(self, value: Tensor) -> Tensor:
        if value.shape != self._input.shape or value.dtype != self._input.dtype:
            raise ValueError(
                f"this graph was captured for {self._input.dtype} {list(self._input.shape)}, got {value.dtype} "
                f"{list(value.shape)}; set {DISABLE_VARIABLE}=1 to run without graphs"
            )
        if self._graph is None:
            return self._function(value)
        self._input.copy_(value, non_blocking=True)
        self._graph.replay()
        return self._output
