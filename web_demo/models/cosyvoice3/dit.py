"""The flow's estimator: a diffusion transformer over mel frames, for several streams at once.

Source: DiT (arXiv 2212.09748) as F5-TTS and CosyVoice3 use it. Rows come in pairs, 2i conditional and 2i + 1
unconditional (classifier-free guidance). What depends on the Euler time only (all modulations) is computed once when
the weights are loaded; what depends on the conditions only, once a chunk.

Rotary positions turn the first head alone: the reference applies them to the projection before it is split into heads.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import DiTConfig

CONV_GROUPS = 16
CONV_KERNEL = 31
_TIME_FREQUENCIES = 256


class History(Protocol):
    """What a chunk attends to besides itself, during one Euler step."""

    def conv_input(self, index: int, x: Tensor) -> Tensor:
        """[2B, T, dim] -> [2B, tail + T, dim] for position convolution 0 or 1."""
        ...

    def keys_values(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """[2B, T, inner] each -> [2B, context + T, inner]."""
        ...


class NoHistory:
    """A whole utterance: nothing came before it."""

    def conv_input(self, index: int, x: Tensor) -> Tensor:
        return F.pad(x, (0, 0, CONV_KERNEL - 1, 0))

    def keys_values(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        return key, value


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

    def forward(self, x: Tensor, history: History) -> Tensor:
        for index, conv in enumerate(self.convs):
            x = F.mish(conv(history.conv_input(index, x).transpose(1, 2))).transpose(1, 2)
        return x


class Block(nn.Module):
    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self._heads = config.heads
        inner = config.heads * config.dim_head
        self.qkv = nn.Linear(config.dim, 3 * inner)
        self.to_out = nn.Linear(inner, config.dim)
        self.ff_in = nn.Linear(config.dim, config.dim * config.ff_mult)
        self.ff_out = nn.Linear(config.dim * config.ff_mult, config.dim)

    def forward(
        self, x: Tensor, modulation: Tensor, rotation: Tensor, mask: Tensor | None, layer: int, history: History
    ) -> Tensor:
        """x: [2B, T, dim]; modulation: [6, dim]; rotation: [B, T, dim_head / 2, 2]; mask: [2B, 1, T, context + T]."""
        shift, scale, gate, ff_shift, ff_scale, ff_gate = modulation
        query, key, value = self.qkv(modulated(x, shift, scale)).chunk(3, dim=-1)
        rotate_first_head(query, rotation)
        rotate_first_head(key, rotation)
        key, value = history.keys_values(layer, key, value)
        attended = F.scaled_dot_product_attention(
            self._split(query), self._split(key), self._split(value), attn_mask=mask
        )
        x = x + gate * self.to_out(attended.transpose(1, 2).flatten(2))
        inner = F.gelu(self.ff_in(modulated(x, ff_shift, ff_scale)), approximate="tanh")
        result: Tensor = x + ff_gate * self.ff_out(inner)
        return result

    def _split(self, x: Tensor) -> Tensor:
        return torch.unflatten(x, 2, (self._heads, -1)).transpose(1, 2)


class DiT(nn.Module):
    """Velocity of mel frames; `tabulate` must be called once the weights are loaded."""

    modulations: Tensor  # [steps, depth, 6, dim]
    final_modulations: Tensor  # [steps, 2, dim]: scale, shift

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

    def tabulate(self, times: Tensor, dtype: torch.dtype) -> None:
        """Compute every modulation for the Euler times [S] in float32, then drop the layers that made them."""
        silu = F.silu(self.time_embed(times))
        layers = [linear(silu).view(len(times), 6, -1) for linear in self.attn_norms]
        self.modulations = torch.stack(layers, dim=1).to(dtype)
        self.final_modulations = self.norm_out(silu).view(len(times), 2, -1).to(dtype)
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

    def forward(
        self, x: Tensor, condition: Tensor, step: int, rotation: Tensor, mask: Tensor | None, history: History
    ) -> Tensor:
        """x: [B, T, mel], the state at Euler step `step` -> velocities [2B, T, mel]."""
        projected = F.linear(x, self.proj.weight[:, : self.config.mel_dim])
        h = condition + projected.repeat_interleave(2, dim=0)
        h = h + self.conv_pos_embed(h, history)
        for layer, block in enumerate(self.blocks):
            h = block(h, self.modulations[step, layer], rotation, mask, layer, history)
        scale, shift = self.final_modulations[step]
        velocity: Tensor = self.proj_out(modulated(h, shift, scale))
        return velocity


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


def rotations(positions: Tensor, dim_head: int) -> Tensor:
    """Cosines and sines, float32 [..., dim_head / 2, 2], for frame positions of any shape."""
    exponent = torch.arange(0, dim_head, 2, device=positions.device, dtype=torch.float32) / dim_head
    angle = positions[..., None].to(torch.float32) * (1.0 / 10_000**exponent)
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


def rotate_first_head(x: Tensor, rotation: Tensor) -> None:
    """Turn the pairs (2i, 2i + 1) of the first head in place. x: [2B, T, inner]; rotation: [B, T, dim_head / 2, 2]."""
    half = rotation.shape[2]
    head = torch.unflatten(x[..., : 2 * half], 2, (half, 2)).to(torch.float32)
    cosine, sine = rotation.repeat_interleave(2, dim=0).unbind(-1)
    even, odd = head.unbind(-1)
    turned = torch.stack([even * cosine - odd * sine, odd * cosine + even * sine], dim=-1)
    x[..., : 2 * half] = turned.flatten(2).to(x.dtype)
