"""Repetition-aware sampling: the batched draw against its definition."""

import collections

import numpy as np
import pytest
import torch

from web_demo.models.cosyvoice3.config import load_config
from web_demo.models.cosyvoice3.lm import ras

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def config(model_dir):
    return load_config(model_dir).lm


def rows(probabilities, count):
    return torch.tensor(probabilities, dtype=torch.float32).log().expand(count, -1)


def padded(values, size=40):
    return [*values, *[1e-9] * (size - len(values))]


def test_draws_follow_the_nucleus_alone(config):
    """0.5 + 0.2 + 0.15 reach 0.8: the fourth id is never drawn, the others in proportion."""
    count = 20_000
    logp = rows(padded([0.5, 0.2, 0.15, 0.15]), count)
    uniforms = torch.from_numpy(np.random.default_rng(0).random((count, 2)))
    drawn = ras.draw_batch(logp, torch.full((count, 10), -1), uniforms, config)
    shares = collections.Counter(drawn.tolist())
    assert set(shares) == {0, 1, 2}
    assert shares[0] / count == pytest.approx(0.5 / 0.85, abs=0.015)


def test_a_repeated_token_is_struck_out_and_drawn_again_from_everything(config):
    count = 20_000
    logp = rows(padded([0.9, 0.05, 0.05]), count)
    recent = torch.full((count, 10), -1)
    recent[:, 3] = 0
    uniforms = torch.from_numpy(np.random.default_rng(1).random((count, 2)))
    drawn = collections.Counter(ras.draw_batch(logp, recent, uniforms, config).tolist())
    assert set(drawn) == {1, 2}
    assert drawn[1] / count == pytest.approx(0.5, abs=0.02)


def test_the_plain_and_the_batched_draw_agree_in_distribution(config):
    generator = torch.Generator().manual_seed(0)
    logp = (torch.randn(300, generator=generator) * 2).log_softmax(0)
    recent = [int(logp.argmax())]
    plain = collections.Counter(ras.draw(logp, recent, config, generator) for _ in range(4000))
    uniforms = torch.from_numpy(np.random.default_rng(2).random((4000, 2)))
    window = torch.full((4000, 10), -1)
    window[:, 0] = recent[0]
    batched = collections.Counter(ras.draw_batch(logp.expand(4000, -1), window, uniforms, config).tolist())
    assert all(abs(plain[token] - batched[token]) < 160 for token in {*plain, *batched})
    assert recent[0] not in plain


def test_an_impossible_token_is_never_drawn_at_the_edges_of_the_unit_interval(config):
    logp = rows([0.0, 0.3, 0.0, 0.7, 0.0, *[0.0] * 30], 2)
    uniforms = torch.tensor([[0.0, 0.0], [1.0 - 1e-16, 1.0 - 1e-16]], dtype=torch.float64)
    nothing = torch.full((2, 10), -1)
    assert set(ras.draw_batch(logp, nothing, uniforms, config).tolist()) <= {1, 3}
    repeated = nothing.clone()
    repeated[:, 0] = 3
    assert ras.draw_batch(logp, repeated, uniforms, config).tolist() == [1, 1]
