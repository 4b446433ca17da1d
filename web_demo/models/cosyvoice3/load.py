"""Flow and vocoder from a public CosyVoice3 directory, ready to run: names mapped, projections fused, tables made."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from web_demo.errors import SetupError
from web_demo.models.runtime.device import prepare
from web_demo.models.runtime.kernels.best import runs_triton

from .config import MAX_FRAMES, CosyVoice3Config, load_config
from .flow.flow import Flow
from .flow.noise import FixedNoise, fixed_noise
from .vocoder.vocoder import Vocoder
from .weights import Weights, fold_weight_norm, read_weights, take

_ESTIMATOR = "decoder.estimator."


def fill(module: nn.Module, weights: Weights, what: str) -> None:
    """Strict load; raises SetupError that names what is missing or left over."""
    try:
        module.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise SetupError(f"{what} does not fit cosyvoice3.yaml: {error}") from error
    module.eval().requires_grad_(False)


def flow_weights(raw: Weights, depth: int) -> Weights:
    """Names of flow.pt to names of `Flow`, query, key and value in one projection."""
    mapped = {name: value for name, value in raw.items() if not name.startswith(_ESTIMATOR)}
    estimator = take(raw, _ESTIMATOR)
    prefixes = {
        "time_embed.": "time_embed.",
        "input_embed.proj.": "proj.",
        "input_embed.conv_pos_embed.conv1.0.": "conv_pos_embed.convs.0.",
        "input_embed.conv_pos_embed.conv2.0.": "conv_pos_embed.convs.1.",
        "norm_out.linear.": "norm_out.",
        "proj_out.": "proj_out.",
    }
    for layer in range(depth):
        old = f"transformer_blocks.{layer}."
        prefixes[f"{old}attn_norm.linear."] = f"attn_norms.{layer}."
        prefixes[f"{old}attn.to_out.0."] = f"blocks.{layer}.to_out."
        prefixes[f"{old}ff.ff.0.0."] = f"blocks.{layer}.ff_in."
        prefixes[f"{old}ff.ff.2."] = f"blocks.{layer}.ff_out."
        for kind in ("weight", "bias"):
            parts = [estimator.pop(f"{old}attn.to_{part}.{kind}") for part in "qkv"]
            mapped[f"estimator.blocks.{layer}.qkv.{kind}"] = torch.cat(parts)
    estimator.pop("rotary_embed.inv_freq", None)  # a constant, computed where it is used
    for name, value in estimator.items():
        prefix = next((old for old in prefixes if name.startswith(old)), None)
        if prefix is None:
            raise SetupError(f"flow.pt holds the unknown tensor {_ESTIMATOR}{name}")
        mapped[f"estimator.{prefixes[prefix]}{name.removeprefix(prefix)}"] = value
    return mapped


def vocoder_weights(raw: Weights) -> Weights:
    """Names of hift.pt to names of `Vocoder`, weight norm folded."""
    folded = fold_weight_norm(raw)
    own = ("f0_predictor.", "m_source.")
    return {name if name.startswith(own) else f"decoder.{name}": value for name, value in folded.items()}


def finish_flow(flow: Flow, noise: FixedNoise, device: str, dtype: torch.dtype) -> Flow:
    """Make the tables in float32, then move to the device and the dtype (times, noise and state stay float32)."""
    prepare(device)
    flow.noise = noise.start
    flow.estimator.tabulate(flow.times, dtype)
    start = flow.noise
    flow.to(device=device, dtype=dtype)
    flow.noise = start.to(device)
    if runs_triton(torch.device(device)):
        from .flow.fused import TritonFlowKernels

        flow.estimator.use(TritonFlowKernels())
    return flow


def finish_vocoder(vocoder: Vocoder, noise: FixedNoise, device: str, max_frames: int = MAX_FRAMES) -> Vocoder:
    """Mix the noise and move to the device; the vocoder stays float32, its pitch float64."""
    vocoder.m_source.mix_noise(noise.source(max_frames * vocoder.config.samples_per_frame))
    if runs_triton(torch.device(device)):
        from .vocoder.fused import TritonTails

        vocoder.tails = TritonTails
    return vocoder.to(device)


def load_flow(
    directory: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32, config: CosyVoice3Config | None = None
) -> Flow:
    config = config or load_config(directory)
    flow = Flow(config.flow)
    raw = read_weights(directory / "flow.pt")
    try:
        weights = flow_weights(raw, config.flow.dit.depth)
    except KeyError as error:
        raise SetupError(f"flow.pt lacks {error} that cosyvoice3.yaml asks for") from error
    fill(flow, weights, "flow.pt")
    return finish_flow(flow, fixed_noise(config), device, dtype)


def load_vocoder(
    directory: Path, *, device: str = "cpu", max_frames: int = MAX_FRAMES, config: CosyVoice3Config | None = None
) -> Vocoder:
    config = config or load_config(directory)
    vocoder = Vocoder(config.hift)
    fill(vocoder, vocoder_weights(read_weights(directory / "hift.pt")), "hift.pt")
    return finish_vocoder(vocoder, fixed_noise(config), device, max_frames)
