"""A phone call as a gateway passes it on: frames of 20 ms of G.711, µ-law, over a plain WebSocket."""

from __future__ import annotations

import asyncio
import base64
import json

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


async def spoken_turn() -> None:
    """As a gateway has it: both ways µ-law, the user's 20 ms at a time; the answer's sound as it comes."""
    address = f"{S2S}/v1/realtime?model=gpt-realtime".replace("http", "ws")
    async with websockets.connect(address, additional_headers={"Authorization": f"Bearer {KEY}"}) as socket:
        law = {"format": {"type": "audio/pcmu"}}
        audio = {"input": law | {"turn_detection": {"type": "server_vad"}}, "output": law}
        session = {"type": "realtime", "instructions": "Give a short answer.", "audio": audio}
        await socket.send(json.dumps({"type": "session.update", "session": session}))
        await dial(socket)
        sound = b""
        async for message in socket:
            event = json.loads(message)
            require(event["type"] != "error", str(event))
            if event["type"] == "response.output_audio.delta":
                sound += base64.b64decode(event["delta"])
            elif event["type"] == "response.done":
                require(event["response"]["status"] == "completed", str(event))
                require(len(sound) > 4_000, f"{len(sound)} bytes of sound")
                require(len(set(sound)) > 20, "sound that is none")
                return
    raise AssertionError("the call ended")


if __name__ == "__main__":
    run("a phone call (G.711)", "", {"captions": captions, "spoken turn": spoken_turn})
