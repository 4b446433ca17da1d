"""What the page and an error say to start a service with, run as it is printed."""

import subprocess
from pathlib import Path

import pytest

from web_demo.server.asr.settings import AsrSettings
from web_demo.server.page.advice import DEFAULT_PORTS, start_command
from web_demo.server.tts.settings import TtsSettings

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize(
    ("name", "url", "listens"),
    [
        ("asr", "http://127.0.0.1:8003", "web_demo.server.asr_server --host 127.0.0.1 --port 8003"),
        ("tts", "http://[::1]:9004", "web_demo.server.tts_server --host ::1 --port 9004"),
        ("asr", "http://asr-box:8003", "web_demo.server.asr_server --host 0.0.0.0 --port 8003"),
    ],
)
def test_the_command_starts_the_service_where_it_was_looked_for(name: str, url: str, listens: str) -> None:
    command, _, where = start_command(name, url).partition("  # on ")
    assert where == ("asr-box" if "box" in url else "")
    line = ["bash", "-c", f"unset HOST ASR_PORT TTS_PORT ASR_ARGS TTS_ARGS; {command} --dry-run"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    (printed,) = done.stdout.splitlines()
    assert listens in printed, done.stderr


def test_the_usual_ports_are_those_of_the_services() -> None:
    assert {"asr": AsrSettings().port, "tts": TtsSettings().port} == DEFAULT_PORTS
