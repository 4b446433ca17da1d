"""litellm, on which LibreChat and many gateways stand: https://github.com/BerriAI/litellm"""

from __future__ import annotations

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the network for prices

import litellm

from tests.clients.report import ASR, KEY, SPEECH, TTS, require, require_words, run, version_of


async def transcribe() -> str:
    with SPEECH.open("rb") as file:
        found = await litellm.atranscription("openai/whisper-1", file=file, api_base=f"{ASR}/v1", api_key=KEY)
    return require_words(found.text or "")


async def speak() -> None:
    found = await litellm.aspeech(
        "openai/tts-1", input="Good morning!", voice="alloy", api_base=f"{TTS}/v1", api_key=KEY, response_format="mp3"
    )
    require(len(found.content) > 2_000, "too little sound")


if __name__ == "__main__":
    run("litellm", version_of("litellm"), {"transcribe": transcribe, "speak": speak})
