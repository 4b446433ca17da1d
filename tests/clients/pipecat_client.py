"""pipecat-ai: https://github.com/pipecat-ai/pipecat"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pipecat.adapters.schemas.function_schema import FunctionSchema
from pipecat.adapters.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMRunFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStartedFrame,
    TTSTextFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import FunctionCallParams
from pipecat.services.openai.realtime.events import (
    AudioConfiguration,
    AudioInput,
    ClientEvent,
    ConversationItemTruncateEvent,
    InputAudioTranscription,
    SessionProperties,
    TurnDetection,
)
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.services.openai.stt import OpenAIRealtimeSTTService, OpenAISTTService
from pipecat.services.openai.tts import OpenAITTSService
from pipecat.workers.runner import WorkerRunner

from tests.clients.report import ASR, KEY, S2S, TTS, require, require_words, run, version_of
from tests.clients.sound import slices, speech

RATE = 24_000
Talk = tuple[PipelineWorker, "Sink"]


class Sink(FrameProcessor):
    """Keeps what comes out of a pipeline, or back from it."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: asyncio.Queue[Frame] = asyncio.Queue()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.frames.put_nowait(frame)
        await self.push_frame(frame, direction)

    async def next(self, kind: type[Frame]) -> Frame:
        while True:
            frame = await self.frames.get()
            if isinstance(frame, ErrorFrame):
                raise AssertionError(frame.error)
            if isinstance(frame, kind):
                return frame


@asynccontextmanager
async def running(*processors: FrameProcessor) -> AsyncIterator[tuple[PipelineWorker, Sink]]:
    source, sink = Sink(), Sink()
    for one in (source, *processors):
        if isinstance(one, Sink):
            one.frames = sink.frames  # errors go upstream, and what an aggregator takes comes out nowhere
    params = PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE)
    worker = PipelineWorker(Pipeline([source, *processors, sink]), params=params, cancel_on_idle_timeout=False)
    started = asyncio.Event()

    @worker.event_handler("on_pipeline_started")
    async def _(worker: PipelineWorker, frame: Frame) -> None:
        started.set()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    task = asyncio.create_task(runner.run())
    await started.wait()
    try:
        yield worker, sink
    finally:
        await worker.queue_frame(EndFrame())
        await task


async def say(worker: PipelineWorker, silence_s: float = 1.0, pace: float = 0.0) -> None:
    for part in slices(speech(RATE, silence_s=silence_s), RATE):
        await worker.queue_frame(InputAudioRawFrame(part, RATE, 1))
        await asyncio.sleep(pace)


async def transcribe() -> str:
    service = OpenAISTTService(api_key=KEY, base_url=f"{ASR}/v1")
    async with running(service) as (worker, sink):
        await worker.queue_frame(VADUserStartedSpeakingFrame())
        await say(worker)
        await worker.queue_frame(VADUserStoppedSpeakingFrame())
        return require_words((await sink.next(TranscriptionFrame)).text)


async def captions(detection: dict | bool) -> str:
    url = f"{ASR}/v1/realtime".replace("http", "ws")
    service = OpenAIRealtimeSTTService(api_key=KEY, base_url=url, turn_detection=detection)
    async with running(service) as (worker, sink):
        await asyncio.sleep(0.5)  # it drops sound until its session is there
        await worker.queue_frame(VADUserStartedSpeakingFrame())
        await say(worker, pace=0.001)
        await worker.queue_frame(VADUserStoppedSpeakingFrame())
        return require_words((await sink.next(TranscriptionFrame)).text)


async def both_captions() -> str:
    """It commits itself by default, and may let the service detect turns."""
    await captions({"type": "server_vad"})
    return await captions(False)


async def speak_streamed() -> None:
    service = OpenAITTSService(api_key=KEY, base_url=f"{TTS}/v1")
    async with running(service) as (worker, sink):
        await worker.queue_frame(TTSSpeakFrame("One. Two. Three."))
        heard = 0
        while heard < RATE:  # half a second
            heard += len((await sink.next(TTSAudioRawFrame)).audio)


# --- conversations ---


class Watched(OpenAIRealtimeLLMService):
    """As it is; what it tells the server of a truncation can be seen."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.truncations: list[ConversationItemTruncateEvent] = []

    async def send_client_event(self, event: ClientEvent) -> None:
        if isinstance(event, ConversationItemTruncateEvent):
            self.truncations.append(event)
        await super().send_client_event(event)


@asynccontextmanager
async def talking(
    instructions: str, *, tools: ToolsSchema | None = None, said: str = "", made: list[Watched] | None = None
) -> AsyncIterator[Talk]:
    """A pipeline as its examples have it. With `said` it begins in writing, else it listens. `made` gets the service."""
    url = f"{S2S}/v1/realtime".replace("http", "ws")
    audio = AudioConfiguration(
        input=AudioInput(transcription=InputAudioTranscription(), turn_detection=TurnDetection())
    )
    properties = SessionProperties(instructions=instructions, audio=audio)
    service = Watched(
        api_key=KEY, base_url=url, settings=OpenAIRealtimeLLMService.Settings(session_properties=properties)
    )

    async def weather(params: FunctionCallParams) -> None:
        await params.result_callback({"weather": "sunny"})

    service.register_function("weather", weather)
    if made is not None:
        made.append(service)
    messages = [{"role": "user", "content": said}] if said else []
    context = LLMContext(messages, tools) if tools else LLMContext(messages)
    pair = LLMContextAggregatorPair(context)
    async with running(pair.user(), Sink(), service, Sink(), pair.assistant()) as (worker, sink):
        await asyncio.sleep(0.5)  # it drops sound until its session is there
        if said or tools:
            await worker.queue_frame(LLMRunFrame())
        yield worker, sink


async def spoken_turn() -> str:
    async with talking("Give a short answer.") as (worker, sink):
        await say(worker, pace=0.001)
        heard = await sink.next(TranscriptionFrame)
        await sink.next(TTSAudioRawFrame)
        return require_words(heard.text)


async def text_turn() -> None:
    async with talking("Give a short answer.", said="Hello there.") as (_, sink):
        text = ""
        while "answer" not in text:
            text += (await sink.next(TTSTextFrame)).text


async def tool_call() -> None:
    schema = FunctionSchema(
        name="weather", description="in a city", properties={"city": {"type": "string"}}, required=["city"]
    )
    tools = ToolsSchema(standard_tools=[schema])
    async with talking("Give a short answer.", tools=tools, said="What is the weather?") as (_, sink):
        text = ""
        while "sunny" not in text:
            text += (await sink.next(TTSTextFrame)).text


async def interruption() -> None:
    async with talking("Count.") as (worker, sink):
        await say(worker, pace=0.001)
        await sink.next(TTSAudioRawFrame)
        await say(worker, pace=0.001)
        await sink.next(InterruptionFrame)
        await sink.next(TTSStartedFrame)


async def truncation() -> None:
    """It tells how much of an interrupted answer was played; what the server keeps of it are the words of that time."""
    made: list[Watched] = []
    async with talking("Count.", made=made) as (worker, sink):
        await say(worker, pace=0.001)
        await sink.next(TTSAudioRawFrame)
        await say(worker, pace=0.001)
        await sink.next(InterruptionFrame)
        await sink.next(TTSStartedFrame)  # the next answer: the truncation was sent before it
        (truncation, *_) = made[0].truncations
        item = await made[0].retrieve_conversation_item(truncation.item_id)
        require(item is not None, "the item is gone")
        transcript = item.content[0].transcript or ""
        require(
            len(transcript) < 15 + truncation.audio_end_ms / 1000 * 30, f"{truncation.audio_end_ms} ms: {transcript!r}"
        )


if __name__ == "__main__":
    run(
        "pipecat",
        version_of("pipecat-ai"),
        {
            "transcribe": transcribe,
            "speak streamed": speak_streamed,
            "captions": both_captions,
            "spoken turn": spoken_turn,
            "text turn": text_turn,
            "tool call": tool_call,
            "interruption": interruption,
            "truncation": truncation,
        },
    )
