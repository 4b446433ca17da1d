"""The HiFT decoder: mel and the spectrum of the source to the spectrum of speech, all convolutions causal.

Source: HiFTNet (arXiv 2309.09493) as CosyVoice3 uses it. Every convolution takes its left context from `Tails`, in the
order of `tail_shapes`. The last stage works on STFT steps, of which a frame has one more than it advances (the step in
the middle between two chunks): that step is computed by both chunks, and no tail moves past it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import HiftConfig
from .tails import Tails, TailShape


class Snake(nn.Module):
    """The parameter of one; `Tails.prepend` computes it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))


class ResBlock(nn.Module):
    """Pairs of a dilated and a plain causal convolution, each pair with a shortcut."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...], rate: int) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(nn.Conv1d(channels, channels, kernel, dilation=d) for d in dilations)
        self.convs2 = nn.ModuleList(nn.Conv1d(channels, channels, kernel) for _ in dilations)
        self.activations1 = nn.ModuleList(Snake(channels) for _ in dilations)
        self.activations2 = nn.ModuleList(Snake(channels) for _ in dilations)
        self.tail_shapes = [
            TailShape(channels, (kernel - 1) * step, rate) for dilation in dilations for step in (dilation, 1)
        ]

    def forward(self, x: Tensor, tails: Tails) -> Tensor:
        """The products leave their biases to what comes after them."""
        before: tuple[Tensor, Tensor] | None = None  # a product, and its bias
        for activate1, conv1, activate2, conv2 in self._layers():
            if before is None:
                joined = tails.prepend(x, alpha=activate1.alpha)
            else:
                x, joined = tails.add_prepend(x, *before, activate1.alpha)
            inner = F.conv1d(joined, conv1.weight, dilation=conv1.dilation)
            joined = tails.prepend(inner, bias=conv1.bias, alpha=activate2.alpha)
            before = F.conv1d(joined, conv2.weight), conv2.bias
        assert before is not None, "a block has layers"
        product, bias = before
        return x + (product + bias[:, None])

    def _layers(self) -> Iterator[tuple[Any, Any, Any, Any]]:
        return zip(self.activations1, self.convs1, self.activations2, self.convs2, strict=True)


class HiftDecoder(nn.Module):
    def __init__(self, config: HiftConfig) -> None:
        super().__init__()
        self._config = config
        bands = config.n_fft + 2
        stages = list(zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True))
        self.conv_pre = nn.Conv1d(config.in_channels, config.base_channels, config.conv_pre_look_right + 1)
        self.ups, self.source_downs = nn.ModuleList(), nn.ModuleList()
        self.source_resblocks, self.resblocks = nn.ModuleList(), nn.ModuleList()
        self._shapes: list[TailShape] = []
        rate = 1
        for stage, (factor, kernel) in enumerate(stages):
            rate *= factor
            stride = config.steps_per_frame // rate  # source steps of one step of this stage
            wide, channels = config.base_channels >> stage, config.base_channels >> (stage + 1)
            self.ups.append(nn.Conv1d(wide, channels, kernel))
            self._shapes.append(TailShape(wide, kernel - 1, rate))
            if stage == len(stages) - 1:
                self._shapes.append(TailShape(channels, 1, rate))  # the step that the reference pads by reflection
            if stride > 1:
                self.source_downs.append(nn.Conv1d(bands, channels, 2 * stride, stride))
                self._shapes.append(TailShape(bands, stride - 1, config.steps_per_frame))
            else:
                self.source_downs.append(nn.Conv1d(bands, channels, 1))
            source_block = ResBlock(
                channels,
                config.source_resblock_kernel_sizes[stage],
                config.source_resblock_dilation_sizes[stage],
                rate,
            )
            self.source_resblocks.append(source_block)
            self._shapes += source_block.tail_shapes
            sizes = zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True)
            for kernel_size, dilations in sizes:
                block = ResBlock(channels, kernel_size, dilations, rate)
                self.resblocks.append(block)
                self._shapes += block.tail_shapes
        self.conv_post = nn.Conv1d(channels, bands, 7)
        self._shapes.append(TailShape(channels, 6, rate))

    @property
    def tail_shapes(self) -> list[TailShape]:
        return self._shapes

    def forward(self, mel: Tensor, source: Tensor, first: Tensor, tails: Tails) -> Tensor:
        """mel: [B, mel, T + look right]; source: [B, bands, T * steps + 1]; first: [B], rows at their stream's start.

        Returns the log magnitudes and raw phases, [B, bands, T * steps + 1].
        """
        x = self.conv_pre(mel)
        last = len(self.ups) - 1
        for stage, (up, down) in enumerate(zip(self.ups, self.source_downs, strict=True)):
            x = F.leaky_relu(x, self._config.lrelu_slope)
            x = up(tails.prepend(x.repeat_interleave(self._config.upsample_rates[stage], dim=2)))
            if stage == last:
                x = self._with_step_before(x, first, tails)
            s = source if down.kernel_size == (1,) else tails.prepend(source)
            x = x + self.source_resblocks[stage](down(s), tails)
            count = len(self._config.resblock_kernel_sizes)
            blocks = list(self.resblocks)[stage * count : (stage + 1) * count]
            one, *others = [block(x, tails) for block in blocks]
            x = sum(others, one) / count
        post: Tensor = self.conv_post(tails.prepend(F.leaky_relu(x)))
        return post

    def _with_step_before(self, x: Tensor, first: Tensor, tails: Tails) -> Tensor:
        """Put the step before in front: the stream's own, or at its very start the mirror image."""
        joined = tails.prepend(x)
        before = torch.where(first[:, None, None], x[:, :, 1:2], joined[:, :, :1])
        return torch.cat([before, x], dim=2)
