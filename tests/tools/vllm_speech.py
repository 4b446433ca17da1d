"""The speech LM in a real vLLM on a CPU, with the tiny random model: the golden tokens, those of our own LM for a seed, two at
once, cancelling, and speech through the service. Run by test_vllm.sh.

    python3 tests/tools/vllm_speech.py FOLDER PYTHON      # FOLDER: to write the models into; PYTHON: the one that has vLLM
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from safetensors.torch import load_file

from tests.web_demo.models.cosyvoice3.golden import expanded
from tests.web_demo.models.cosyvoice3.widened import widened
from tests.web_demo.server.tts.fakes import serving
from web_demo.models.cosyvoice3.lm.batch import LmBatch, Utterance
from web_demo.models.cosyvoice3.lm.generate import END_OF_PROMPT, LmInput
from web_demo.models.cosyvoice3.lm.lm import load_lm
from web_demo.models.cosyvoice3.lm.vllm.remote import VllmLm
from web_demo.server.tts.settings import TtsSettings

FOLDER, PYTHON = map(Path, sys.argv[1:3])
GIVEN = LmInput((71, 68, 75, 9), (56, END_OF_PROMPT), (100, 200, 300))
BEGAN = time.monotonic()


def done(what: str) -> None:
    print(f"ok {time.monotonic() - BEGAN:6.1f} s  {what}", flush=True)


async def steps(lm: VllmLm, utterances: list[Utterance], enough: int = 1_000_000) -> None:
    while not all(utterance.ended or len(utterance.tokens) >= enough for utterance in utterances):
        await asyncio.to_thread(lm.step, utterances)


async def tokens(model: Path, cases: Path) -> None:
    lm = VllmLm(model, device="cpu", dtype="float32", slots=4, capacity=1024, python=PYTHON)
    await lm.start()
    try:
        done("vLLM has loaded the speech LM")
        golden = load_file(cases / "lm.safetensors")
        text, prompt, speech = (
            tuple(golden[name].flatten().tolist()) for name in ("text", "prompt_text", "prompt_speech_token")
        )
        one, two, left = (
            lm.add(LmInput(text, prompt, speech), None),
            lm.add(GIVEN, 7),
            lm.add(LmInput(text, prompt, speech), 8),
        )
        await steps(lm, [left], enough=20)
        lm.remove(left)
        assert lm.free == 2
        await steps(lm, [one, two])
        assert one.error is None
        assert one.tokens == golden["greedy_tokens"].tolist(), "the golden tokens are others"
        done(f"{len(one.tokens)} golden tokens, exact")
        batch = LmBatch(load_lm(model), slots=1, capacity=1024, batches=(1,))
        own = batch.add(GIVEN, 7)
        while not own.ended:
            batch.step([own])
        assert two.tokens == own.tokens, "a seed gives other tokens than our own LM"
        assert len(left.tokens) < 100, "an utterance that was left went on"
        done(f"{len(two.tokens)} tokens of a seed as our own LM's, beside it; a third was cancelled")
    finally:
        await lm.close()


async def service(model: Path) -> None:
    settings = TtsSettings(
        port=0, engine="cosyvoice3", model_path=model, device="cpu", use_vllm=True, vllm_python=PYTHON
    )
    async with serving(settings) as client:
        async with client.get("/health") as response:
            health = await response.json()
        assert health["vllm_enabled"] is True, health
        done(f"the service is {health['status']}, vllm_enabled")

        async with client.get("/api/speakers") as response:
            voice = (await response.json())["speakers"][0]["name"]

        async def speak(text: str) -> int:
            body = {"text": text, "speaker_id": voice, "stream": True}
            async with client.post("/api/synthesize", json=body) as answer:
                assert answer.status == 200, await answer.text()
                return len(await answer.read())

        sizes = await asyncio.gather(speak("hello you"), speak("good day"))
        assert min(sizes) > 44
        done(f"two requests at once, {sizes} bytes")


async def main() -> None:
    os.environ |= {"VLLM_TARGET_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}  # of the child
    golden = expanded(FOLDER / "golden")
    model = widened(golden / "model", FOLDER / "wide")
    await tokens(model, golden / "cases")
    await service(model)


if __name__ == "__main__":
    asyncio.run(main())
