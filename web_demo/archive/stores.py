"""Where entries lie and results go: folders, and object stores by fsspec's URLs, behind a few calls.

https://filesystem-spec.readthedocs.io: `s3://bucket/folder`, `gs://…`, `memory://…`; each needs the package that fsspec names.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import fsspec

from web_demo.errors import SetupError

COPY_BYTES = 1 << 20
PART = ".part"  # of a hidden file that is not whole yet
MAX_NAME_BYTES = 255  # of a file's name, in most file systems


@dataclass(frozen=True)
class Found:
    """A file below a folder. `inside`: its way from there, with slashes."""

    place: str
    inside: str
    size: int
    changed: str


def is_url(place: str) -> bool:
    return "://" in place


def shown(place: str) -> str:
    """A path in letters that can be shown and written down: bytes that are no UTF-8 as \\xNN."""
    return place.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def storage(place: str) -> tuple[Any, str]:
    """The file system of a URL, and the way in it. Raises SetupError where it cannot be had."""
    try:
        system, inside = fsspec.core.url_to_fs(place)
    except (ImportError, ValueError, OSError) as error:
        raise SetupError(f"{place} cannot be reached: {error}") from error
    return system, str(inside)


def found_at(place: str) -> Found:
    """Raises OSError where there is no file."""
    if not is_url(place):
        facts = os.stat(place)
        return Found(place, os.path.basename(place), facts.st_size, str(facts.st_mtime_ns))
    system, inside = storage(place)
    return _of_store(system, system.info(inside), inside.rpartition("/")[2], str(system.unstrip_protocol(inside)))


def walk(folder: str) -> Iterator[Found]:
    """Every file below, in the order of their ways; links to folders are not followed, and hidden files are passed over."""
    if not is_url(folder):
        for base, folders, names in os.walk(folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                place = os.path.join(base, name)
                if name.startswith(".") or not os.path.isfile(place):
                    continue
                facts = os.stat(place)
                inside = os.path.relpath(place, folder).replace(os.sep, "/")
                yield Found(place, inside, facts.st_size, str(facts.st_mtime_ns))
        return
    system, root = storage(folder)
    for way, facts in sorted(system.find(root, detail=True).items()):
        inside = way[len(root) :].lstrip("/")
        if not any(part.startswith(".") for part in inside.split("/")):
            yield _of_store(system, facts, inside, str(system.unstrip_protocol(way)))


def _of_store(system: Any, facts: dict[str, Any], inside: str, place: str) -> Found:
    if facts.get("type") == "directory":
        raise IsADirectoryError(f"{place} is a folder")
    tag = next((str(facts[key]) for key in ("ETag", "etag", "mtime", "LastModified", "created") if facts.get(key)), "")
    return Found(place, inside, int(facts.get("size") or 0), tag)


def matching(pattern: str) -> Iterator[str]:
    """Places that a pattern with *, ? or ** matches, sorted."""
    if not is_url(pattern):
        import glob

        yield from sorted(place for place in glob.glob(pattern, recursive=True) if os.path.isfile(place))
        return
    system, inside = storage(pattern)
    yield from (str(system.unstrip_protocol(way)) for way in sorted(system.glob(inside)))


@contextmanager
def opened(place: str) -> Iterator[tuple[IO[bytes], int]]:
    """A file with a descriptor, and its size: the one on disk, or a copy without a name of what a store has. Raises OSError."""
    if not is_url(place):
        # Not blocking: opening a named pipe would wait for its other end.
        descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            yield file, os.fstat(descriptor).st_size
        return
    with tempfile.TemporaryFile() as copy:
        with fsspec.open(place, "rb") as source:
            shutil.copyfileobj(source, copy, COPY_BYTES)
        size = copy.tell()
        copy.seek(0)
        yield copy, size


class Store:
    """A folder, here or elsewhere, whose files appear whole or not at all. Safe for threads."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.is_local = not is_url(root)
        if not self.is_local:
            self._system, self._inside = storage(root)

    def __str__(self) -> str:
        return self.root

    def place(self, name: str) -> str:
        return os.path.join(self.root, *name.split("/")) if self.is_local else f"{self.root.rstrip('/')}/{name}"

    def put(self, name: str, content: bytes | IO[bytes]) -> None:
        """`content`: bytes, or a file with a descriptor, which is closed. Raises OSError."""
        if isinstance(content, bytes):
            self._put(name, content)
            return
        with content:
            content.flush()
            content.seek(0)
            self._put(name, content)

    def _put(self, name: str, content: bytes | IO[bytes]) -> None:
        if not self.is_local:
            way = f"{self._inside.rstrip('/')}/{name}"
            if isinstance(content, bytes):
                self._system.pipe_file(way, content)  # one request, and whole
            else:
                self._system.put_file(f"/dev/fd/{content.fileno()}", way)
            return
        target = Path(self.place(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / f".{secrets.token_hex(8)}{PART}"
        try:
            with open(temporary, "wb") as file:
                if isinstance(content, bytes):
                    file.write(content)
                else:
                    shutil.copyfileobj(content, file, COPY_BYTES)
            os.replace(temporary, target)
        except BaseException:
            with suppress(FileNotFoundError):
                temporary.unlink()
            raise

    def get(self, name: str) -> bytes | None:
        """None where there is no such file."""
        try:
            if self.is_local:
                return Path(self.place(name)).read_bytes()
            content: bytes = self._system.cat_file(f"{self._inside.rstrip('/')}/{name}")
        except FileNotFoundError:
            return None
        return content

    def names(self) -> set[str]:
        """The ways of all files that are there, hidden ones too."""
        if self.is_local:
            root = Path(self.root)
            return {
                os.path.relpath(os.path.join(base, name), root).replace(os.sep, "/")
                for base, _, names in os.walk(root)
                for name in names
            }
        self._system.invalidate_cache()
        root_way = self._inside.rstrip("/")
        return {way[len(root_way) :].lstrip("/") for way in self._system.find(root_way)}

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            if self.is_local:
                os.unlink(self.place(name))
            else:
                self._system.rm_file(f"{self._inside.rstrip('/')}/{name}")
