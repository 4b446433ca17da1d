"""The flow's estimator: a diffusion transformer over mel frames, for several streams at once.

Source: DiT (arXiv 2212.09748) as F5-TTS and CosyVoice3 use it. Rows come in pairs, 2i conditional and 2i + 1
unconditional (classifier-free guidance). What depends on the Euler time only (all modulations) is computed once when
the weights are loaded; what depends on the conditions only, once a chunk.

Rotary positions turn the first head alone: the reference applies them to the projection before it is split into heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from web_demo.models.runtime.rope import angles

from ..config import DiTConfig
from .kernels import FlowKernels, attention

CONV_GROUPS = 16
CONV_KERNEL = 31
_TIME_FREQUENCIES = 256


class History(Protocol):
    """What a chunk hears and attends to besides itself, during one Euler step; moves on with it."""

    def position_conv(self, index: int, conv: nn.Conv1d, x: Tensor) -> Tensor:
        """Position convolution 0 or 1 of x [2B, T, dim] and what was before it, with its mish."""
        ...

    def attend(self, layer: int, qkv: Tensor, heads: int) -> Tensor:
        """Queries, keys and values side by side, [2B, T, 3 * inner] -> [2B, T, inner]."""
        ...


class NoHistory:
    """A whole utterance: nothing came before it. `mask`: boolean [1, 1, T, T], or None where every frame sees all."""

    def __init__(self, mask: Tensor | None) -> None:
        self._mask = mask
        self._kernels = FlowKernels()

    def position_conv(self, index: int, conv: nn.Conv1d, x: Tensor) -> Tensor:
        return self._kernels.position_conv(x, conv, None, None)

    def attend(self, layer: int, qkv: Tensor, heads: int) -> Tensor:
        query, key, value = qkv.chunk(3, dim=2)
        return attention(query, key, value, heads, self._mask)


class TimeEmbedding(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.time_mlp = nn.Sequential(nn.Linear(_TIME_FREQUENCIES, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, times: Tensor) -> Tensor:
        """[S] -> [S, dim]"""
        half = _TIME_FREQUENCIES // 2
        scale = math.log(10_000) / (half - 1)
        frequencies = torch.exp(torch.arange(half, device=times.device, dtype=torch.float32) * -scale)
        angle = 1000 * times[:, None] * frequencies
        embedded: Tensor = self.time_mlp(torch.cat([angle.sin(), angle.cos()], dim=-1))
        return embedded


class PositionConv(nn.Module):
    """Two grouped causal convolutions that tell a frame what is around it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(dim, dim, CONV_KERNEL, groups=CONV_GROUPS) for _ in range(2))

    @property
    def both(self) -> Sequence[nn.Conv1d]:
        return [conv for conv in self.convs if isinstance(conv, nn.Conv1d)]

    def forward(self, x: Tensor, history: History) -> Tensor:
        for index, conv in enumerate(self.both):
            x = history.position_conv(index, conv, x)
        return x


class Block(nn.Module):
    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self._dim_head = config.dim_head
        inner = config.heads * config.dim_head
        self.qkv = nn.Linear(config.dim, 3 * inner)
        self.to_out = nn.Linear(inner, config.dim)
        self.ff_in = nn.Linear(config.dim, config.dim * config.ff_mult)
        self.ff_out = nn.Linear(config.dim * config.ff_mult, config.dim)

    def forward(
        self,
        stream: tuple[Tensor, Tensor],
        modulation: Tensor,
        following: tuple[Tensor, Tensor],
        rotation: Tensor,
        kernels: FlowKernels,
        attend: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, Tensor]:
        """`stream`: the residual [2B, T, dim], and that modulated for this block; the same for the next one is returned, whose
        shift and scale are `following`. modulation: [6, dim]; rotation: see `rotations`."""
        x, modulated = stream
        _, _, gate, ff_shift, ff_scale, ff_gate = modulation
        qkv = self.qkv(modulated)
        kernels.rotate(qkv, rotation, self._dim_head)
        x, modulated = kernels.add_modulated(x, gate, self.to_out(attend(qkv)), ff_shift, ff_scale)
        wide = kernels.gelu_linear(modulated, self.ff_in)
        return kernels.add_modulated(x, ff_gate, self.ff_out(wide), *following)


class DiT(nn.Module):
    """Velocity of mel frames; `tabulate` must be called once the weights are loaded."""

    modulations: Tensor  # [steps, depth, 6, dim]: shift, 1 + scale, gate of the attention, then of the MLP
    final_modulations: Tensor  # [steps, 2, dim]: 1 + scale, shift

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.dim
        self.time_embed = TimeEmbedding(dim)
        self.proj = nn.Linear(2 * config.mel_dim + config.mu_dim + config.spk_dim, dim)
        self.conv_pos_embed = PositionConv(dim)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.attn_norms = nn.ModuleList(nn.Linear(dim, 6 * dim) for _ in range(config.depth))
        self.norm_out = nn.Linear(dim, 2 * dim)
        self.proj_out = nn.Linear(dim, config.mel_dim)
        self.register_buffer("modulations", torch.zeros(0), persistent=False)
        self.register_buffer("final_modulations", torch.zeros(0), persistent=False)
        self.kernels = FlowKernels()

    def use(self, kernels: FlowKernels) -> None:
        """For the device that the weights are on by now."""
        kernels.pack(self.conv_pos_embed.both)
        self.kernels = kernels

    def tabulate(self, times: Tensor, dtype: torch.dtype) -> None:
        """Compute every modulation for the Euler times [S] in float32, then drop the layers that made them."""
        silu = F.silu(self.time_embed(times))
        layers = [linear(silu).view(len(times), 6, -1) for linear in self.attn_norms]
        modulations = torch.stack(layers, dim=1)
        modulations[:, :, [1, 4]] += 1
        final = self.norm_out(silu).view(len(times), 2, -1)
        final[:, 0] += 1
        self.modulations, self.final_modulations = modulations.to(dtype), final.to(dtype)
        del self.time_embed, self.attn_norms, self.norm_out

    def condition(self, mu: Tensor, cond: Tensor, speaker: Tensor) -> Tensor:
        """Projection of all inputs but the state: mu, cond [B, T, mel], speaker [B, mel] -> [2B, T, dim]."""
        config = self.config
        _, w_cond, w_mu, w_speaker = torch.split(
            self.proj.weight, [config.mel_dim, config.mel_dim, config.mu_dim, config.spk_dim], dim=1
        )
        with_condition = F.linear(cond, w_cond) + F.linear(mu, w_mu) + F.linear(speaker, w_speaker)[:, None]
        pairs = torch.stack([with_condition, torch.zeros_like(with_condition)], dim=1)
        return pairs.flatten(0, 1) + self.proj.bias

    def forward(self, x: Tensor, condition: Tensor, step: int, rotation: Tensor, history: History) -> Tensor:
        """x: [B, T, mel], the state at Euler step `step` -> velocities [2B, T, mel]."""
        projected = F.linear(x, self.proj.weight[:, : self.config.mel_dim])
        h = condition + projected.repeat_interleave(2, dim=0)
        h = h + self.conv_pos_embed(h, history)
        scale, shift = self.final_modulations[step]
        modulations = self.modulations[step]
        following = [*modulations[1:, :2].unbind(), (shift, scale)]
        stream = h, self.kernels.modulated(h, *modulations[0, :2])
        for layer, block in enumerate(self.blocks):
            attend = partial(history.attend, layer, heads=self.config.heads)
            stream = block(stream, modulations[layer], following[layer], rotation, self.kernels, attend)
        velocity: Tensor = self.proj_out(stream[1])
        return velocity


def rotations(positions: Tensor, dim_head: int) -> Tensor:
    """Unit complex numbers, complex64 [2B, T, 1, dim_head / 2], for frame positions [B, T]."""
    angle = angles(positions, dim_head, 10_000.0)
    return torch.polar(torch.ones_like(angle), angle).repeat_interleave(2, dim=0)[:, :, None]
