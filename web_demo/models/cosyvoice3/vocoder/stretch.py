"""Speaking speed: the mel of a whole utterance stretched along time."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def stretched(mel: Tensor, speed: float) -> Tensor:
    """[B, mel, T] -> [B, mel, int(T / speed)] by linear interpolation; `speed` 1 gives the mel itself."""
    if speed == 1.0:
        return mel
    return F.interpolate(mel, size=max(1, int(mel.shape[2] / speed)), mode="linear")
