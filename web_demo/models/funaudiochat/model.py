"""The whole model as modules named like the checkpoint's tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import Qwen3ForCausalLM

from web_demo.models.funaudiochat.audio_encoder import ContinuousAudioEncoder
from web_demo.models.funaudiochat.config import FunAudioChatConfig
from web_demo.models.funaudiochat.speech_encoder import DiscreteSpeechEncoder
from web_demo.models.funaudiochat.speech_head import SpeechHead


class FunAudioChat(nn.Module):
    """Weights and their stateless parts. Holds no state of any conversation."""

    def __init__(self, config: FunAudioChatConfig) -> None:
        super().__init__()
        self.config = config
        self.continuous_audio_tower = ContinuousAudioEncoder(config.audio)
        self.audio_tower = DiscreteSpeechEncoder(config.audio)
        self.audio_invert_tower = SpeechHead(config)
        self.language_model = Qwen3ForCausalLM(config.text)

    @property
    def device(self) -> torch.device:
        return self.audio_tower.embed_tokens.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.audio_tower.embed_tokens.weight.dtype

    @property
    def codebook(self) -> Tensor:
        """[codebook_size, H]: embeds codes on the way in and scores them on the way out."""
        return self.audio_tower.embed_tokens.weight

    def embed_text(self, ids: Tensor) -> Tensor:
        return torch.as_tensor(self.language_model.model.embed_tokens(ids))

    def embed_audios(self, audios: Sequence[tuple[Tensor, Tensor | None]]) -> list[Tensor]:
        """Of each audio codes int64 [n] and mel features [mel, frames] or None -> slots [ceil(n / group), H]."""
        heard = [features.to(self.device) for _, features in audios if features is not None]
        vectors = iter(self.continuous_audio_tower(heard) if heard else ())
        return [
            torch.as_tensor(self.audio_tower(codes.to(self.device), None if features is None else next(vectors)))
            for codes, features in audios
        ]

    def embed_audio(self, codes: Tensor, features: Tensor | None) -> Tensor:
        """`embed_audios` of one."""
        return self.embed_audios([(codes, features)])[0]

    @property
    def chunk_slots(self) -> int:
        """Slots of a whole chunk of the audio encoder, where chunks and groups end together; else 0."""
        vectors, group = self.continuous_audio_tower.chunk_vectors, self.config.audio.group_size
        return vectors // group if vectors % group == 0 else 0

    def embed_chunks(self, mel: Tensor, frames: Tensor, alone: Tensor, codes: Tensor) -> Tensor:
        """Chunks of audios (see `ContinuousAudioEncoder.encode_chunks`) and their codes int64 [C, chunk_slots, group],
        padded with the pad code -> slots [C, chunk_slots, H]. The same as `embed_audios`, in shapes that lengths do not
        change."""
        vectors = self.continuous_audio_tower.encode_chunks(mel, frames, alone)
        return self.audio_tower.joined(codes, vectors.reshape(*codes.shape, -1))

    def merge(self, ids: Tensor, audios: Sequence[Tensor]) -> Tensor:
        """Text ids int64 [L] with the vectors of each audio on its slots -> backbone inputs [L, H]."""
        embeds = self.embed_text(ids)
        slots = ids == self.config.audio_id
        found = int(slots.sum())
        given = sum(audio.shape[0] for audio in audios)
        if found != given:
            raise ValueError(f"the prompt has {found} audio slots and the audios fill {given}: they must be equal")
        if given:
            embeds[slots] = torch.cat(list(audios)).to(embeds)
        return embeds
