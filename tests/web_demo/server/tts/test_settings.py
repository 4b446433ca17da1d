from __future__ import annotations

import re
from pathlib import Path

import pytest

from web_demo.errors import SetupError
from web_demo.server.common.settings import parse
from web_demo.server.tts.service import SERVICE
from web_demo.server.tts.settings import TtsSettings
from web_demo.server.tts_server import create_app, main


def test_the_documented_command_line_is_understood() -> None:
    line = (
        "--model-path pretrained_models/Fun-CosyVoice3-0.5B-2512 --port 8004 --device cuda:0 --use-vllm --host 0.0.0.0"
    )
    settings = parse(TtsSettings, line.split())
    assert settings.model_path == Path("pretrained_models/Fun-CosyVoice3-0.5B-2512")
    assert (settings.port, settings.device, settings.use_vllm, settings.host) == (8004, "cuda:0", True, "0.0.0.0")
    assert parse(TtsSettings, []).port == 8004


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--max-text-chars", "0"], "--max-text-chars"),
        (["--max-requests", "0"], "--max-requests"),
        (["--prompt-dir", "/no/such/folder"], "--prompt-dir"),
        (["--port", "70000"], "--port"),
    ],
)
def test_wrong_settings_end_with_a_message_that_names_the_option(
    options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options) == 2
    assert says in capsys.readouterr().err


def test_an_engine_named_explicitly_is_never_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--engine", "cosyvoice", "--model-path", str(tmp_path)]) == 2
    assert "the cosyvoice engine cannot run" in capsys.readouterr().err


def test_without_weights_the_embedded_engine_is_taken_and_the_reason_given(tmp_path: Path) -> None:
    app = create_app(TtsSettings(port=0, model_path=tmp_path))
    described = app[SERVICE].describe()
    assert described["engine"] == "embedded"
    assert "cosyvoice3:" in described["engine_reason"]


def test_use_trt_without_its_engine_is_said_aloud(tmp_path: Path) -> None:
    described = create_app(TtsSettings(port=0, model_path=tmp_path, use_trt=True))[SERVICE].describe()
    assert described["engine"] == "embedded"
    assert "--use-trt" in described["engine_reason"]
    with pytest.raises(SetupError, match="--engine cosyvoice only"):
        create_app(TtsSettings(port=0, engine="embedded", use_trt=True))


@pytest.mark.parametrize("engine", ["embedded", "cosyvoice", "openai"])
def test_use_vllm_with_an_engine_that_has_none_is_refused(engine: str) -> None:
    with pytest.raises(SetupError, match=f"--engine cosyvoice3 only, not with --engine {engine}"):
        create_app(TtsSettings(port=0, engine=engine, use_vllm=True))


def test_health_says_whether_the_language_model_runs_in_vllm_and_why_not(tmp_path: Path) -> None:
    for use_vllm, why in ((False, "--use-vllm"), (True, "embedded engine runs.*no weights")):
        described = create_app(TtsSettings(port=0, model_path=tmp_path, use_vllm=use_vllm))[SERVICE].describe()
        assert described["vllm_enabled"] is False
        assert re.search(why, described["vllm_reason"])


@pytest.mark.models
def test_use_vllm_never_falls_back_where_the_model_is(tmp_path: Path) -> None:
    """The weights are there, as far as `auto` looks: then vLLM must be, too."""
    (tmp_path / "cosyvoice3.yaml").touch()
    for engine in ("auto", "cosyvoice3"):
        settings = TtsSettings(
            port=0, engine=engine, model_path=tmp_path, device="cpu", use_vllm=True, vllm_python=tmp_path / "none"
        )
        with pytest.raises(SetupError, match=r"there is no .*none, which has vLLM: .*--with-vllm"):
            create_app(settings)


def test_a_remote_engine_is_made_from_its_settings() -> None:
    app = create_app(
        TtsSettings(port=0, engine="openai", base_url="http://127.0.0.1:8091/v1", remote_model="m", remote_api_key="k")
    )
    engine = app[SERVICE].engine
    assert (engine.model, engine.device, engine.capabilities.cloning) == ("m", "http://127.0.0.1:8091/v1", True)


def test_the_key_of_the_remote_server_comes_from_the_environment_and_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TTS_API_KEY", "very-secret")
    settings = parse(TtsSettings, ["--engine", "openai", "--base-url", "http://x/v1"])
    assert settings.remote_api_key == "very-secret"
    assert "very-secret" not in repr(settings)
