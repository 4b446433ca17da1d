"""openai-agents, the Python package: https://github.com/openai/openai-agents-python"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import numpy as np
from agents import function_tool, set_tracing_disabled
from agents.realtime import RealtimeAgent, RealtimeRunConfig, RealtimeRunner, RealtimeSession
from agents.voice import AudioInput, OpenAIVoiceModelProvider, StreamedAudioInput, STTModelSettings, TTSModelSettings
from openai import AsyncOpenAI

from tests.clients.report import ASR, KEY, S2S, TTS, require, require_words, run, version_of
from tests.clients.sound import slices, speech

set_tracing_disabled(True)
asr = OpenAIVoiceModelProvider(openai_client=AsyncOpenAI(base_url=f"{ASR}/v1", api_key=KEY))
tts = OpenAIVoiceModelProvider(openai_client=AsyncOpenAI(base_url=f"{TTS}/v1", api_key=KEY))


async def transcribe() -> str:
    model = asr.get_stt_model("whisper-1")
    sound = AudioInput(np.frombuffer(speech(24_000), np.int16))
    return require_words(await model.transcribe(sound, STTModelSettings(), False, False))


async def speak_streamed() -> None:
    model = tts.get_tts_model("tts-1")
    chunks = [chunk async for chunk in model.run("One. Two. Three.", TTSModelSettings(voice="alloy"))]
    require(sum(map(len, chunks)) > 24_000, "too little sound")


async def captions() -> str:
    sound = StreamedAudioInput()
    session = await asr.get_stt_model("whisper-1").create_session(sound, STTModelSettings(), False, False)

    async def speaking() -> None:
        for part in slices(speech(24_000, silence_s=1.0), 24_000):
            await sound.add_audio(np.frombuffer(part, np.int16))
        await sound.add_audio(None)  # the end

    task = asyncio.create_task(speaking())
    turns = [turn async for turn in session.transcribe_turns()]
    await task
    await session.close()
    return require_words(" ".join(turns))


# --- conversations ---


def talking(instructions: str, **agent: Any) -> Awaitable[RealtimeSession]:
    one = RealtimeAgent(name="assistant", instructions=instructions, **agent)
    config: RealtimeRunConfig = {"tracing_disabled": True}
    url = f"{S2S}/v1/realtime?model=gpt-realtime".replace("http", "ws")
    return RealtimeRunner(one, config=config).run(model_config={"url": url, "api_key": KEY})


async def say(session: RealtimeSession) -> None:
    for part in slices(speech(24_000, silence_s=1.0), 24_000):
        await session.send_audio(part)


async def until(events: AsyncIterator[Any], kind: str, raw: str = "") -> Any:
    """The next event of this type; `raw`: the next of the model's own events of this type."""
    async for event in events:
        require(event.type != "error", str(event)[:300])
        if event.type == kind and (not raw or event.data.type == raw):
            return event
    raise AssertionError(f"the session ended before {kind} {raw}")


async def spoken_turn() -> str:
    async with await talking("Give a short answer.") as session:
        await say(session)
        events = aiter(session)
        heard = await until(events, "raw_model_event", "input_audio_transcription_completed")
        await until(events, "audio")
        await until(events, "agent_end")
        return require_words(heard.data.transcript)


async def text_turn() -> None:
    async with await talking("Give a short answer.") as session:
        await session.send_message("Hello there.")
        events = aiter(session)
        delta = await until(events, "raw_model_event", "transcript_delta")
        require("short" in delta.data.delta.lower(), f"answered {delta.data.delta!r}")
        await until(events, "agent_end")


async def tool_call() -> None:
    @function_tool
    def weather(city: str) -> str:
        """The weather in a city."""
        return "sunny"

    async with await talking("Give a short answer.", tools=[weather]) as session:
        await session.send_message("What is the weather?")
        events = aiter(session)
        require("sunny" in str((await until(events, "tool_end")).output), "another result")
        delta = await until(events, "raw_model_event", "transcript_delta")
        require("function says" in delta.data.delta, f"answered {delta.data.delta!r}")


async def interruption() -> None:
    async with await talking("Count.") as session:
        await say(session)
        events = aiter(session)
        await until(events, "audio")
        await say(session)
        await until(events, "audio_interrupted")
        await until(events, "agent_start")
        await until(events, "audio")


async def truncation() -> None:
    async with await talking("Count.") as session:
        await session.send_message("Count.")
        events = aiter(session)
        await until(events, "audio")
        await session.interrupt()  # it truncates at what was played
        await until(events, "raw_model_event", "turn_ended")
        await session.send_message("Go on.")
        await until(events, "agent_start")
        await until(events, "audio")


if __name__ == "__main__":
    run(
        "openai-agents (Python)",
        version_of("openai-agents"),
        {
            "transcribe": transcribe,
            "speak streamed": speak_streamed,
            "captions": captions,
            "spoken turn": spoken_turn,
            "text turn": text_turn,
            "tool call": tool_call,
            "interruption": interruption,
            "truncation": truncation,
        },
    )
