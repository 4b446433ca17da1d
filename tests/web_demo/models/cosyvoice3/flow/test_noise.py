"""The fixed noise, against numbers that the reference draws at the sizes of the released model."""

import dataclasses

import pytest
import torch

from web_demo.models.cosyvoice3.config import load_config
from web_demo.models.cosyvoice3.flow.noise import fixed_noise

pytestmark = pytest.mark.models

# Recorded from the reference's constructors (f0 predictor of 512 channels, table of 6561 x 80), torch 2.13.0, CPU.
START = [-1.1258398294448853, -1.152360200881958, -0.2505785822868347, -0.4338788092136383]
START_LAST = -0.08329440653324127
SOURCE_0 = [0.9228259921073914, 0.477447509765625, 0.8270518183708191, 0.2834571599960327]
SOURCE_479 = [0.855989396572113, 0.18842267990112305, 0.3907546401023865, 0.12501269578933716]


@pytest.fixture(scope="module")
def released(model_dir):
    config = load_config(model_dir)
    return dataclasses.replace(config, hift=dataclasses.replace(config.hift, f0_channels=512))


def test_the_noise_of_the_released_sizes_is_the_reference_s(released):
    noise = fixed_noise(released)
    torch.testing.assert_close(noise.start[0, :4], torch.tensor(START), rtol=0, atol=0)
    assert float(noise.start[-1, -1]) == START_LAST
    source = next(noise.source(480))
    torch.testing.assert_close(source[0, :4], torch.tensor(SOURCE_0), rtol=0, atol=0)
    torch.testing.assert_close(source[479, :4], torch.tensor(SOURCE_479), rtol=0, atol=0)


def test_drawing_in_pieces_changes_nothing(released):
    noise = fixed_noise(released)
    torch.testing.assert_close(torch.cat(list(noise.source(500_000)))[:1000], next(noise.source(1000)), rtol=0, atol=0)
    pieces = torch.cat(list(noise.source(500_000)))
    generator = torch.Generator()
    generator.set_state(noise.source_state)
    torch.testing.assert_close(pieces, torch.rand(500_000, 9, generator=generator), rtol=0, atol=0)


def test_the_caller_s_random_state_is_left_alone(released):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fixed_noise(released)
    torch.testing.assert_close(torch.rand(3), expected)
