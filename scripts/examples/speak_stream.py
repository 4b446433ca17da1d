#!/usr/bin/env python3
"""Speak text while it is being written: standard input to the TTS service, its sound to a WAV file or to a player.

    some-language-model | scripts/examples/speak_stream.py --save answer.wav
    some-language-model | scripts/examples/speak_stream.py | ffplay -nodisp -autoexit -f s16le -ar 24000 -

The messages are those of web_demo/server/SPEECH_STREAM.md.
"""

from __future__ import annotations

import argparse
import asyncio
import codecs
import json
import os
import sys
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import aiohttp

RATE = 24_000
READ_BYTES = 4096


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="ws://127.0.0.1:8004/api/synthesize/stream")
    parser.add_argument("--api-key", default=os.environ.get("FUN_AUDIO_API_KEY", ""), help="or FUN_AUDIO_API_KEY")
    parser.add_argument("--voice", default="", help="a name of /api/speakers")
    parser.add_argument("--save", type=Path, help="WAV file (default: 16-bit samples to standard output)")
    args = parser.parse_args(argv)
    try:
        return asyncio.run(speak(args))
    except (aiohttp.ClientError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


async def speak(args: argparse.Namespace) -> int:
    headers = {"Authorization": f"Bearer {args.api_key}"} if args.api_key else {}
    async with aiohttp.ClientSession() as session, session.ws_connect(args.url, headers=headers) as socket:
        config: dict[str, Any] = {"type": "config", "format": "pcm", "sample_rate": RATE}
        await socket.send_json(config | ({"voice": args.voice} if args.voice else {}))
        writing = asyncio.create_task(write(socket))
        try:
            if args.save is None:
                return await read(socket, sys.stdout.buffer)
            with wave.open(str(args.save), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(RATE)
                return await read(socket, file)
        finally:
            writing.cancel()


async def write(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Standard input, as it comes, to its end."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while data := await asyncio.to_thread(os.read, sys.stdin.fileno(), READ_BYTES):
        await socket.send_json({"type": "text", "text": decoder.decode(data)})
    await socket.send_json({"type": "close"})


async def read(socket: aiohttp.ClientWebSocketResponse, sink: BinaryIO | wave.Wave_write) -> int:
    """Sound as it comes, until the service closes; errors go to standard error."""
    failed = False
    async for message in socket:
        if message.type is aiohttp.WSMsgType.BINARY:
            if isinstance(sink, wave.Wave_write):
                sink.writeframesraw(message.data)
            else:
                sink.write(message.data)
                sink.flush()
        elif message.type is aiohttp.WSMsgType.TEXT:
            event = json.loads(message.data)
            if event["type"] == "sentence":
                print(event["text"], file=sys.stderr)
            elif event["type"] == "error":
                failed = True
                print(f"error: {event['message']}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
