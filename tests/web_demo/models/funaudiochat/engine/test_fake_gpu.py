"""What runs in CUDA graphs does nothing that their capture refuses: on a fake GPU, without one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="comes with CUDA builds of torch; elsewhere: requirements-dev.txt")

from tests.fake_gpu import DEVICE, capture, fake_gpu
from tests.web_demo.models.funaudiochat.engine.test_engine import LIMITS, SAMPLED
from web_demo.models.funaudiochat.engine.runner import Runner
from web_demo.models.funaudiochat.engine.sequence import Request, Turn, prefix_keys
from web_demo.models.funaudiochat.loader import load_model
from web_demo.models.funaudiochat.processor import Processor
from web_demo.models.runtime.float8 import FORMAT
from web_demo.models.runtime.kernels.base import Kernels
from web_demo.models.runtime.kernels.fused import TritonKernels

pytestmark = pytest.mark.models


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")  # whether weights are one storage
def test_a_prefill_and_the_encoder_of_sounds_can_be_captured(golden: Path) -> None:
    model, config = load_model(golden / "checkpoint", dtype=torch.bfloat16)
    with fake_gpu() as gpu:
        gpu.take(model)
        runner = Runner(model, LIMITS, TritonKernels())
        layout = runner.prompts._layout(32)
        numbers = torch.zeros(layout.size, dtype=torch.long, device=DEVICE)
        vectors = torch.zeros(32, config.hidden_size, dtype=torch.bfloat16, device=DEVICE)
        hidden = capture(partial(runner.prompts._prefill, 32, speech=True), numbers, vectors)
        sounds = capture(model.embed_chunks, *(one.to(DEVICE) for one in runner.prompts._sound_inputs(4)))
    assert (hidden.device.type, hidden.shape) == ("gpu", (32, config.hidden_size))
    assert (sounds.device.type, sounds.shape) == ("gpu", (4, 10, config.hidden_size))


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")  # whether weights are one storage
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(("speech", "cache"), [(True, None), (False, None), (True, FORMAT)])
def test_a_frame_can_be_captured(
    golden: Path, processor: Processor, speech: bool, cache: torch.dtype | None, fused: bool
) -> None:
    model, config = load_model(golden / "checkpoint", dtype=torch.bfloat16)
    prompt = processor.prompt(processor.render([("user", "Hi.")]))
    bad_words = ((config.audio_bos_id, 7),)
    settings = replace(SAMPLED, bad_words=bad_words, speech=speech, force_audio_bos=speech)
    request = Request("r", prompt, settings)
    turn = Turn(request, prefix_keys(prompt, config.audio_id), slot=0, pages=list(range(1, 20)))
    with fake_gpu() as gpu:
        gpu.take(model)
        runner = Runner(model, LIMITS, TritonKernels() if fused else Kernels(), speech_cache=cache)
        runner.admit(turn)
        rows = torch.zeros(4, dtype=torch.long, device=DEVICE)
        packet = capture(partial(runner._compute, speech=speech, pages=10), rows)
    assert (packet.device.type, packet.shape) == ("gpu", (4, 3 + config.audio.group_size))
