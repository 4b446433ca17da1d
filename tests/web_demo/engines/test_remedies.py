"""What engines tell people to type, tried."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from web_demo.engines import remedies

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", ["s2s", "asr", "tts"])
def test_the_script_that_fetches_weights_takes_the_words(name: str) -> None:
    command = [*shlex.split(remedies.get_weights(name)), "--help"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_packages_go_into_the_environment_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python, *words = shlex.split(remedies.get_packages())
    assert os.path.samefile(python, sys.executable)
    assert words[:-1] == ["-m", "pip", "install", "-r"]
    assert (ROOT / words[-1]).is_file()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    assert remedies.get_packages().startswith(".venv/bin/python -m pip")
