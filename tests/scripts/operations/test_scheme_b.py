"""Scheme B, planned for cards and started with a program in vLLM's place."""

import sys
from pathlib import Path

import pytest

from scripts.operations import manager, pidfile
from scripts.operations.layouts import scheme_b
from scripts.operations.layouts.modes import DoesNotFit
from scripts.operations.services import UsageError
from tests.scripts.operations.test_manager import FAKE, free_port
from tests.scripts.operations.test_modes import cards


def launched(name: str, root: Path, **environment: str) -> dict[str, str]:
    launches = scheme_b.launches(scheme_b.plan(cards(name)), environment, root, Path("logs"))
    return {launch.name: str(launch) for launch in launches}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for module in ("server.py", "tts_server.py"):
        path = tmp_path / "web_demo" / "server" / module
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_two_cards_keep_the_conversation_apart_from_the_rest(root: Path) -> None:
    lines = launched("two 4090", root)
    assert lines["s2s"].endswith("--port 8002 --device cuda:0 --tts-gpu 1")
    assert lines["tts"].endswith("--port 8004 --device cuda:1 --use-vllm")
    assert lines["whisper"].startswith(
        f"env CUDA_VISIBLE_DEVICES=1 {root}/.venv-vllm/bin/vllm serve openai/whisper-large-v3"
    )
    assert lines["whisper"].endswith("--host 127.0.0.1 --port 8005 --gpu-memory-utilization 0.26")


def test_one_card_that_cannot_hold_it_is_refused(root: Path) -> None:
    with pytest.raises(DoesNotFit, match=r"s2s 18 \+ detokenizer 4 \+ tts 4 \+ whisper 6 = 32 GiB needed"):
        launched("one 4090", root)


def test_ports_model_program_and_options_come_from_the_environment(root: Path) -> None:
    line = launched(
        "one A40",
        root,
        ASR_PORT="9005",
        WHISPER_MODEL="/models/whisper",
        VLLM="/opt/vllm",
        WHISPER_ARGS="--max-model-len 448",
    )["whisper"]
    assert "/opt/vllm serve /models/whisper " in line
    assert "--port 9005" in line
    assert line.endswith("--max-model-len 448")


def test_downloaded_weights_are_taken_before_the_name(root: Path) -> None:
    (root / "pretrained_models" / "whisper-large-v3").mkdir(parents=True)
    assert f"serve {root}/pretrained_models/whisper-large-v3 " in launched("one A40", root)["whisper"]


def test_an_outer_cuda_visible_devices_is_counted_within(root: Path) -> None:
    gpu = cards("two 4090")[1]
    assert scheme_b.physical(gpu, {"CUDA_VISIBLE_DEVICES": "3, 5"}) == "5"


def test_vllm_that_is_not_installed_is_said_before_anything_starts(root: Path) -> None:
    launch = scheme_b.whisper(None, {}, root, Path("logs"))
    with pytest.raises(UsageError, match=r"full_setup\.sh --with-vllm"):
        scheme_b.check_program(launch, root)


def test_the_command_starts_and_stops_all_of_it(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    vllm = tmp_path / "vllm"
    vllm.write_text(f"#!/bin/sh\necho arguments: $@\nexec {sys.executable} {FAKE} --port {port}\n")
    vllm.chmod(0o755)
    for name, value in {"RUN_DIR": tmp_path / "run", "LOG_DIR": tmp_path / "logs"}.items():
        monkeypatch.setattr(manager, name, value)
    monkeypatch.setattr(manager.gpus, "look", lambda _: [])
    monkeypatch.setattr(manager.services.Service, "exists", lambda *_: False)  # vLLM alone: the others are slow
    for name, text in {"VLLM": str(vllm), "ASR_PORT": str(port)}.items():
        monkeypatch.setenv(name, text)
    assert manager.main(["start-vllm"]) == 0
    assert [item.name for item in pidfile.read_all(tmp_path / "run")] == ["whisper"]
    assert "arguments: serve openai/whisper-large-v3" in (tmp_path / "logs" / "whisper.log").read_text()
    assert f"http://127.0.0.1:{port}/v1/audio/transcriptions" in capsys.readouterr().out
    assert manager.main(["stop"]) == 0
