"""Speech tokens to sound for many streams at once: slots of state, pieces of several streams in one padded batch.

    token2wav = Token2Wav(flow, vocoder, StreamSettings(slots=64))
    stream = token2wav.open(voice)
    stream.feed(tokens, last=True)
    for stream, samples in token2wav.run([stream]): ...
    token2wav.close(stream)

One thread owns it. A row's result does not depend on the rows beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from web_demo.audio.samples import Samples
from web_demo.models.runtime.graphs import GraphCache

from ..flow.flow import LOOKAHEAD_LEFT, Flow
from ..flow.stream import FlowChunk, FlowPool
from ..vocoder.vocoder import Advance, Vocoder, VocoderState
from ..voices import Voice
from .cursor import Cursor, Piece, Rules


@dataclass(frozen=True)
class StreamSettings:
    """`context_s`: seconds of past sound that the flow attends to (exact while a stream with its prompt is no longer);
    memory a slot grows with it. `first_tokens`: see `cursor`. `batches` and `pieces`: sizes that rows and tokens are
    padded to, each ascending; the largest piece is the longest computed at once."""

    slots: int = 32
    context_s: float = 4.0
    first_tokens: int = 25
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    pieces: tuple[int, ...] = (25, 50, 100)
    graphs: bool = True


class Stream:
    """One stream's place in the pools; made by `Token2Wav.open`."""

    def __init__(self, slot: int, cursor: Cursor, prompt_mel: Tensor) -> None:
        self.slot = slot
        self.cursor = cursor
        self.prompt_mel = prompt_mel  # [frames, mel]

    def feed(self, tokens: Sequence[int], *, last: bool = False) -> None:
        self.cursor.feed(tokens, last=last)


def context_blocks(flow: Flow, vocoder: Vocoder, context_s: float) -> int:
    """Attention blocks that `context_s` seconds of sound take."""
    frames_per_s = vocoder.config.sampling_rate / vocoder.config.samples_per_frame
    return max(1, -(-round(context_s * frames_per_s) // flow.config.dit.static_chunk_size))


class Token2Wav:
    def __init__(self, flow: Flow, vocoder: Vocoder, settings: StreamSettings) -> None:
        self.flow, self.vocoder, self.settings = flow, vocoder, settings
        config = flow.config
        self.device = flow.noise.device
        self.rules = Rules(
            block=config.block_tokens,
            lookahead=config.pre_lookahead_len,
            ratio=config.token_mel_ratio,
            first=settings.first_tokens,
            longest=settings.pieces[-1],
            delay=vocoder.lookahead_frames,
        )
        self.pool = FlowPool(flow, settings.slots, context_blocks(flow, vocoder, settings.context_s))
        self._vocoder_state = vocoder.new_state(settings.slots + 1)
        self._carry = torch.zeros(settings.slots + 1, config.output_size, self.rules.delay, device=self.device)
        self._speakers = torch.zeros(settings.slots + 1, config.output_size, dtype=flow.dtype, device=self.device)
        self._free = list(range(settings.slots - 1, -1, -1))
        self.graphs = GraphCache(self.device, enabled=settings.graphs)

    @property
    def sample_rate(self) -> int:
        return self.vocoder.config.sampling_rate

    @property
    def max_batch(self) -> int:
        return self.settings.batches[-1]

    @property
    def free(self) -> int:
        """Streams that can still be opened."""
        return len(self._free)

    @property
    def bytes_per_slot(self) -> int:
        """Memory that one stream holds."""
        state = self._vocoder_state
        tensors = (state.f0_tails, state.phase, state.source_tail, state.tails, self._carry)
        return self.pool.bytes_per_slot + sum(t.nbytes for t in tensors) // (self.settings.slots + 1)

    @torch.inference_mode()
    def open(self, voice: Voice) -> Stream:
        """Take a slot; raises RuntimeError when none is free (the caller limits its streams)."""
        if not self._free:
            raise RuntimeError(f"all {self.settings.slots} streams are in use")
        slot = self._free.pop()
        self.pool.reset(slot)
        state = self._vocoder_state
        for tensor in (state.done, state.f0_tails, state.phase, state.source_tail, state.tails):
            tensor[slot] = 0
        self._speakers[slot] = self.flow.speaker(voice.embedding.to(self.device))[0]
        prompt_mel = voice.prompt_mel.to(self.device, self.flow.dtype)
        return Stream(slot, Cursor(self.rules, voice.prompt_tokens), prompt_mel)

    def close(self, stream: Stream) -> None:
        self._free.append(stream.slot)

    @torch.inference_mode()
    def run(self, streams: Sequence[Stream]) -> Iterator[tuple[Stream, Samples]]:
        """Compute what the streams' tokens allow, most urgent stream first as given, at most `max_batch` at once."""
        waiting = [stream for stream in streams if stream.cursor.ready() is not None]
        while waiting:
            batch = waiting[: self.max_batch]
            yield from self.run_batch(batch)
            waiting = [stream for stream in waiting if stream.cursor.ready() is not None]

    @torch.inference_mode()
    def run_batch(self, batch: Sequence[Stream]) -> list[tuple[Stream, Samples]]:
        """The next piece of each stream that has one ready: a single padded call."""
        ready = [(stream, piece) for stream in batch if (piece := stream.cursor.ready()) is not None]
        return self.run_pieces(ready) if ready else []

    @torch.inference_mode()
    def run_pieces(self, ready: Sequence[tuple[Stream, Piece]]) -> list[tuple[Stream, Samples]]:
        """Compute these pieces, one of each stream, in one padded call; a piece may bring no sound."""
        rows = _padded(len(ready), self.settings.batches)
        tokens = _padded(max(piece.end - piece.start for _, piece in ready), self.settings.pieces)
        samples = self._compute(ready, rows, tokens)
        made = []
        for row, (stream, piece) in enumerate(ready):
            begin, end = self.vocoder.sample_range(piece.done, piece.frames, piece.last)
            stream.cursor.take(piece)
            if samples is not None and piece.fresh and end > begin:
                made.append((stream, samples[row, begin:end]))
        return made

    def _compute(self, ready: Sequence[tuple[Stream, Piece]], rows: int, tokens: int) -> Samples | None:
        context = self._context(max(piece.start for _, piece in ready))
        inputs = self._inputs(ready, rows, tokens)
        mel = self.graphs.run(
            ("flow", rows, tokens, context), lambda *tensors: self._flow_step(context, *tensors), inputs.flow
        )
        if not any(piece.fresh for _, piece in ready):
            return None
        samples = self.graphs.run(("vocoder", rows, tokens), self._vocoder_step, (mel, *inputs.vocoder))
        found: Samples = samples.float().cpu().numpy()
        return found

    def warm_up(self) -> int:
        """Capture every size, where graphs are on; returns how many. The largest first: the others fit into its memory."""
        with torch.inference_mode():
            for rows in reversed(self.settings.batches):
                for tokens in reversed(self.settings.pieces):
                    inputs = self._inputs([], rows, tokens)
                    for context in reversed(self._contexts()):
                        self.graphs.capture(
                            ("flow", rows, tokens, context),
                            lambda *tensors, context=context: self._flow_step(context, *tensors),
                            inputs.flow,
                        )
                    mel = torch.zeros(rows, tokens * self.rules.ratio, self.flow.config.output_size, device=self.device)
                    self.graphs.capture(("vocoder", rows, tokens), self._vocoder_step, (mel, *inputs.vocoder))
        return self.graphs.captured

    def _contexts(self) -> list[int]:
        """Sizes of the ring that are looked at: none for new streams, then doubling up to all of it."""
        sizes, size = [0], 2 * self.pool.block
        while size < self.pool.context:
            sizes.append(size)
            size *= 2
        return [*sizes, self.pool.context]

    def _context(self, start: int) -> int:
        written = start * self.rules.ratio
        return next((size for size in self._contexts() if size >= written), self.pool.context)

    def _flow_step(self, context: int, *tensors: Tensor) -> Tensor:
        return self.pool.advance(FlowChunk(*tensors), context)

    def _vocoder_step(
        self,
        mel: Tensor,
        slots: Tensor,
        skip: Tensor,
        carried: Tensor,
        fresh: Tensor,
        frames: Tensor,
        final: Tensor,
    ) -> Tensor:
        """mel [B, T, bins] of a flow step; the others [B] -> samples; the state of the slots moves on."""
        pool = self._vocoder_state
        delay, extra = self.rules.delay, self.vocoder.mel_frames
        known = carried + fresh
        place = torch.arange(mel.shape[1] + delay + extra, device=mel.device)
        joined = torch.cat([self._carry.index_select(0, slots), mel.transpose(1, 2)], dim=2)
        index = torch.where(place < carried[:, None], place, delay + skip[:, None] + place - carried[:, None])
        index = index.clamp(max=joined.shape[2] - 1)[:, None].expand(-1, joined.shape[1], -1)
        window = joined.gather(2, index) * (place < known[:, None])[:, None]
        state = VocoderState(
            *(
                tensor.index_select(0, slots)
                for tensor in (pool.done, pool.f0_tails, pool.phase, pool.source_tail, pool.tails)
            )
        )
        samples: Tensor
        samples, new = self.vocoder(window, state, Advance(frames, final))
        rest = frames[:, None] + torch.arange(delay, device=mel.device)
        rest = rest.clamp(max=window.shape[2] - 1)[:, None].expand(-1, window.shape[1], -1)  # past it: nothing is left
        self._carry.index_copy_(0, slots, window.gather(2, rest))
        for name in ("done", "f0_tails", "phase", "source_tail", "tails"):
            getattr(pool, name).index_copy_(0, slots, getattr(new, name))
        return samples

    def _inputs(self, ready: Sequence[tuple[Stream, Piece]], rows: int, tokens: int) -> _Inputs:
        rules, config = self.rules, self.flow.config
        left, right, ratio = LOOKAHEAD_LEFT, rules.lookahead, rules.ratio
        ids = np.full((rows, left + tokens + right), -1, dtype=np.int64)
        numbers = np.zeros((9, rows), dtype=np.int64)
        numbers[0] = self.settings.slots  # the padding slot
        cond = torch.zeros(rows, tokens * ratio, config.output_size, dtype=self.flow.dtype, device=self.device)
        for row, (stream, piece) in enumerate(ready):
            begin = max(0, piece.start - left)
            until = piece.end if piece.last else piece.end + right
            given = stream.cursor.tokens[begin:until]
            shift = left - (piece.start - begin)
            ids[row, shift : shift + len(given)] = np.maximum(given, 0)
            first = piece.start * ratio
            numbers[:, row] = (
                stream.slot,
                first,
                (piece.end - piece.start) * ratio,
                piece.keep * ratio,
                (piece.offset - piece.start) * ratio,
                piece.carried,
                piece.fresh,
                piece.frames,
                piece.last,
            )
            prompt = stream.prompt_mel[first : first + tokens * ratio]
            if len(prompt):
                cond[row, : len(prompt)] = prompt
        device_ids = torch.from_numpy(ids).to(self.device)
        slots, start, frames, keep, skip, carried, fresh, advance, last = torch.from_numpy(numbers).to(self.device)
        present = device_ids >= 0
        flow = (slots, device_ids, present, start, frames, keep, cond, self._speakers.index_select(0, slots))
        return _Inputs(flow, (slots, skip, carried, fresh, advance, last.bool()))


@dataclass(frozen=True)
class _Inputs:
    flow: tuple[Tensor, ...]  # the fields of FlowChunk
    vocoder: tuple[Tensor, ...]  # the arguments of `_vocoder_step` after the mel


def _padded(size: int, sizes: tuple[int, ...]) -> int:
    found = next((candidate for candidate in sizes if candidate >= size), None)
    assert found is not None, f"{size} is more than the largest size of {sizes}"
    return found


def powers_of_two(largest: int) -> tuple[int, ...]:
    """1, 2, 4, … and `largest` itself: sizes to pad batches to."""
    sizes = [1 << power for power in range(largest.bit_length()) if 1 << power < largest]
    return (*sizes, largest)
