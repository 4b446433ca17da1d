"""Bring a model's files here: resumed after a cut, checked against size and checksum, nothing fetched twice."""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import time
import urllib.error
from collections.abc import Callable, Sequence
from pathlib import Path

from scripts.operations.weights.hub import Hub, HubError, RemoteFile

CHUNK_BYTES = 1 << 20
PART = ".part"
MANIFEST = ".download.json"  # what was checked here: name -> size
SPARE_BYTES = 1 << 30  # of the disk, to be left free
ATTEMPTS = 8  # in a row without a single new byte
PROGRESS_S = 5.0

Say = Callable[[str], None]


def fetch(
    hub: Hub, files: Sequence[RemoteFile], folder: Path, *, say: Say, sleep: Callable[[float], None] = time.sleep
) -> int:
    """The missing ones of `files` into `folder`; returns how many there were. Raises HubError."""
    folder.mkdir(parents=True, exist_ok=True)
    checked = _read_manifest(folder)
    missing = [file for file in files if not _present(file, folder, checked, say)]
    _check_disk(missing, folder)
    for number, file in enumerate(missing, 1):
        say(f"[{number}/{len(missing)}] {file.path} ({size_text(file.size)})")
        _fetch_one(hub, file, folder, say, sleep)
        checked[file.path] = file.size
        _write_manifest(folder, checked)
    _write_manifest(folder, checked)
    return len(missing)


def incomplete(files: Sequence[RemoteFile], folder: Path) -> list[str]:
    """The files that are absent, short, or of another content, by reading all of them again."""
    return [file.path for file in files if _fault(file, folder / file.path)]


def size_text(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _present(file: RemoteFile, folder: Path, checked: dict[str, int], say: Say) -> bool:
    path = folder / file.path
    if not path.is_file():
        return False
    if checked.get(file.path) == file.size == path.stat().st_size:
        return True
    fault = _fault(file, path)
    if fault:
        say(f"{file.path}: {fault}, fetching it again")
        path.unlink()
        return False
    checked[file.path] = file.size
    return True


def _check_disk(missing: Sequence[RemoteFile], folder: Path) -> None:
    needed = sum(file.size - _size(folder / (file.path + PART)) for file in missing)
    free = shutil.disk_usage(folder).free
    if missing and needed + SPARE_BYTES > free:
        raise HubError(
            f"{folder} needs {size_text(needed)} more and {size_text(SPARE_BYTES)} to spare, "
            f"but only {size_text(free)} are free there: make room, or choose another place with --models-dir"
        )


def _fetch_one(hub: Hub, file: RemoteFile, folder: Path, say: Say, sleep: Callable[[float], None]) -> None:
    path = folder / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + PART)
    failures, furthest = 0, _size(part)
    while not _whole(file, part):
        cause: Exception = HubError("the connection was closed before the end")
        try:
            _append(hub, file, part, say)
        except urllib.error.HTTPError:  # 416: our part does not fit what is there now
            part.unlink(missing_ok=True)
            cause = HubError("the server cannot continue our part")
        except (OSError, http.client.HTTPException) as error:
            cause = error
        if _whole(file, part):
            break
        failures = 0 if _size(part) > furthest else failures + 1
        furthest = max(furthest, _size(part))
        if failures >= ATTEMPTS:
            raise HubError(f"{file.path}: given up after {ATTEMPTS} attempts ({cause}). Run the same command to go on")
        say(f"{file.path}: {cause}; going on from {size_text(_size(part))}")
        sleep(min(30.0, 0.5 * 2**failures))
    fault = _fault(file, part)
    if fault:
        part.unlink()
        raise HubError(f"{file.path}: {fault}; it was deleted. Run the same command to fetch it again")
    part.replace(path)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _whole(file: RemoteFile, part: Path) -> bool:
    return part.exists() and part.stat().st_size >= file.size


def _append(hub: Hub, file: RemoteFile, part: Path, say: Say) -> None:
    have = _size(part)
    headers = {"Range": f"bytes={have}-"} if have else {}
    with hub.open(file.url, headers) as response, part.open("ab") as target:
        if have and response.status != 206:  # the server sends the whole file again
            target.truncate(0)
            have = 0
        shown = time.monotonic()
        while chunk := response.read1(CHUNK_BYTES):
            if have + len(chunk) > file.size:
                raise HubError(f"{file.path}: the server sends more than the {file.size} bytes that it lists")
            target.write(chunk)
            have += len(chunk)
            if time.monotonic() - shown > PROGRESS_S:
                shown = time.monotonic()
                say(f"  {size_text(have)} of {size_text(file.size)} ({100 * have // file.size} %)")


def _fault(file: RemoteFile, path: Path) -> str | None:
    """What is wrong with a file on the disk, or None."""
    if not path.is_file():
        return "absent"
    size = path.stat().st_size
    if size != file.size:
        return f"{size} bytes instead of {file.size}"
    if file.sha256 and digest_of(hashlib.sha256(), path) != file.sha256:
        return "wrong SHA-256"
    blob = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    if file.git_sha1 and digest_of(blob, path) != file.git_sha1:
        return "wrong git checksum"
    return None


def digest_of(digest: hashlib._Hash, path: Path) -> str:
    with path.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _read_manifest(folder: Path) -> dict[str, int]:
    path = folder / MANIFEST
    if not path.exists():
        return {}
    try:
        return {str(name): int(size) for name, size in json.loads(path.read_text()).items()}
    except (ValueError, AttributeError, TypeError):
        return {}  # damaged: every file is read and checked again


def _write_manifest(folder: Path, checked: dict[str, int]) -> None:
    draft = folder / f"{MANIFEST}{PART}"
    draft.write_text(json.dumps(checked, indent=1, sort_keys=True) + "\n")
    shutil.move(draft, folder / MANIFEST)
