"""Every command line in deploy/ names a module that is there and options that it has."""

import functools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
MODULE = re.compile(r"web_demo\.server\.\w+")


def from_compose() -> Iterator[tuple[str, list[str]]]:
    for name, service in yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())["services"].items():
        if name != "whisper":  # vLLM's own program: tests/deploy/test_containers.py
            yield f"compose {name}", service["command"]


def from_kubernetes() -> Iterator[tuple[str, list[str]]]:
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document.get("kind") == "Deployment":
                yield f"kubernetes {path.name}", document["spec"]["template"]["spec"]["containers"][0]["args"]


def from_systemd() -> Iterator[tuple[str, list[str]]]:
    for path in sorted((DEPLOY / "systemd").glob("*.service")):
        line = re.search(r"^ExecStart=(.*)$", path.read_text(), re.MULTILINE)
        assert line is not None
        yield f"systemd {path.name}", shlex.split(line[1])[2:]


def from_dockerfiles() -> Iterator[tuple[str, list[str]]]:
    for path in (DEPLOY / "docker" / "Dockerfile", DEPLOY / "docker" / "Dockerfile.cuda"):
        last = path.read_text().splitlines()[-1]
        yield path.name, yaml.safe_load(last.removeprefix("CMD "))


def from_settings() -> Iterator[tuple[str, list[str]]]:
    """The options in the example settings of systemd."""
    modules = {"S2S": "server", "ASR": "asr_server", "TTS": "tts_server"}
    for line in (DEPLOY / "systemd" / "fun-audio-chat.env").read_text().splitlines():
        setting = re.match(r"#(\w+)_ARGS=(.*)", line)
        if setting:
            yield line, [f"web_demo.server.{modules[setting[1]]}", *shlex.split(setting[2])]


def commands() -> list[tuple[str, list[str]]]:
    return [*from_compose(), *from_kubernetes(), *from_systemd(), *from_dockerfiles(), *from_settings()]


@functools.cache
def help_of(module: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize(("where", "command"), [pytest.param(*item, id=item[0]) for item in commands()])
def test_every_option_exists(where: str, command: list[str]) -> None:
    module = next(word for word in command if MODULE.fullmatch(word))
    if not ROOT.joinpath(*module.split(".")).with_suffix(".py").exists():
        pytest.skip(f"{module} is not in this checkout")
    known = set(re.findall(r"--[a-z0-9-]+", help_of(module)))
    assert {word for word in command if word.startswith("--")} <= known


def test_there_is_a_command_for_every_service_everywhere() -> None:
    found = {
        (where.split()[0], next(word for word in command if MODULE.fullmatch(word))) for where, command in commands()
    }
    for place in ("compose", "kubernetes", "systemd"):
        for service in ("server", "asr_server", "tts_server"):
            assert (place, f"web_demo.server.{service}") in found
