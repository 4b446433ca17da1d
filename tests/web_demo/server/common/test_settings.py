"""The command line is the record of settings, option by option."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from web_demo.errors import SetupError
from web_demo.server.asr.settings import AsrSettings
from web_demo.server.common.settings import API_KEY_VARIABLE, ServiceSettings, parse
from web_demo.server.s2s.settings import LLM_KEY_VARIABLE, S2sSettings
from web_demo.server.tts.settings import REMOTE_KEY_VARIABLE, TtsSettings

EVERY = pytest.mark.parametrize("settings", [S2sSettings, AsrSettings, TtsSettings])


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (API_KEY_VARIABLE, LLM_KEY_VARIABLE, REMOTE_KEY_VARIABLE):
        monkeypatch.delenv(name, raising=False)


@EVERY
def test_an_empty_command_line_is_the_record_s_defaults(settings: Any) -> None:
    assert parse(settings, []) == settings()


@EVERY
def test_every_default_is_shown_once(settings: type[ServiceSettings], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(settings, ["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert f"(default {settings.port})" in shown  # type: ignore[attr-defined]
    assert "(default 30)" in shown
    assert "auto,embedded," in shown.replace(" ", "")


def test_each_kind_of_value_is_read() -> None:
    line = (
        "--port 0 --model-path models/x --max-queue 5 --max-audio-s 1.5 --use-vllm --allowed-origin https://a.example "
        "--allowed-origin https://b.example --engine openai --allowed-host voice.example"
    )
    assert parse(AsrSettings, line.split()) == AsrSettings(
        port=0,
        model_path=Path("models/x"),
        max_queue=5,
        max_audio_s=1.5,
        use_vllm=True,
        allowed_origins=("https://a.example", "https://b.example"),
        allowed_hosts=("voice.example",),
        engine="openai",
    )


def test_a_key_of_the_environment_yields_to_one_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, "of the environment")
    assert parse(TtsSettings, []).api_key == "of the environment"
    assert parse(TtsSettings, ["--api-key", "of the line"]).api_key == "of the line"


def test_a_key_without_an_option_comes_from_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LLM_KEY_VARIABLE, "k")
    assert parse(S2sSettings, []).llm_api_key == "k"
    with pytest.raises(SystemExit):
        parse(S2sSettings, ["--llm-api-key", "k"])


def test_the_limits_of_a_session_are_those_of_the_settings() -> None:
    limits = parse(S2sSettings, ["--max-turn-s", "7", "--audio-lead-s", "0.25"]).limits
    assert (limits.max_turn_s, limits.prebuffer_s) == (7.0, 0.25)


@pytest.mark.parametrize(
    ("settings", "wrong", "says"),
    [
        (AsrSettings, {"max_queue": -1}, "--max-queue must be at least 0, got -1"),
        (AsrSettings, {"max_audio_s": math.nan}, "--max-audio-s must be at least 1, got nan"),
        (TtsSettings, {"max_requests": 0}, "--max-requests must be at least 1, got 0"),
        (S2sSettings, {"max_turn_s": 3601}, "--max-turn-s must be 1 to 3600, got 3601"),
        (S2sSettings, {"port": 65_536}, "--port must be 0 to 65535, got 65536"),
        (S2sSettings, {"asr_url": "localhost:8003"}, "--asr-url must look like http://host:port"),
    ],
)
def test_bounds_hold_for_whoever_makes_the_record(settings: Any, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(SetupError, match=says):
        settings(**wrong)


def test_allowed_hosts_come_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUN_AUDIO_ALLOWED_HOSTS", "voice.example.org, .proxy.example,")
    assert parse(AsrSettings, []).allowed_hosts == ("voice.example.org", ".proxy.example")
    assert parse(AsrSettings, ["--allowed-host", "other.example"]).allowed_hosts == ("other.example",)
    with pytest.raises(SetupError, match="--allowed-host must be a name"):
        AsrSettings(port=0, allowed_hosts=("https://voice.example.org",))
