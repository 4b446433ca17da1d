"""The CRQ speech head: from one backbone position to a group of speech codes, one after the other.

Each backbone position is expanded to `group_size` vectors ("sub-positions"). A sub-position's input is its vector plus
the embedding of the code chosen before it, so that inside a group the head is an ordinary autoregressive decoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import Qwen3Model

from web_demo.models.funaudiochat.config import FunAudioChatConfig


class SpeechHead(nn.Module):
    """Weights and stateless parts; caches belong to the caller. The output layer is the codebook of the encoder."""

    def __init__(self, config: FunAudioChatConfig) -> None:
        super().__init__()
        self.group_size = config.audio.group_size
        hidden, width = config.hidden_size, config.crq.hidden_size
        self.pre_matching = nn.Linear(hidden, self.group_size * hidden)
        self.input_matching = nn.Linear(hidden, width, bias=False)
        self.output_matching = nn.Linear(width, hidden, bias=False)
        self.crq_transformer = Qwen3Model(config.crq)
        del self.crq_transformer.embed_tokens  # its inputs are vectors, and the checkpoint has no such rows

    def expand(self, positions: Tensor) -> Tensor:
        """Backbone positions [B, n, H] -> sub-positions [B, n * group, H], in order."""
        batch, count, hidden = positions.shape
        expanded = torch.as_tensor(self.pre_matching(positions))
        return expanded.view(batch, count * self.group_size, hidden)
