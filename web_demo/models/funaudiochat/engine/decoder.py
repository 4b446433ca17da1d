"""A Qwen3 stack of transformers made ready for serving: fused projections and paged caches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from web_demo.errors import SetupError
from web_demo.models.funaudiochat.loader import SCALE
from web_demo.models.runtime.decoder import Decoder, LayerWeights
from web_demo.models.runtime.float8 import Float8Weight
from web_demo.models.runtime.kernels.base import HeadShape, Kernels, LayerCache, Weight


def _fused_before(weights: list[Tensor]) -> Tensor | None:
    """The whole of which these weights already are consecutive rows, when another engine fused them."""
    first, rows, columns = weights[0], 0, weights[0].shape[1]
    for weight in weights:
        same = weight.untyped_storage().data_ptr() == first.untyped_storage().data_ptr() and weight.is_contiguous()
        if not same or weight.storage_offset() != first.storage_offset() + rows * columns:
            return None
        rows += weight.shape[0]
    return first.detach().as_strided((rows, columns), (columns, 1))


def _fuse(*linears: Any) -> Weight:
    """One weight of several projections of the same input; the originals become views of it, so nothing is doubled."""
    values = _fused_values(linears)
    if not hasattr(linears[0], SCALE):
        return values
    return Float8Weight(values, torch.cat([getattr(linear, SCALE) for linear in linears]))


def _fused_values(linears: Sequence[Any]) -> Tensor:
    weights = [linear.weight for linear in linears]
    fused = _fused_before(weights)
    if fused is None:
        fused = _joined(weights)
        for linear, part in zip(linears, torch.split(fused, [len(weight) for weight in weights]), strict=True):
            linear.weight = nn.Parameter(part, requires_grad=False)
    return fused


def _joined(weights: list[Tensor]) -> Tensor:
    """As bytes, because not every device joins 8-bit floats."""
    return torch.cat([weight.detach().view(torch.uint8) for weight in weights]).view(weights[0].dtype)


def _layer_weights(layer: Any) -> LayerWeights:
    attention, mlp = layer.self_attn, layer.mlp
    return LayerWeights(
        input_norm=layer.input_layernorm.weight,
        qkv=_fuse(attention.q_proj, attention.k_proj, attention.v_proj),
        head_norms=(attention.q_norm.weight, attention.k_norm.weight),
        out=_fuse(attention.o_proj),
        post_norm=layer.post_attention_layernorm.weight,
        gate_up=_fuse(mlp.gate_proj, mlp.up_proj),
        down=_fuse(mlp.down_proj),
    )


def _rope_table(stack: Any, positions: int, device: torch.device) -> Tensor:
    """Cosines and sines of every position, float32 [positions, 2, head_dim], from the stack's own rotary module."""
    like = torch.zeros(1, device=device)
    cos, sin = stack.rotary_emb(like, torch.arange(positions, device=device)[None])
    return torch.stack([cos[0], sin[0]], dim=1).float().contiguous()


class PagedDecoder(Decoder):
    """Weights of a transformers Qwen3Model (shared, not copied) with caches of `pages * page_size` positions, in the
    weights' precision or in `cache_dtype`.

    The stack stays usable by the reference path: its projections become views of the fused ones.
    """

    def __init__(
        self,
        stack: Any,
        kernels: Kernels,
        *,
        pages: int,
        page_size: int,
        max_positions: int,
        cache_dtype: torch.dtype | None = None,
    ) -> None:
        config = stack.config
        if config.attention_bias or config.hidden_act != "silu" or getattr(config, "use_sliding_window", False):
            raise SetupError("attention bias, sliding windows and activations other than silu are not supported")
        shape = HeadShape(config.num_attention_heads, config.num_key_value_heads, config.head_dim, config.rms_norm_eps)
        norm: Tensor = stack.norm.weight
        # zeros, not whatever was there: a masked score times a NaN value is still NaN
        self.memory = torch.zeros(
            len(stack.layers),
            2,
            pages * page_size,
            shape.kv_heads,
            shape.head_dim,
            dtype=cache_dtype or norm.dtype,
            device=norm.device,
        )
        super().__init__(
            [_layer_weights(layer) for layer in stack.layers],
            [LayerCache(side[0], side[1]) for side in self.memory],
            norm=norm,
            rope=_rope_table(stack, max_positions, norm.device),
            shape=shape,
            page_size=page_size,
            kernels=kernels,
        )

    @staticmethod
    def position_bytes(config: Any, dtype: torch.dtype) -> int:
        """Cache memory of one position."""
        return int(config.num_hidden_layers * 2 * config.num_key_value_heads * config.head_dim * dtype.itemsize)

    def clear(self, pages: list[int]) -> None:
        """Zero the pages of a turn that left NaNs behind."""
        for page in pages:
            self.memory[:, :, page * self.page_size : (page + 1) * self.page_size].view(torch.uint8).zero_()
