"""Who may import whom, and how many files a folder may hold. Read from the source; nothing is imported."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAX_FILES = 15  # of source in a folder

# Layers from the bottom up, each with those that it may know of. A module belongs to the longest name that it begins with.
MAY_IMPORT: dict[str, set[str]] = {
    "web_demo.errors": set(),
    "utils": {"web_demo.errors"},
    "web_demo.children": {"web_demo.errors"},
    "web_demo.audio": {"web_demo.errors"},
    "web_demo.text": {"web_demo.errors", "utils"},
    "utils.cosyvoice_tokenizer": {"web_demo.audio"},  # an address that points to where its code is
}
MAY_IMPORT["web_demo.models"] = {"utils", *MAY_IMPORT}
MAY_IMPORT["web_demo.detokenizer"] = set(MAY_IMPORT)
MAY_IMPORT["web_demo.engines"] = set(MAY_IMPORT)
MAY_IMPORT["utils.cosyvoice_detokenizer"] = {"web_demo.engines"}  # another such address

# The services know the models by their engines alone.
ENGINES = set(MAY_IMPORT) - {"web_demo.models"}
COMMON = ENGINES | {"web_demo.media", "web_demo.server.common"}
CONVERSATION = ENGINES | {"web_demo.server.conversation"}
MAY_IMPORT |= {
    "web_demo.media": {"web_demo.errors", "utils", "web_demo.audio"},
    "web_demo.server.protocal": set(),
    "web_demo.server.conversation": ENGINES,
    "web_demo.server.common": ENGINES | {"web_demo.media"},
    "web_demo.server.wires": COMMON | CONVERSATION | {"web_demo.server.protocal"},
    "web_demo.server.asr": COMMON,
    "web_demo.server.tts": COMMON,
    "web_demo.server.page": COMMON,
}
MAY_IMPORT["web_demo.server.s2s"] = (
    COMMON
    | CONVERSATION
    | {"web_demo.server.wires", "web_demo.server.protocal"}
    | {"web_demo.server.asr", "web_demo.server.tts"}  # their settings: the cascade's parts have those of their services
)
MAY_IMPORT["web_demo.archive"] = COMMON | {"web_demo.server.asr", "web_demo.server.tts"} | {"web_demo.media"}
MAY_IMPORT["web_demo.server"] = set(MAY_IMPORT) - {"web_demo.models", "web_demo.archive"}  # the programs
MAY_IMPORT["web_demo"] = set()

# Packages that a layer must do without.
WITHOUT: dict[str, set[str]] = {
    "web_demo.audio": {"aiohttp", "torch"},
    "web_demo.children": {"aiohttp", "torch"},
    "web_demo.media": {"aiohttp", "torch"},
    "web_demo.text": {"aiohttp", "torch", "numpy"},
    "web_demo.detokenizer": {"aiohttp", "torch"},
    "web_demo.models": {"aiohttp"},
    "web_demo.server.protocal": {"aiohttp", "torch"},
    "web_demo.server.conversation": {"aiohttp", "torch"},
    "web_demo.server": {"torch"},
    "web_demo.archive": {"aiohttp", "torch"},
}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def names_imported(source: str, module: str, *, is_package: bool) -> Iterator[str]:
    """Full names of what a module's source imports, wherever it does; `from a import b` counts as a.b, which may be a module."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def layer_of(name: str) -> str | None:
    """None for what is not ours."""
    return max((layer for layer in MAY_IMPORT if f"{name}.".startswith(f"{layer}.")), key=len, default=None)


def all_imports() -> list[tuple[str, str]]:
    """(module, name) for every import of the product."""
    found = []
    for path in sorted([*(ROOT / "web_demo").rglob("*.py"), *(ROOT / "utils").rglob("*.py")]):
        module = module_of(path)
        source = path.read_text("utf-8")
        found += [(module, name) for name in names_imported(source, module, is_package=path.name == "__init__.py")]
    return found


IMPORTS = all_imports()


def test_every_layer_is_there():
    modules = {layer_of(module) for module, _ in IMPORTS} | {layer_of(name) for _, name in IMPORTS}
    assert set(MAY_IMPORT) - modules == {"web_demo"}  # which holds layers, and no module of its own


def test_imports_point_down():
    against = set()
    for module, name in IMPORTS:
        ours, theirs = layer_of(module), layer_of(name)
        if theirs is not None and theirs != ours and theirs not in MAY_IMPORT[ours or ""]:
            against.add((module, theirs))
    assert not against


@pytest.mark.parametrize("layer", WITHOUT)
def test_a_layer_does_without_what_is_not_its_business(layer: str):
    used = {(module, name.partition(".")[0]) for module, name in IMPORTS if f"{module}.".startswith(f"{layer}.")}
    assert used
    assert not {(module, package) for module, package in used if package in WITHOUT[layer]}


def test_no_folder_is_full():
    files = [
        path
        for top in ("web_demo", "utils", "scripts", "tests")
        for path in (ROOT / top).rglob("*")
        if path.suffix in (".py", ".js", ".sh") and "node_modules" not in path.parts
    ]
    counts = Counter(str(path.parent.relative_to(ROOT)) for path in files)
    assert {folder: count for folder, count in counts.items() if count > MAX_FILES} == {}


def test_no_program_changes_the_path():
    """Programs find the checkout because it is installed (`pip install -e .`), and children by their environment."""
    changing = {
        str(path.relative_to(ROOT))
        for top in ("web_demo", "utils", "scripts", "tests")
        for path in (ROOT / top).rglob("*.py")
        if re.search(r"sys\.path\.(insert|append|extend)\(", path.read_text("utf-8"))
    }
    assert changing == set()


def test_nothing_waits_by_the_wall_clock():
    """Which jumps: intervals go by the monotonic clock or the loop's. What tells people a date may look at it."""
    looking = {
        path.relative_to(ROOT).as_posix()
        for top in ("web_demo", "utils", "scripts")
        for path in (ROOT / top).rglob("*.py")
        if re.search(r"\btime\.time\(|from time import|datetime\.(now|utcnow|today)\(", path.read_text("utf-8"))
    }
    assert looking == {
        "web_demo/archive/run.py",
        "web_demo/engines/s2s/cascade/built_in.py",
        "web_demo/server/tts/voices.py",
    }


def test_every_entry_point_is_a_main_that_needs_no_argument():
    points = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    assert points
    for point in points.values():
        module, _, name = point.partition(":")
        source = (ROOT / module.replace(".", "/")).with_suffix(".py").read_text("utf-8")
        arguments = next(
            node.args for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == name
        )
        assert len(arguments.args) == len(arguments.defaults), point


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("import a.b, c", ["a.b", "c"]),
        ("from a.b import c", ["a.b.c"]),
        ("from . import c", ["web_demo.models.some.c"]),
        ("from .b import c", ["web_demo.models.some.b.c"]),
        ("from ..b import c, d", ["web_demo.models.b.c", "web_demo.models.b.d"]),
        ("def late():\n    from a import b", ["a.b"]),
    ],
)
def test_an_import_is_found_in_every_form(line: str, names: list[str]):
    assert list(names_imported(line, "web_demo.models.some.module", is_package=False)) == names


def test_a_module_belongs_to_the_longest_layer():
    assert layer_of("web_demo.server.wires.chat") == "web_demo.server.wires"
    assert layer_of("web_demo.server.tts_server.main") == "web_demo.server"
    assert layer_of("aiohttp.web") is None
