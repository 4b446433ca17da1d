"""Whether a lock of packages (PEP 751, as `uv pip compile --format pylock.toml` writes it) can be installed on a machine without
a compiler: by markers and wheel tags alone, for machines that are not here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from packaging.markers import Marker
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import parse_wheel_filename

GLIBC = 28  # 2.28: Debian 10, Ubuntu 18.10, RHEL 8


@dataclass(frozen=True)
class Machine:
    """`system` and `kind` as in the markers `sys_platform` and `platform_machine`."""

    python: tuple[int, int]
    system: str
    kind: str

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.python))}-{self.system}-{self.kind}"

    @property
    def tags(self) -> set[Tag]:
        if self.system == "darwin":  # onnxruntime and av begin at 14 on Apple's chips
            platforms = list(mac_platforms((14, 0) if self.kind == "arm64" else (13, 0), self.kind))
        else:
            platforms = [f"manylinux_2_{minor}_{self.kind}" for minor in range(GLIBC, 4, -1)]
            platforms += [f"{older}_{self.kind}" for older in ("manylinux2014", "manylinux2010", "manylinux1", "linux")]
        return {
            *cpython_tags(self.python, platforms=platforms),
            *compatible_tags(self.python, f"cp{self.python[0]}{self.python[1]}", platforms),
        }

    @property
    def environment(self) -> dict[str, str]:
        version = ".".join(map(str, self.python))
        return {
            "python_version": version,
            "python_full_version": f"{version}.0",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "sys_platform": self.system,
            "platform_machine": self.kind,
            "platform_system": {"linux": "Linux", "darwin": "Darwin"}[self.system],
            "os_name": "posix",
        }


def without_wheel(lock: Mapping[str, Any], machine: Machine) -> Iterator[str]:
    """The name of each package that the machine needs and that has no wheel for it."""
    tags = machine.tags
    for package in lock["packages"]:
        if "marker" in package and not Marker(package["marker"]).evaluate(machine.environment):
            continue
        names = [wheel.get("name") or os.path.basename(wheel["url"]) for wheel in package.get("wheels", ())]
        if not any(parse_wheel_filename(name)[3] & tags for name in names):
            yield package["name"]
