from __future__ import annotations

import pytest
import torch
from transformers.generation.logits_process import (
    NoBadWordsLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from web_demo.models.funaudiochat.engine.state import MAX_BAD_WORD_TOKENS
from web_demo.models.runtime.kernels.sampling import SamplingRows, banned, penalised, sample

pytestmark = pytest.mark.models

VOCABULARY = 50


def rows(
    count: int, *, sample: bool = True, temperature: float = 1.0, top_p: float = 1.0, top_k: int = 0
) -> SamplingRows:
    return SamplingRows(
        torch.full((count,), sample),
        torch.full((count,), temperature),
        torch.full((count,), top_p),
        torch.full((count,), top_k),
        torch.ones(count),
    )


@pytest.mark.parametrize(
    ("temperature", "top_p", "top_k"),
    [(1.0, 1.0, 0), (0.8, 0.9, 0), (1.3, 0.5, 0), (0.7, 1.0, 5), (1.0, 0.6, 7), (1.0, 0.01, 0)],
)
def test_draws_have_the_distribution_of_the_library_processors(temperature: float, top_p: float, top_k: int) -> None:
    torch.manual_seed(5)
    scores = torch.randn(1, VOCABULARY) * 2
    expected = TemperatureLogitsWarper(temperature)(None, scores)
    if top_k:
        expected = TopKLogitsWarper(top_k)(None, expected)
    if top_p < 1:
        expected = TopPLogitsWarper(top_p)(None, expected)
    draws = 20_000
    uniform = (torch.arange(draws) + 0.5) / draws  # every stretch of the distribution, in its proportion
    settings = rows(draws, temperature=temperature, top_p=top_p, top_k=top_k)
    chosen = sample(scores.expand(draws, -1), settings, uniform)
    found = torch.bincount(chosen, minlength=VOCABULARY) / draws
    torch.testing.assert_close(found, expected.softmax(dim=-1)[0], atol=2 / draws, rtol=0)


def test_the_ends_of_the_uniform_range_stay_inside_the_kept_tokens() -> None:
    scores = torch.tensor([[3.0, 2.0, 1.0, -torch.inf]]).expand(2, -1)
    below_one = torch.nextafter(torch.tensor(1.0), torch.tensor(0.0))
    chosen = sample(scores, rows(2), torch.tensor([0.0, float(below_one)]))
    assert chosen.tolist() == [0, 2]  # never the last one, which has no mass


def test_rows_of_one_batch_keep_their_own_settings() -> None:
    scores = torch.tensor([[1.0, 2.0, 3.0]]).expand(3, -1)
    settings = SamplingRows(
        torch.tensor([False, True, True]),
        torch.tensor([1.0, 1.0, 1.0]),
        torch.tensor([1.0, 1.0, 0.1]),
        torch.tensor([0, 0, 0]),
        torch.ones(3),
    )
    assert sample(scores, settings, torch.full((3,), 0.01)).tolist() == [2, 0, 2]


def test_the_penalty_is_that_of_the_library() -> None:
    torch.manual_seed(1)
    logits = torch.randn(1, VOCABULARY)
    history = torch.tensor([[3, 7, 7, 11]])
    seen = torch.zeros(1, VOCABULARY, dtype=torch.bool).index_fill_(1, history[0], True)
    expected = RepetitionPenaltyLogitsProcessor(1.2)(history, logits.clone())
    assert torch.equal(penalised(logits, seen, torch.tensor([1.2])), expected)


@pytest.mark.parametrize("history", [[1, 2, 3, 4], [9, 4], [2, 3, 4], [4, 9], [3]])
def test_bans_are_those_of_the_library(history: list[int]) -> None:
    words = [[4, 5], [2, 3, 4, 6], [8], [9, 4, 7], [4, 9, 5]]
    expected = NoBadWordsLogitsProcessor(words)(torch.tensor([history]), torch.zeros(1, 12))
    width = MAX_BAD_WORD_TOKENS - 1
    recent = torch.full((1, width), -2)
    tail = torch.tensor(history[-width:])
    recent[0, width - len(tail) :] = tail
    prefixes, last = torch.full((1, 6, width), -1), torch.full((1, 6), -1)
    for index, word in enumerate(words):
        prefixes[0, index, width - len(word) + 1 :] = torch.tensor(word[:-1])
        last[0, index] = word[-1]
    assert torch.equal(banned(recent, prefixes, last, 12), expected == -torch.inf)
