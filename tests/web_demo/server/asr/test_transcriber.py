from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry

from tests.web_demo.server.asr.helpers import ScriptedAsr, blocks, go, speech
from web_demo.engines.base import Transcript
from web_demo.server.asr.metrics import AsrMetrics
from web_demo.server.asr.transcriber import Transcriber, TranscriptionOptions


async def test_a_client_with_many_recordings_does_not_hold_up_one_with_a_single_recording() -> None:
    engine = ScriptedAsr(concurrency=1, max_segment_s=5.0)
    engine.hold()
    transcriber = Transcriber(engine, AsrMetrics(CollectorRegistry()))

    def ask(client: str, language: str, times: int) -> asyncio.Task[Transcript]:
        audio = speech(times, 6.0) if times > 1 else go()
        return asyncio.create_task(transcriber.transcribe(blocks(audio), TranscriptionOptions(language), client))

    many = [ask("a", "zh", 3) for _ in range(4)]
    await engine.entered.wait()
    one = ask("b", "en", 1)
    while "b" not in transcriber._turns._waiting or len(transcriber._turns._waiting["a"]) < 3:  # noqa: ASYNC110
        await asyncio.sleep(0.01)  # cutting is done in a thread
    engine.go_on.set()
    await asyncio.gather(*many, one)
    assert [asked["language"] for asked in engine.asked].index("en") == 1
