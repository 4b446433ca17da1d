"""The sizes of a CosyVoice3 model, read from its directory; nothing in the file is ever executed.

`cosyvoice3.yaml` is a hyperpyyaml file whose tags (`!new:`, `!name:`, `!apply:`) name Python objects to build. Here a
tag is only a label: the mapping under it is read as plain data, and references (`!ref <key>`) are looked up.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml  # type: ignore[import-untyped,unused-ignore]

from web_demo.errors import SetupError

YAML_NAME = "cosyvoice3.yaml"
QWEN_DIR = "CosyVoice-BlankEN"
MAX_FRAMES = 15_000  # length of the fixed noise: 300 s at 50 frames a second, the prompt included


@dataclass(frozen=True)
class DiTConfig:
    """The estimator: a diffusion transformer over mel frames."""

    dim: int
    depth: int
    heads: int
    dim_head: int
    ff_mult: int
    mel_dim: int
    mu_dim: int
    spk_dim: int
    static_chunk_size: int  # frames of one attention block


@dataclass(frozen=True)
class FlowConfig:
    """Speech tokens to mel."""

    input_size: int
    output_size: int
    spk_embed_dim: int
    vocab_size: int
    token_mel_ratio: int
    pre_lookahead_len: int
    lookahead_channels: int
    cfg_rate: float
    dit: DiTConfig

    @property
    def block_tokens(self) -> int:
        return self.dit.static_chunk_size // self.token_mel_ratio


@dataclass(frozen=True)
class HiftConfig:
    """Mel to wave."""

    in_channels: int
    base_channels: int
    nb_harmonics: int
    sampling_rate: int
    nsf_alpha: float
    nsf_sigma: float
    nsf_voiced_threshold: float
    upsample_rates: tuple[int, ...]
    upsample_kernel_sizes: tuple[int, ...]
    n_fft: int
    hop_len: int
    resblock_kernel_sizes: tuple[int, ...]
    resblock_dilation_sizes: tuple[tuple[int, ...], ...]
    source_resblock_kernel_sizes: tuple[int, ...]
    source_resblock_dilation_sizes: tuple[tuple[int, ...], ...]
    lrelu_slope: float
    audio_limit: float
    conv_pre_look_right: int
    f0_channels: int

    @property
    def steps_per_frame(self) -> int:
        """STFT steps of one mel frame."""
        steps = 1
        for rate in self.upsample_rates:
            steps *= rate
        return steps

    @property
    def samples_per_frame(self) -> int:
        return self.steps_per_frame * self.hop_len


@dataclass(frozen=True)
class LmConfig:
    """Text to speech tokens: a Qwen2 body with a table and a head of speech tokens."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    rms_norm_eps: float
    rope_theta: float
    vocab_size: int
    speech_token_size: int
    top_p: float
    top_k: int
    win_size: int
    tau_r: float

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads


@dataclass(frozen=True)
class MelConfig:
    """The 24 kHz mel of prompts."""

    n_fft: int
    num_mels: int
    sampling_rate: int
    hop_size: int
    win_size: int
    fmin: float
    fmax: float | None


@dataclass(frozen=True)
class CosyVoice3Config:
    sample_rate: int
    flow: FlowConfig
    hift: HiftConfig
    lm: LmConfig
    mel: MelConfig


class _PlainLoader(yaml.SafeLoader):  # type: ignore[misc,unused-ignore]
    """SafeLoader that reads any tagged node as the plain mapping, list or string under the tag."""


def _plain(loader: yaml.SafeLoader, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.ScalarNode)
    return loader.construct_scalar(node)


def _reference(loader: yaml.SafeLoader, node: yaml.Node) -> _Reference:
    assert isinstance(node, yaml.ScalarNode)
    return _Reference(str(loader.construct_scalar(node)))


@dataclass(frozen=True)
class _Reference:
    """`!ref <a>` or `!ref <a> * <b>`: all that released files use."""

    expression: str

    def value(self, top: dict[str, Any]) -> Any:
        factors = []
        for part in self.expression.split("*"):
            name = re.fullmatch(r"<(\w+)>", part.strip())
            if name is None or name[1] not in top:
                raise SetupError(f"{YAML_NAME}: cannot read the reference {self.expression!r}")
            factors.append(_resolved(top[name[1]], top))
        if len(factors) == 1:
            return factors[0]
        product = 1
        for factor in factors:
            product *= factor
        return product


_PlainLoader.add_constructor("!ref", _reference)
_PlainLoader.add_multi_constructor("!", _plain)


def _resolved(value: Any, top: dict[str, Any]) -> Any:
    """`value` with its references replaced and its lists frozen."""
    if isinstance(value, _Reference):
        return value.value(top)
    if isinstance(value, dict):
        return {key: _resolved(item, top) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_resolved(item, top) for item in value)
    return value


_Section = TypeVar("_Section")


def _section(kind: type[_Section], data: dict[str, Any], **extra: Any) -> _Section:
    """`kind` filled from the keys of `data` that it knows, plus `extra`; a missing key is an error that names it."""
    values = {**data, **extra}
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    missing = [name for name in names if name not in values]
    if missing:
        raise SetupError(f"{YAML_NAME} or {QWEN_DIR}/config.json lacks {', '.join(missing)} for {kind.__name__}")
    return kind(**{name: values[name] for name in names})


def read_yaml(text: str) -> dict[str, Any]:
    """The file as plain data, tags dropped and references resolved; only the entries that synthesis needs."""
    top = yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader: it builds dicts, lists and strings only
    if not isinstance(top, dict):
        raise SetupError(f"{YAML_NAME} holds {type(top).__name__}, not a mapping")
    wanted = ("sample_rate", "llm", "flow", "hift", "feat_extractor")
    missing = [key for key in wanted if key not in top]
    if missing:
        raise SetupError(f"{YAML_NAME} lacks the entries {', '.join(missing)}")
    return {key: _resolved(top[key], top) for key in wanted}


def load_config(directory: Path) -> CosyVoice3Config:
    """Read `cosyvoice3.yaml` and the Qwen2 configuration of a model directory; raises SetupError with what is wrong."""
    try:
        data = read_yaml((directory / YAML_NAME).read_text("utf-8"))
        qwen = json.loads((directory / QWEN_DIR / "config.json").read_text("utf-8"))
    except (OSError, yaml.YAMLError, json.JSONDecodeError) as error:
        raise SetupError(f"{directory} is not a CosyVoice3 model directory: {error}") from error
    flow, hift, llm = data["flow"], data["hift"], data["llm"]
    try:
        return CosyVoice3Config(
            sample_rate=data["sample_rate"],
            flow=_section(
                FlowConfig,
                flow,
                lookahead_channels=flow["pre_lookahead_layer"]["channels"],
                cfg_rate=flow["decoder"]["cfm_params"]["content"]["inference_cfg_rate"],
                dit=_section(DiTConfig, flow["decoder"]["estimator"]),
            ),
            hift=_section(HiftConfig, hift, **hift["istft_params"], f0_channels=hift["f0_predictor"]["cond_channels"]),
            lm=_section(LmConfig, {**qwen, **llm["sampling"]}, speech_token_size=llm["speech_token_size"]),
            mel=_section(MelConfig, data["feat_extractor"]),
        )
    except (KeyError, TypeError) as error:
        raise SetupError(f"{directory / YAML_NAME} lacks an entry that CosyVoice3 needs: {error}") from error
