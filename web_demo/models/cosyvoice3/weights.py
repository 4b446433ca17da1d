"""State dicts of a model directory: read without unpickling objects, weight norm folded, dtypes as asked."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor

from web_demo.errors import SetupError

Weights = dict[str, Tensor]

_G = ".parametrizations.weight.original0"
_V = ".parametrizations.weight.original1"


def read_weights(path: Path) -> Weights:
    """A plain state dict on the CPU. Raises SetupError when the file is missing or holds more than tensors."""
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise SetupError(f"cannot read the weights {path}: {error}") from error
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise SetupError(f"{path} is not a state dict: expected a mapping of names to tensors")
    return {str(name).removeprefix("generator."): value for name, value in loaded.items()}


def fold_weight_norm(weights: Weights) -> Weights:
    """Replace every pair (g, v) by the weight g * v / |v|, the norm taken over all but the output channel."""
    folded = {}
    for name, value in weights.items():
        if name.endswith(_V):
            direction, magnitude = value.double(), weights[name.removesuffix(_V) + _G].double()
            norm = direction.flatten(1).norm(dim=1).view(-1, 1, 1)
            folded[name.removesuffix(_V) + ".weight"] = (magnitude * direction / norm).to(value.dtype)
        elif not name.endswith(_G):
            folded[name] = value
    return folded


def take(weights: Weights, prefix: str) -> Weights:
    """The entries under `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
