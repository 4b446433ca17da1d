"""Voices: what a speaker needs to be spoken with, by name, in the file format of the reference (`spk2info.pt`)."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from web_demo.errors import NotFound, SetupError

SPEAKERS_NAME = "spk2info.pt"
DEFAULT_VOICE = "中文女"
MEL_BINS = 80


@dataclass(frozen=True, eq=False)
class Voice:
    """A speaker vector, and for a cloned voice what was recorded: its speech tokens, mel and text ids."""

    embedding: Tensor  # [1, 192]
    prompt_tokens: tuple[int, ...] = ()
    prompt_mel: Tensor = field(default_factory=lambda: torch.zeros(0, MEL_BINS))  # [2 * tokens, mel]
    prompt_text: tuple[int, ...] = ()

    @property
    def cloned(self) -> bool:
        return bool(self.prompt_tokens)


class VoiceStore:
    def __init__(self, voices: Mapping[str, Voice] | None = None) -> None:
        self._voices = dict(voices or {})

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._voices)

    def default(self) -> str:
        """中文女 where the file has it, else its first voice; "" for an empty store."""
        return DEFAULT_VOICE if DEFAULT_VOICE in self._voices else next(iter(self._voices), "")

    def get(self, name: str) -> Voice:
        """A voice by name, "" being the default; raises NotFound with the known names."""
        voice = self._voices.get(name or self.default())
        if voice is None:
            known = ", ".join(self._voices) or "none, because the model directory has no speaker file"
            raise NotFound(f"there is no voice {name[:100]!r}; there are: {known}")
        return voice

    def add(self, name: str, voice: Voice) -> None:
        if not name:
            raise ValueError("a voice needs a name")
        self._voices[name] = voice

    def save(self, path: Path) -> None:
        """Write the file, tensors only, so that it can be read without unpickling objects."""
        torch.save({name: _record(voice) for name, voice in self._voices.items()}, path)


def load_voices(path: Path) -> VoiceStore:
    """Read a speaker file; an absent one is an empty store. Raises SetupError for anything else than such a file."""
    if not path.is_file():
        return VoiceStore()
    try:
        records = torch.load(path, map_location="cpu", weights_only=True)
        return VoiceStore({str(name): _voice(record) for name, record in records.items()})
    except (OSError, RuntimeError, AttributeError, KeyError, pickle.UnpicklingError) as error:
        raise SetupError(f"cannot read the speaker file {path}: {error}") from error


def _voice(record: Mapping[str, Tensor]) -> Voice:
    embedding = record["embedding"] if "embedding" in record else record["flow_embedding"]
    if "flow_prompt_speech_token" not in record:
        return Voice(embedding.float())
    return Voice(
        embedding.float(),
        tuple(record["flow_prompt_speech_token"].flatten().tolist()),
        record["prompt_speech_feat"][0].float(),
        tuple(record["prompt_text"].flatten().tolist()),
    )


def _record(voice: Voice) -> dict[str, Tensor]:
    if not voice.cloned:
        return {"embedding": voice.embedding}
    tokens = torch.tensor([voice.prompt_tokens], dtype=torch.int32)
    text = torch.tensor([voice.prompt_text], dtype=torch.int32)
    count = torch.tensor([tokens.shape[1]], dtype=torch.int32)
    return {
        "prompt_text": text,
        "prompt_text_len": torch.tensor([text.shape[1]], dtype=torch.int32),
        "llm_prompt_speech_token": tokens,
        "llm_prompt_speech_token_len": count,
        "flow_prompt_speech_token": tokens,
        "flow_prompt_speech_token_len": count,
        "prompt_speech_feat": voice.prompt_mel[None],
        "prompt_speech_feat_len": torch.tensor([len(voice.prompt_mel)], dtype=torch.int32),
        "llm_embedding": voice.embedding,
        "flow_embedding": voice.embedding,
    }
