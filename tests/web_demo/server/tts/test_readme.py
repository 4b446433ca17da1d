"""The README's commands, run as they stand there but for the port, and what they wrote read by an independent decoder."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.speech import FOLDER
from tests.web_demo.server.tts.fakes import ToneTts, serving
from web_demo.server.tts.settings import TtsSettings

README = (Path(__file__).parents[4] / "README.md").read_text("utf-8")

SPEAK = r"""curl -s http://localhost:8004/api/synthesize \
    -H 'Content-Type: application/json' -H 'Accept: audio/wav' \
    -d '{"text": "你好，我是语音助手。", "speaker_id": "中文女"}' -o output.wav"""
JSON_ANSWER = r"""curl -s http://localhost:8004/api/synthesize \
    -H 'Content-Type: application/json' \
    -d '{"text": "Hello, I am your voice assistant.", "speaker_id": "英文女", "speed": 1.2}' -o answer.json"""
OPENAI = r"""curl -s http://localhost:8004/v1/audio/speech \
    -H 'Content-Type: application/json' \
    -d '{"model": "tts-1", "voice": "alloy", "input": "Good morning!", "response_format": "mp3"}' -o output.mp3"""
LIST = r"""curl -s http://localhost:8004/api/speakers"""
ADD = r"""curl -s http://localhost:8004/api/speakers \
    -F name=小明 -F audio=@reference.wav -F 'transcript=what is said in the recording'"""
USE = r"""curl -s http://localhost:8004/api/synthesize \
    -H 'Content-Type: application/json' \
    -d '{"text": "This is my own voice.", "speaker_id": "小明", "stream": true}' -o own.wav"""
WORDS = r"""curl -s http://localhost:8004/api/synthesize \
    -H 'Content-Type: application/json' \
    -d '{"text": "It costs $5.", "speaker_id": "英文女", "timestamps": "word"}' -o words.json"""
DELETE = r"""curl -s -X DELETE http://localhost:8004/api/speakers/%E5%B0%8F%E6%98%8E"""
UPLOAD = r"""curl -s http://localhost:8004/api/synthesize \
    -F 'text=Spoken with the voice of a recording.' -F prompt_wav=@reference.wav \
    -F 'prompt_text=what is said in the recording' -F stream=true -o cloned.wav"""

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


async def run(command: str, port: int, folder: Path) -> str:
    process = await asyncio.create_subprocess_shell(
        command.replace(":8004", f":{port}"), cwd=folder, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


def seconds(path: Path) -> float:
    samples, rate = soundfile.read(path)
    assert np.abs(samples).max() > 0.05
    return float(len(samples) / rate)


async def test_the_first_examples_write_files_that_play(tmp_path: Path) -> None:
    async with serving(TtsSettings(port=0, engine="embedded")) as client:
        port = client._base_url.port  # type: ignore[union-attr]
        for command in (SPEAK, JSON_ANSWER, OPENAI, WORDS):
            await run(command, port, tmp_path)
        assert '"中文女"' in await run(LIST, port, tmp_path) or "\\u4e2d" in await run(LIST, port, tmp_path)
    assert 1.5 < seconds(tmp_path / "output.wav") < 4
    assert 0.5 < seconds(tmp_path / "output.mp3") < 3
    assert json.loads((tmp_path / "answer.json").read_text())["success"] is True
    assert [word["word"] for word in json.loads((tmp_path / "words.json").read_text())["words"]][-1] == "dollars"


async def test_the_examples_with_a_voice_of_ones_own_work(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "cards_001.wav", tmp_path / "reference.wav")
    async with serving(TtsSettings(port=0, speakers_dir=tmp_path / "voices"), ToneTts()) as client:
        port = client._base_url.port  # type: ignore[union-attr]
        assert json.loads(await run(ADD, port, tmp_path))["success"] is True
        await run(USE, port, tmp_path)
        await run(UPLOAD, port, tmp_path)
        assert json.loads(await run(DELETE, port, tmp_path)) == {"success": True}
    assert seconds(tmp_path / "own.wav") > 0.5
    assert seconds(tmp_path / "cloned.wav") > 0.5


def test_the_readme_has_these_very_commands() -> None:
    if "localhost:8004" not in README:
        pytest.skip("the README does not describe the TTS service yet")
    plain = "".join(README.split())
    for command in (SPEAK, JSON_ANSWER, OPENAI, LIST, ADD, USE, DELETE, UPLOAD, WORDS):
        assert "".join(command.split()) in plain, command
