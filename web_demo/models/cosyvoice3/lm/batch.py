"""Speech tokens for many utterances at once: one decoding step of all of them, over slots of a static cache.

An utterance's tokens depend on its input and its seed alone, not on the utterances beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from web_demo.models.runtime.graphs import GraphCache
from web_demo.models.runtime.kernels.best import best_kernels

from . import ras
from .generate import LmInput
from .lm import Decoding, Place, SpeechLm

_CONTEXT_STEP = 512  # positions; what a step gathers is rounded up to a multiple, where kernels gather
_READ_POSITIONS = 4096  # of the inputs read in one pass, padding included


@dataclass(eq=False)
class Utterance:
    """One utterance being generated; `tokens` grows by one at most with each step."""

    given: LmInput
    slot: int
    uniforms: np.random.Generator
    max_tokens: int
    position: int = 0  # of the next input
    was_read: bool = False  # its text and prompt are in the cache
    tokens: list[int] = field(default_factory=list)
    ended: bool = False
    error: Exception | None = None  # what ended it early


class LmBatch:
    """`slots` utterances at once, each with `capacity` positions for its text, prompt and tokens. Used by one thread."""

    def __init__(self, lm: SpeechLm, *, slots: int, capacity: int, batches: Sequence[int], graphs: bool = True) -> None:
        self.lm = lm
        self.capacity = capacity
        self._batches = tuple(batches)
        self._cache = lm.new_cache(slots, capacity)
        self._device = lm.speech_embedding.weight.device
        kernels = best_kernels(self._device)
        self._decoding = Decoding(lm, self._cache, kernels, page_size=math.gcd(capacity, _CONTEXT_STEP))
        self._context_step = _CONTEXT_STEP if kernels.reads_padding else capacity
        self._padding = slots
        self._free = list(range(slots - 1, -1, -1))
        self._graphs = GraphCache(self._device, enabled=graphs)

    @property
    def free(self) -> int:
        return len(self._free)

    @property
    def largest(self) -> int:
        """Utterances that one step takes at most."""
        return self._batches[-1]

    def add(self, given: LmInput, seed: int) -> Utterance:
        """Take a slot; the first `step` reads the input. Raises ValueError when the input leaves no room."""
        length = given.positions
        if length + given.min_tokens > self.capacity:
            raise ValueError(
                f"text and prompt are {length} positions long and need {given.min_tokens} more to be spoken; "
                f"there is room for {self.capacity}: shorten the text or the reference recording"
            )
        if not self._free:
            raise RuntimeError("every slot of the LM is in use")
        slot = self._free.pop()
        most = min(given.max_tokens, self.capacity - length)
        return Utterance(given, slot, np.random.default_rng(seed), most, position=length)

    def remove(self, utterance: Utterance) -> None:
        """Give the slot back, at the end or when cancelled."""
        self._free.append(utterance.slot)

    @torch.inference_mode()
    def step(self, utterances: Sequence[Utterance]) -> None:
        """One more token (or the end) for each of these, none of which has ended: the first one of all that are new by reading
        their inputs together."""
        known = [one for one in utterances if one.was_read]
        new = sorted((one for one in utterances if not one.was_read), key=lambda one: one.position)
        while new:
            count = max(1, sum((before + 1) * one.position <= _READ_POSITIONS for before, one in enumerate(new)))
            self._read(new[:count])
            new = new[count:]
        if known:
            self._go_on(known)

    def _read(self, utterances: Sequence[Utterance]) -> None:
        """Padding stands behind each input, where the utterance's tokens will be written before they are looked at."""
        prompts = [
            self.lm.prompt((*one.given.prompt_text, *one.given.text), one.given.prompt_speech)[0] for one in utterances
        ]
        x = torch.nn.utils.rnn.pad_sequence(prompts, batch_first=True)
        ends = torch.tensor([len(prompt) for prompt in prompts], device=self._device)
        positions = torch.arange(x.shape[1], device=self._device).expand(len(prompts), -1)
        slots = torch.tensor([one.slot for one in utterances], device=self._device)
        logp = self.lm(x, Place(slots, positions, x.shape[1]), self._cache, last=ends - 1)
        self._accept(utterances, self._choose(logp, *self._rows(utterances, len(utterances))))
        for utterance in utterances:
            utterance.was_read = True

    def _go_on(self, utterances: Sequence[Utterance]) -> None:
        rows = next(size for size in self._batches if size >= len(utterances))
        numbers, uniforms = self._rows(utterances, rows)
        reach = max(utterance.position for utterance in utterances) + 1
        context = min(self.capacity, -(-reach // self._context_step) * self._context_step)
        key = (rows, context)
        tokens = self._graphs.run(key, lambda n, u: self._step(n, u, context), (numbers, uniforms))
        self._accept(utterances, tokens)

    @torch.inference_mode()
    def warm_up(self) -> int:
        """Capture every size, where graphs are on; returns how many."""
        for rows in self._batches:
            numbers, uniforms = self._rows([], rows)
            for context in range(self._context_step, self.capacity + self._context_step, self._context_step):
                reach = min(context, self.capacity)
                self._graphs.capture(
                    (rows, reach), lambda n, u, reach=reach: self._step(n, u, reach), (numbers, uniforms)
                )
        return self._graphs.captured

    def _step(self, numbers: Tensor, uniforms: Tensor, context: int) -> Tensor:
        slots, positions, tokens = numbers[:, :3].t().contiguous()  # kernels read them without strides
        logp = self._decoding(self.lm.speech_embedding(tokens), slots, positions, context)
        return self._choose(logp, numbers, uniforms)

    def _choose(self, logp: Tensor, numbers: Tensor, uniforms: Tensor) -> Tensor:
        """Tokens [B]."""
        too_early = numbers[:, 3:4].bool()
        return ras.next_tokens(logp, too_early, numbers[:, 4:], uniforms, self.lm.first_stop_id, self.lm.config)

    def _rows(self, utterances: Sequence[Utterance], rows: int) -> tuple[Tensor, Tensor]:
        """Per row: slot, position, last token, whether ending is too early, the last tokens [B, 4 + window]; and two
        uniform numbers [B, 2]."""
        window = self.lm.config.win_size
        numbers = np.full((rows, 4 + window), -1, dtype=np.int64)
        numbers[:, :4] = (self._padding, 0, 0, 0)
        uniforms = np.zeros((rows, 2), dtype=np.float64)
        for row, utterance in enumerate(utterances):
            recent = utterance.tokens[-window:]
            early = len(utterance.tokens) < min(utterance.given.min_tokens, utterance.max_tokens)
            numbers[row, :4] = (utterance.slot, utterance.position, recent[-1] if recent else 0, early)
            numbers[row, 4 : 4 + len(recent)] = recent
            uniforms[row] = utterance.uniforms.random(2)
        return torch.from_numpy(numbers).to(self._device), torch.from_numpy(uniforms).to(self._device)

    def _accept(self, utterances: Sequence[Utterance], tokens: Tensor) -> None:
        for utterance, token in zip(utterances, tokens.tolist(), strict=False):
            if utterance.tokens:
                utterance.position += 1
            if token >= self.lm.first_stop_id:
                utterance.ended = True
                continue
            utterance.tokens.append(token)
            utterance.ended = len(utterance.tokens) >= utterance.max_tokens
