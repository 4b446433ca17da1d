"""The speech LM: a Qwen2 body that continues text with speech tokens, over a static key/value cache with slots.

`SpeechLm.forward` reads any positions of any rows; `Decoding` takes one position of many rows by the kernels of the device.
The body is written out because a cached step of recent `transformers` attends wrongly in the way the reference calls
it, and because a static cache with per-row positions is what batching and CUDA graphs need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from web_demo.models.runtime.decoder import Decoder, LayerWeights
from web_demo.models.runtime.device import prepare
from web_demo.models.runtime.kernels.base import HeadShape, Kernels, LayerCache
from web_demo.models.runtime.rope import angles, turn_halves

from ..config import CosyVoice3Config, LmConfig, load_config
from ..load import fill
from ..masks import additive
from ..weights import Weights, read_weights, take

EXTRA_IDS = 200  # special ids after the speech tokens; every one of them ends an utterance


@dataclass
class KvCache:
    """`keys` and `values`: [layers, slots, positions, kv heads, head dim]. The last slot takes padding rows."""

    keys: Tensor
    values: Tensor

    @property
    def capacity(self) -> int:
        return self.keys.shape[2]


class Layer(nn.Module):
    def __init__(self, config: LmConfig) -> None:
        super().__init__()
        self._config = config
        size, head = config.hidden_size, config.head_dim
        self.input_layernorm = nn.RMSNorm(size, eps=config.rms_norm_eps)
        self.qkv = nn.Linear(size, (config.num_attention_heads + 2 * config.num_key_value_heads) * head)
        self.o_proj = nn.Linear(config.num_attention_heads * head, size, bias=False)
        self.post_attention_layernorm = nn.RMSNorm(size, eps=config.rms_norm_eps)
        self.gate_up = nn.Linear(size, 2 * config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, size, bias=False)

    def weights(self) -> LayerWeights:
        return LayerWeights(
            input_norm=self.input_layernorm.weight,
            qkv=self.qkv.weight,
            qkv_bias=self.qkv.bias,
            out=self.o_proj.weight,
            post_norm=self.post_attention_layernorm.weight,
            gate_up=self.gate_up.weight,
            down=self.down_proj.weight,
        )

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor, place: Place, keys: Tensor, values: Tensor
    ) -> Tensor:
        """x: [B, T, hidden]; mask: [B, 1, group * T, context]; keys, values: this layer's cache [slots, positions, kv
        heads, head dim], written here."""
        config = self._config
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        projected = self.qkv(self.input_layernorm(x)).unflatten(2, (heads + 2 * kv_heads, config.head_dim))
        query, key, value = projected.split([heads, kv_heads, kv_heads], dim=2)
        slot = place.slots[:, None].expand_as(place.positions)
        keys[slot, place.positions] = turn_halves(key, *rotation)
        values[slot, place.positions] = value
        # The query heads of a group stand side by side as further positions, so that keys need no copy for each head.
        grouped = torch.unflatten(turn_halves(query, *rotation), 2, (kv_heads, -1)).permute(0, 2, 3, 1, 4)
        attended = F.scaled_dot_product_attention(
            grouped.flatten(2, 3),
            keys[:, : place.context].index_select(0, place.slots).transpose(1, 2),
            values[:, : place.context].index_select(0, place.slots).transpose(1, 2),
            attn_mask=mask,
        )
        x = x + self.o_proj(torch.unflatten(attended, 2, grouped.shape[2:4]).permute(0, 3, 1, 2, 4).flatten(2))
        gate, up = self.gate_up(self.post_attention_layernorm(x)).chunk(2, dim=-1)
        out: Tensor = x + self.down_proj(F.silu(gate) * up)
        return out


@dataclass(frozen=True)
class Place:
    """Where rows stand: `slots` [B], `positions` [B, T]; `context` positions of the cache are looked at."""

    slots: Tensor
    positions: Tensor
    context: int


class SpeechLm(nn.Module):
    def __init__(self, config: LmConfig) -> None:
        super().__init__()
        self.config = config
        ids = config.speech_token_size + EXTRA_IDS
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.speech_embedding = nn.Embedding(ids, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.llm_decoder = nn.Linear(config.hidden_size, ids, bias=False)

    @property
    def first_stop_id(self) -> int:
        return self.config.speech_token_size

    def new_cache(self, slots: int, capacity: int) -> KvCache:
        """Room for `slots` utterances of `capacity` positions each, and a slot for padding."""
        config = self.config
        shape = (config.num_hidden_layers, slots + 1, capacity, config.num_key_value_heads, config.head_dim)
        like = self.speech_embedding.weight
        return KvCache(like.new_zeros(shape), like.new_zeros(shape))

    def prompt(self, text: Sequence[int], speech: Sequence[int]) -> Tensor:
        """Embeddings [1, T, hidden], as `embedded_prompt`."""
        return embedded_prompt(self.embed_tokens.weight, self.speech_embedding.weight, self.first_stop_id, text, speech)

    def forward(self, x: Tensor, place: Place, cache: KvCache, last: Tensor | None = None) -> Tensor:
        """x: [B, T, hidden] -> log-probabilities of the token after a row's last position, float32 [B, ids]. `last` int64 [B]:
        where that is in each row (None: at the end)."""
        rotation = self._rotation(place.positions)
        key = torch.arange(place.context, device=x.device)
        visible = (key <= place.positions[..., None])[:, None]  # [B, 1, T, context]
        group = self.config.num_attention_heads // self.config.num_key_value_heads
        mask = additive(visible.repeat(1, 1, group, 1), x.dtype)
        for index, layer in enumerate(self.layers):
            x = layer(x, rotation, mask, place, cache.keys[index], cache.values[index])
        ends = x[:, -1] if last is None else x[torch.arange(len(x), device=x.device), last]
        return F.log_softmax(self.llm_decoder(self.norm(ends)).to(torch.float32), dim=-1)

    def _rotation(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines, [B, T, 1, head dim], of the halved layout (i, i + half)."""
        angle = angles(positions, self.config.head_dim, self.config.rope_theta)
        both = torch.cat([angle, angle], dim=-1)[:, :, None]
        dtype = self.speech_embedding.weight.dtype
        return both.cos().to(dtype), both.sin().to(dtype)


class Decoding:
    """One more position of many rows, over a cache that `SpeechLm.forward` fills."""

    def __init__(self, lm: SpeechLm, cache: KvCache, kernels: Kernels, *, page_size: int) -> None:
        config = lm.config
        self._lm, self._kernels = lm, kernels
        self._pages_a_slot = cache.capacity // page_size
        positions = torch.arange(cache.capacity, device=cache.keys.device)
        angle = angles(positions, config.head_dim, config.rope_theta).repeat(1, 2)
        self._decoder = Decoder(
            [cast(Layer, layer).weights() for layer in lm.layers],
            [
                LayerCache(*(side[index].flatten(0, 1) for side in (cache.keys, cache.values)))
                for index in range(len(lm.layers))
            ],
            norm=lm.norm.weight,
            rope=torch.stack([angle.cos(), angle.sin()], dim=1),
            shape=HeadShape(
                config.num_attention_heads, config.num_key_value_heads, config.head_dim, config.rms_norm_eps
            ),
            page_size=page_size,
            kernels=kernels,
        )

    def __call__(self, x: Tensor, slots: Tensor, positions: Tensor, context: int) -> Tensor:
        """x [B, hidden], slots and positions int64 [B] -> log-probabilities of the token after, float32 [B, ids]. `context`: how
        many positions of the cache are looked at, whole pages."""
        pages = torch.arange(context // self._decoder.page_size, device=x.device)
        normed = self._decoder.decode(x, positions, slots[:, None] * self._pages_a_slot + pages)
        return F.log_softmax(self._kernels.linear(normed, self._lm.llm_decoder.weight).to(torch.float32), dim=-1)


def embedded_prompt(
    words: Tensor, table: Tensor, first_stop_id: int, text: Sequence[int], speech: Sequence[int]
) -> Tensor:
    """Embeddings [1, T, hidden] of: start, text (that of the prompt first), task, speech tokens of the prompt. `words` and
    `table`: the rows of text tokens and of speech tokens, in which start and task have theirs too."""
    start, task = first_stop_id, first_stop_id + 2
    said = table[torch.tensor([start, task, *speech], device=table.device)]
    text_rows = words[torch.tensor(list(text), dtype=torch.int64, device=words.device)]
    return torch.cat([said[:1], text_rows, said[1:]])[None]


def lm_weights(raw: Weights, depth: int) -> Weights:
    """Names of llm.pt to names of `SpeechLm`, projections fused. The text head is not used for speech."""
    body = take(raw, "llm.model.model.")
    mapped = {name: raw[name] for name in ("llm_decoder.weight", "speech_embedding.weight")}
    mapped["embed_tokens.weight"] = body["embed_tokens.weight"]
    mapped["norm.weight"] = body["norm.weight"]
    for layer in range(depth):
        prefix = f"layers.{layer}."
        for name in ("input_layernorm", "post_attention_layernorm"):
            mapped[f"{prefix}{name}.weight"] = body[f"{prefix}{name}.weight"]
        mapped[f"{prefix}o_proj.weight"] = body[f"{prefix}self_attn.o_proj.weight"]
        mapped[f"{prefix}down_proj.weight"] = body[f"{prefix}mlp.down_proj.weight"]
        mapped[f"{prefix}gate_up.weight"] = torch.cat(
            [body[f"{prefix}mlp.{part}_proj.weight"] for part in ("gate", "up")]
        )
        for kind in ("weight", "bias"):
            mapped[f"{prefix}qkv.{kind}"] = torch.cat([body[f"{prefix}self_attn.{p}_proj.{kind}"] for p in "qkv"])
    return mapped


def load_lm(
    directory: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32, config: CosyVoice3Config | None = None
) -> SpeechLm:
    prepare(device)
    config = config or load_config(directory)
    with torch.device("meta"):
        lm = SpeechLm(config.lm)
    lm = lm.to_empty(device="cpu")
    fill(lm, lm_weights(read_weights(directory / "llm.pt"), config.lm.num_hidden_layers), "llm.pt")
    return lm.to(device=device, dtype=dtype)
