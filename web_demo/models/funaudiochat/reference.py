"""The plain way to answer one prompt: batch 1, a growing cache, the library's logits processors. Slow and obviously right.

The batched engine is tested against it token for token, and it against golden data of the original implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.generation.logits_process import (
    LogitsProcessorList,
    NoBadWordsLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from web_demo.models.funaudiochat.model import FunAudioChat
from web_demo.models.funaudiochat.processor import Prompt
from web_demo.models.funaudiochat.settings import GenerationSettings

# One draw: scores float32 [V], the step, and which of its draws (a code's place in the group; group_size: the text).
Choose = Callable[[Tensor, int, int], int]


@dataclass(frozen=True, eq=False)
class SpeechTrace:
    """The head's raw logits and final scores, float32 [group, codebook]."""

    logits: Tensor
    scores: Tensor


@dataclass(frozen=True, eq=False)
class ReferenceStep:
    """Everything that one step chose, and the tensors behind it (of the last position)."""

    streamed: int  # the text id that a listener gets
    appended: int  # the text id that the sequence goes on with: audio_eos where the speech ended
    group: tuple[int, ...]  # the emitted codes; empty while speech is off
    chosen: tuple[int, ...]  # what the speech head chose, emitted or not; empty with speech disabled
    speaking: bool
    inputs_embeds: Tensor  # [positions of this step, H]
    last_hidden: Tensor  # [positions of this step, H], after the final norm
    crq_in: Tensor | None  # [positions of this step, H]
    text_logits: Tensor  # float32 [V], raw
    text_scores: Tensor  # float32 [V], after the processors
    speech: SpeechTrace | None


def argmax(scores: Tensor, step: int = 0, draw: int = 0) -> int:
    return int(scores.argmax())


def multinomial(generator: torch.Generator) -> Choose:
    """Draws as the original does; with its seed and its order of draws, its samples."""

    def choose(scores: Tensor, step: int, draw: int) -> int:
        return int(torch.multinomial(scores.softmax(dim=-1).to(generator.device), 1, generator=generator))

    return choose


def inverse_cumulative(uniform: Tensor) -> Choose:
    """Draws as the batched engine does: uniform float32 [steps, group + 1] picks from the ids in their order."""

    def choose(scores: Tensor, step: int, draw: int) -> int:
        mass = scores.softmax(dim=-1).cumsum(dim=-1)
        place = int((mass <= uniform[step, draw].to(mass.device) * mass[-1]).sum())
        return min(place, int(scores.isfinite().nonzero().max()))

    return choose


def _processors(settings: GenerationSettings, device: torch.device, *, text: bool) -> Any:
    """In the order of the original: penalty, bad words (text only), temperature, top-k, top-p."""
    chain = LogitsProcessorList()
    if settings.repetition_penalty != 1.0:
        chain.append(RepetitionPenaltyLogitsProcessor(settings.repetition_penalty))
    if text and settings.bad_words:
        words = [list(word) for word in settings.bad_words]
        chain.append(NoBadWordsLogitsProcessor(words, eos_token_id=torch.tensor(settings.eos_ids, device=device)))
    if settings.do_sample:
        if settings.temperature != 1.0:
            chain.append(TemperatureLogitsWarper(settings.temperature))
        if settings.top_k:
            chain.append(TopKLogitsWarper(settings.top_k))
        if settings.top_p < 1.0:
            chain.append(TopPLogitsWarper(settings.top_p))
    return chain


class _Speech:
    """The speech head's side of one answer: its cache, its last code, what it has said."""

    def __init__(self, model: FunAudioChat, settings: GenerationSettings, choose: Choose) -> None:
        self.model, self.choose = model, choose
        self.head = model.audio_invert_tower
        self.cache = DynamicCache()
        self.processors = _processors(settings, model.device, text=False)
        self.last = model.config.audio.bos_id
        self.said: list[int] = []
        self.steps = 0

    def _advance(self, inputs: Tensor, previous: int, chosen: list[int]) -> tuple[int, Tensor, Tensor]:
        """Sub-positions [n, H] after the code `previous` -> the code chosen at the last of them, logits, scores."""
        embedded = self.head.input_matching(inputs + self.model.codebook[previous])[None]
        hidden = self.head.crq_transformer(inputs_embeds=embedded, past_key_values=self.cache).last_hidden_state[0, -1]
        logits = (self.head.output_matching(hidden) @ self.model.codebook.T).float()
        ids = torch.tensor([self.said + chosen], dtype=torch.long, device=logits.device)
        scores = self.processors(ids, logits[None].clone())[0]
        return self.choose(scores, self.steps, len(chosen)), logits, scores

    def step(self, crq_in: Tensor) -> tuple[tuple[int, ...], SpeechTrace]:
        """New backbone positions [n, H] -> the group of the last one."""
        sub_positions = self.head.expand(crq_in[None])[0]
        first = sub_positions.shape[0] - self.head.group_size + 1
        pieces = [sub_positions[:first], *torch.split(sub_positions[first:], 1)]
        chosen: list[int] = []
        logits, scores = [], []
        for piece in pieces:
            code, raw, final = self._advance(piece, self.last, chosen)
            chosen.append(code)
            logits.append(raw)
            scores.append(final)
            self.last = code
        self.steps += 1
        return tuple(chosen), SpeechTrace(torch.stack(logits), torch.stack(scores))


@torch.inference_mode()
def generate(
    model: FunAudioChat, prompt: Prompt, settings: GenerationSettings, choose: Choose | None = None
) -> Iterator[ReferenceStep]:
    """Answer a prompt, step by step. `choose` defaults to the largest score, or to seeded multinomial sampling."""
    config, device = model.config, model.device
    if choose is None:
        choose = argmax
        if settings.do_sample:
            generator = torch.Generator()
            choose = multinomial(generator.manual_seed(settings.seed) if settings.seed is not None else generator)
    eos_ids = settings.eos_ids or (config.text_eos_id,)
    processors = _processors(settings, device, text=True)
    speech = _Speech(model, settings, choose) if settings.speech else None
    cache = DynamicCache()
    sequence = list(prompt.ids)
    speaking = False
    group: tuple[int, ...] = ()
    new_ids = torch.tensor(sequence, device=device)
    for step in range(settings.max_new_tokens):
        speaking = speaking or sequence[-1] == config.audio_bos_id
        text_embeds = model.embed_text(new_ids)
        if step == 0:
            audios = [model.embed_audio(audio.codes, audio.features) for audio in prompt.audios]
            embeds = model.merge(new_ids, audios)
        elif speaking and group:
            embeds = (text_embeds + model.audio_tower.embed_groups(torch.tensor([group], device=device))) / 2
        else:
            embeds = text_embeds
        hidden = model.language_model.model(inputs_embeds=embeds[None], past_key_values=cache).last_hidden_state[0]
        logits = model.language_model.lm_head(hidden[-1]).float()

        crq_in = hidden + text_embeds if speech else None
        chosen, trace = speech.step(crq_in) if speech and crq_in is not None else ((), None)

        scores = logits
        if not settings.text_greedy:
            scores = processors(torch.tensor([sequence], device=device), logits[None].clone())[0]
        streamed = argmax(logits) if settings.text_greedy else choose(scores, step, config.audio.group_size)
        if step == 0 and settings.force_audio_bos:
            streamed = config.audio_bos_id
        appended, group, was_speaking = streamed, (), speaking
        if speech and speaking:
            group = chosen
            if config.audio.eos_id in chosen:
                group = (config.audio.eos_id,) * config.audio.group_size
                appended, speaking = config.audio_eos_id, False
            speech.said.extend(group)
        sequence.append(appended)
        yield ReferenceStep(
            streamed, appended, group, chosen, was_speaking, embeds, hidden, crq_in, logits, scores, trace
        )
        if streamed in eos_ids:
            return
        new_ids = torch.tensor([appended], device=device)
