"""The stand-in for a GPU refuses what the capture of a CUDA graph refuses: held to a real capture where there is a GPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from tests.fake_gpu import DEVICE, CaptureError, capture, fake_gpu  # noqa: E402

pytestmark = pytest.mark.models

Step = Callable[[Tensor, Tensor, Tensor], Tensor]  # x float [4, 8], rows int64 [3], flags bool [4]


def _written(x: Tensor, *place_and_value: object) -> Tensor:
    *place, value = place_and_value
    x[tuple(place)] = value
    return x


REFUSED: dict[str, Step] = {
    "a Python number written by a tensor of indices": lambda x, rows, flags: _written(x, rows, 0),
    "a Python flag written by two": lambda x, rows, flags: _written(x, rows, rows, True),
    "a Python number written to one element": lambda x, rows, flags: _written(x, 1, 2, 0.5),
    "a host number written by index": lambda x, rows, flags: _written(x, rows, torch.tensor(1.0)),
    "an element read": lambda x, rows, flags: x * x[0, 0].item(),
    "a branch on a value": lambda x, rows, flags: x + 1 if x.sum() > 0 else x,
    "a list of the values": lambda x, rows, flags: x[:, : len(rows.tolist())],
    "a selection by a mask": lambda x, rows, flags: x[flags],
    "a mask's places": lambda x, rows, flags: flags.nonzero(),
    "a length that depends on values": lambda x, rows, flags: x[:3].repeat_interleave(rows, dim=0),
    "a tensor from a list": lambda x, rows, flags: x[torch.tensor([0, 1], device=x.device)],
    "a tensor made on the CPU and moved": lambda x, rows, flags: x + torch.arange(8).to(x.device),
    "a result moved to the CPU": lambda x, rows, flags: x.cpu(),
}
ALLOWED: dict[str, Step] = {
    "arithmetic with Python numbers": lambda x, rows, flags: (x * 2 + 1).clamp(max=3),
    "a choice between a Python number and a tensor": lambda x, rows, flags: torch.where(flags[:, None], 1.0, x),
    "a device's tensor written by index": lambda x, rows, flags: _written(x, rows, x[:3] * 2),
    "a device's tensor put in place": lambda x, rows, flags: x.index_put_((rows, rows), torch.ones_like(x[0, :3])),
    "a Python number scattered": lambda x, rows, flags: x.scatter(1, rows[:, None], 1.0),
    "a slice filled": lambda x, rows, flags: _written(x, slice(0, 2), 0.5),
    "a tensor made on the device": lambda x, rows, flags: x + torch.arange(8, device=x.device),
}


def inputs(device: str) -> tuple[Tensor, Tensor, Tensor]:
    x, rows = torch.ones(4, 8, device=device), torch.zeros(3, dtype=torch.long, device=device)
    return x, rows, torch.zeros(4, dtype=torch.bool, device=device)


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_capture_refuses_is_refused(name: str) -> None:
    with fake_gpu(), pytest.raises(CaptureError):
        capture(REFUSED[name], *inputs(DEVICE))


@pytest.mark.parametrize("name", ALLOWED)
def test_what_a_capture_allows_is_allowed(name: str) -> None:
    with fake_gpu():
        assert capture(ALLOWED[name], *inputs(DEVICE)).device.type == "gpu"


def test_a_tensor_that_the_graph_made_must_not_outlive_it() -> None:
    kept: list[Tensor] = []

    def function(x: Tensor, rows: Tensor, flags: Tensor) -> Tensor:
        kept.append(x + 1)
        return x * 2

    with fake_gpu(), pytest.raises(CaptureError, match="outlive"):
        capture(function, *inputs(DEVICE))


def test_what_the_warm_up_made_may_stay() -> None:
    buffers: list[Tensor] = []

    def function(x: Tensor, rows: Tensor, flags: Tensor) -> Tensor:
        if not buffers:
            buffers.append(torch.zeros_like(x))
        return x + buffers[0]

    with fake_gpu():
        capture(function, *inputs(DEVICE))


def _captured_by_cuda(step: Step) -> None:
    given = inputs("cuda")
    step(*given)  # libraries load
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step(*given)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", [*REFUSED, *ALLOWED])
def test_a_real_capture_agrees(name: str) -> None:
    if name in ALLOWED:
        _captured_by_cuda(ALLOWED[name])
        return
    with pytest.raises(RuntimeError):
        _captured_by_cuda(REFUSED[name])
    torch.cuda.synchronize()
