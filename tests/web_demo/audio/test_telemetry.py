"""A self-hosted stack reports to nobody."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_onnxruntime_makes_no_identifier_of_this_machine(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    own = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    code = "from web_demo.audio import vad; vad._session()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**environment, **own}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
