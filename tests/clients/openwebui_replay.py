"""Open WebUI, as it speaks to an OpenAI-compatible server: requests for recordings and for speech, and two sequences of messages
to a Realtime server: a text read out, and a call, in which it asks for an answer itself once it has the words.

Open WebUI brings too much to be installed beside this; what it sends is that of version 0.12.4, read in its package.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.clients.report import ASR, KEY, S2S, SPEECH, TTS, require, require_words, run
from tests.clients.sound import slices, speech

HEADERS = {"Authorization": f"Bearer {KEY}"}


async def transcribe() -> str:
    form = aiohttp.FormData()
    form.add_field("model", "whisper-1")
    form.add_field("language", "en")
    form.add_field("file", SPEECH.read_bytes(), filename="a.wav", content_type="audio/wav")
    async with (
        aiohttp.ClientSession(headers=HEADERS) as session,
        session.post(f"{ASR}/v1/audio/transcriptions", data=form) as response,
    ):
        require(response.status == 200, f"status {response.status}")
        return require_words((await response.json())["text"])


async def speak() -> None:
    body = {"input": "Good morning!", "model": "tts-1", "voice": "alloy"}
    async with (
        aiohttp.ClientSession(headers=HEADERS) as session,
        session.post(f"{TTS}/v1/audio/speech", json=body) as response,
    ):
        require(response.status == 200, f"status {response.status}")
        require(len(await response.read()) > 2_000, "too little sound")


@asynccontextmanager
async def connected() -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with (
        aiohttp.ClientSession(headers=HEADERS) as session,
        session.ws_connect(f"{S2S}/v1/realtime?model=gpt-realtime", heartbeat=20) as socket,
    ):
        yield socket


async def until(socket: aiohttp.ClientWebSocketResponse, *kinds: str) -> dict[str, Any]:
    """It ends a call at any error but one."""
    async for message in socket:
        event = json.loads(message.data)
        require(event["type"] != "error" or event["error"]["code"] == "response_cancel_not_active", str(event))
        if event["type"] in kinds:
            return event
    raise AssertionError(f"the connection ended before {kinds}")


async def update(socket: aiohttp.ClientWebSocketResponse, **fields: Any) -> None:
    """It waits for each of the two as the very next event."""
    created = json.loads((await socket.receive()).data)
    require(created["type"] == "session.created", str(created))
    await socket.send_json({"type": "session.update", "session": {"type": "realtime", **fields}})
    updated = json.loads((await socket.receive()).data)
    require(updated["type"] == "session.updated", str(updated))


PCM = {"type": "audio/pcm", "rate": 24_000}


async def read_out() -> None:
    """The first sequence: an answer out of band, whose whole sound it keeps."""
    async with connected() as socket:
        audio = {"input": {"turn_detection": None, "transcription": None}, "output": {"format": PCM, "voice": "marin"}}
        rest: dict[str, Any] = {"tools": [], "tool_choice": "none", "instructions": "Give a short answer."}
        await update(socket, output_modalities=["audio"], audio=audio, **rest)
        said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Good morning!"}]}
        response = {"conversation": "none", "output_modalities": ["audio"], "input": [said], **rest}
        await socket.send_json({"type": "response.create", "response": response})
        response_id = (await until(socket, "response.created"))["response"]["id"]
        sound = b""
        while (event := await until(socket, "response.output_audio.delta", "response.done"))["type"] != "response.done":
            require(event["response_id"] == response_id, "sound of another answer")
            sound += base64.b64decode(event["delta"], validate=True)
        require(event["response"]["status"] == "completed", str(event))
        require(len(sound) > 24_000 and len(sound) % 2 == 0, f"{len(sound)} bytes of sound")


async def call() -> str:
    """The second one: the service detects turns, and neither answers nor is interrupted by itself."""
    tool = {
        "type": "function",
        "name": "generate_chat_completion",
        "description": "asks the chat",
        "parameters": {"type": "object", "properties": {"request": {"type": "string"}}, "required": ["request"]},
    }
    detection = {"type": "server_vad", "create_response": False, "interrupt_response": False}
    async with connected() as socket:
        heard = {"format": PCM, "transcription": {"model": "whisper-1"}, "turn_detection": detection}
        audio = {"input": heard, "output": {"format": PCM, "voice": "marin"}}
        await update(
            socket, output_modalities=["audio"], instructions="Help.", audio=audio, tools=[tool], tool_choice="auto"
        )
        snapshot = {
            "type": "message",
            "role": "system",
            "content": [{"type": "input_text", "text": "The chat so far: []"}],
        }
        await socket.send_json({"type": "conversation.item.create", "item": {"id": "chat_context_1", **snapshot}})
        for part in slices(speech(24_000, silence_s=1.0), 24_000):
            sound = base64.b64encode(part).decode()
            await socket.send_json({"type": "input_audio_buffer.append", "audio": sound})
        completed = await until(socket, "conversation.item.input_audio_transcription.completed", "response.created")
        require("transcript" in completed, "it answered by itself")
        metadata = {"input_item_id": completed["item_id"]}
        await socket.send_json({"type": "response.create", "response": {"metadata": metadata}})
        created = await until(socket, "response.created")
        require(created["response"]["metadata"] == metadata, str(created))
        while (done := await until(socket, "response.output_item.done"))["item"]["type"] != "function_call":
            pass
        require(done["item"]["status"] == "completed", str(done))
        await until(socket, "response.done")
        call_id = done["item"]["call_id"]
        result = {"type": "function_call_output", "call_id": call_id, "output": "It is sunny."}
        await socket.send_json({"type": "conversation.item.create", "item": result})
        response = {"tools": [], "tool_choice": "none", "metadata": {"call_id": call_id}}
        await socket.send_json({"type": "response.create", "response": response})
        sound_event = await until(socket, "response.output_audio.delta")
        await socket.send_json({"type": "response.cancel", "response_id": sound_event["response_id"]})
        await until(socket, "response.done")
        truncate = {
            "item_id": sound_event["item_id"],
            "content_index": sound_event["content_index"],
            "audio_end_ms": 20,
        }
        await socket.send_json({"type": "conversation.item.truncate", **truncate})
        await until(socket, "conversation.item.truncated")
        status = {"conversation": "none", "input": [], "tools": [], "tool_choice": "none"}
        status["instructions"] = "Say this briefly in the user's language: I am working on it."
        await socket.send_json({"type": "response.create", "response": status | {"metadata": {"status": "working"}}})
        done = await until(socket, "response.done")
        require(done["response"]["status"] == "completed", str(done))
        await socket.send_json({"type": "conversation.item.delete", "item_id": "chat_context_1"})
        await until(socket, "conversation.item.deleted")
        return require_words(completed["transcript"])


if __name__ == "__main__":
    run(
        "Open WebUI (replayed)",
        "0.12.4",
        {"transcribe": transcribe, "speak": speak, "text turn": read_out, "spoken turn": call},
    )
