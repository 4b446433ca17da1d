"""What runs in CUDA graphs reads no value on the host and leaves nothing on the CPU: on a fake GPU, without one."""

from __future__ import annotations

from argparse import Namespace

import pytest
import torch

from scripts.benchmarks.cosyvoice3 import random_lm, random_token2wav, tiny
from tests.fake_gpu import fake_gpu
from web_demo.models.cosyvoice3.engine.token2wav import Token2Wav
from web_demo.models.cosyvoice3.lm.batch import LmBatch

pytestmark = pytest.mark.models

OPTIONS = Namespace(context_s=2.0, graphs=False, device="cpu", dtype="bfloat16")


def test_flow_and_vocoder_stay_on_the_device() -> None:
    whole = random_token2wav(tiny(), OPTIONS, slots=4)
    with fake_gpu() as gpu:
        gpu.take(whole.flow)
        gpu.take(whole.vocoder)
        token2wav = Token2Wav(whole.flow, whole.vocoder, whole.settings)
        inputs = token2wav._inputs([], rows=2, tokens=25)
        for context in token2wav._contexts():
            mel = token2wav._flow_step(context, *inputs.flow)
            assert (mel.device.type, mel.shape) == ("gpu", (2, 50, 80))
        samples = token2wav._vocoder_step(mel, *inputs.vocoder)
    assert samples.device.type == "gpu"


def test_a_token_of_the_language_model_stays_on_the_device() -> None:
    lm = random_lm(tiny(), OPTIONS)
    with fake_gpu() as gpu:
        gpu.take(lm)
        batch = LmBatch(lm, slots=4, capacity=256, batches=(4,))
        tokens = batch._step(*batch._rows([], 4), 256)
    assert (tokens.device.type, tokens.shape) == ("gpu", torch.Size([4]))
