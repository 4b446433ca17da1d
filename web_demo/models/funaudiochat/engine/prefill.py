"""Prompts of new turns into the caches: any number of them, of any length, by a handful of launches.

Shapes do not depend on lengths, so a few graphs serve every prompt: tokens of all turns in one padded row, runs of them whose
lengths the attention reads on the device, sounds in the chunks that the encoder attends in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from web_demo.models.funaudiochat.engine.decoder import PagedDecoder
from web_demo.models.funaudiochat.engine.scheduler import Limits
from web_demo.models.funaudiochat.engine.sequence import PrefillChunk, Turn
from web_demo.models.funaudiochat.engine.state import SlotState
from web_demo.models.funaudiochat.model import FunAudioChat
from web_demo.models.funaudiochat.processor import PromptAudio
from web_demo.models.runtime.graphs import GraphCache
from web_demo.models.runtime.kernels.base import PromptMetadata

PROMPT_SIZES = (32, 64, 128, 256)  # tokens of a pass, and the engine's budget beside them
SOUND_SIZES = (1, 2, 4, 8, 16, 32)  # chunks of two seconds
RUN_TOKENS = 16  # of one turn that a program of the attention takes


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


class Prefill:
    """Fills the caches of `backbone` and `crq`, through `graphs`. Keeps the vectors of sounds until their turn leaves."""

    def __init__(
        self,
        model: FunAudioChat,
        limits: Limits,
        state: SlotState,
        graphs: GraphCache,
        *,
        backbone: PagedDecoder,
        crq: PagedDecoder,
    ) -> None:
        self.model, self.config, self.limits, self.state, self.graphs = model, model.config, limits, state, graphs
        self.backbone, self.crq = backbone, crq
        self.group = model.config.audio.group_size
        self.captures = graphs.enabled and not backbone.kernels.reads_runs
        self._vectors: dict[int, dict[int, Tensor]] = {}  # slot -> number of the audio -> its slots' vectors
        self._places: dict[int, list[list[int]]] = {}  # slot -> for each audio, the positions of its slots

    def admit(self, turn: Turn) -> None:
        self._vectors[turn.slot] = {}
        prompt = turn.request.prompt
        places = (place for place, token in enumerate(prompt.ids) if token == self.config.audio_id)
        self._places[turn.slot] = [list(islice(places, audio.slots)) for audio in prompt.audios]

    def drop(self, turn: Turn) -> None:
        self._vectors.pop(turn.slot, None)
        self._places.pop(turn.slot, None)

    @torch.inference_mode()
    def run(self, chunks: Sequence[PrefillChunk]) -> None:
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
        layout = self._layout(self._size(count))
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

    def _size(self, count: int) -> int:
        """Tokens of a pass that this many are padded to: themselves, where nothing is captured."""
        if not self.captures:
            return count
        return next((size for size in self._sizes() if size >= count), count)

    def _sizes(self) -> list[int]:
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
        """Encode, all at once, the audios that these chunks reach and that were not encoded yet."""
        wanted = [
            (self._vectors[chunk.turn.slot], index, audio)
            for chunk in chunks
            for index, audio in enumerate(chunk.turn.request.prompt.audios)
            if index not in self._vectors[chunk.turn.slot] and self._wanted(chunk, index)
        ]
        sounds = []
        for held, index, audio in wanted:
            if audio.features is None or not self.model.chunk_slots:
                held[index] = self.model.embed_audio(audio.codes, audio.features)
            else:
                sounds.append((held, index, audio))
        if sounds:
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

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Capture every size; without graphs one call, because libraries load and choose their algorithms at the first.
        The scratch slot takes what it writes."""
        device, width = self.model.device, self.config.hidden_size
        for count in reversed(self._sizes()) if self.captures else [self.limits.page_tokens]:
            layout = self._layout(count)
            numbers = torch.zeros(layout.size, dtype=torch.long, device=device)
            numbers[layout.tokens[1]] = self.state.scratch
            vectors = torch.zeros(count, width, dtype=self.model.dtype, device=device)
            function = partial(self._prefill, count, speech=True)
            if self.captures:
                self.graphs.capture(("prefill", count), function, (numbers, vectors))
            else:
                function(numbers, vectors)
        for chunks in reversed(SOUND_SIZES) if self.graphs.enabled else SOUND_SIZES[:1]:
            if self.model.chunk_slots:
                inputs = tuple(one.to(device) for one in self._sound_inputs(chunks))
                self.graphs.capture(("sound", chunks), self.model.embed_chunks, inputs)
                self.graphs.run(("sound", chunks), self.model.embed_chunks, inputs)
