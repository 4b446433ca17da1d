"""What a run is about: files in folders, files that a pattern matches, rows of a manifest, objects in a store."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from web_demo.archive import stores
from web_demo.archive.stages import Entry, reason
from web_demo.archive.stores import Found, is_url, shown
from web_demo.errors import SetupError

MANIFESTS = (".jsonl", ".ndjson", ".csv")
RECORDINGS = frozenset(
    f".{name}"
    for names in (
        "3ga 3gp aac ac3 aif aifc aiff amr ape asf au avi caf eac3 flac flv gsm m2ts m4a m4b m4v mka mkv mov mp1 mp2 mp3 mp4",
        "mpeg mpg mts oga ogg ogv opus ra rm snd spx tak ts tta vob w64 wav wave webm wma wmv wv",
    )
    for name in names.split()
)
PLACE_COLUMNS = ("path", "audio", "audio_filepath", "file", "url")  # of a manifest, the first that is there
WILD = "*?["


@dataclass
class Listing:
    """`unread`: what a manifest names that is not there, with the reason. `passed_over`: files in folders whose names say that they
    are something else. `twice`: entries that were named more than once, and count once."""

    entries: list[Entry] = field(default_factory=list)
    unread: list[tuple[Entry, str]] = field(default_factory=list)
    passed_over: int = 0
    twice: int = 0


def listed(sources: Sequence[str], suffixes: Collection[str], *, rows_have_place: bool = True) -> Listing:
    """`suffixes`: of the files that are taken from a folder; a file that is named, or that a pattern matches, is taken whatever it
    is called. `rows_have_place`: each row of a manifest names a file; else a row is the entry itself, and a file of JSON lines or
    CSV one that has many. Raises SetupError where a source is not there, or is no manifest though it is called so."""
    listing = Listing()
    places: set[str] = set()
    for source in sources:
        source = source if is_url(source) else os.path.abspath(source)
        for entry, error in _entries(source, suffixes, listing, rows_have_place):
            here = rows_have_place and entry.place and not is_url(entry.place)
            key = os.path.realpath(entry.place) if here else entry.name  # a link is what it leads to
            if key in places:
                listing.twice += 1
                continue
            places.add(key)
            if error:
                listing.unread.append((entry, error))
            else:
                listing.entries.append(entry)
    return listing


def _entries(
    source: str, suffixes: Collection[str], listing: Listing, rows_have_place: bool
) -> Iterator[tuple[Entry, str]]:
    if not _is_there(source) and any(sign in source for sign in WILD):
        places = list(stores.matching(source))
        if not places:
            raise SetupError(f"nothing matches {shown(source)}")
        base = _fixed_part(source)
        for place in places:
            found = _found(place)
            yield _entry(found, inside=_below(place, base)), ""
    elif _is_folder(source):
        for found in stores.walk(source):
            if os.path.splitext(found.inside)[1].lower() in suffixes:
                yield _entry(found), ""
            else:
                listing.passed_over += 1
    elif source.lower().endswith(MANIFESTS):
        yield from _rows(source, rows_have_place)
    else:
        yield _entry(_found(source)), ""


def _entry(found: Found, inside: str = "", columns: Mapping[str, Any] | None = None) -> Entry:
    return Entry(found.place, shown(found.place), inside or found.inside, found.size, found.changed, columns or {})


def _found(place: str) -> Found:
    try:
        return stores.found_at(place)
    except (OSError, ValueError) as error:
        raise SetupError(f"{shown(place)} cannot be read: {reason(error)}") from error


def _is_there(source: str) -> bool:
    return not is_url(source) and os.path.exists(source)


def _is_folder(source: str) -> bool:
    if not is_url(source):
        return os.path.isdir(source)
    system, inside = stores.storage(source)
    try:
        return bool(system.isdir(inside))
    except OSError as error:
        raise SetupError(f"{source} cannot be read: {reason(error)}") from error


def _fixed_part(pattern: str) -> str:
    """The folder before the first part of a pattern that is one."""
    system, way = stores.storage(pattern) if is_url(pattern) else (None, pattern)
    folders: list[str] = []
    for part in way.split("/"):
        if any(sign in part for sign in WILD):
            break
        folders.append(part)
    fixed = "/".join(folders)
    return fixed if system is None else str(system.unstrip_protocol(fixed))


def _below(place: str, folder: str) -> str:
    return place[len(folder) :].lstrip("/") if folder and place.startswith(folder) else place.lstrip("/")


def _rows(source: str, rows_have_place: bool) -> Iterator[tuple[Entry, str]]:
    with _text(source) as file:
        rows = list(_csv(file) if source.lower().endswith(".csv") else _json_lines(file, source))
    if not rows:
        raise SetupError(f"{shown(source)} has no rows")
    if not rows_have_place:
        found = _found(source)
        for number, row in rows:
            name = str(row.get("id") or row.get("name") or f"{number:06}")
            inside = f"{os.path.splitext(found.inside)[0]}/{name}.txt"
            content = json.dumps(row, sort_keys=True, ensure_ascii=True).encode()
            changed = hashlib.sha256(content).hexdigest()[:16]
            yield Entry(found.place, f"{shown(found.place)}#{name}", inside, len(content), changed, row), ""
        return
    column = next((name for name in PLACE_COLUMNS if name in rows[0][1]), None)
    if column is None:
        raise SetupError(
            f"{shown(source)} has no column that names the recordings; call it path (it has {', '.join(rows[0][1])})"
        )
    folder = source.rpartition("/")[0]
    base = _shared_folder([str(row.get(column)) for _, row in rows])
    for number, row in rows:
        columns = {name: value for name, value in row.items() if name != column}
        named = row.get(column)
        if not isinstance(named, str) or not named or "\0" in named:
            yield (
                Entry("", f"{shown(source)}#{number}", f"row-{number}", 0, "", columns),
                f"row {number} has no {column}",
            )
            continue
        place = named if is_url(named) or os.path.isabs(named) or not folder else f"{folder}/{named}"
        inside = named.partition("://")[2] if is_url(named) else _below(named, base)
        try:
            yield _entry(stores.found_at(place), inside, columns), ""
        except (OSError, ValueError, SetupError) as error:
            yield Entry(place, shown(place), inside, 0, "", columns), f"it cannot be read: {reason(error)}"


def _shared_folder(places: Sequence[str]) -> str:
    """The one above all absolute paths, which are named from there."""
    folders = {os.path.dirname(place) for place in places if not is_url(place) and os.path.isabs(place)}
    return os.path.commonpath(folders) if folders else ""


def _text(source: str) -> Any:
    import fsspec

    try:
        return fsspec.open(source, "rt", encoding="utf-8-sig", newline="").open()
    except (OSError, ValueError, ImportError) as error:
        raise SetupError(f"{shown(source)} cannot be read: {reason(error)}") from error


def _csv(file: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, row in enumerate(csv.DictReader(file), 1):
        yield number, {name: value for name, value in row.items() if name is not None}


def _json_lines(file: Any, source: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise SetupError(f"line {number} of {shown(source)} is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise SetupError(f"line {number} of {shown(source)} is no object but {type(row).__name__}")
        yield number, row
