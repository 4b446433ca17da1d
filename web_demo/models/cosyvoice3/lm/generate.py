"""One utterance after another: the plain way to generate speech tokens, kept for parity and as the tests' yardstick."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .lm import Place, SpeechLm

MAX_RATIO, MIN_RATIO = 20, 2  # speech tokens for each token of the text to speak
END_OF_PROMPT = 151_646  # <|endofprompt|>
SILENT = frozenset((1, 2, 28, 29, 55, 248, 494, 2241, 2242, 2322, 2323))
MAX_SILENT_RUN = 5

Choose = Callable[[Tensor, Sequence[int]], int]  # log-probabilities [ids] on the CPU, tokens so far -> token


@dataclass(frozen=True)
class LmInput:
    """`text` is spoken; what is in `prompt_text` and `prompt_speech` was said before."""

    text: tuple[int, ...]
    prompt_text: tuple[int, ...] = ()
    prompt_speech: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if END_OF_PROMPT not in (*self.prompt_text, *self.text):
            raise ValueError("the text or the prompt text must contain <|endofprompt|>: without it the LM never ends")

    @property
    def positions(self) -> int:
        """In the LM's context, with the start and the task (see `SpeechLm.prompt`)."""
        return 2 + len(self.prompt_text) + len(self.text) + len(self.prompt_speech)

    @property
    def min_tokens(self) -> int:
        return MIN_RATIO * len(self.text)

    @property
    def max_tokens(self) -> int:
        return MAX_RATIO * len(self.text)


@torch.no_grad()
def log_probabilities(lm: SpeechLm, given: LmInput, tokens: Sequence[int]) -> Iterator[Tensor]:
    """Log-probabilities [ids] of the next token, for as long as the caller keeps appending to `tokens`."""
    x = lm.prompt((*given.prompt_text, *given.text), given.prompt_speech)
    device = x.device
    cache = lm.new_cache(1, x.shape[1] + given.max_tokens)
    slots, known = torch.zeros(1, dtype=torch.int64, device=device), 0
    while True:
        positions = torch.arange(known, known + x.shape[1], device=device)[None]
        known += x.shape[1]
        yield lm(x, Place(slots, positions, known), cache)[0]
        x = lm.speech_embedding(torch.tensor([[tokens[-1]]], device=device))


def generate(lm: SpeechLm, given: LmInput, choose: Choose, *, enforce_minimum: bool = True) -> Iterator[int]:
    """Tokens until one of the stop ids or the longest length.

    The reference forbids only the first stop id before the shortest length, so that another one can still end the
    utterance; `enforce_minimum=False` does the same.
    """
    tokens: list[int] = []
    for logp in log_probabilities(lm, given, tokens):
        allowed = logp.to("cpu", copy=True)
        if len(tokens) < given.min_tokens:
            end = None if enforce_minimum else lm.first_stop_id + 1
            allowed[lm.first_stop_id : end] = -torch.inf
        token = choose(allowed, tokens)
        if token >= lm.first_stop_id:
            return
        yield token
        tokens.append(token)
        if len(tokens) == given.max_tokens:
            return


class SilenceFilter:
    """Drops what exceeds five silent tokens in a row."""

    def __init__(self) -> None:
        self._run = 0

    def keep(self, token: int) -> bool:
        self._run = self._run + 1 if token in SILENT else 0
        return self._run <= MAX_SILENT_RUN
