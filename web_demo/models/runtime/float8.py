"""8 bits instead of 16: half the bytes to keep and to read for every frame.

The format is e4m3 (Micikevicius et al. 2022, "FP8 formats for deep learning"). A layer's weights have one float32 scale an
output channel; what they are multiplied with, and the sums, keep the model's precision. Keys and values of a cache have no
scale: keys are normalised, values of this size are far inside the format's range, and what is not is cut to its ends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor

FORMAT = torch.float8_e4m3fn
LARGEST = torch.finfo(FORMAT).max
_ROUNDED = re.compile(
    r"(language_model\.model|audio_invert_tower\.crq_transformer)\.layers\.\d+\.(self_attn|mlp)\.\w+_proj\.weight"
)


@dataclass(frozen=True, eq=False)
class Float8Weight:
    """A matrix: values float8 [out, in], scale float32 [out]."""

    values: Tensor
    scale: Tensor


def is_rounded(name: str) -> bool:
    """Whether a tensor of the checkpoint may be kept in 8 bits: the projections of both decoders' layers, by far the most
    bytes of a frame. Embeddings, heads and what joins the parts decide over tokens directly, and stay as they are."""
    return _ROUNDED.fullmatch(name) is not None


def rounded(weight: Tensor) -> Float8Weight:
    """[out, in] in any float format -> the nearest in 8 bits, the largest of each row at the end of the range."""
    wide = weight.float()
    scale = wide.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / LARGEST
    return Float8Weight((wide / scale[:, None]).to(FORMAT), scale)


def widened(weight: Float8Weight) -> Tensor:
    """The matrix that is really multiplied with, float32 [out, in]."""
    return weight.values.float() * weight.scale[:, None]
