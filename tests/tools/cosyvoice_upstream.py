"""The cosyvoice engine against upstream's real code on a CPU, with the tiny random model: what tests/web_demo/engines/tts/
test_cosyvoice.py does with a stand-in. Run by test_cosyvoice.sh.

    python3 tests/tools/cosyvoice_upstream.py SUBMODULE MODEL PYTHON
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.speech import recording
from web_demo.audio.samples import silence
from web_demo.engines.base import SpeechRequest, VoicePrompt
from web_demo.engines.tts import cosyvoice
from web_demo.engines.tts.cosyvoice import CosyVoiceTts
from web_demo.errors import EngineFailed, InvalidRequest, SetupError

SUBMODULE, MODEL, PYTHON = map(Path, sys.argv[1:4])
TEXT = "你好。"  # 180 tokens: a random model ends at the most of them
# Faults of upstream's thread, put in through its own sampling; a file switches them on. Python runs it at its start.
FAULTS = """
import threading
from pathlib import Path
import cosyvoice.llm.llm as llm

SWITCH = Path(__file__).with_name("fault")
original = llm.TransformerLM.sampling_ids


def sampling_ids(self, weighted_scores, decoded_tokens, *rest, **more):
    fault = SWITCH.read_text() if SWITCH.exists() else ""
    if fault and len(decoded_tokens) > 5:
        SWITCH.unlink()
        if fault == "raise":
            raise RuntimeError("out of memory")
        threading.Event().wait()
    return original(self, weighted_scores, decoded_tokens, *rest, **more)


llm.TransformerLM.sampling_ids = sampling_ids
"""


def with_faults(folder: Path) -> Path:
    """A folder that is upstream's, with the faults in it."""
    for part in ("cosyvoice", "third_party", "asset"):
        (folder / part).symlink_to(SUBMODULE.resolve() / part)
    (folder / "sitecustomize.py").write_text(FAULTS)
    return folder


class Upstream:
    def __init__(self, folder: Path) -> None:
        self.switch = folder / "fault"
        self.engine = CosyVoiceTts(MODEL, "cpu", submodule=with_faults(folder), python=PYTHON, stall_s=20.0)

    async def chunks(self, text: str = TEXT, **more: Any) -> list[int]:
        request = SpeechRequest(text, "中文女", **more)
        return [len(chunk) async for chunk in self.engine.synthesize(request)]

    @property
    def pid(self) -> int | None:
        return self.engine._child.pid


async def it_speaks_in_every_way(up: Upstream) -> None:
    """Streams, in one piece, at another speed, in another script, with an instruction, with a recording."""
    streamed, whole = await up.chunks(), await up.chunks(streamed=False)
    assert len(streamed) > 1, streamed
    assert len(whole) == 1, whole
    assert len(await up.chunks(speed=1.5)) == 1
    assert sum(await up.chunks("Hello.")) > 0
    assert sum(await up.chunks(instruction="请用广东话表达。")) > 0
    assert sum(await up.chunks(prompt=VoicePrompt(recording("cards_001"), "three of hearts"))) > 0


async def the_first_sound_does_not_come_later(up: Upstream) -> None:
    first = [(await up.chunks())[0] for _ in range(3)]
    assert len(set(first)) == 1, first


async def a_recording_of_30_s_is_taken_and_no_longer_one(up: Upstream) -> None:
    assert sum(await up.chunks(prompt=VoicePrompt(silence(30.0, 24_000), "<|endofprompt|>"))) > 0
    try:
        await up.chunks(prompt=VoicePrompt(silence(30.05, 24_000), "too long"))
    except InvalidRequest:
        return
    raise AssertionError("30.05 s were taken")


async def an_abandoned_request_lets_go_of_the_model(up: Upstream) -> None:
    pid, long = up.pid, "一个很长的句子，" * 4
    for streamed in (True, False):
        task = asyncio.create_task(up.chunks(long, streamed=streamed))
        await asyncio.sleep(1.0)
        began = time.monotonic()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        print(f"    let go after {time.monotonic() - began:.2f} s, streamed={streamed}")
        assert sum(await up.chunks()) > 0
    assert up.pid == pid


async def _fault(up: Upstream, fault: str) -> None:
    pid = up.pid
    up.switch.write_text(fault)
    failed, served = await asyncio.gather(up.chunks(), up.chunks(), return_exceptions=True)
    assert isinstance(failed, EngineFailed), failed
    assert isinstance(served, list), served
    assert sum(served) > 0
    assert up.pid not in (None, pid)


async def a_dead_thread_ends_the_child(up: Upstream) -> None:
    await _fault(up, "raise")


async def a_wedged_thread_ends_the_child(up: Upstream) -> None:
    await _fault(up, "wait")


async def a_gpu_that_is_not_there_is_refused(up: Upstream) -> None:
    for device, options in (("cuda:3", {}), ("cpu", {"fp16": True})):
        try:
            await CosyVoiceTts(MODEL, device, submodule=SUBMODULE, python=PYTHON, **options).start()
        except SetupError as error:
            print(f"    {error}")
        else:
            raise AssertionError(f"{device} {options} was taken")


CHECKS: tuple[Callable[[Upstream], Awaitable[None]], ...] = (
    it_speaks_in_every_way,
    the_first_sound_does_not_come_later,
    a_recording_of_30_s_is_taken_and_no_longer_one,
    an_abandoned_request_lets_go_of_the_model,
    a_dead_thread_ends_the_child,
    a_wedged_thread_ends_the_child,
    a_gpu_that_is_not_there_is_refused,
)


async def main() -> None:
    logging.basicConfig(level="WARNING")
    cosyvoice.PATIENCE_S = 600.0  # upstream takes a minute to import on a busy machine
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}  # of the child: the model is tiny
    with tempfile.TemporaryDirectory() as folder:
        up = Upstream(Path(folder))
        await up.engine.start()
        try:
            for check in CHECKS:
                began = time.monotonic()
                await check(up)
                print(f"ok {time.monotonic() - began:6.1f} s  {check.__name__.replace('_', ' ')}", flush=True)
        finally:
            await up.engine.close()


if __name__ == "__main__":
    asyncio.run(main())
