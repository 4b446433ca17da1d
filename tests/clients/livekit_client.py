"""livekit-agents with livekit-plugins-openai: https://github.com/livekit/agents"""

from __future__ import annotations

import asyncio

import aiohttp
from livekit import rtc
from livekit.agents import APIConnectOptions, llm, stt
from livekit.plugins import openai

from tests.clients.report import ASR, KEY, S2S, TTS, require, require_words, run, version_of
from tests.clients.sound import slices, speech

ONCE = APIConnectOptions(max_retry=0, timeout=30.0)


def frames(rate: int, silence_s: float = 0.0) -> list[rtc.AudioFrame]:
    return [rtc.AudioFrame(part, rate, 1, len(part) // 2) for part in slices(speech(rate, silence_s=silence_s), rate)]


async def transcribe() -> str:
    one = openai.STT(model="whisper-1", base_url=f"{ASR}/v1", api_key=KEY, language="en")
    found = await one.recognize(frames(16_000), conn_options=ONCE)
    return require_words(found.alternatives[0].text)


async def captions() -> str:
    async with aiohttp.ClientSession() as session:
        one = openai.STT(
            model="gpt-4o-mini-transcribe", base_url=f"{ASR}/v1", api_key=KEY, language="en", use_realtime=True
        )
        one._session = session  # as a job's context would give it
        stream = one.stream(conn_options=ONCE)
        for frame in frames(24_000, silence_s=1.0):
            stream.push_frame(frame)
        seen = []
        async for event in stream:
            seen.append(event.type)
            if event.type == stt.SpeechEventType.FINAL_TRANSCRIPT:
                require(stt.SpeechEventType.START_OF_SPEECH in seen, f"no start of speech in {seen}")
                text = require_words(event.alternatives[0].text)
                await stream.aclose()
                return text
    raise AssertionError(f"the stream ended after {seen}")


async def speak_streamed() -> None:
    voice = openai.TTS(model="tts-1", voice="alloy", base_url=f"{TTS}/v1", api_key=KEY, response_format="pcm")
    seconds = 0.0
    async with voice.synthesize("One. Two. Three.", conn_options=ONCE) as stream:
        async for found in stream:
            seconds += found.frame.duration
    require(seconds > 0.5, f"{seconds:.1f} s of sound")


# --- conversations ---


class Conversation:
    """A session of the RealtimeModel, and what it says."""

    def __init__(self, session: llm.RealtimeSession) -> None:
        self.session = session
        self.generations: asyncio.Queue[llm.GenerationCreatedEvent] = asyncio.Queue()
        self.transcripts: asyncio.Queue[str] = asyncio.Queue()
        self.errors: list[str] = []
        session.on("generation_created", self.generations.put_nowait)
        session.on("input_audio_transcription_completed", self._transcribed)
        session.on("error", lambda error: self.errors.append(str(error.error)))

    def _transcribed(self, event: llm.InputTranscriptionCompleted) -> None:
        if event.is_final:
            self.transcripts.put_nowait(event.transcript)

    async def speak(self) -> None:
        for frame in frames(24_000, silence_s=1.0):
            self.session.push_audio(frame)


class Talking:
    def __init__(self, **options: object) -> None:
        self._options = options

    async def __aenter__(self) -> Conversation:
        self._http = aiohttp.ClientSession()
        model = openai.realtime.RealtimeModel(
            base_url=f"{S2S}/v1", api_key=KEY, http_session=self._http, conn_options=ONCE, **self._options
        )
        self.conversation = Conversation(model.session())
        return self.conversation

    async def __aexit__(self, *_: object) -> None:
        await self.conversation.session.aclose()
        await self._http.close()
        require(not self.conversation.errors, f"errors: {self.conversation.errors}")


async def message_of(generation: llm.GenerationCreatedEvent, *, most_s: float = 1e9) -> tuple[str, float, str]:
    """Text, seconds of sound, and the id of the first message of an answer; reads no further than `most_s` of sound."""
    async for message in generation.message_stream:
        seconds = 0.0
        async for frame in message.audio_stream:
            seconds += frame.duration
            if seconds >= most_s:
                return "", seconds, message.message_id
        text = "".join([part async for part in message.text_stream])
        return text, seconds, message.message_id
    raise AssertionError("an answer without a message")


async def spoken_turn() -> str:
    async with Talking() as talk:
        await talk.session.update_instructions("Give a short answer.")
        await talk.speak()
        text, seconds, _ = await message_of(await talk.generations.get())
        require(text and seconds > 0.5, f"answered {text!r}, {seconds:.1f} s")
        return require_words(await talk.transcripts.get())


async def text_turn() -> None:
    async with Talking() as talk:
        await talk.session.update_instructions("Give a short answer.")
        context = talk.session.chat_ctx.copy()
        context.add_message(role="user", content="Hello there.")
        await talk.session.update_chat_ctx(context)
        text, seconds, _ = await message_of(await talk.session.generate_reply())
        require("short answer" in text and seconds > 0.3, f"answered {text!r}, {seconds:.1f} s")


async def tool_call() -> None:
    @llm.function_tool
    async def weather(city: str) -> str:
        """The weather in a city."""
        return "sunny"

    async with Talking() as talk:
        await talk.session.update_tools([weather])
        await talk.speak()
        generation = await talk.generations.get()
        call = await anext(aiter(generation.function_stream))
        require((call.name, "Berlin" in call.arguments) == ("weather", True), f"called {call.name}({call.arguments})")
        context = talk.session.chat_ctx.copy()
        context.insert(llm.FunctionCallOutput(call_id=call.call_id, name=call.name, output="sunny", is_error=False))
        await talk.session.update_chat_ctx(context)
        text, _, _ = await message_of(await talk.session.generate_reply())
        require("sunny" in text, f"answered {text!r}")


async def interruption() -> None:
    async with Talking() as talk:
        await talk.speak()
        generation = await talk.generations.get()
        await message_of(generation, most_s=1.0)
        await talk.speak()
        text, seconds, _ = await message_of(await talk.generations.get())
        require(text and seconds > 0.5, f"answered {text!r}, {seconds:.1f} s")


async def truncation() -> None:
    async with Talking() as talk:
        await talk.speak()
        generation = await talk.generations.get()
        _, _, message_id = await message_of(generation, most_s=1.0)
        talk.session.interrupt()
        talk.session.truncate(message_id=message_id, modalities=["text", "audio"], audio_end_ms=800)
        await asyncio.sleep(1.0)
        await talk.speak()
        text, _, _ = await message_of(await talk.generations.get())
        require(text, "no answer after the truncation")


if __name__ == "__main__":
    run(
        "livekit-plugins-openai",
        version_of("livekit-plugins-openai"),
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
