"""The Chinese documents: commands are run, or their options looked up, and paths exist. The README's options too."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.operations import stack
from scripts.operations.layouts import modes
from scripts.operations.services import ASR, S2S, TTS, Launch
from tests.scripts.operations.test_manager import free_port

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "deploy" / "集成部署模式.md").read_text()


def blocks() -> list[str]:
    return re.findall(r"(?<!-->\n)```bash\n(.*?)```", TEXT, re.DOTALL)


def script_lines() -> list[str]:
    lines = [line.partition("#")[0].strip() for block in blocks() for line in block.splitlines()]
    return [line for line in lines if "./scripts/" in line]


def readme_lines() -> list[str]:
    text = "".join((ROOT / name).read_text("utf-8") for name in ("README.md", "README.zh.md"))
    lines = re.findall(r"^    (.*\./scripts/.*)$", text, re.MULTILINE)
    return list(dict.fromkeys(line.partition("#")[0].strip() for line in lines))


def commands_of(text: str) -> set[str]:
    """Indented lines, without what a comment says of them."""
    return {line.partition("  #")[0].strip() for line in re.findall(r"^    (\S.*)$", text, re.MULTILINE)}


def test_the_chinese_readme_says_nothing_to_type_that_the_other_does_not() -> None:
    english, chinese = ((ROOT / name).read_text("utf-8") for name in ("README.md", "README.zh.md"))
    assert commands_of(chinese) - {line.partition("   ")[0] for line in commands_of(english)} == set()
    assert len(commands_of(chinese)) >= 8
    for text, other in ((english, "README.zh.md"), (chinese, "README.md")):
        assert f"]({other})" in text
    ports = [re.findall(r"^\| \*\*(\w+)\*\* \| (\d+) \|", text, re.MULTILINE) for text in (english, chinese)]
    assert ports[0] == ports[1] == [(service.prefix, str(service.port)) for service in (S2S, ASR, TTS)]
    paths = set(re.findall(r"/(?:api|v1)/[\w/]+", chinese))
    assert paths
    assert paths <= set(re.findall(r"/(?:api|v1)/[\w/]+", english))


def test_every_file_that_the_chinese_readme_names_exists() -> None:
    text = (ROOT / "README.zh.md").read_text("utf-8")
    named = re.findall(r"\]\(([^)h][^)]*)\)", text) + re.findall(r"(?:\./|\s)(scripts/[\w./]*\w)", text)
    assert len(named) > 8
    assert [name for name in named if not (ROOT / name).exists()] == []


def example(name: str) -> str:
    found = re.search(rf"<!-- example: {name} -->\n```bash\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None, name
    return found[1]


def run(command: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )


@pytest.mark.parametrize("line", [line for line in script_lines() if line.endswith(("--dry-run", "--help"))])
def test_a_command_that_changes_nothing_runs_as_it_is_written(line: str) -> None:
    done = run(line)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("line", [*script_lines(), *readme_lines()])
def test_every_option_of_every_script_exists(line: str) -> None:
    script, *words = shlex.split(line[line.index("./scripts/") :])
    options = {word for word in words if word.startswith("--")} - {"--help"}
    assert options <= set(re.findall(r"--[a-z-]+", run(f"{script} --help").stdout))


def test_every_file_that_is_named_exists() -> None:
    named = set(re.findall(r"\b(?:scripts|deploy|tests|web_demo)/[\w./-]*\w", TEXT))
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_the_table_of_modes_has_the_numbers_that_are_planned_with() -> None:
    for parts in (("s2s", "detokenizer"), ("s2s", "detokenizer", "asr"), ("s2s", "detokenizer", "tts", "asr")):
        needs = [modes.NEEDS_GIB[part] for part in parts]
        assert f"{' + '.join(map(str, needs))} = {sum(needs)} GB" in TEXT


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """All three services with their embedded engines; the document's ports and where they really are."""
    folder = tmp_path_factory.mktemp("services")
    launches = []
    for service in (S2S, ASR, TTS):
        port = free_port()
        command = (sys.executable, "-m", service.module, "--engine", "embedded", "--port", str(port))
        launches.append(Launch(service.name, service.title, command, "127.0.0.1", port, folder / service.log))
    stack.start(launches, folder / "run", timeout_s=180.0, say=lambda _: None)
    yield {str(service.port): str(launch.port) for service, launch in zip((S2S, ASR, TTS), launches, strict=True)}
    stack.stop(folder / "run", grace_s=10.0, say=lambda _: None)


def run_example(name: str, ports: dict[str, str]) -> str:
    command = example(name)
    for written, real in ports.items():
        command = re.sub(rf"\b{written}\b", real, command)
    done = run(command.replace(".venv/bin/python", sys.executable))
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_the_transcription_example_is_understood(ports: dict[str, str]) -> None:
    answer = json.loads(run_example("asr", ports))
    assert answer["success"] is True
    assert "forward" in answer["text"]


def test_the_synthesis_example_speaks(ports: dict[str, str]) -> None:
    answer = json.loads(run_example("tts", ports))
    assert answer["success"] is True
    assert answer["duration"] > 0.5


@pytest.mark.long
def test_the_health_and_conversation_examples_work(ports: dict[str, str]) -> None:
    assert json.loads(run_example("health", ports))["status"] == "healthy"
    assert "go forward ten meters" in run_example("s2s", ports)
