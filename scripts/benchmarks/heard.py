#!/usr/bin/env python3
"""Word errors and speed of a recogniser: on the human recordings of tests/data/speech, and on what a voice says of the same texts.

Method: each recording goes to the engine by itself, one after the other, once to warm up and once measured. Wrong words are the
least number of insertions, deletions and substitutions (Levenshtein) of the recognised words against the transcript, lower case
without punctuation; in Chinese, Japanese and Korean writing each character is a word. Speed is seconds of sound a second. With
`--spoken-by`, the transcripts (or the lines of `--texts`) are spoken by that voice and recognised: what that says about the voice
depends on whether the recogniser knows synthetic voices at all. Reports as report.py says.

    python3 scripts/benchmarks/heard.py                                   # pocketsphinx on human recordings
    python3 scripts/benchmarks/heard.py --engine sherpa --model-path pretrained_models
    python3 scripts/benchmarks/heard.py --engine sherpa --spoken-by sherpa --voice-path pretrained_models --texts lines.txt
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import re
import sys
import time
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import numpy as np

from scripts.benchmarks.report import Report
from web_demo.audio.samples import Audio, from_wav
from web_demo.engines import registry
from web_demo.engines.base import AsrEngine, SpeechRequest, TtsEngine
from web_demo.engines.choice import choose
from web_demo.server.asr.settings import AsrSettings
from web_demo.server.tts.settings import TtsSettings
from web_demo.text.frontend import words

SPEECH = Path(__file__).resolve().parents[2] / "tests" / "data" / "speech"
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]|[^\W_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]+(?:'[^\W_]+)*"
)


def words_of(text: str) -> list[str]:
    return _WORD.findall(text.lower().replace("’", "'"))


def wrong_words(expected: Sequence[str], heard: Sequence[str]) -> int:
    """The Levenshtein distance."""
    row = list(range(len(heard) + 1))
    for index, word in enumerate(expected, 1):
        before, row[0] = row[0], index
        for place, other in enumerate(heard, 1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (word != other))
    return row[-1]


async def spoken(voice: TtsEngine, name: str, text: str) -> Audio:
    chunks = []
    async with aclosing(voice.synthesize(SpeechRequest(words(text).text, name))) as sound:
        async for chunk in sound:
            chunks.append(chunk)
    return Audio(np.concatenate([np.zeros(0, np.float32), *chunks]), voice.sample_rate)


async def measure(engine: AsrEngine, sounds: dict[str, Audio], report: Report) -> None:
    wrong = total = 0
    seconds = took_s = 0.0
    await engine.transcribe(next(iter(sounds.values())))
    for text, sound in sounds.items():
        began = time.perf_counter()
        heard = (await engine.transcribe(sound)).text
        one_s = time.perf_counter() - began
        expected = words_of(text)
        errors = wrong_words(expected, words_of(heard))
        report.row(
            seconds=round(sound.seconds, 1), took_s=round(one_s, 2), words=len(expected), wrong=errors, heard=heard
        )
        wrong, total, seconds, took_s = wrong + errors, total + len(expected), seconds + sound.seconds, took_s + one_s
    report.note(words=total, wrong=wrong, audio_s_per_s=round(seconds / took_s, 1))


async def run(args: argparse.Namespace) -> None:
    asr = AsrSettings(engine=args.engine, model_path=args.model_path)
    engine: AsrEngine = registry.factory("asr", choose("asr", asr).name)(asr)
    transcripts: dict[str, str] = json.loads((SPEECH / "transcripts.json").read_text())
    texts = args.texts.read_text("utf-8").splitlines() if args.texts else list(transcripts.values())
    await engine.start()
    try:
        report = Report("heard", engine=engine.name, model=engine.model, spoken_by=args.spoken_by or "people")
        if not args.spoken_by:
            sounds = {text: from_wav((SPEECH / f"{name}.wav").read_bytes()) for name, text in transcripts.items()}
        else:
            tts = TtsSettings(engine=args.spoken_by, model_path=args.voice_path)
            voice: TtsEngine = registry.factory("tts", choose("tts", tts).name)(tts)
            await voice.start()
            began = time.perf_counter()
            sounds = {text: await spoken(voice, args.voice, text) for text in texts if text.strip()}
            took_s = time.perf_counter() - began
            await voice.close()
            real_time = took_s / sum(sound.seconds for sound in sounds.values())
            report.note(
                voice_model=voice.model, voice=args.voice or "default", voice_real_time_factor=round(real_time, 3)
            )
        await measure(engine, sounds, report)
        report.end()
    finally:
        await engine.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="embedded", choices=("auto", *registry.names("asr")))
    parser.add_argument("--model-path", type=Path, default=AsrSettings.model_path)
    parser.add_argument(
        "--spoken-by", default="", choices=("", "auto", *registry.names("tts")), help="a voice instead of people"
    )
    parser.add_argument("--voice-path", type=Path, default=TtsSettings.model_path)
    parser.add_argument("--voice", default="", help="of --spoken-by")
    parser.add_argument("--texts", type=Path, help="lines to be spoken instead of the transcripts")
    args = parser.parse_args()
    logging.basicConfig(level="WARNING")
    asyncio.run(run(args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
