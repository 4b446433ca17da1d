"""Of an archive that was fetched and checked, the files that are wanted; what came out is written down, to be checked later."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from scripts.operations.weights.download import PART, digest_of
from scripts.operations.weights.hub import HubError, RemoteFile

RECORD = ".unpacked.json"  # archive -> {"sha256": of it, "files": {name: sha256}}


def unpack(archive: Path, file: RemoteFile, wanted: Sequence[str], folder: Path) -> None:
    """Those of the `wanted` that the archive has, by their names below its one folder. Raises HubError for one that is damaged."""
    found: dict[str, str] = {}
    try:
        with tarfile.open(archive, "r:bz2") as content:
            for member in content:
                name = PurePosixPath(*PurePosixPath(member.name).parts[1:]).as_posix()
                source = content.extractfile(member) if member.isreg() and name in wanted else None
                if source is None:
                    continue
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                draft = target.with_name(target.name + PART)
                with source, draft.open("wb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
                draft.replace(target)
                found[name] = digest_of(hashlib.sha256(), target)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise HubError(f"{file.path} cannot be unpacked: {error}. Run the same command to fetch it again") from error
    record = _read(folder)
    record[file.path] = {"sha256": file.sha256 or "", "files": found}
    (folder / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


def unpacked(file: RemoteFile, folder: Path) -> bool:
    """Whether what this archive had is there, whole."""
    entry = _read(folder).get(file.path, {})
    files = entry.get("files", {})
    return (
        isinstance(files, dict)
        and bool(files)
        and entry.get("sha256") == (file.sha256 or "")
        and not faults(folder, files)
    )


def faults(folder: Path, files: Mapping[str, str]) -> list[str]:
    """The files that are absent or of another content."""
    return [
        name
        for name, sha256 in files.items()
        if not (folder / name).is_file() or digest_of(hashlib.sha256(), folder / name) != sha256
    ]


def _read(folder: Path) -> dict[str, dict[str, object]]:
    try:
        record = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
