"""Models for sherpa-onnx (https://github.com/k2-fsa/sherpa-onnx, Apache-2.0) on the disk: where they lie, and what they say of
themselves. Reads no more of a file than it must, and loads nothing."""

from __future__ import annotations

import importlib.util
import io
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from web_demo.errors import SetupError

log = logging.getLogger(__name__)

M = TypeVar("M")
M_co = TypeVar("M_co", covariant=True)

PACKAGE = "sherpa_onnx"
INSTALL = "pip install -r requirements-sherpa.txt"
DOWNLOAD = "./scripts/download_models.sh --laptop"

# protobuf's wire format, and numbers of ModelProto and StringStringEntryProto in onnx.proto
_VARINT, _BYTES = 0, 2
_FIXED_BYTES = {1: 8, 5: 4}
_METADATA, _KEY, _VALUE = 14, 1, 2
_MOST_METADATA = 1 << 20  # bytes of one entry: SenseVoice's longest has some thousand


def folders(path: Path | None, default: str) -> tuple[Path, ...]:
    """Where models are looked for, in order: `path` itself; where it has the name `default`, which is that of the real engine's
    weights, or holds several models, also the folders beside it or in it. A folder that was named is never replaced by another."""
    if path is None:
        return ()
    path = path.absolute()  # the processes that load it stand elsewhere
    around = path.parent if path.name == default else path
    return (path, *(folder for folder in _folders_in(around) if folder != path))


def _folders_in(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))


class Layout(Protocol[M_co]):
    """A kind of model, known by the files in its folder."""

    def in_folder(self, folder: Path) -> M_co | None:
        """The model there, or None. Raises SetupError for one that is damaged."""
        ...


def first(kinds: Sequence[Layout[M]], places: Sequence[Path]) -> M | None:
    """The best model there: kinds in their order, then places. A damaged one is passed over with a warning where there is
    another; else it is the SetupError that is raised."""
    damaged: SetupError | None = None
    for kind in kinds:
        for place in places:
            try:
                model = kind.in_folder(place)
            except SetupError as error:
                damaged = damaged or error
                continue
            if model is not None:
                if damaged is not None:
                    log.warning("passed over: %s", damaged)
                return model
    if damaged is not None:
        raise damaged
    return None


def one_of(folder: Path, *names: str) -> Path | None:
    """The first of these files that is in the folder."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def missing_package() -> str | None:
    """What is to be installed, or None."""
    return None if importlib.util.find_spec(PACKAGE) is not None else f"sherpa-onnx is not installed ({INSTALL})"


def processes_and_threads(cores: int | None = None) -> tuple[int, int]:
    """How many recognisers work side by side here, and with how many threads each: more than four cores make none faster."""
    cores = cores or os.cpu_count() or 1
    processes = 2 if cores >= 4 else 1
    return processes, max(1, min(4, cores // processes))


def metadata(path: Path) -> dict[str, str]:
    """What a model says of itself (`metadata_props` of its ModelProto), without reading the rest. Raises SetupError for a file that
    is no ONNX model, or not all of one."""
    found: dict[str, str] = {}
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            while file.tell() < size:
                number, kind, length = _field(file)
                if file.tell() + length > size:
                    raise ValueError("it ends in the middle")
                if number == _METADATA and kind == _BYTES and length <= _MOST_METADATA:
                    key, value = _entry(file.read(length))
                    found[key] = value
                else:
                    file.seek(length, os.SEEK_CUR)
    except (OSError, ValueError) as error:
        raise SetupError(f"{path} is not a whole ONNX model ({error}): {DOWNLOAD} fetches it again") from error
    return found


def _field(file: BinaryIO) -> tuple[int, int, int]:
    """The number and the kind of the next field, and how many bytes of it follow."""
    tag = _varint(file)
    number, kind = tag >> 3, tag & 7
    if not number:
        raise ValueError("it has a field without a number")
    if kind == _VARINT:
        _varint(file)
        return number, kind, 0
    if kind == _BYTES:
        return number, kind, _varint(file)
    if kind in _FIXED_BYTES:
        return number, kind, _FIXED_BYTES[kind]
    raise ValueError(f"it has a field of the unknown kind {kind}")


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("it ends in the middle")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("it has a number of more than 64 bits")


def _entry(content: bytes) -> tuple[str, str]:
    texts: Mapping[int, list[str]] = {_KEY: [], _VALUE: []}
    file = io.BytesIO(content)
    while file.tell() < len(content):
        number, kind, length = _field(file)
        data = file.read(length)
        if kind == _BYTES and number in texts:
            texts[number].append(data.decode("utf-8"))
    return (texts[_KEY] or [""])[-1], (texts[_VALUE] or [""])[-1]
