"""What the results of an entry are called: as the entry, without its suffix, as long as nothing else is called so. Pure."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from web_demo.archive.stages import Entry
from web_demo.archive.stores import MAX_NAME_BYTES, shown

HASH_CHARS = 12


def stems(entries: Iterable[Entry], known: Mapping[str, str], suffixes: Sequence[str]) -> list[str]:
    """One for each entry, no two alike (case and composition of letters do not tell them apart, since they do not on every file
    system). `known`: those of earlier runs, by the entries' names, which stay."""
    longest = max((len(suffix.encode()) for suffix in suffixes), default=0)
    taken = {_folded(stem) for stem in known.values()}
    found = []
    for entry in entries:
        stem = known.get(entry.name)
        if stem is None:
            stem = next(candidate for candidate in _candidates(entry, longest) if _folded(candidate) not in taken)
            taken.add(_folded(stem))
        found.append(stem)
    return found


def _candidates(entry: Entry, longest: int) -> Iterable[str]:
    whole = "/".join(part for part in shown(entry.inside).split("/") if part not in ("", ".", ".."))
    folder, slash, name = whole.rpartition("/")
    folder = "/".join(_fitting(part, 0) for part in folder.split("/"))
    stem = name.rpartition(".")[0] or name
    for candidate in (stem, name):
        yield f"{folder}{slash}{_fitting(candidate, longest)}"
    digest = hashlib.sha256(entry.name.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_CHARS]
    yield f"{folder}{slash}{_fitting(name, longest + HASH_CHARS + 1)}-{digest}"


def _fitting(name: str, spare: int) -> str:
    """A name to which `spare` bytes can be added; what was cut away of a long one is told by a digest."""
    name = name.replace("\0", "")
    data = name.encode("utf-8", "backslashreplace")
    if len(data) + spare <= MAX_NAME_BYTES:
        return data.decode()
    kept = data[: MAX_NAME_BYTES - spare - HASH_CHARS - 1].decode("utf-8", "ignore")
    return f"{kept}-{hashlib.sha256(data).hexdigest()[:HASH_CHARS]}"


def _folded(stem: str) -> str:
    return unicodedata.normalize("NFC", stem).casefold()
