"""Speech tokens to mel by flow matching: token encoder with look-ahead, Euler solver with classifier-free guidance.

Source: CosyVoice 3 (arXiv 2505.17589), conditional flow matching (arXiv 2210.02747). `Flow.whole` computes an utterance
in one call; `flow_stream` computes the same in chunks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import MAX_FRAMES, FlowConfig
from .dit import DiT, History, NoHistory, rotations

EULER_STEPS = 10
LOOKAHEAD_LEFT = 2  # steps of the second look-ahead convolution before the present one


def euler_schedule() -> tuple[Tensor, list[float]]:
    """Times [10] and step sizes, float32, the running time accumulated as the reference does."""
    span = 1 - torch.cos(torch.linspace(0, 1, EULER_STEPS + 1) * 0.5 * math.pi)
    time, times, sizes = span[0], [], []
    for step in range(EULER_STEPS):
        size = span[step + 1] - time
        times.append(time)
        sizes.append(float(size))
        time = time + size
    return torch.stack(times), sizes


class LookAhead(nn.Module):
    """A token sees three tokens to its right and, through a second convolution, two steps to its left."""

    def __init__(self, size: int, channels: int, right: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(size, channels, right + 1)
        self.conv2 = nn.Conv1d(channels, size, LOOKAHEAD_LEFT + 1)

    def forward(self, x: Tensor, at_start: Tensor) -> Tensor:
        """x: [B, left + T + right, size], zeros where there is no token; at_start: [B], rows whose left context lies
        before the first token -> [B, T, size]."""
        inner = F.leaky_relu(self.conv1(x.transpose(1, 2)))
        real = torch.ones_like(inner)
        real[:, :, :LOOKAHEAD_LEFT] = (~at_start)[:, None, None].to(inner.dtype)
        out: Tensor = self.conv2(inner * real).transpose(1, 2)
        return out + x[:, LOOKAHEAD_LEFT : LOOKAHEAD_LEFT + out.shape[1]]


class Flow(nn.Module):
    noise: Tensor  # [mel, 15000]
    times: Tensor  # [10]

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        self.input_embedding = nn.Embedding(config.vocab_size, config.input_size)
        self.spk_embed_affine_layer = nn.Linear(config.spk_embed_dim, config.output_size)
        self.pre_lookahead_layer = LookAhead(config.input_size, config.lookahead_channels, config.pre_lookahead_len)
        self.estimator = DiT(config.dit)
        times, self._step_sizes = euler_schedule()
        self.register_buffer("times", times, persistent=False)
        self.register_buffer("noise", torch.zeros(config.output_size, MAX_FRAMES), persistent=False)

    @property
    def dtype(self) -> torch.dtype:
        return self.input_embedding.weight.dtype

    def speaker(self, embedding: Tensor) -> Tensor:
        """Speaker vector [B, 192] -> [B, mel]."""
        unit = F.normalize(embedding.to(torch.float32), dim=1)
        projected: Tensor = self.spk_embed_affine_layer(unit.to(self.dtype))
        return projected

    def encode(self, tokens: Tensor, present: Tensor, at_start: Tensor) -> Tensor:
        """tokens: [B, left + T + right]; present: bool, the same shape, False where there is none -> mu [B, 2T, mel]."""
        embedded = self.input_embedding(tokens.clamp(min=0)) * present[..., None].to(self.dtype)
        mu: Tensor = self.pre_lookahead_layer(embedded, at_start)
        return mu.repeat_interleave(self.config.token_mel_ratio, dim=1)

    def solve(self, x: Tensor, condition: Tensor, positions: Tensor, histories: Sequence[History]) -> Tensor:
        """Start noise x [B, T, mel] float32 -> mel [B, T, mel] float32; one history for each Euler step."""
        rotation = rotations(positions, self.config.dit.dim_head)
        for step, (size, history) in enumerate(zip(self._step_sizes, histories, strict=True)):
            velocity = self.estimator(x.to(self.dtype), condition, step, rotation, history)
            x = x + size * self.guided(velocity)
        return x

    def guided(self, velocity: Tensor) -> Tensor:
        """Velocities of the pairs [2B, T, mel] -> [B, T, mel] float32."""
        conditional, unconditional = torch.unflatten(velocity.to(torch.float32), 0, (-1, 2)).unbind(1)
        rate = self.config.cfg_rate
        return (1 + rate) * conditional - rate * unconditional

    @torch.inference_mode()
    def whole(
        self,
        tokens: Tensor,
        embedding: Tensor,
        *,
        prompt_tokens: Tensor,
        prompt_mel: Tensor,
        chunk_mask: bool,
        final: bool = True,
    ) -> Tensor:
        """tokens [1, N], embedding [1, 192], prompt_tokens [1, P], prompt_mel [1, 2P, mel] -> mel [1, mel, frames].

        `chunk_mask`: a frame attends to its own block of 25 tokens and what is before it, as in streaming; otherwise to
        everything. `final` False: the last 3 tokens are context only.
        """
        inputs = self.inputs(tokens, embedding, prompt_tokens, prompt_mel, final)
        x, condition, positions = inputs
        mask = self.block_mask(positions) if chunk_mask else None
        mel = self.solve(x, condition, positions, [NoHistory(mask)] * EULER_STEPS)
        return mel[:, prompt_mel.shape[1] :].transpose(1, 2)

    def inputs(
        self, tokens: Tensor, embedding: Tensor, prompt_tokens: Tensor, prompt_mel: Tensor, final: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Start noise [1, T, mel], condition [2, T, dim] and positions [1, T] of a whole utterance."""
        right = self.config.pre_lookahead_len
        every = torch.cat([prompt_tokens, tokens], dim=1).to(torch.int64)
        padded = F.pad(every, (LOOKAHEAD_LEFT, right if final else 0))
        present = F.pad(torch.ones_like(every, dtype=torch.bool), (LOOKAHEAD_LEFT, right if final else 0))
        mu = self.encode(padded, present, torch.ones(1, dtype=torch.bool, device=padded.device))
        frames = mu.shape[1]
        if frames > MAX_FRAMES:
            raise ValueError(f"an utterance has at most {MAX_FRAMES} mel frames with its prompt, got {frames}")
        cond = F.pad(prompt_mel.to(self.dtype), (0, 0, 0, frames - prompt_mel.shape[1]))
        condition = self.estimator.condition(mu, cond, self.speaker(embedding))
        positions = torch.arange(frames, device=mu.device)[None]
        return self.noise[:, :frames].T[None], condition, positions

    def block_mask(self, positions: Tensor) -> Tensor:
        """[1, T] -> bool [1, 1, T, T]: a frame sees every frame up to the end of its own block."""
        block = positions // self.config.dit.static_chunk_size
        return (block[:, None, :, None] >= block[:, None, None, :]).contiguous()
