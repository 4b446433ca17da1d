"""Programs whose output nobody reads to its end, as behind `| head`."""

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SAYS_MUCH = """
from scripts.operations import console

@console.program
def main():
    {body}
    return 0

raise SystemExit(main())
"""


def behind_a_closed_pipe(*command: str) -> tuple[int, str]:
    """Its status and what it says on standard error."""
    program = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert program.stdout is not None
    program.stdout.close()
    _, errors = program.communicate(timeout=60)
    return program.returncode, errors


@pytest.mark.parametrize("body", ["print('x' * 1_000_000)", "print('x', flush=True)", "print('x')"])
def test_a_closed_pipe_ends_a_program_without_a_word(body: str) -> None:
    status, errors = behind_a_closed_pipe(sys.executable, "-c", SAYS_MUCH.format(body=body))
    assert errors == ""
    assert status in (0, 141)


def test_a_pipe_of_its_own_that_breaks_is_an_error_as_ever() -> None:
    body = "import os; r, w = os.pipe(); os.close(r); os.write(w, b'x')"
    code = SAYS_MUCH.format(body=body)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "BrokenPipeError" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("-m", "scripts.operations.manager", "start", "--help"),
        ("-m", "scripts.operations.manager", "start", "--gpus", "24"),
        ("scripts/auto_deploy.py", "--dry-run", "root@box"),
    ],
    ids=lambda words: " ".join(words),
)
def test_no_traceback_is_left_when_the_output_is_closed(words: tuple[str, ...]) -> None:
    _, errors = behind_a_closed_pipe(sys.executable, *words)
    assert errors == ""


def test_every_command_that_prints_may_stand_before_a_closed_pipe() -> None:
    """The commands that the package adds, but for the services, which print nothing."""
    commands = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"].values()
    ours = [command.partition(":")[0] for command in commands if command.startswith("scripts.")]
    assert len(ours) >= 4
    for module in {*ours} - {"scripts.containers.healthcheck"}:  # one word
        assert hasattr(importlib.import_module(module).main, "__wrapped__"), module
