"""Whether the requirement files can be installed, by what the package index has now: those that clash with this environment, and
all of them on the machines that they are for. What the resolver keeps of the index from before, it asks about again after ten
minutes, as the index says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.scripts.operations.wheels import Machine, without_wheel

ROOT = Path(__file__).resolve().parents[3]
UNREACHABLE = re.compile(
    r"dns error|failed to lookup|Network is unreachable|Connection refused|timed out", re.IGNORECASE
)


def compiled(*arguments: str) -> str:
    """What the resolver says. Skips where the index cannot be reached, but on the machine that checks what is to be merged."""
    done = subprocess.run(
        [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode and UNREACHABLE.search(done.stderr) and not os.environ.get("CI"):
        pytest.skip(f"NOT CHECKED: the package index cannot be reached: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def resolved(file: str) -> dict[str, str]:
    """Name -> version of everything that the file brings."""
    found = compiled("--python-platform", "x86_64-unknown-linux-gnu", file)
    return dict(re.findall(r"^([\w.-]+)==(\S+)", found, re.MULTILINE))


PYTHONS = [(3, 11), (3, 12), (3, 13), (3, 14)]
KINDS = [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"), ("darwin", "x86_64")]
# The newest onnxruntime for Intel Macs is for 3.13: find_python of environment.sh takes no newer one there.
EVERY_MACHINE = [
    Machine(python, *kind)
    for python in PYTHONS
    for kind in KINDS
    if (python, kind[0], kind[1]) != ((3, 14), "darwin", "x86_64")
]
# For a GPU box, a developer's machine, a hosted service, or a cluster (Ray has no wheel for Intel Macs). Every other file, also
# one that is added, is for every machine.
FOR_SOME = {f"requirements-{name}.txt" for name in ("models", "vllm", "cosyvoice", "dev", "runpod", "archive")}


@pytest.mark.parametrize("file", sorted({path.name for path in ROOT.glob("requirements*.txt")} - FOR_SOME))
def test_no_machine_needs_a_compiler(file: str) -> None:
    options = ["--no-deps"] if "nodeps" in file else []
    lock = tomllib.loads(compiled("--universal", "--python-version", "3.11", "--format", "pylock.toml", *options, file))
    missing = {str(machine): names for machine in EVERY_MACHINE if (names := set(without_wheel(lock, machine)))}
    assert missing == {}


def test_a_package_without_a_wheel_for_a_machine_is_named_and_one_that_is_for_others_is_not_missed() -> None:
    wheels = [
        {"name": "a-1.0-cp313-cp313-macosx_14_0_arm64.whl"},
        {"url": "https://there/a-1.0-cp311-abi3-manylinux2014_x86_64.whl"},
    ]
    lock = {
        "packages": [
            {"name": "a", "version": "1.0", "wheels": wheels},
            {"name": "b", "version": "2.0", "marker": "python_version < '3.12'"},
        ]
    }
    found = {str(machine): " ".join(without_wheel(lock, machine)) for machine in EVERY_MACHINE}
    assert found["3.11-linux-x86_64"] == "b"
    assert found["3.14-linux-x86_64"] == ""  # by the stable interface
    assert found["3.13-linux-aarch64"] == "a"
    assert (found["3.13-darwin-arm64"], found["3.12-darwin-arm64"]) == ("", "a")


def test_upstreams_cosyvoice_resolves_with_what_it_needs_and_nothing_that_breaks_it() -> None:
    found = resolved("requirements-cosyvoice.txt")
    assert found["torch"] == found["torchaudio"]
    assert tuple(map(int, found["torchaudio"].split(".")[:2])) < (2, 9)  # its load needs torchcodec from there on
    assert int(found["setuptools"].split(".")[0]) < 81  # pkg_resources
    assert found["transformers"] == "4.51.3"


def test_vllm_resolves_in_an_environment_of_its_own() -> None:
    assert resolved("requirements-vllm.txt")["vllm"] in (ROOT / "requirements-vllm.txt").read_text()
