#!/usr/bin/env python3
"""Send a recording to an OpenAI-compatible speech-to-text server, such as `vllm serve` with Whisper, and print the text.

python3 -m scripts.operations.transcribe_openai http://127.0.0.1:8005 [--audio FILE] [--model NAME] [--language zh]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import openai

from scripts.operations import console

DEFAULT_AUDIO = Path(__file__).resolve().parents[2] / "tests" / "data" / "speech" / "go_forward_ten_meters.wav"


@console.program
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="address of the server, without /v1")
    parser.add_argument("--audio", type=Path, default=DEFAULT_AUDIO)
    parser.add_argument("--model", help="default: the first one that the server lists")
    parser.add_argument("--language", default="en")
    args = parser.parse_args(argv)
    client = openai.OpenAI(base_url=f"{args.url.rstrip('/')}/v1", api_key=os.environ.get("VLLM_API_KEY") or "none")
    try:
        model = args.model or next(iter(client.models.list())).id
        with args.audio.open("rb") as audio:
            text = client.audio.transcriptions.create(model=model, file=audio, language=args.language).text
    except (openai.OpenAIError, OSError, StopIteration) as error:
        print(f"error: {args.url}: {error!r}", file=sys.stderr)
        return 1
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
