"""State of streaming causal convolutions: the last inputs of each one, for many sessions at once.

A causal convolution needs the inputs just before the ones it is given. In a stream those are kept as its *tail*; a
fresh stream's tail is zeros, which is just the zero padding of a whole-utterance call, so one code path serves whole
utterances, first chunks and later chunks, also side by side in one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TailShape:
    """One convolution's tail: `steps` inputs of `channels` values; `rate` of its steps make one frame."""

    channels: int
    steps: int
    rate: int


class Tails:
    """The tails of one batch during one call. Convolutions call `prepend` or `enter` in the order of the shapes, each once.

    packed: [B, total] the tails of each row, zeros for a new stream. frames: [B] how many frames each row advances;
    a row may be given more input than that (padding), the new tail ends where the row ends.
    """

    def __init__(self, shapes: Sequence[TailShape], packed: Tensor, frames: Tensor) -> None:
        self._shapes = shapes
        self._packed = torch.split(packed, [shape.channels * shape.steps for shape in shapes], dim=1)
        self._frames = frames
        self._new: list[Tensor] = []
        self._places: dict[tuple[int, int], Tensor] = {}  # many convolutions share them

    def prepend(self, x: Tensor, *, bias: Tensor | None = None, alpha: Tensor | None = None) -> Tensor:
        """A convolution's input: [B, C, T], plus the bias [C] that the product before left out, through a Snake with its
        `alpha` [C] -> [B, C, tail + T]. Remembers the tail for the next call."""
        x = x if bias is None else x + bias[:, None]
        return self._joined(x if alpha is None else snake(x, alpha))

    def add_prepend(self, x: Tensor, product: Tensor, bias: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        """x + product + bias, and `prepend` of that through a Snake."""
        total = x + (product + bias[:, None])
        return total, self._joined(snake(total, alpha))

    def _joined(self, x: Tensor) -> Tensor:
        shape = self._next_shape(x)
        batch, channels, _ = x.shape
        tail = self._packed[len(self._new)].view(batch, channels, shape.steps).to(x.dtype)
        joined = torch.cat([tail, x], dim=2)
        new = joined.gather(2, self._place(shape).expand(-1, channels, -1))
        self._new.append(new.reshape(batch, -1))
        return joined

    def _next_shape(self, x: Tensor) -> TailShape:
        shape = self._shapes[len(self._new)]
        assert x.shape[1] == shape.channels, f"tail {len(self._new)} has {shape.channels} channels, got {x.shape[1]}"
        return shape

    def _place(self, shape: TailShape) -> Tensor:
        """Where the new tail lies in the joined input, [B, 1, steps]."""
        key = (shape.rate, shape.steps)
        if key not in self._places:
            step = torch.arange(shape.steps, device=self._frames.device)
            self._places[key] = (self._frames[:, None] * shape.rate + step)[:, None]
        return self._places[key]

    def packed(self) -> Tensor:
        """The new tails, [B, total], once every convolution has run."""
        assert len(self._new) == len(self._shapes), f"{len(self._new)} of {len(self._shapes)} tails were used"
        return torch.cat([new.to(self._packed[0].dtype) for new in self._new], dim=1)


def snake(x: Tensor, alpha: Tensor) -> Tensor:
    """x + sin(alpha x)^2 / alpha (arXiv 2006.08195): x [B, C, T], alpha [C]."""
    alpha = alpha[:, None]
    return torch.addcmul(x, torch.sin(x * alpha).square(), 1 / (alpha + 1e-9))


def packed_size(shapes: Sequence[TailShape]) -> int:
    return sum(shape.channels * shape.steps for shape in shapes)
