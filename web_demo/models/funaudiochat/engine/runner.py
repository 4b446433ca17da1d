"""Everything that touches tensors: one prefill chunk, or one frame of a batch of turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from web_demo.models.funaudiochat.engine.decoder import PagedDecoder
from web_demo.models.funaudiochat.engine.scheduler import Limits
from web_demo.models.funaudiochat.engine.sequence import PrefillChunk, Turn
from web_demo.models.funaudiochat.engine.state import SlotState
from web_demo.models.funaudiochat.kernels.base import Kernels, PromptMetadata
from web_demo.models.funaudiochat.kernels.sampling import SamplingRows, banned, penalised
from web_demo.models.funaudiochat.model import FunAudioChat
from web_demo.models.funaudiochat.processor import PromptAudio
from web_demo.models.runtime.graphs import GraphCache

PROMPT_SIZES = (32, 64, 128, 256)  # tokens of a prefill, and the engine's budget beside them
SOUND_SIZES = (1, 2, 4, 8, 16, 32)  # chunks of two seconds
RUN_TOKENS = 16  # of one turn that a program of the attention takes
BATCH_SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
_TEXT, _EMITTED, _BROKEN, _CODES = 0, 1, 2, 3  # columns of a frame's packet; the group's codes are the last ones


def batch_size(turns: int) -> int:
    """Rows of the batch that this many turns are padded to."""
    return next((size for size in BATCH_SIZES if size >= turns), turns)


@dataclass(frozen=True)
class RowResult:
    """One row of a frame. `broken`: its numbers were not finite, nothing else is to be trusted."""

    text_id: int
    codes: tuple[int, ...]
    broken: bool


@dataclass(frozen=True)
class PromptLayout:
    """Where the numbers of a prefill of `count` tokens stand in one vector: one copy to the device brings them all."""

    count: int
    turns: int
    group: int

    @property
    def tokens(self) -> tuple[slice, ...]:
        """Ids, slots, positions, and which audio vector stands in a token's place (-1: none)."""
        return tuple(slice(part * self.count, (part + 1) * self.count) for part in range(4))

    @property
    def runs(self) -> slice:
        return slice(4 * self.count, 4 * self.count + 4 * self._runs(1))

    @property
    def sub_runs(self) -> slice:
        """Runs of the speech head's positions, `group` for each token."""
        return slice(self.runs.stop, self.runs.stop + 4 * self._runs(self.group))

    @property
    def size(self) -> int:
        return int(self.sub_runs.stop)

    def _runs(self, factor: int) -> int:
        """At most: every turn can end in a run of its own that is not full."""
        return -(-self.count * factor // RUN_TOKENS) + self.turns


@dataclass(frozen=True, eq=False)
class PromptBatch:
    numbers: Tensor  # int64, see `PromptLayout`
    vectors: Tensor  # [count, H], of the audio slots among the tokens, in their order, then zeros


def _cut_run(run: tuple[int, int, int, int], factor: int, most: int) -> Iterator[tuple[int, int, int, int]]:
    """A run of tokens (slot, first token, tokens, first position) of a stack with `factor` positions a token, in pieces."""
    slot, first, count, start = run
    for done in range(0, count * factor, most):
        yield slot, first * factor + done, min(most, count * factor - done), start * factor + done


def bytes_per_page(model: FunAudioChat, page_tokens: int) -> int:
    """Memory of one page of both caches."""
    config, dtype = model.config, model.dtype
    backbone = PagedDecoder.position_bytes(config.text, dtype)
    return page_tokens * (backbone + config.audio.group_size * PagedDecoder.position_bytes(config.crq, dtype))


class Runner:
    """Owns the caches and the slots of one device. Not thread-safe: one thread calls it."""

    def __init__(self, model: FunAudioChat, limits: Limits, kernels: Kernels | None = None) -> None:
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
        )
        self.graphs = GraphCache(model.device)
        self._captures_prompts = self.graphs.enabled and not kernels.reads_runs
        self._vectors: dict[
            int, dict[int, Tensor]
        ] = {}  # slot -> number of the audio in the prompt -> its slots' vectors
        self._places: dict[int, list[list[int]]] = {}  # slot -> for each audio, the positions of its slots

    # --- prompts ------------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def admit(self, turn: Turn) -> None:
        self.state.admit(turn, self.config)
        self._vectors[turn.slot] = {}
        prompt = turn.request.prompt
        places = (place for place, token in enumerate(prompt.ids) if token == self.config.audio_id)
        self._places[turn.slot] = [list(islice(places, audio.slots)) for audio in prompt.audios]

    def drop(self, turn: Turn) -> None:
        """The turn left its slot; `turn.pages` are still its own."""
        self._vectors.pop(turn.slot, None)
        self._places.pop(turn.slot, None)

    def clear(self, turn: Turn) -> None:
        self.backbone.clear(turn.pages)
        self.crq.clear(turn.pages)

    @torch.inference_mode()
    def prefill(self, chunks: Sequence[PrefillChunk]) -> None:
        """Fill the caches of prompt positions [start, end) of some turns in one pass; chooses nothing."""
        batch = self.prompt_batch(chunks)
        speech = self.graphs.enabled or any(chunk.turn.request.settings.speech for chunk in chunks)
        tokens = len(batch.vectors)
        self.graphs.run(
            ("prefill", tokens), partial(self._prefill, tokens, speech=speech), (batch.numbers, batch.vectors)
        )

    @torch.inference_mode()
    def prompt_batch(self, chunks: Sequence[PrefillChunk]) -> PromptBatch:
        """What the pass reads, padded to a length that was captured; audios are encoded when a chunk first reaches them."""
        self._encode(chunks)
        count = sum(chunk.end - chunk.start for chunk in chunks)
        layout = self._layout(self._prompt_size(count))
        numbers = np.zeros(layout.size, dtype=np.int64)
        ids, rows, position, source = (numbers[part] for part in layout.tokens)
        rows[:] = self.state.scratch
        source[:] = -1
        vectors: list[Tensor] = []
        heard = first = 0
        runs: list[tuple[int, int, int, int]] = []
        for chunk in chunks:
            slot, length = chunk.turn.slot, chunk.end - chunk.start
            mine = slice(first, first + length)
            ids[mine] = chunk.turn.request.prompt.ids[chunk.start : chunk.end]
            rows[mine] = slot
            position[mine] = np.arange(chunk.start, chunk.end)
            for index, given in self._vectors[slot].items():
                if wanted := self._wanted(chunk, index):
                    source[[first + place for _, place in wanted]] = range(heard, heard + len(wanted))
                    vectors.append(given[wanted[0][0] : wanted[-1][0] + 1])
                    heard += len(wanted)
            runs.append((slot, first, length, chunk.start))
            first += length
        for part, factor in ((layout.runs, 1), (layout.sub_runs, self.group)):
            cut = [piece for run in runs for piece in _cut_run(run, factor, RUN_TOKENS)]
            numbers[part].reshape(-1, 4)[: len(cut)] = cut
        device, width = self.model.device, self.config.hidden_size
        padding = torch.zeros(layout.count - heard, width, dtype=self.model.dtype, device=device)
        joined = torch.cat([*(part.to(padding.dtype) for part in vectors), padding])
        return PromptBatch(torch.from_numpy(numbers).to(device), joined)

    def _prompt_size(self, count: int) -> int:
        """Tokens of a pass that this many are padded to: themselves, where nothing is captured."""
        if not self._captures_prompts:
            return count
        return next((size for size in self._prompt_sizes() if size >= count), count)

    def _prompt_sizes(self) -> list[int]:
        largest = self.limits.prefill_tokens
        return [size for size in PROMPT_SIZES if size < largest] + [largest]

    def _layout(self, count: int) -> PromptLayout:
        return PromptLayout(count, self.limits.prefill_turns, self.group)

    def _prefill(self, count: int, numbers: Tensor, vectors: Tensor, *, speech: bool) -> Tensor:
        """The pass of a graph, which returns one tensor."""
        return self.prompt_states(count, numbers, vectors, speech=speech)[0]

    def prompt_states(
        self, count: int, numbers: Tensor, vectors: Tensor, *, speech: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The pass itself: `numbers` as `PromptLayout` has them, audio vectors [count, H] -> the backbone's hidden states
        [count, H], and with speech the head's [count * group, H of the head]; the caches are filled."""
        layout = self._layout(count)
        ids, rows, position, source = (numbers[part] for part in layout.tokens)
        text = self.model.embed_text(ids)
        x = torch.where((source >= 0)[:, None], vectors[source.clamp(min=0)], text)
        runs = (numbers[part].view(-1, 4) for part in (layout.runs, layout.sub_runs))
        hidden = self.backbone.prefill(x, self._metadata(rows, position, next(runs), self.limits.page_tokens))
        if not speech:
            return hidden, None
        head = self.model.audio_invert_tower
        before = self.model.codebook[self.config.audio.bos_id]
        sub_positions = head.input_matching(head.expand((hidden + text)[None])[0] + before)
        within = torch.arange(self.group, device=rows.device)
        position = (position[:, None] * self.group + within).flatten()
        rows = rows[:, None].expand(-1, self.group).flatten()
        page_size = self.limits.page_tokens * self.group
        return hidden, self.crq.prefill(sub_positions, self._metadata(rows, position, next(runs), page_size))

    def _metadata(self, rows: Tensor, position: Tensor, runs: Tensor, page_size: int) -> PromptMetadata:
        tables = self.state.block_tables
        page = tables.flatten()[rows * tables.shape[1] + position // page_size]
        return PromptMetadata(position, page * page_size + position % page_size, tables, runs, page_size, RUN_TOKENS)

    def _encode(self, chunks: Sequence[PrefillChunk]) -> None:
        """Encode, all at once, the audios that these chunks metadata and that were not encoded yet."""
        wanted = [
            (self._vectors[chunk.turn.slot], index, audio)
            for chunk in chunks
            for index, audio in enumerate(chunk.turn.request.prompt.audios)
            if index not in self._vectors[chunk.turn.slot] and self._wanted(chunk, index)
        ]
        whole = [one for one in wanted if one[2].features is None or not self.model.chunk_slots]
        for held, index, audio in whole:
            held[index] = self.model.embed_audio(audio.codes, audio.features)
        if sounds := [one for one in wanted if one not in whole]:
            self._encode_chunks(sounds)

    def _encode_chunks(self, sounds: Sequence[tuple[dict[int, Tensor], int, PromptAudio]]) -> None:
        """Audios by the chunks that the encoder attends in, the sound of all in one batch of a captured size."""
        slots, width = self.model.chunk_slots, 2 * self.config.audio.n_window
        counts = []
        for _, _, audio in sounds:
            assert audio.features is not None
            counts.append(max(-(-audio.features.shape[1] // width), -(-audio.slots // slots)))
        inputs = self._sound_inputs(self._sound_size(sum(counts)))
        mel, frames, alone, codes = inputs
        first = 0
        for (_, _, audio), count in zip(sounds, counts, strict=True):
            assert audio.features is not None
            for index, part in enumerate(torch.split(audio.features, width, dim=1)):
                mel[first + index, :, : part.shape[1]] = part
                frames[first + index] = part.shape[1]
            alone[first] = audio.features.shape[1] <= width
            codes[first : first + count].view(-1)[: len(audio.codes)] = audio.codes
            first += count
        device = self.model.device
        moved = tuple(one.to(device) for one in inputs)
        vectors = self.graphs.run(("sound", len(mel)), self.model.embed_chunks, moved).flatten(0, 1)
        first = 0
        for (held, index, audio), count in zip(sounds, counts, strict=True):
            held[index] = vectors[first * slots : first * slots + audio.slots].clone()  # the next call overwrites it
            first += count

    def _sound_size(self, chunks: int) -> int:
        return 1 << (chunks - 1).bit_length() if self.graphs.enabled else chunks

    def _sound_inputs(self, chunks: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Empty inputs of `FunAudioChat.embed_chunks`, on the host."""
        audio = self.config.audio
        return (
            torch.zeros(chunks, audio.mel_bins, 2 * audio.n_window),
            torch.zeros(chunks, dtype=torch.long),
            torch.zeros(chunks, dtype=torch.bool),
            torch.full((chunks, self.model.chunk_slots, self.group), audio.pad_id),
        )

    def _wanted(self, chunk: PrefillChunk, index: int) -> list[tuple[int, int]]:
        """Of the slots of one audio, those inside a chunk: (slot, position in the chunk); consecutive slots."""
        places = self._places[chunk.turn.slot][index]
        return [(slot, place - chunk.start) for slot, place in enumerate(places) if chunk.start <= place < chunk.end]

    # --- frames -------------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def decode(self, turns: Sequence[Turn]) -> list[RowResult]:
        """One frame of every turn: its next text id, and a group of codes where it speaks."""
        size = batch_size(len(turns))
        slots = [turn.slot for turn in turns] + [self.state.scratch] * (size - len(turns))
        rows = torch.tensor(slots, device=self.model.device)
        speech = any(turn.request.settings.speech for turn in turns)
        packet = self._frame(rows, speech, self._page_bucket(turns)).tolist()
        return [
            RowResult(row[_TEXT], tuple(row[_CODES:]) if row[_EMITTED] else (), bool(row[_BROKEN]))
            for row in packet[: len(turns)]
        ]

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Capture the graphs of all batches that the slots can make, and of prompts, so that no turn waits for a capture."""
        sizes = {batch_size(turns) for turns in range(1, self.limits.slots + 1)}
        for size in sorted(sizes, reverse=True):  # the largest first: the others fit into its memory pool
            for speech in (True, False):
                self._capture_frame(size, speech, self.limits.pages_per_turn)
        self._warm_up_prompts()

    def _warm_up_prompts(self) -> None:
        """Without graphs once, because libraries load and choose their algorithms at the first call; the scratch slot
        takes what it writes."""
        device, width = self.model.device, self.config.hidden_size
        for count in reversed(self._prompt_sizes()) if self._captures_prompts else [self.limits.page_tokens]:
            layout = self._layout(count)
            numbers = torch.zeros(layout.size, dtype=torch.long, device=device)
            numbers[layout.tokens[1]] = self.state.scratch
            vectors = torch.zeros(count, width, dtype=self.model.dtype, device=device)
            function = partial(self._prefill, count, speech=True)
            if self._captures_prompts:
                self.graphs.capture(("prefill", count), function, (numbers, vectors))
            else:
                function(numbers, vectors)
        for chunks in reversed(SOUND_SIZES) if self.graphs.enabled else SOUND_SIZES[:1]:
            if self.model.chunk_slots:
                inputs = tuple(one.to(device) for one in self._sound_inputs(chunks))
                self.graphs.capture(("sound", chunks), self.model.embed_chunks, inputs)
                self.graphs.run(("sound", chunks), self.model.embed_chunks, inputs)

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
