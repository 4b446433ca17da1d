"""What runs in CUDA graphs reads no value on the host and leaves nothing on the CPU: on a fake GPU, without one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.fake_gpu import DEVICE, fake_gpu
from tests.web_demo.models.funaudiochat.engine.test_engine import LIMITS, SAMPLED
from web_demo.models.funaudiochat.engine.runner import Runner
from web_demo.models.funaudiochat.engine.sequence import Request, Turn, prefix_keys
from web_demo.models.funaudiochat.kernels.base import Kernels
from web_demo.models.funaudiochat.loader import load_model
from web_demo.models.funaudiochat.processor import Processor

pytestmark = pytest.mark.models


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")  # whether weights are one storage
@pytest.mark.parametrize("speech", [True, False])
def test_a_frame_stays_on_the_device(golden: Path, processor: Processor, speech: bool) -> None:
    model, config = load_model(golden / "checkpoint", dtype=torch.bfloat16)
    prompt = processor.prompt(processor.render([("user", "Hi.")]))
    bad_words = ((config.audio_bos_id, 7),)
    settings = replace(SAMPLED, bad_words=bad_words, speech=speech, force_audio_bos=speech)
    request = Request("r", prompt, settings)
    turn = Turn(request, prefix_keys(prompt, config.audio_id), slot=0, pages=list(range(1, 20)))
    with fake_gpu() as gpu:
        gpu.take(model)
        runner = Runner(model, LIMITS, Kernels())
        runner.admit(turn)
        rows = torch.zeros(4, dtype=torch.long, device=DEVICE)
        packet = runner._compute(rows, speech=speech, pages=10)
    assert (packet.device.type, packet.shape) == ("gpu", (4, 3 + config.audio.group_size))
