"""The engine as it runs on a GPU, Triton kernels and CUDA graphs included, against the reference path on the same GPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.web_demo.models.funaudiochat.engine.test_engine import GREEDY, LIMITS, SAMPLED, alone, spoken, together
from web_demo.models.funaudiochat.engine.engine import Engine
from web_demo.models.funaudiochat.engine.sequence import Request
from web_demo.models.funaudiochat.loader import load_model
from web_demo.models.funaudiochat.model import FunAudioChat
from web_demo.models.funaudiochat.parity import check
from web_demo.models.funaudiochat.processor import Processor
from web_demo.models.runtime.kernels.base import Kernels
from web_demo.models.runtime.kernels.best import best_kernels

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.fixture(scope="module")
def on_gpu(golden: Path) -> Iterator[FunAudioChat]:
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield load_model(golden / "checkpoint", device="cuda:0")[0]
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


def test_every_golden_case_passes(golden: Path) -> None:
    assert {result.name: result.problems for result in check(golden, device="cuda:0") if not result.passed} == {}


@pytest.mark.parametrize("fused", [False, True])
def test_rows_of_a_batch_equal_their_solo_runs(on_gpu: FunAudioChat, processor: Processor, fused: bool) -> None:
    engine = Engine(on_gpu, LIMITS, best_kernels(on_gpu.device) if fused else Kernels())
    engine.runner.warm_up()
    settings = [
        GREEDY,
        SAMPLED,
        replace(SAMPLED, seed=8, top_k=20),
        replace(SAMPLED, speech=False, force_audio_bos=False),
    ]
    requests = [Request(f"r{seed}", spoken(processor, seed, 0.5 + seed), one) for seed, one in enumerate(settings)]
    answers, _ = together(engine, {0: requests[:2], 3: requests[2:]})
    for request in requests:
        assert answers[request.request_id] == alone(on_gpu, request.prompt, request.settings), request.request_id
