"""The discrete side of hearing: groups of speech codes, merged with the continuous encoder's vectors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from web_demo.models.funaudiochat.config import AudioConfig


class DiscreteSpeechEncoder(nn.Module):
    """Codes to backbone vectors: the mean of a group's codebook rows, projected."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.codebook_size, config.output_dim)
        self.output_matching = nn.Linear(config.output_dim, config.output_dim, bias=False)
        self.continual_output_matching = nn.Linear(config.output_dim, config.output_dim, bias=False)

    def embed_groups(self, codes: Tensor) -> Tensor:
        """Codes [..., group] -> vectors [..., H]."""
        return torch.as_tensor(self.output_matching(self.embed_tokens(codes).mean(dim=-2)))

    def forward(self, codes: Tensor, continuous: Tensor | None) -> Tensor:
        """One audio: codes int64 [n] and, where there is sound, vectors [m, H] -> slots [ceil(n / group), H].

        The tail group is filled with the pad code, whose row counts; missing continuous vectors count as zeros and the
        mean still divides by the group size. In mode "replace" the sound's vectors make the codes irrelevant.
        """
        group = self.config.group_size
        slots = -(-codes.shape[0] // group)
        padded = F.pad(codes, (0, slots * group - codes.shape[0]), value=self.config.pad_id)
        if continuous is None:
            return self.embed_groups(padded.view(slots, group))
        vectors = F.pad(continuous[: slots * group], (0, 0, 0, max(0, slots * group - continuous.shape[0])))
        return self.joined(padded.view(slots, group), vectors.view(slots, group, -1))

    def joined(self, codes: Tensor, vectors: Tensor) -> Tensor:
        """Whole groups: codes int64 [..., group] and continuous vectors [..., group, H] -> slots [..., H]."""
        sound = torch.as_tensor(self.continual_output_matching(vectors.mean(dim=-2)))
        if self.config.continuous_mode == "replace":
            return sound
        return self.embed_groups(codes) + sound
