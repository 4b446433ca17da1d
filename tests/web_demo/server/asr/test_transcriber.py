from __future__ import annotations

import asyncio
from dataclasses import replace

from prometheus_client import CollectorRegistry

from tests.web_demo.server.asr.helpers import ScriptedAsr, blocks, go, serving, speech
from tests.web_demo.server.asr.realtime.talk import TRANSCRIPTION, pcm, silence, talking
from web_demo.audio.samples import Audio
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


class StreamingScript(ScriptedAsr):
    """Knows the text of an utterance that goes on, in two languages."""

    def __init__(self) -> None:
        super().__init__(languages=("zh", "en", "ja"))
        self.capabilities = replace(self.capabilities, partials=("zh", "en"))
        self.partials: list[tuple[str, float]] = []

    async def partial(self, utterance: str, audio: Audio) -> str:
        self.partials.append((utterance, audio.seconds))
        return f"so far {len(self.partials)}"


async def test_a_partial_text_is_of_what_is_new_where_the_engine_can_and_knows_the_language() -> None:
    engine = StreamingScript()
    transcriber = Transcriber(engine, AsrMetrics(CollectorRegistry()))
    for language in (None, "en", "ja"):
        text = await transcriber.partial("one", go(), TranscriptionOptions(language), "client")
        assert text.startswith("so far") == (language != "ja")
    assert [name for name, _ in engine.partials] == ["one", "one"]
    assert len(engine.asked) == 1


async def test_realtime_transcription_asks_for_partials_of_one_utterance_by_one_name() -> None:
    engine = StreamingScript()
    async with serving(engine) as client, talking(client) as talk:
        await talk.append(pcm(go()))
        await talk.append(silence(1.5))
        await talk.until(f"{TRANSCRIPTION}.completed")
    assert len({name for name, _ in engine.partials}) == 1
    assert [seconds for _, seconds in engine.partials] == sorted(seconds for _, seconds in engine.partials)
    assert len(engine.asked) == 1  # the final one alone
