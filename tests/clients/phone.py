"""A phone call as a gateway passes it on: frames of 20 ms of G.711, µ-law, over a plain WebSocket."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import websockets

from tests.clients.report import ASR, KEY, S2S, require, require_words, run
from tests.clients.sound import speech

FRAME_BYTES = 160


def mu_law(pcm: bytes) -> bytes:
    """By the formula of the law, continuous as it was before its segments: a byte a sample."""
    samples = np.frombuffer(pcm, "<i2").astype(np.float64) / 32768
    level = np.sign(samples) * np.log1p(255 * np.abs(samples)) / np.log(256)
    magnitude = np.minimum((np.abs(level) * 128).astype(np.uint8), 127)
    return (~(magnitude | np.where(samples < 0, 0x80, 0).astype(np.uint8))).tobytes()


async def dial(socket: websockets.ClientConnection) -> None:
    """The call itself: frames, somewhat faster than they would come."""
    call = mu_law(speech(8_000, silence_s=1.0))
    for start in range(0, len(call), FRAME_BYTES):
        frame = base64.b64encode(call[start : start + FRAME_BYTES]).decode()
        await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": frame}))
        await asyncio.sleep(0.002)


async def captions() -> str:
    address = f"{ASR}/v1/realtime?intent=transcription".replace("http", "ws")
    async with websockets.connect(address, additional_headers={"Authorization": f"Bearer {KEY}"}) as socket:
        update = {"type": "transcription", "audio": {"input": {"format": {"type": "audio/pcmu"}}}}
        await socket.send(json.dumps({"type": "session.update", "session": update}))
        await dial(socket)
        async for message in socket:
            event = json.loads(message)
            require(event["type"] != "error", str(event))
            if event["type"].endswith("transcription.completed"):
                return require_words(event["transcript"])
    raise AssertionError("the call ended")


class Call:
    """A conversation as a gateway has it: both ways µ-law, the user's 20 ms at a time; the answer's sound as it comes."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket
        self.sound = b""

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def until(self, kind: str) -> dict[str, Any]:
        async for message in self.socket:
            event: dict[str, Any] = json.loads(message)
            require(event["type"] != "error", str(event))
            if event["type"] == "response.output_audio.delta":
                self.sound += base64.b64decode(event["delta"])
            if event["type"] == kind:
                return event
        raise AssertionError("the call ended")


@asynccontextmanager
async def calling(instructions: str) -> AsyncIterator[Call]:
    address = f"{S2S}/v1/realtime?model=gpt-realtime".replace("http", "ws")
    async with websockets.connect(address, additional_headers={"Authorization": f"Bearer {KEY}"}) as socket:
        call = Call(socket)
        law = {"format": {"type": "audio/pcmu"}}
        audio = {"input": law | {"turn_detection": {"type": "server_vad"}}, "output": law}
        await call.send("session.update", session={"type": "realtime", "instructions": instructions, "audio": audio})
        await dial(socket)
        yield call


async def spoken_turn() -> None:
    async with calling("Give a short answer.") as call:
        done = await call.until("response.done")
        require(done["response"]["status"] == "completed", str(done))
        require(len(call.sound) > 4_000, f"{len(call.sound)} bytes of sound")
        require(len(set(call.sound)) > 20, "sound that is none")


async def interrupted(call: Call) -> dict[str, Any]:
    """The caller speaks into a long answer. Its message, as it was cut."""
    await call.until("response.output_audio.delta")
    await dial(call.socket)
    response = (await call.until("response.done"))["response"]
    require(response["status_details"] == {"type": "cancelled", "reason": "turn_detected"}, str(response))
    message: dict[str, Any] = response["output"][0]
    return message


async def interruption() -> None:
    async with calling("Count.") as call:
        await interrupted(call)
        await call.until("response.output_audio.delta")  # what was said into it is answered


async def truncation() -> None:
    """A gateway throws away what it has not played yet, and says how much was."""
    async with calling("Count.") as call:
        item_id = (await interrupted(call))["id"]
        await call.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=300)
        require((await call.until("conversation.item.truncated"))["audio_end_ms"] <= 300, "not truncated")
        await call.send("conversation.item.retrieve", item_id=item_id)
        item = (await call.until("conversation.item.retrieved"))["item"]
        require(len(item["content"][0]["transcript"]) < 12, f"300 ms said {item}")


if __name__ == "__main__":
    run(
        "a phone call (G.711)",
        "",
        {"captions": captions, "spoken turn": spoken_turn, "interruption": interruption, "truncation": truncation},
    )
