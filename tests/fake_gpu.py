"""A GPU made of fake tensors: shapes and devices are real, values are not.

What would stall a GPU or break the capture of a graph, reading a value on the host, raises here; so does a tensor that was
left on the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

DEVICE = "gpu:0"


@cache
def _register() -> None:
    _setup_privateuseone_for_python_backend("gpu")  # type: ignore[no-untyped-call]


class FakeGpu:
    def __init__(self, mode: FakeTensorMode) -> None:
        self._mode = mode
        self._moved: dict[int, Tensor] = {}

    def tensor(self, value: Tensor) -> Tensor:
        """A real tensor's stand-in, on the CPU."""
        return self._mode.from_tensor(value)

    def take(self, module: nn.Module) -> nn.Module:
        """Move a module, in place: its parameters and buffers become fake, those that were one stay one."""
        for part in module.modules():
            for name, parameter in list(part._parameters.items()):
                if parameter is not None:
                    part._parameters[name] = nn.Parameter(self._move(parameter), requires_grad=False)
            for name, buffer in list(part._buffers.items()):
                if buffer is not None:
                    part._buffers[name] = self._move(buffer)
        return module

    def _move(self, value: Tensor) -> Tensor:
        if id(value) not in self._moved:
            self._moved[id(value)] = self.tensor(value).to(DEVICE)
        return self._moved[id(value)]


@contextmanager
def fake_gpu() -> Iterator[FakeGpu]:
    _register()
    make = torch.tensor

    def tensor(data: Any, *, device: Any = None, **kinds: Any) -> Tensor:
        """The real one has no way to a device that is not there."""
        made = make(data, **kinds)
        return made if device is None else torch.empty(made.shape, dtype=made.dtype, device=device)

    with FakeTensorMode() as mode, torch.no_grad(), patch.object(torch, "tensor", tensor):
        yield FakeGpu(mode)
