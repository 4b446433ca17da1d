"""Checkpoint folder to model: memory-mapped safetensors, each tensor converted on its way to the device, once."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

from web_demo.errors import SetupError
from web_demo.models.funaudiochat.config import FunAudioChatConfig, read_config
from web_demo.models.funaudiochat.model import FunAudioChat
from web_demo.models.runtime.device import prepare
from web_demo.models.runtime.float8 import is_rounded, rounded

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]  # tensors placed, tensors in all

SCALE = "weight_scale"  # beside a weight in 8 bits (see float8)
TIED_HEAD = "audio_invert_tower.lm_head.weight"  # always the encoder's codebook, so a file may have it or not
LM_HEAD = "language_model.lm_head.weight"


def shard_paths(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint; raises SetupError naming one that is missing."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        if any(Path(name).name != name for name in names):
            raise SetupError(f"{index} names a file outside {folder}")
    else:
        names = ["model.safetensors"]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise SetupError(f"{folder} lacks {', '.join(missing)}: download the checkpoint again")
    return [folder / name for name in names]


def _stored_tensors(folder: Path, device: torch.device) -> Iterator[tuple[str, Tensor]]:
    for path in shard_paths(folder):
        logger.info("loading %s", path)
        try:
            with safe_open(str(path), framework="pt", device=str(device)) as shard:
                for name in shard.keys():  # noqa: SIM118  (safe_open is no mapping)
                    yield name, shard.get_tensor(name)
        except SafetensorError as error:
            raise SetupError(f"{path} is not a whole safetensors file ({error}): download it again") from error


def _skeleton(config: FunAudioChatConfig, device: torch.device) -> FunAudioChat:
    """The model without memory for its weights; only the rope tables, which no file holds, are real."""
    with torch.device("meta"):
        model = FunAudioChat(config)
    with torch.device(device):
        model.language_model.model.rotary_emb = Qwen3RotaryEmbedding(config.text)
        model.audio_invert_tower.crq_transformer.rotary_emb = Qwen3RotaryEmbedding(config.crq)
    if config.text.tie_word_embeddings:
        model.language_model.lm_head.weight = model.language_model.model.embed_tokens.weight
    return model.eval()


def _place(model: nn.Module, name: str, tensor: Tensor, *, float8: bool) -> None:
    parent, _, leaf = name.rpartition(".")
    module = model.get_submodule(parent)
    if float8 and is_rounded(name):
        weight = rounded(tensor)
        module.register_buffer(SCALE, weight.scale)
        tensor = weight.values
    setattr(module, leaf, nn.Parameter(tensor, requires_grad=False))


def load_model(
    folder: Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    float8: bool = False,
    progress: Progress | None = None,
) -> tuple[FunAudioChat, FunAudioChatConfig]:
    """Read a checkpoint folder. Raises SetupError for a file or a tensor that is missing, misshapen or damaged.

    `float8`: the decoder layers' weights in 8 bits, rounded one by one as they are read; such a model runs in the engine
    only, not on the reference path.
    """
    device = torch.device(device)
    prepare(device)
    config = read_config(folder)
    model = _skeleton(config, device)
    wanted = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    total = len(wanted)
    unknown = []
    for name, tensor in _stored_tensors(folder, device):
        if name == TIED_HEAD or (name == LM_HEAD and config.text.tie_word_embeddings):
            continue
        shape = wanted.pop(name, None)
        if shape is None:
            unknown.append(name)
            continue
        if tuple(tensor.shape) != shape:
            raise SetupError(f"{name} has shape {list(tensor.shape)} in {folder}, config.json asks for {list(shape)}")
        _place(model, name, tensor.to(dtype), float8=float8)
        if progress is not None:
            progress(total - len(wanted), total)
    if config.text.tie_word_embeddings:
        model.language_model.lm_head.weight = model.language_model.model.embed_tokens.weight
        wanted.pop(LM_HEAD, None)
    if wanted:
        some = ", ".join(sorted(wanted)[:5])
        raise SetupError(
            f"{len(wanted)} tensors are missing in {folder} (first: {some}): download the checkpoint again"
        )
    if unknown:
        logger.warning("%s holds %d tensors that this model does not use, first %s", folder, len(unknown), unknown[0])
    return model, config


def random_model(
    config: FunAudioChatConfig,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    float8: bool = False,
    seed: int = 0,
) -> FunAudioChat:
    """The model with random weights, made on the device: for speed and memory, never for what it says."""
    device = torch.device(device)
    prepare(device)
    model = _skeleton(config, device)
    generator = torch.Generator(device=device).manual_seed(seed)
    for name, parameter in list(model.named_parameters()):
        tensor = torch.empty(parameter.shape, dtype=dtype, device=device)
        if "norm" in name and name.endswith("weight"):
            tensor.fill_(1.0)
        else:
            tensor.normal_(0.0, 0.02, generator=generator)
        _place(model, name, tensor, float8=float8)
    if config.text.tie_word_embeddings:
        model.language_model.lm_head.weight = model.language_model.model.embed_tokens.weight
    return model
