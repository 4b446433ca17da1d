#!/usr/bin/env python3
"""Show what a voice is given of a text: its language, and the pieces with numbers and signs in words. Nothing is spoken.

    scripts/examples/say_as.py "It costs $0.99 today."
    scripts/examples/say_as.py --language zh --engine cosyvoice3 --voice 中文女 "10%-20%"
    scripts/examples/say_as.py - < answer.md

It does what the TTS service does before it asks its engine; a running service tells the same at /api/synthesize?explain=1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence

from scripts.operations import console
from web_demo.engines.base import Capabilities
from web_demo.engines.tts import embedded
from web_demo.engines.tts.cosyvoice import CosyVoiceTts
from web_demo.engines.tts.openai import OpenAiTts
from web_demo.engines.tts.sherpa import engine as sherpa
from web_demo.errors import ServiceError, SetupError
from web_demo.server.tts.requests import DEFAULT_VOICE, from_api
from web_demo.server.tts.settings import TtsSettings

ENGINES: Mapping[str, Callable[[], Capabilities]] = {  # no engine is started, and no weights are needed
    "embedded": lambda: embedded.create(TtsSettings()).capabilities,
    "sherpa": lambda: sherpa.CAPABILITIES,
    "cosyvoice3": lambda: CosyVoiceTts.capabilities,
    "cosyvoice": lambda: CosyVoiceTts.capabilities,
    "openai": lambda: OpenAiTts.capabilities,
}


@console.program
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", help="or - for standard input")
    parser.add_argument("--language", default="", help="as in a request (default: that of the text, else of the voice)")
    parser.add_argument("--voice", default=DEFAULT_VOICE)
    parser.add_argument(
        "--engine", choices=ENGINES, default="embedded", help="whose pieces to show (default: embedded)"
    )
    parser.add_argument("--plain", action="store_true", help="the text is no markdown")
    parser.add_argument("--json", action="store_true", help="as the service answers")
    args = parser.parse_args(argv)
    text = sys.stdin.read() if args.text == "-" else args.text
    body = {"text": text, "language": args.language, "speaker_id": args.voice, "markdown": not args.plain}
    try:
        asked = from_api(body, ENGINES[args.engine](), max_chars=max(len(text), 1))
    except (ServiceError, SetupError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps({"language": asked.language, "pieces": asked.pieces}, ensure_ascii=False))
        return 0
    print(f"language: {asked.language or 'unknown'}")
    for number, piece in enumerate(asked.pieces, 1):
        print(f"{number}: {piece}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
