"""openai, the Python package: https://github.com/openai/openai-python"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime import RealtimeServerEvent

from tests.clients.report import ASR, KEY, S2S, SPEECH, TTS, require, require_words, run, version_of
from tests.clients.sound import slices, speech

asr = AsyncOpenAI(base_url=f"{ASR}/v1", api_key=KEY)
tts = AsyncOpenAI(base_url=f"{TTS}/v1", api_key=KEY)


async def transcribe() -> str:
    with SPEECH.open("rb") as file:
        found = await asr.audio.transcriptions.create(file=file, model="whisper-1")
    return require_words(found.text)


async def speak() -> None:
    found = await tts.audio.speech.create(model="tts-1", voice="alloy", input="Good morning!", response_format="wav")
    require(found.content[:4] == b"RIFF", "no WAV file")


async def speak_streamed() -> None:
    streaming = tts.audio.speech.with_streaming_response
    async with streaming.create(model="tts-1", voice="alloy", input="One. Two. Three.", response_format="pcm") as found:
        chunks = [chunk async for chunk in found.iter_bytes()]
    require(sum(map(len, chunks)) > 24_000, "too little sound")


async def captions() -> str:
    async with asr.realtime.connect(
        model="gpt-realtime-whisper", extra_query={"intent": "transcription"}
    ) as connection:
        await connection.session.update(
            session={
                "type": "transcription",
                "audio": {"input": {"transcription": {"model": "whisper-1", "language": "en"}}},
            }
        )
        for part in slices(speech(24_000, silence_s=1.0), 24_000):
            await connection.input_audio_buffer.append(audio=base64.b64encode(part).decode())
        deltas = ""
        async for event in connection:
            require(event.type != "error", str(event))
            if event.type == "conversation.item.input_audio_transcription.delta":
                deltas += event.delta or ""
            elif event.type == "conversation.item.input_audio_transcription.completed":
                require(deltas, "no deltas")
                return require_words(event.transcript)
    raise AssertionError("the connection ended")


# --- conversations ---


class Talk:
    """A session in which events are waited for by their type; any error ends it."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection
        self.seen: list[RealtimeServerEvent] = []

    async def until(self, kind: str) -> RealtimeServerEvent:
        async for event in self.connection:
            self.seen.append(event)
            require(event.type != "error", str(event))
            if event.type == kind:
                return event
        raise AssertionError(f"the connection ended before {kind}")

    async def update(self, **fields: Any) -> None:
        await self.connection.session.update(session={"type": "realtime", **fields})
        await self.until("session.updated")

    async def append(self) -> None:
        for part in slices(speech(24_000, silence_s=1.0), 24_000):
            await self.connection.input_audio_buffer.append(audio=base64.b64encode(part).decode())

    async def write(self, text: str) -> None:
        content = [{"type": "input_text", "text": text}]
        await self.connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
        await self.connection.response.create()


@asynccontextmanager
async def talking(**fields: Any) -> AsyncIterator[Talk]:
    client = AsyncOpenAI(base_url=f"{S2S}/v1", api_key=KEY)
    async with client.realtime.connect(model="gpt-realtime") as connection:
        talk = Talk(connection)
        await talk.update(**fields)
        yield talk


async def spoken_turn() -> str:
    input = {"transcription": {"model": "whisper-1"}}
    async with talking(instructions="Give a short answer.", audio={"input": input}) as talk:
        await talk.append()
        done = await talk.until("response.done")
        require(done.response.status == "completed", str(done))
        require(any(event.type == "response.output_audio.delta" for event in talk.seen), "no sound")
        kind = "conversation.item.input_audio_transcription.completed"
        heard = next((event for event in talk.seen if event.type == kind), None) or await talk.until(kind)
        return require_words(heard.transcript)


async def text_turn() -> None:
    async with talking(instructions="Give a short answer.", output_modalities=["text"]) as talk:
        await talk.write("Hello there.")
        said = await talk.until("response.output_text.done")
        require("short answer" in said.text, f"answered {said.text!r}")


async def tool_call() -> None:
    weather = {"type": "function", "name": "weather", "description": "in a city", "parameters": {"type": "object"}}
    async with talking(tools=[weather], output_modalities=["text"]) as talk:
        await talk.write("What is the weather?")
        called = await talk.until("response.function_call_arguments.done")
        await talk.until("response.done")
        item = {"type": "function_call_output", "call_id": called.call_id, "output": "sunny"}
        await talk.connection.conversation.item.create(item=item)
        await talk.connection.response.create()
        said = await talk.until("response.output_text.done")
        require("sunny" in said.text, f"answered {said.text!r}")


async def interruption() -> None:
    async with talking() as talk:
        await talk.append()
        await talk.until("response.output_audio.delta")
        await talk.append()
        response = (await talk.until("response.done")).response
        require(response.status_details.reason == "turn_detected", str(response))
        await talk.until("response.output_audio.delta")  # of the next answer


async def truncation() -> None:
    async with talking(audio={"input": {"turn_detection": None}}) as talk:
        await talk.write("Count.")
        sound = await talk.until("response.output_audio.delta")
        await talk.connection.response.cancel()
        await talk.until("response.done")
        await talk.connection.conversation.item.truncate(item_id=sound.item_id, content_index=0, audio_end_ms=40)
        await talk.until("conversation.item.truncated")
        await talk.write("Go on.")
        await talk.until("response.output_audio.delta")


if __name__ == "__main__":
    run(
        "openai (Python)",
        version_of("openai"),
        {
            "transcribe": transcribe,
            "speak": speak,
            "speak streamed": speak_streamed,
            "captions": captions,
            "spoken turn": spoken_turn,
            "text turn": text_turn,
            "tool call": tool_call,
            "interruption": interruption,
            "truncation": truncation,
        },
    )
