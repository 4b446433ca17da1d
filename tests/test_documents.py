"""What the English documents say of the tree: files that they name, commands that they print, the table of layers."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.test_architecture import MAY_IMPORT

ROOT = Path(__file__).resolve().parents[1]
ARCHITECTURE = ROOT / "web_demo" / "ARCHITECTURE.md"
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    ARCHITECTURE,
    ROOT / "deploy" / "clients.md",
    ROOT / "deploy" / "ray" / "README.md",
    *sorted((ROOT / "deploy" / "benchmarks").glob("*.md")),
]
TOP = "web_demo|utils|scripts|deploy|tests|third_party|pretrained_models"
# Made when they are needed, or by those who read.
NOT_IN_THE_TREE = re.compile(r"third_party/CosyVoice|pretrained_models/.+|scripts/benchmarks/NAME\.py")


def rooted(text: str) -> set[str]:
    """Paths that begin with a folder of the repository, wherever they stand."""
    return set(re.findall(rf"(?<![\w/.-])(?:{TOP})/[\w./-]*[\w/]", text))


def relative(text: str) -> set[str]:
    """Names of files and folders in backticks: `audio/vad.py`, `server/wires/`, `thread.py`."""
    return set(re.findall(r"`([\w-]+(?:/[\w-]+)*(?:\.(?:py|js|sh|md|yaml|toml|txt)|/))`", text))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_that_is_named_exists(document: Path) -> None:
    named = rooted(document.read_text("utf-8"))
    assert named
    assert {name for name in named if not (ROOT / name).exists() and not NOT_IN_THE_TREE.fullmatch(name)} == set()


def test_every_file_that_the_architecture_names_exists() -> None:
    named = relative(ARCHITECTURE.read_text("utf-8"))
    assert len(named) > 40
    folders = [ROOT, ROOT / "web_demo", ROOT / "web_demo" / "server"]
    missing = {
        name
        for name in named
        if not any((folder / name).exists() for folder in folders)
        and ("/" in name or not any((ROOT / "web_demo").rglob(name)))
    }
    assert missing == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text("utf-8"))
    assert {target for target in targets if not (document.parent / target).exists()} == set()


def test_the_table_of_layers_is_the_one_that_is_held() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| (.*) \|$", ARCHITECTURE.read_text("utf-8"), re.MULTILINE)
    told = {layer: set(re.findall(r"`([\w.]+)`", may)) for layer, may in rows}
    assert told == {layer: may for layer, may in MAY_IMPORT.items() if layer != "web_demo"}


def test_every_command_of_the_package_is_told_to_contributors_and_no_other() -> None:
    commands = set(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"])
    assert set(re.findall(r"`(fun-audio-\w+)`", (ROOT / "CONTRIBUTING.md").read_text("utf-8"))) == commands


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"^ +make ([\w-]+)", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.MULTILINE))
    assert named == targets
