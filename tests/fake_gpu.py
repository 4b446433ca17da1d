"""A GPU made of fake tensors: shapes and devices are real, values are not.

What would stall a GPU, reading a value on the host, raises here; so does a tensor that was left on the CPU. `capture` runs a
function as the capture of a CUDA graph would and refuses what that refuses; `test_fake_gpu.py` holds it to a real one.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

DEVICE = "gpu:0"
_WRITES_BY_INDEX = ("aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::copy_")


@cache
def _register() -> None:
    _setup_privateuseone_for_python_backend("gpu")  # type: ignore[no-untyped-call]


class CaptureError(RuntimeError):
    """A CUDA graph could not have been captured here, or would have replayed something stale."""


class _Capture(TorchDispatchMode):
    """Refuses each operation that a capture refuses, and remembers the memory that is allocated."""

    def __init__(self) -> None:
        super().__init__()
        self.allocated: list[weakref.ref[Tensor]] = []
        self._scalars: list[Tensor] = []  # Python numbers that became tensors; held, so that an id is not used again

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        if any(value.device.type == "cpu" for value in given):
            raise CaptureError(f"{func} reads a tensor on the CPU")
        if func._schema.name in _WRITES_BY_INDEX and any(
            value is scalar for value in given for scalar in self._scalars
        ):
            raise CaptureError(f"{func} writes a Python number by index: on CUDA that is a copy from the host")
        made = func(*args, **kwargs)
        for value in tree_leaves(made):
            if not isinstance(value, Tensor):
                continue
            if value.device.type == "cpu":
                raise CaptureError(f"{func} makes a tensor on the CPU")
            if func._schema.name == "aten::scalar_tensor":
                self._scalars.append(value)
            elif _memory(value) not in map(_memory, given):
                self.allocated.append(weakref.ref(value))
        return made


def _memory(value: Tensor) -> int:
    return value.untyped_storage()._cdata


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


def capture(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Run once as a warm-up, then as a capture. Raises CaptureError for what a capture refuses, and for a tensor that was
    made in it and is still held by something after it: its memory belongs to the graph, which writes over it."""
    try:
        function(*inputs)
        with _Capture() as captured:
            output = function(*inputs)
    except CaptureError:
        raise
    except (DataDependentOutputException, DynamicOutputShapeException, RuntimeError) as error:
        raise CaptureError(f"a value is read on the host, or tensors of two devices are mixed: {error}") from error
    gc.collect()
    held = [value for one in captured.allocated if (value := one()) is not None and _memory(value) != _memory(output)]
    if held:
        shapes = ", ".join(str(list(value.shape)) for value in held)
        raise CaptureError(f"tensors made during the capture outlive it: {shapes}")
    return output


@contextmanager
def fake_gpu() -> Iterator[FakeGpu]:
    _register()
    make = torch.tensor

    def tensor(data: Any, *, device: Any = None, **kinds: Any) -> Tensor:
        """The real one has no way to a device that is not there; on a real one it is a copy from the host."""
        made = make(data, **kinds)
        if device is None:
            return made
        if any(isinstance(mode, _Capture) for mode in torch.utils._python_dispatch._get_current_dispatch_mode_stack()):
            raise CaptureError("torch.tensor copies values from the host")
        return torch.empty(made.shape, dtype=made.dtype, device=device)

    with FakeTensorMode() as mode, torch.no_grad(), patch.object(torch, "tensor", tensor), _no_launches():
        yield FakeGpu(mode)


@contextmanager
def _no_launches() -> Iterator[None]:
    """Triton's kernels do nothing but look where their arguments are: what is run is the code around them."""
    try:
        from triton.runtime.interpreter import InterpretedFunction
        from triton.runtime.jit import JITFunction
    except ImportError:  # comes with CUDA builds of torch, and for tests from requirements-dev.txt
        yield
        return

    def run(kernel: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        for name, value in [*enumerate(args), *kwargs.items()]:
            if isinstance(value, Tensor) and value.device.type == "cpu":
                raise CaptureError(f"argument {name} of {kernel} is on the CPU")

    with patch.object(JITFunction, "run", run), patch.object(InterpretedFunction, "run", run):
        yield
