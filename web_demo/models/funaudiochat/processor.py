"""Messages and sound to what the model reads: text ids with audio slots, speech codes, log-mel features."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoTokenizer, WhisperFeatureExtractor

from utils.constant import CODES_PER_SECOND
from web_demo.audio.samples import Samples
from web_demo.errors import SetupError
from web_demo.models.funaudiochat.config import FunAudioChatConfig, read_config

Message = tuple[str, str]  # role ("system", "user", "assistant", …), content

_STFT_TAIL_FRAMES = 3  # silence after the last frame that its window, or the reflection at the end, can metadata


@dataclass(frozen=True, eq=False)
class PromptAudio:
    """One audio of a prompt: speech codes int64 [n], and mel features [mel, frames] when there is sound.

    `key` is a digest of both, so that equal audios are recognised without comparing tensors.
    """

    codes: Tensor
    features: Tensor | None
    slots: int
    key: str


@dataclass(frozen=True, eq=False)
class Prompt:
    """Text ids with the audio slots expanded, and the audios in the order of their slots."""

    ids: tuple[int, ...]
    audios: tuple[PromptAudio, ...] = ()


@dataclass(frozen=True, eq=False)
class AudioInput:
    """Sound at `Processor.sample_rate` (or None: codes only), and its speech codes as text or as a number of pads."""

    samples: Samples | None
    codes: str | int


def rounded_up_codes(samples: int, rate: int) -> int:
    """Codes for a sound of a conversation: 25 a second, a started one counts."""
    return -(-samples * CODES_PER_SECOND // rate)


def truncated_codes(samples: int, rate: int) -> int:
    """Codes for a bare array, as the reference processor counts them: in binary64, truncated (18560 at 16 kHz: 28)."""
    return int(samples / rate * CODES_PER_SECOND)


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _chat_template(folder: Path, tokenizer: Any) -> str:
    jinja = folder / "chat_template.jinja"
    if jinja.is_file():
        return jinja.read_text(encoding="utf-8")
    template = _json(folder / "chat_template.json").get("chat_template") or tokenizer.chat_template
    if not isinstance(template, str):
        raise SetupError(f"{folder} has no chat template (chat_template.jinja)")
    return template


class Processor:
    """Tokenizers and feature extractor of one checkpoint folder. Read-only after construction, any thread may use it."""

    def __init__(self, folder: Path, config: FunAudioChatConfig | None = None, *, chunk_length_s: int | None = None):
        self.config = config or read_config(folder)
        for needed in (folder / "preprocessor_config.json", folder / "speech_tokenizer"):
            if not needed.exists():
                raise SetupError(f"{needed} is missing: the checkpoint folder is not complete")
        self.tokenizer = AutoTokenizer.from_pretrained(folder, config=self.config.text)
        self.speech_tokenizer = AutoTokenizer.from_pretrained(folder / "speech_tokenizer", config=self.config.text)
        overrides: dict[str, Any] = {} if chunk_length_s is None else {"chunk_length": chunk_length_s}
        self.extractor: Any = WhisperFeatureExtractor.from_pretrained(folder, **overrides)
        self.template = _chat_template(folder, self.tokenizer)
        tokens = _json(folder / "processor_config.json")
        self.audio_token: str = tokens.get("audio_token", "<|AUDIO|>")
        self.audio_bos_token: str = tokens.get("audio_bos_token", "<|audio_bos|>")
        self.audio_eos_token: str = tokens.get("audio_eos_token", "<|audio_eos|>")
        self.audio_pad_token: str = tokens.get("audio_pad_token", "<|audio_pad|>")
        found = self.tokenizer.convert_tokens_to_ids(self.audio_token)
        if found != self.config.audio_id:
            raise SetupError(
                f"{self.audio_token} is id {found} for the tokenizer in {folder} and {self.config.audio_id} in config.json"
            )

    @property
    def sample_rate(self) -> int:
        return int(self.extractor.sampling_rate)

    @property
    def audio_template(self) -> str:
        """What a message holds where the user speaks."""
        return self.audio_bos_token + self.audio_token + self.audio_eos_token

    def render(self, messages: Sequence[Message]) -> str:
        """The conversation as the model's chat format, up to where the answer begins."""
        turns = [{"role": role, "content": content} for role, content in messages]
        text = self.tokenizer.apply_chat_template(
            turns, chat_template=self.template, tokenize=False, add_generation_prompt=True
        )
        return str(text)

    def features(self, samples: Samples) -> Tensor:
        """Whisper log-mel of a sound at `sample_rate`: float32 [mel, ceil(samples / hop)], cut at the chunk length.

        The reference pads to the chunk length before the transform. Silence past the window of the last frame changes
        no kept value, so only a few frames of it are computed.
        """
        hop, limit = int(self.extractor.hop_length), int(self.extractor.n_samples)
        kept = samples[:limit]
        frames = -(-len(kept) // hop)
        padded_length = min(limit, (frames + _STFT_TAIL_FRAMES) * hop)
        padded = np.pad(kept, (0, padded_length - len(kept)))
        out = self.extractor(padded, sampling_rate=self.sample_rate, padding="longest", return_tensors="np")
        return torch.from_numpy(np.ascontiguousarray(out["input_features"][0][:, :frames], dtype=np.float32))

    def audio(self, given: AudioInput) -> PromptAudio:
        """Raises ValueError when nothing is left to hear."""
        text = self.audio_pad_token * given.codes if isinstance(given.codes, int) else given.codes
        codes = torch.tensor(self.speech_tokenizer(text)["input_ids"], dtype=torch.long)
        if not len(codes):
            raise ValueError("the audio is too short: it makes no speech code (40 ms each)")
        features = None if given.samples is None else self.features(given.samples)
        digest = hashlib.sha256(codes.numpy().tobytes())
        if features is not None:
            digest.update(features.numpy().tobytes())
        slots = -(-len(codes) // self.config.audio.group_size)
        return PromptAudio(codes, features, slots, digest.hexdigest())

    def expand(self, text: str, audios: Sequence[PromptAudio]) -> str:
        """Repeat the audio token once a slot; bos and eos are added around it only where the text has neither."""
        pieces = text.split(self.audio_token)
        if len(pieces) - 1 != len(audios):
            raise ValueError(f"the text has {len(pieces) - 1} {self.audio_token} and there are {len(audios)} audios")
        out = pieces[0]
        for before, after, audio in zip(pieces[:-1], pieces[1:], audios, strict=True):
            slots = self.audio_token * audio.slots
            if not before.endswith(self.audio_bos_token) and not after.startswith(self.audio_eos_token):
                slots = self.audio_bos_token + slots + self.audio_eos_token
            out += slots + after
        return out

    def prompt(self, text: str, audios: Sequence[AudioInput | PromptAudio] = ()) -> Prompt:
        """A rendered conversation with its audios; raises ValueError when their numbers differ."""
        heard = [audio if isinstance(audio, PromptAudio) else self.audio(audio) for audio in audios]
        ids = self.tokenizer(self.expand(text, heard))["input_ids"]
        return Prompt(tuple(ids), tuple(heard))
