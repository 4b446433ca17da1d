"""A GPU that is lost in the middle of work, for real: a kernel reads outside of its memory in a process of its own, after which
CUDA refuses everything to that process. What follows must be the words and the restart that other tests have from fakes."""

from __future__ import annotations

import queue
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from tests.talk import until  # noqa: E402
from tests.web_demo.models.cosyvoice3.golden import expanded  # noqa: E402
from tests.web_demo.models.funaudiochat.engine.test_engine import GREEDY, LIMITS, spoken  # noqa: E402
from web_demo.audio.samples import Samples  # noqa: E402
from web_demo.detokenizer.backend import BackendSpec  # noqa: E402
from web_demo.detokenizer.supervisor import Detokenizer  # noqa: E402
from web_demo.engines.s2s.funaudiochat.detokenizer import CosyVoiceBackend, create  # noqa: E402
from web_demo.errors import EngineFailed  # noqa: E402
from web_demo.models.cosyvoice3.engine.token2wav import Stream  # noqa: E402

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

DEADLY = 6560  # a code after which the GPU is lost
ROOT = Path(__file__).resolve().parents[5]
GOLDEN = ROOT / "tests/web_demo/models/funaudiochat/golden"


def lose_gpu() -> None:
    """Asynchronous, as real faults are: the next call that waits for the GPU raises."""
    torch.zeros(8, device="cuda:0")[torch.tensor([10**6], device="cuda:0")]


def deadly_backend(**options: Any) -> CosyVoiceBackend:
    backend = create(**options)
    token2wav = backend._token2wav
    run = token2wav.run

    def run_or_lose(streams: Sequence[Stream]) -> Iterator[tuple[Stream, Samples]]:
        if any(DEADLY in stream.cursor.tokens for stream in streams):
            lose_gpu()
        return run(streams)

    token2wav.run = run_or_lose  # type: ignore[method-assign]
    return backend


async def test_the_detokenizer_says_so_and_the_next_answer_is_spoken_by_a_new_child(tmp_path: Path) -> None:
    model_path = str(expanded(tmp_path / "golden") / "model")
    options = {"model_path": model_path, "slots": 1, "device": "cuda:0"}
    restarts: list[None] = []
    async with Detokenizer(
        BackendSpec(f"{__name__}:deadly_backend", options),
        open_timeout_s=120,
        on_restart=lambda: restarts.append(None),
    ) as detokenizer:
        first = detokenizer.pid
        async with await detokenizer.open("a") as speech:
            assert sum([len(samples) async for samples in speech.say(codes=tuple(range(40)), last=True)]) == 40 * 960
        async with await detokenizer.open("b") as speech:
            with pytest.raises(EngineFailed, match="its GPU failed; it is being restarted"):
                async for _ in speech.say(codes=(*range(40), DEADLY), last=True):
                    pass
        await until(lambda: bool(restarts))  # what is opened before its end is noticed ends with it
        async with await detokenizer.open("c") as speech:
            assert sum([len(samples) async for samples in speech.say(codes=tuple(range(40)), last=True)]) == 40 * 960
        assert detokenizer.pid != first
        assert len(restarts) == 1


def lose_while_answering() -> None:
    """Prints what the listener of the turn is told last, and what the engine's thread says of itself."""
    from web_demo.models.funaudiochat.engine.engine import Engine
    from web_demo.models.funaudiochat.engine.sequence import Frame, Request
    from web_demo.models.funaudiochat.engine.thread import EngineThread
    from web_demo.models.funaudiochat.loader import load_model
    from web_demo.models.funaudiochat.processor import Processor

    model, config = load_model(GOLDEN / "checkpoint", device="cuda:0")
    thread = EngineThread(Engine(model, LIMITS))
    told: queue.SimpleQueue[Frame | Exception] = queue.SimpleQueue()
    thread.start()
    thread.submit(Request("r", spoken(Processor(GOLDEN / "checkpoint", config), 1), GREEDY), told.put)
    said = told.get(timeout=60)
    thread._owner.do(lose_gpu)
    while isinstance(said, Frame) and said.end is None:
        said = told.get(timeout=60)
    print(type(said).__name__, thread.broken)


def test_the_speech_model_ends_its_turns_and_says_that_it_is_broken() -> None:
    """Then the service is unhealthy: a restart of its process is its supervisor's."""
    code = f"from {__name__} import lose_while_answering; lose_while_answering()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.split() == ["Stopped", "AcceleratorError"], done.stderr[-2000:]
