"""The flow in chunks: exact incremental state for many streams, with a bounded window of context.

With the chunk mask a finished block of 25 tokens never changes, so for every Euler step and layer its keys and values
are kept, together with the last inputs of the two position convolutions. A chunk starts at the first unfinished block
and may end anywhere; only the blocks that it finishes are kept, an unfinished one is computed again by the next chunk.

The context is a ring of the last `context_blocks` blocks. While a stream fits into it the result is that of one whole
call; beyond that, a block sees the `context_blocks` blocks before it and no more: cost and memory stop growing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .dit import CONV_KERNEL
from .flow import EULER_STEPS, Flow
from .kernels import Places

_TAIL = CONV_KERNEL - 1


@dataclass(frozen=True)
class FlowChunk:
    """B rows, at most N new tokens each (T = 2N frames); a row of padding has the pool's last slot and no frames."""

    slots: Tensor  # [B] int64
    tokens: Tensor  # [B, left + N + right] int64
    present: Tensor  # [B, left + N + right] bool: a token is there
    start: Tensor  # [B] int64, mel frame at which the chunk starts, a multiple of the block
    frames: Tensor  # [B] int64, new frames
    keep: Tensor  # [B] int64, frames of finished blocks
    cond: Tensor  # [B, T, mel], the prompt's mel where the chunk lies in it
    speaker: Tensor  # [B, mel]


def slot_bytes(flow: Flow, context_blocks: int) -> int:
    """Memory of one stream's keys and values: for both rows of the guidance, at every Euler step and layer."""
    dit = flow.config.dit
    frames = context_blocks * dit.static_chunk_size
    element = flow.input_embedding.weight.element_size()
    return EULER_STEPS * dit.depth * 2 * frames * 2 * dit.heads * dit.dim_head * element


class FlowPool:
    """State of up to `slots` streams. The caller hands out slots and calls `reset` when one starts a new stream."""

    def __init__(self, flow: Flow, slots: int, context_blocks: int) -> None:
        if context_blocks < 1:
            raise ValueError(f"the context must hold at least one block, got {context_blocks}")
        self.flow = flow
        self.slots = slots
        dit = flow.config.dit
        self.block = dit.static_chunk_size
        self.context_blocks = context_blocks
        self.context = context_blocks * self.block  # frames
        rows = 2 * (slots + 1)
        like = flow.input_embedding.weight
        inner = dit.heads * dit.dim_head
        self.key_values = like.new_zeros(EULER_STEPS, dit.depth, rows, self.context, 2 * inner)
        self.tails = like.new_zeros(EULER_STEPS, 2, rows, _TAIL, dit.dim)

    @property
    def bytes_per_slot(self) -> int:
        total = self.key_values.nbytes + self.tails.nbytes
        return total // (self.slots + 1)

    def reset(self, slot: int) -> None:
        """Forget the stream of a slot. Keys and values need no clearing: `visible` never shows what was not written."""
        self.tails[:, :, 2 * slot : 2 * slot + 2] = 0

    def advance(self, chunk: FlowChunk, context: int) -> Tensor:
        """Mel of the new frames, [B, T, mel] float32; the pool's state moves on.

        `context`: how much of the ring is looked at, in frames; it must cover what the rows have written.
        """
        flow = self.flow
        length = chunk.cond.shape[1]
        mu = flow.encode(chunk.tokens, chunk.present, chunk.start == 0)
        condition = flow.estimator.condition(mu, chunk.cond, chunk.speaker)
        positions = chunk.start[:, None] + torch.arange(length, device=mu.device)
        column = positions.clamp(max=flow.noise.shape[1] - 1)
        noise = flow.noise.T[column]  # [B, T, mel]
        visible = self.visible(chunk, positions, context)
        places = Places(
            rows=_pairs(chunk.slots),
            keep=chunk.keep.repeat_interleave(2),
            written=self._written(chunk, length),
            limit=2 * self.slots * self.context,
            mask=flow.estimator.kernels.mask(visible, flow.dtype),
            context=context,
        )
        return flow.solve(noise, condition, positions, [_Step(self, step, places) for step in range(EULER_STEPS)])

    def visible(self, chunk: FlowChunk, positions: Tensor, context: int) -> Tensor:
        """bool [B, 1, T, context + T]: which frames of the ring, then of the chunk, a frame attends to."""
        device = positions.device
        length = positions.shape[1]
        finished = (chunk.start // self.block)[:, None]  # [B, 1] blocks in the ring or passed through it
        entry = torch.arange(context, device=device) // self.block
        # The last block written to an entry: the largest block below `finished` with that remainder.
        old = finished - 1 - (finished - 1 - entry) % self.context_blocks
        old = torch.where(entry < finished, old, -1)
        block = positions // self.block
        offset = torch.arange(length, device=device)
        new = torch.where(offset < chunk.frames[:, None], block, -1)
        key = torch.cat([old, new], dim=1)[:, None]  # [B, 1, context + T]
        query = block[..., None]
        seen = (key >= 0) & (key <= query) & (key >= query - self.context_blocks)
        # A frame of padding sees itself, so that no row of the attention is empty.
        itself = torch.cat([torch.zeros(length, context, device=device), torch.eye(length, device=device)], dim=1)
        return (seen | itself.bool())[:, None]

    def _written(self, chunk: FlowChunk, length: int) -> Tensor:
        """Flat places [2B * T] in a layer's ring of the chunk's frames; what is not kept goes to the padding slot."""
        offset = torch.arange(length, device=chunk.keep.device)
        keep, start = chunk.keep[:, None], chunk.start[:, None]
        kept = (offset < keep) & (offset >= keep - self.context)
        ring = (start + offset) % self.context
        slot = torch.where(kept, chunk.slots[:, None], self.slots)
        pairs = torch.stack([2 * slot, 2 * slot + 1], dim=1)  # [B, 2, T]
        return (pairs * self.context + ring[:, None]).flatten()


class _Step:
    """The history of one Euler step (see `dit.History`)."""

    def __init__(self, pool: FlowPool, step: int, places: Places) -> None:
        self._pool, self._step, self._places = pool, step, places
        self._kernels = pool.flow.estimator.kernels

    def position_conv(self, index: int, conv: nn.Conv1d, x: Tensor) -> Tensor:
        return self._kernels.position_conv(x, conv, self._pool.tails[self._step, index], self._places)

    def attend(self, layer: int, qkv: Tensor, heads: int) -> Tensor:
        return self._kernels.attend(qkv, heads, self._pool.key_values[self._step, layer], self._places)


def _pairs(slots: Tensor) -> Tensor:
    """Slots [B] -> rows [2B] of the conditional and unconditional stream."""
    return torch.stack([2 * slots, 2 * slots + 1], dim=1).flatten()
