"""Everything that touches tensors: one prefill chunk, or one frame of a batch of turns."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from web_demo.models.funaudiochat.engine.decoder import PagedDecoder
from web_demo.models.funaudiochat.engine.prefill import Prefill
from web_demo.models.funaudiochat.engine.scheduler import Limits
from web_demo.models.funaudiochat.engine.sequence import PrefillChunk, Turn
from web_demo.models.funaudiochat.engine.state import SlotState
from web_demo.models.funaudiochat.model import FunAudioChat
from web_demo.models.runtime.graphs import GraphCache
from web_demo.models.runtime.kernels.base import Kernels
from web_demo.models.runtime.kernels.sampling import SamplingRows, banned, penalised

logger = logging.getLogger(__name__)

BATCH_SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
TEXT_BATCH_SIZES = (1, 4, 16, 64, 256)  # of turns that are all in text alone: fewer to capture at the start
_TEXT, _EMITTED, _BROKEN, _CODES = 0, 1, 2, 3  # columns of a frame's packet; the group's codes are the last ones


def batch_size(turns: int, *, speech: bool) -> int:
    """Rows of the batch that this many turns are padded to; `speech`: whether any of them speaks."""
    return next((size for size in (BATCH_SIZES if speech else TEXT_BATCH_SIZES) if size >= turns), turns)


@dataclass(frozen=True)
class RowResult:
    """One row of a frame. `broken`: its numbers were not finite, nothing else is to be trusted."""

    text_id: int
    codes: tuple[int, ...]
    broken: bool


def bytes_per_page(model: FunAudioChat, page_tokens: int, speech_cache: torch.dtype | None = None) -> int:
    """Memory of one page of both caches; `speech_cache` as in `Runner`."""
    config, dtype = model.config, model.dtype
    backbone = PagedDecoder.position_bytes(config.text, dtype)
    speech = PagedDecoder.position_bytes(config.crq, speech_cache or dtype)
    return page_tokens * (backbone + config.audio.group_size * speech)


class Runner:
    """Owns the caches and the slots of one device. Not thread-safe: one thread calls it.

    `speech_cache`: the format of the speech head's caches, four fifths of all (None: the model's).
    """

    def __init__(
        self,
        model: FunAudioChat,
        limits: Limits,
        kernels: Kernels | None = None,
        *,
        speech_cache: torch.dtype | None = None,
    ) -> None:
        self.model, self.config, self.limits = model, model.config, limits
        self.group = model.config.audio.group_size
        self.kernels = kernels = kernels or Kernels()
        # a context in padded pages is read whole by the torch kernels, so their frames depend on its length
        self._pages_matter = kernels.reads_padding
        self.state = SlotState.allocate(self.config, limits, model.device)
        build = partial(PagedDecoder, kernels=kernels, pages=limits.pages)
        self.backbone = build(
            model.language_model.model, page_size=limits.page_tokens, max_positions=limits.max_context
        )
        self.crq = build(
            model.audio_invert_tower.crq_transformer,
            page_size=limits.page_tokens * self.group,
            max_positions=limits.max_context * self.group,
            cache_dtype=speech_cache,
        )
        self.graphs = GraphCache(model.device)
        self.prompts = Prefill(model, limits, self.state, self.graphs, backbone=self.backbone, crq=self.crq)

    @torch.inference_mode()
    def admit(self, turn: Turn) -> None:
        self.state.admit(turn, self.config)
        self.prompts.admit(turn)

    def drop(self, turn: Turn) -> None:
        """The turn left its slot; `turn.pages` are still its own."""
        self.prompts.drop(turn)

    def clear(self, turn: Turn) -> None:
        self.backbone.clear(turn.pages)
        self.crq.clear(turn.pages)

    def prefill(self, chunks: Sequence[PrefillChunk]) -> None:
        """Fill the caches of prompt positions [start, end) of some turns in one pass; samples nothing."""
        self.prompts.run(chunks)

    @torch.inference_mode()
    def decode(self, turns: Sequence[Turn]) -> list[RowResult]:
        """One frame of every turn: its next text id, and a group of codes where it speaks."""
        speech = any(turn.request.settings.speech for turn in turns)
        size = batch_size(len(turns), speech=speech)
        slots = [turn.slot for turn in turns] + [self.state.scratch] * (size - len(turns))
        rows = torch.tensor(slots, device=self.model.device)
        packet = self._frame(rows, speech, self._page_bucket(turns)).tolist()
        return [
            RowResult(row[_TEXT], tuple(row[_CODES:]) if row[_EMITTED] else (), bool(row[_BROKEN]))
            for row in packet[: len(turns)]
        ]

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Capture the graphs of all batches that the slots can make, and of prompts, so that no turn waits for a capture."""
        began = time.perf_counter()
        for speech in (True, False):
            sizes = {batch_size(turns, speech=speech) for turns in range(1, self.limits.slots + 1)}
            for size in sorted(sizes, reverse=True):  # the largest first: the others fit into its memory pool
                self._capture_frame(size, speech, self.limits.pages_per_turn)
        frames = time.perf_counter()
        self.prompts.warm_up()
        logger.info(
            "captured %d graphs: frames %.1f s, prompts %.1f s",
            self.graphs.captured, frames - began, time.perf_counter() - frames,
        )  # fmt: skip

    def _page_bucket(self, turns: Sequence[Turn]) -> int:
        """How many pages a row the frame looks at: the next power of two over the longest row."""
        if not self._pages_matter:
            return self.limits.pages_per_turn
        longest = max(turn.prefill_length + turn.generated for turn in turns)
        pages = longest // self.limits.page_tokens + 1
        return min(1 << (pages - 1).bit_length(), self.limits.pages_per_turn)

    def _frame(self, rows: Tensor, speech: bool, pages: int) -> Tensor:
        self._capture_frame(len(rows), speech, pages)
        return self.graphs.run(("frame", len(rows), speech, pages), self._frame_function(speech, pages), (rows,))

    def _frame_function(self, speech: bool, pages: int) -> Callable[[Tensor], Tensor]:
        return partial(self._compute, speech=speech, pages=pages)

    def _capture_frame(self, size: int, speech: bool, pages: int) -> None:
        scratch = torch.full((size,), self.state.scratch, device=self.model.device)
        self.graphs.capture(("frame", size, speech, pages), self._frame_function(speech, pages), (scratch,))

    def _compute(self, rows: Tensor, *, speech: bool, pages: int) -> Tensor:
        """The frame itself, from slot indices [B] to a packet int64 [B, 3 + group]; no value is read by the host."""
        state, audio = self.state, self.config.audio
        token, frame = state.token[rows], state.frame[rows]
        position, block_table = state.position[rows], state.block_tables[rows, :pages]
        settings, uniform = state.sampling(rows), state.uniform[rows, frame]
        speaking = state.speaking[rows] | (token == self.config.audio_bos_id)

        text = self.model.embed_text(token)
        heard = (text + self.model.audio_tower.embed_groups(state.codes[rows])) / 2
        joined = (speaking & state.given[rows])[:, None]
        hidden = self.backbone.decode(torch.where(joined, heard, text), position, block_table)
        logits = self.kernels.linear(hidden, self.model.language_model.lm_head.weight).float()
        broken = ~logits.isfinite().all(dim=-1)

        emitted = speaking & state.speech[rows]
        codes = state.codes[rows]
        if speech:
            codes, finite = self._group(rows, hidden + text, position, block_table, settings, uniform)
            broken = broken | (~finite & state.speech[rows])
        ended = emitted & (codes == audio.eos_id).any(dim=-1)
        emitted_codes = torch.where(ended[:, None], audio.eos_id, codes)

        chosen = self._text(rows, logits, settings, uniform[:, -1])
        chosen = torch.where(state.force_bos[rows] & (frame == 0), self.config.audio_bos_id, chosen)
        appended = torch.where(ended, self.config.audio_eos_id, chosen)
        self._advance(rows, appended, emitted_codes, emitted, speaking & ~ended)
        return torch.cat([torch.stack([chosen, emitted, broken], dim=1), emitted_codes], dim=1)

    def _group(
        self,
        rows: Tensor,
        crq_in: Tensor,
        position: Tensor,
        block_table: Tensor,
        settings: SamplingRows,
        uniform: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The speech head's group: codes int64 [B, group], and whether all logits were finite, bool [B]."""
        model, state = self.model, self.state
        head, linear = model.audio_invert_tower, self.kernels.linear
        sub_positions = head.expand(crq_in[:, None])  # [B, group, H]
        seen = state.code_seen[rows]
        code = state.last_code[rows]
        finite = torch.ones_like(state.speech[rows])
        codes = []
        for index in range(self.group):
            x = linear(sub_positions[:, index] + F.embedding(code, model.codebook), head.input_matching.weight)
            hidden = self.crq.decode(x, position * self.group + index, block_table)
            logits = linear(linear(hidden, head.output_matching.weight), model.codebook).float()
            finite = finite & logits.isfinite().all(dim=-1)
            code = self.kernels.sample(penalised(logits, seen, settings.penalty), settings, uniform[:, index])
            seen = seen.scatter(1, code[:, None], True)
            codes.append(code)
        state.last_code[rows] = code
        return torch.stack(codes, dim=1), finite

    def _text(self, rows: Tensor, logits: Tensor, settings: SamplingRows, uniform: Tensor) -> Tensor:
        state = self.state
        scores = penalised(logits, state.text_seen[rows], settings.penalty)
        ban = banned(state.recent[rows], state.bad_prefix[rows], state.bad_last[rows], logits.shape[-1])
        chosen = self.kernels.sample(scores.masked_fill(ban, -torch.inf), settings, uniform)
        return torch.where(state.text_greedy[rows], logits.argmax(dim=-1), chosen)

    def _advance(self, rows: Tensor, appended: Tensor, codes: Tensor, emitted: Tensor, speaking: Tensor) -> None:
        """Write the rows back; the scratch row, which may be there many times, stays at its first position."""
        state = self.state
        step = (rows != state.scratch).long()
        state.token[rows] = appended
        state.codes[rows] = codes
        state.given[rows] = emitted
        state.speaking[rows] = speaking
        state.position[rows] += step
        state.frame[rows] = (state.frame[rows] + step).clamp(max=state.uniform.shape[1] - 1)
        state.recent[rows] = torch.cat([state.recent[rows, 1:], appended[:, None]], dim=1)
        # not `= True`: a Python value written by index is a copy from the host, which no graph can capture
        state.text_seen.index_put_((rows, appended), torch.ones_like(speaking))
        said = state.code_seen[rows].scatter(1, codes, True)
        state.code_seen[rows] = torch.where(emitted[:, None], said, state.code_seen[rows])
