"""Whether the environments that clash with this one can be installed: their files resolve, from the package index. What the
resolver keeps of the index from before, it asks about again after ten minutes, as the index says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
UNREACHABLE = re.compile(
    r"dns error|failed to lookup|Network is unreachable|Connection refused|timed out", re.IGNORECASE
)


def resolved(file: str) -> dict[str, str]:
    """Name -> version of everything that the file brings. Skips where the index cannot be reached."""
    compile = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    done = subprocess.run(
        [*compile, "--python-platform", "x86_64-unknown-linux-gnu", file],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode and UNREACHABLE.search(done.stderr):
        pytest.skip(f"the package index cannot be reached: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return dict(re.findall(r"^([\w.-]+)==(\S+)", done.stdout, re.MULTILINE))


def test_upstreams_cosyvoice_resolves_with_what_it_needs_and_nothing_that_breaks_it() -> None:
    found = resolved("requirements-cosyvoice.txt")
    assert found["torch"] == found["torchaudio"]
    assert tuple(map(int, found["torchaudio"].split(".")[:2])) < (2, 9)  # its load needs torchcodec from there on
    assert int(found["setuptools"].split(".")[0]) < 81  # pkg_resources
    assert found["transformers"] == "4.51.3"


def test_vllm_resolves_in_an_environment_of_its_own() -> None:
    assert resolved("requirements-vllm.txt")["vllm"] in (ROOT / "requirements-vllm.txt").read_text()
