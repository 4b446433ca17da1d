"""What runs in CUDA graphs does nothing that their capture refuses: on a fake GPU, without one."""

from __future__ import annotations

from argparse import Namespace
from functools import partial

import pytest
import torch

from scripts.benchmarks.cosyvoice3 import random_lm, random_token2wav, tiny
from tests.fake_gpu import capture, fake_gpu
from web_demo.models.cosyvoice3.engine.token2wav import Token2Wav
from web_demo.models.cosyvoice3.lm.batch import LmBatch

pytestmark = pytest.mark.models

OPTIONS = Namespace(context_s=2.0, graphs=False, device="cpu", dtype="bfloat16")


@pytest.mark.long
def test_flow_and_vocoder_can_be_captured() -> None:
    whole = random_token2wav(tiny(), OPTIONS, slots=4)
    with fake_gpu() as gpu:
        gpu.take(whole.flow)
        gpu.take(whole.vocoder)
        token2wav = Token2Wav(whole.flow, whole.vocoder, whole.settings)
        inputs = token2wav._inputs([], rows=2, tokens=25)
        for context in token2wav._contexts():
            mel = capture(partial(token2wav._flow_step, context), *inputs.flow)
            assert (mel.device.type, mel.shape) == ("gpu", (2, 50, 80))
        samples = capture(token2wav._vocoder_step, mel, *inputs.vocoder)
    assert samples.device.type == "gpu"


def test_a_token_of_the_language_model_can_be_captured() -> None:
    lm = random_lm(tiny(), OPTIONS)
    with fake_gpu() as gpu:
        gpu.take(lm)
        batch = LmBatch(lm, slots=4, capacity=256, batches=(4,))
        tokens = capture(partial(batch._step, context=256), *batch._rows([], 4))
    assert (tokens.device.type, tokens.shape) == ("gpu", torch.Size([4]))
