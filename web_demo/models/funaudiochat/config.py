"""The numbers of a Fun-Audio-Chat checkpoint, read from its `config.json`; nothing about a model is written in code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import Qwen3Config

from web_demo.errors import SetupError


@dataclass(frozen=True)
class AudioConfig:
    """Both audio encoders and the codebook that the user's and the model's speech share."""

    mel_bins: int
    d_model: int
    layers: int
    heads: int
    ffn_dim: int
    n_window: int  # the encoder attends inside chunks of 2 * n_window mel frames
    max_source_positions: int
    activation: str
    output_dim: int
    group_size: int  # speech codes per frame of the backbone
    codebook_size: int
    bos_id: int
    eos_id: int
    pad_id: int
    continuous_mode: str  # "replace" or "add": what the continuous vector does to the discrete one

    @property
    def vocoder_codes(self) -> int:
        """Codes below this number are sound; the special ones (bos, eos, sil, pad) lie at the end of the codebook."""
        return min(self.bos_id, self.eos_id, self.pad_id)


@dataclass(frozen=True)
class FunAudioChatConfig:
    text: Any  # transformers.Qwen3Config of the backbone
    crq: Any  # transformers.Qwen3Config of the speech head's transformer
    audio: AudioConfig
    audio_id: int  # text id of the slot that audio vectors are put into
    audio_bos_id: int
    audio_eos_id: int
    sil_id: int | None
    text_eos_id: int
    text_pad_id: int

    @property
    def hidden_size(self) -> int:
        return int(self.text.hidden_size)


def _decoder(values: Mapping[str, Any]) -> Any:
    known = {key: value for key, value in values.items() if key not in {"model_type", "architectures"}}
    config: Any = Qwen3Config(**known)
    config._attn_implementation = "sdpa"
    return config


def _audio(values: Mapping[str, Any], hidden_size: int) -> AudioConfig:
    config = AudioConfig(
        mel_bins=values.get("num_mel_bins", 128),
        d_model=values["d_model"],
        layers=values["encoder_layers"],
        heads=values["encoder_attention_heads"],
        ffn_dim=values["encoder_ffn_dim"],
        n_window=values.get("n_window", 100),
        max_source_positions=values.get("max_source_positions", 1500),
        activation=values.get("activation_function", "gelu"),
        output_dim=values["output_dim"],
        group_size=values.get("group_size", 5),
        codebook_size=values["codebook_size"],
        bos_id=values["bos_token_id"],
        eos_id=values["eos_token_id"],
        pad_id=values["pad_token_id"],
        continuous_mode=values.get("continuous_features_mode", "replace"),
    )
    if config.output_dim != hidden_size:
        raise SetupError(f"audio output_dim {config.output_dim} differs from the text hidden_size {hidden_size}")
    if config.continuous_mode not in ("replace", "add"):
        raise SetupError(f"continuous_features_mode must be 'replace' or 'add', got {config.continuous_mode!r}")
    return config


def parse_config(values: Mapping[str, Any]) -> FunAudioChatConfig:
    """The record behind a `config.json`; raises SetupError with the name of a field that is missing."""
    try:
        text = dict(values["text_config"])
        audio = values["audio_config"]
        return FunAudioChatConfig(
            text=_decoder(text),
            crq=_decoder(audio["crq_transformer_config"]),
            audio=_audio(audio, text["hidden_size"]),
            audio_id=values["audio_token_index"],
            audio_bos_id=text["audio_bos_index"],
            audio_eos_id=text["audio_eos_index"],
            sil_id=text.get("sil_index"),
            text_eos_id=text["eos_token_id"],
            text_pad_id=text["pad_token_id"] if text.get("pad_token_id") is not None else text["eos_token_id"],
        )
    except KeyError as error:
        raise SetupError(
            f"config.json lacks {error.args[0]!r}: it is not one of a Fun-Audio-Chat checkpoint"
        ) from error


def read_config(folder: Path) -> FunAudioChatConfig:
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SetupError(f"{path} is missing: {folder} is not a checkpoint folder") from error
    except json.JSONDecodeError as error:
        raise SetupError(f"{path} is not JSON: {error}") from error
    return parse_config(values)
