"""The continuous audio encoder: log-mel features to one vector per speech code (25 a second).

A Whisper-shaped encoder (Radford et al. 2022) that attends inside chunks of two seconds and restarts its positions in
each of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import ACT2FN

from web_demo.models.funaudiochat.config import AudioConfig


def sinusoids(length: int, channels: int) -> Tensor:
    """Whisper's position table, float32 [length, channels]: sines in the first half, cosines in the second."""
    step = torch.log(torch.tensor(10_000.0)) / (channels // 2 - 1)
    inverse = torch.exp(-step * torch.arange(channels // 2).float())
    angle = torch.arange(length).float()[:, None] * inverse[None, :]
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class AudioAttention(nn.Module):
    """Full attention inside a chunk; `k_proj` has no bias, as in Whisper."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.q_proj = nn.Linear(config.d_model, config.d_model)
        self.k_proj = nn.Linear(config.d_model, config.d_model, bias=False)
        self.v_proj = nn.Linear(config.d_model, config.d_model)
        self.out_proj = nn.Linear(config.d_model, config.d_model)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [C, n, d], mask bool [C, 1, 1, n] with True on the positions that exist -> [C, n, d]."""
        chunks, length, width = x.shape
        q, k, v = (
            p(x).view(chunks, length, self.heads, -1).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return torch.as_tensor(self.out_proj(out.transpose(1, 2).reshape(chunks, length, width)))


class AudioLayer(nn.Module):
    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.self_attn_layer_norm = nn.LayerNorm(config.d_model)
        self.self_attn = AudioAttention(config)
        self.final_layer_norm = nn.LayerNorm(config.d_model)
        self.fc1 = nn.Linear(config.d_model, config.ffn_dim)
        self.fc2 = nn.Linear(config.ffn_dim, config.d_model)
        self.activation = ACT2FN[config.activation]

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm(x), mask)
        x = x + self.fc2(self.activation(self.fc1(self.final_layer_norm(x))))
        if x.dtype == torch.float16:  # the residual stream of large encoders leaves fp16's range
            limit = torch.finfo(torch.float16).max - 1000
            x = x.clamp(-limit, limit)
        return x


class ContinuousAudioEncoder(nn.Module):
    """`audio_bos_eos_token` is in the checkpoint and unused in inference."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.n_window = config.n_window
        self.conv1 = nn.Conv1d(config.mel_bins, config.d_model, 3, padding=1)
        self.conv2 = nn.Conv1d(config.d_model, config.d_model, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(AudioLayer(config) for _ in range(config.layers))
        self.ln_post = nn.LayerNorm(config.d_model)
        self.proj = nn.Linear(config.d_model, config.output_dim)
        self.audio_bos_eos_token = nn.Embedding(2, config.output_dim)
        self._table: Tensor | None = None

    def chunk_inputs(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Mel features, one [mel, frames] an audio, to (x [C, n, d], kept bool [C, n]): convolutions and positions."""
        chunks = [chunk for one in features for chunk in torch.split(one, 2 * self.n_window, dim=1)]
        longest = max(chunk.shape[1] for chunk in chunks)
        mel = torch.stack([F.pad(chunk, (0, longest - chunk.shape[1])) for chunk in chunks])
        frames = torch.tensor([chunk.shape[1] for chunk in chunks], device=mel.device)
        return self._positions(mel, frames)

    def _positions(self, mel: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Padded chunks [C, mel, longest] and their lengths int64 [C] -> (x [C, n, d], kept bool [C, n]).

        The frames past a chunk's end are zeroed again after the first convolution, so that padding changes nothing.
        """
        mel, frames = mel.to(self.conv1.weight), frames.to(self.conv1.weight.device)
        exists = torch.arange(mel.shape[2], device=mel.device) < frames[:, None]
        x = F.gelu(self.conv1(mel)) * exists[:, None, :]
        x = F.gelu(self.conv2(x)).transpose(1, 2)
        x = x + self._sinusoids(x)
        return x, torch.arange(x.shape[1], device=mel.device) < ((frames - 1) // 2 + 1)[:, None]

    def _sinusoids(self, x: Tensor) -> Tensor:
        """The position table [n, d] for x, made once: a copy from the host has no place in a graph."""
        if self._table is None or len(self._table) < x.shape[1] or self._table.device != x.device:
            self._table = sinusoids(max(self.n_window, x.shape[1]), x.shape[2]).to(x)
        return self._table[: x.shape[1]].to(x)

    @property
    def chunk_vectors(self) -> int:
        """Vectors that a whole chunk gives, where every chunk gives as many as its own positions; 0 where a pair of
        positions can lie across a border."""
        return self.n_window // 2 if self.n_window % 2 == 0 else 0

    def encode_chunks(self, mel: Tensor, frames: Tensor, alone: Tensor) -> Tensor:
        """Chunks [C, mel, 2 * n_window], their lengths int64 [C] (0: nothing there) and whether each is its audio's only
        one, bool [C] -> vectors [C, chunk_vectors, output_dim], zero where the sound has ended.

        `forward` of all audios at once, without a shape that depends on a length.
        """
        x, kept = self._positions(mel, frames)
        attended = kept | (torch.arange(kept.shape[1], device=x.device) == 0)  # an empty chunk attends to something
        for layer in self.layers:
            x = layer(x, attended[:, None, None, :])
        pooled = x.reshape(len(x), self.chunk_vectors, 2, -1).mean(dim=2)
        pairs = kept.reshape(len(x), self.chunk_vectors, 2).all(dim=2)
        single = (frames.to(x.device) > 0) & (frames.to(x.device) <= 2) & alone.to(x.device)  # one position stays one
        first = torch.arange(self.chunk_vectors, device=x.device) == 0
        taken = (single[:, None] & first)[:, :, None]
        pooled = torch.where(taken, x[:, :1], pooled)
        return torch.as_tensor(self.proj(self.ln_post(pooled))) * (pairs[:, :, None] | taken)

    def forward(self, features: Sequence[Tensor], traced: list[Tensor] | None = None) -> list[Tensor]:
        """One [mel, frames] float tensor an audio -> one [vectors, output_dim] an audio.

        `traced`, when given, collects the packed input of the layers and the packed output of each (parity checks).
        """
        x, kept = self.chunk_inputs(features)
        if traced is not None:
            traced.append(x[kept])
        for layer in self.layers:
            x = layer(x, kept[:, None, None, :])
            if traced is not None:
                traced.append(x[kept])
        width = 2 * self.n_window
        positions = [
            sum((min(width, one.shape[1] - start) - 1) // 2 + 1 for start in range(0, one.shape[1], width))
            for one in features
        ]
        return [self._pool(packed) for packed in torch.split(x[kept], positions)]

    def _pool(self, packed: Tensor) -> Tensor:
        """[positions, d] of one audio, across its chunk borders -> [positions // 2, output_dim] (one stays one)."""
        if packed.shape[0] > 1:
            packed = F.avg_pool1d(packed.T[None], 2, stride=2)[0].T
        return torch.as_tensor(self.proj(self.ln_post(packed)))
