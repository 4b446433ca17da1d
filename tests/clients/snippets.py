"""The Python of deploy/clients.md for packages that this environment has, run as it stands there but for addresses and key."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.clients.report import ASR, KEY, S2S, SPEECH, TTS, require_words, run

PAGE = Path(__file__).parents[2] / "deploy" / "clients.md"
ADDRESSES = {"localhost:8002": S2S, "localhost:8003": ASR, "localhost:8004": TTS}


def names_of(import_line: str) -> dict[str, object]:
    """What the one program with this line defines."""
    programs = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (code,) = [program for program in programs if import_line in program.splitlines()]
    for address, ours in ADDRESSES.items():
        code = code.replace(address, ours.removeprefix("http://"))
    names: dict[str, object] = {}
    exec(code.replace('"none"', f'"{KEY}"'), names)
    return names


def transcribing(import_line: str) -> Callable[[], Awaitable[str]]:
    async def trial() -> str:
        return require_words(await names_of(import_line)["text_of"](str(SPEECH)))  # type: ignore[operator]

    return trial


def defining(import_line: str) -> Callable[[], Awaitable[str]]:
    async def trial() -> str:
        return f"{len(names_of(import_line))} names"

    return trial


async def agents() -> None:
    await names_of("from agents import set_tracing_disabled")["talk"]()  # type: ignore[operator]


if __name__ == "__main__":
    run(
        "the programs of deploy/clients.md",
        "",
        {
            "openai": transcribing("from openai import AsyncOpenAI"),
            "litellm": transcribing("import litellm"),
            "openai-agents": agents,
            "livekit": defining("from livekit.plugins import openai"),
            "pipecat": defining("from pipecat.services.openai.tts import OpenAITTSService"),
        },
    )
