"""MPS around a start, with a stand-in for NVIDIA's control program that keeps to its command line."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from scripts.operations.layouts import mps

STAND_IN = """#!{python}
import os, pathlib, sys
folder = pathlib.Path(os.environ["CUDA_MPS_PIPE_DIRECTORY"])
alive = folder / "alive"
if sys.argv[1:] == ["-d"]:
    if os.environ.get("REFUSE"):
        sys.exit("An instance of this daemon is already running")
    (folder / "control").touch()
    alive.write_text(os.environ["CUDA_MPS_LOG_DIRECTORY"])
elif not alive.exists():
    sys.exit("Cannot find MPS control daemon process")
elif sys.stdin.read() == "quit\\n":
    alive.unlink()
"""


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    program = tmp_path / "bin" / mps.CONTROL
    program.parent.mkdir()
    program.write_text(STAND_IN.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(mps, "USUAL_PIPES", tmp_path / "usual")
    monkeypatch.setattr(mps, "LONGEST_PIPES", 500)  # the test's own folder may be deep
    return {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}


class Said(list[str]):
    def __call__(self, line: str) -> None:
        self.append(line)


def test_it_is_started_named_to_the_services_and_ended_with_them(tmp_path: Path, environment: dict[str, str]) -> None:
    said, run, logs = Said(), tmp_path / "run", tmp_path / "logs"
    own = mps.begin(run, logs, environment, said)
    assert own == {mps.PIPES: str(run / "mps"), mps.LOGS: str(logs / "mps")}
    assert (run / "mps" / "alive").read_text() == str(logs / "mps")
    assert mps.begin(run, logs, environment, said) == own, "that of a start which was killed is taken over"
    mps.end(run, environment, said)
    assert not (run / "mps").exists()
    assert [line.split(",")[0] for line in said] == ["GPU: CUDA MPS started", "GPU: CUDA MPS stopped"]
    mps.end(run, environment, said)
    assert len(said) == 2


def test_somebody_elses_is_used_and_left_alone(tmp_path: Path, environment: dict[str, str]) -> None:
    said = Said()
    assert mps.begin(tmp_path / "run", tmp_path, environment | {mps.PIPES: "/theirs"}, said) == {}
    usual = tmp_path / "usual"
    usual.mkdir()
    (usual / "control").touch()
    (usual / "alive").touch()
    assert mps.begin(tmp_path / "run", tmp_path, environment, said) == {}
    mps.end(tmp_path / "run", environment, said)
    assert (usual / "alive").exists()
    assert said == ["GPU: using the CUDA MPS daemon that is there"] * 2


def test_without_it_the_services_start_all_the_same(tmp_path: Path, environment: dict[str, str]) -> None:
    said = Said()
    assert mps.begin(tmp_path / "run", tmp_path, {"PATH": str(tmp_path)}, said) == {}
    assert said == []
    assert mps.begin(tmp_path / "run", tmp_path, environment | {"REFUSE": "1"}, said) == {}
    assert "already running" in said[0]
    assert not (tmp_path / "run" / "mps").exists()
