"""What became of each entry: rows, kept so that any end of a run leaves them, and written out as `manifest.parquet`.

Finished rows are put down in small files of JSON lines (`.archive/rows-…`), each appearing whole; `manifest.parquet` is made of
them at the end, and whenever there are many. A run that was killed loses at most the rows of its last seconds, whose entries are
then done again: their results have the same names.
"""

from __future__ import annotations

import io
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet

from web_demo.archive.stages import Entry
from web_demo.archive.stores import Store
from web_demo.errors import SetupError

MANIFEST = "manifest.parquet"
FOLDER = ".archive"
KEEP_S = 2.0  # rows wait so long to be put down together …
KEEP_ROWS = 500  # … or until there are so many
FOLD_FILES = 200  # files of rows: then they become one
OK, FAILED = "ok", "failed"

_WORD = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff\U00020000-\U000323af]|[^\W\u2e80-\u9fff]+(?:['’-]\w+)*")

_OWN = pa.schema(
    [
        ("path", pa.string()),
        ("result", pa.string()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("warning", pa.string()),
        ("seconds", pa.float64()),
        ("words", pa.int64()),
        ("real_time_factor", pa.float64()),
        ("language", pa.string()),
        ("engine", pa.string()),
        ("model", pa.string()),
        ("engine_version", pa.string()),
        ("bytes", pa.int64()),
        ("changed", pa.string()),
        ("finished", pa.string()),
    ]
)


@dataclass(frozen=True)
class Row:
    """`result`: the name of its files in the output, without suffix. `seconds`: of sound. `columns`: those of the manifest that
    named the entry."""

    path: str
    result: str
    status: str
    error: str | None = None
    warning: str | None = None
    seconds: float | None = None
    words: int | None = None
    real_time_factor: float | None = None
    language: str | None = None
    engine: str | None = None
    model: str | None = None
    engine_version: str | None = None
    bytes: int = 0
    changed: str = ""
    finished: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)

    def is_of(self, entry: Entry) -> bool:
        """Whether it tells of the file as it is now."""
        return self.bytes == entry.size and self.changed == entry.changed


class Manifest:
    """The rows of an output, by the entries' names. Not thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._count = 0  # of files of rows: a later one has a larger number
        self._waiting: list[Row] = []
        self._since = 0.0
        self._files: list[str] = []
        self.rows: dict[str, Row] = {}

    def load(self, names: set[str]) -> None:
        """`names`: of all files in the output. Raises SetupError for a manifest that is none of ours."""
        if MANIFEST in names and (content := self._store.get(MANIFEST)) is not None:
            self.rows = {row.path: row for row in _rows_of(content, self._store)}
        self._files = sorted(name for name in names if name.startswith(f"{FOLDER}/rows-"))
        for name in self._files:
            self._count = max(self._count, int(name.split("-")[1]) + 1)
            for line in (self._store.get(name) or b"").splitlines():
                row = Row(**json.loads(line))
                self.rows[row.path] = row

    def add(self, row: Row, now: float) -> bool:
        """Whether it is time to `keep`. `now`: of a clock that does not jump."""
        self.rows[row.path] = row
        if not self._waiting:
            self._since = now
        self._waiting.append(row)
        return now - self._since >= KEEP_S or len(self._waiting) >= KEEP_ROWS

    def keep(self) -> None:
        """Puts down the rows that wait. Raises OSError, and then they wait on."""
        if not self._waiting:
            return
        name = f"{FOLDER}/rows-{self._count:08}-{secrets.token_hex(3)}.jsonl"
        lines = [json.dumps(asdict(row), ensure_ascii=True, default=str) for row in self._waiting]
        self._store.put(name, ("\n".join(lines) + "\n").encode())
        self._count += 1
        self._waiting = []
        self._files.append(name)
        if len(self._files) >= FOLD_FILES:
            self.fold()

    def fold(self) -> None:
        """Makes `manifest.parquet` of all rows. Raises OSError."""
        self.keep()
        self._store.put(MANIFEST, _parquet(list(self.rows.values())))
        for name in self._files:
            self._store.remove(name)
        self._files = []


def count_words(text: str) -> int:
    """A character of a script without spaces is one."""
    return len(_WORD.findall(text))


def _parquet(rows: list[Row]) -> bytes:
    rows = sorted(rows, key=lambda row: row.path)
    arrays = [pa.array([getattr(row, each.name) for row in rows], each.type) for each in _OWN]
    fields = list(_OWN)
    for name in dict.fromkeys(name for row in rows for name in row.columns):
        values = [row.columns.get(name) for row in rows]
        fields.append(pa.field(name if name not in _OWN.names else f"input_{name}", _type_of(values)))
        arrays.append(
            pa.array(values if fields[-1].type != pa.string() else [_text(v) for v in values], fields[-1].type)
        )
    theirs = [name for row in rows for name in row.columns]
    schema = pa.schema(fields, metadata={"archive_columns": json.dumps(list(dict.fromkeys(theirs)))})
    sink = io.BytesIO()
    parquet.write_table(pa.Table.from_arrays(arrays, schema=schema), sink)
    return sink.getvalue()


def _type_of(values: list[Any]) -> pa.DataType:
    """Of a column of somebody else's: what all its values have in common, else text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int} and all(-(2**63) <= value < 2**63 for value in values if value is not None):
        return pa.int64()
    return pa.float64() if kinds and kinds <= {int, float} and bool not in kinds else pa.string()


def _text(value: Any) -> str | None:
    """Half a character has no UTF-8 and becomes its escape."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode()


def _rows_of(content: bytes, store: Store) -> list[Row]:
    try:
        table = parquet.read_table(io.BytesIO(content))
        columns: list[str] = json.loads((table.schema.metadata or {})[b"archive_columns"])
    except (pa.ArrowInvalid, KeyError, ValueError) as error:
        raise SetupError(
            f"{store.place(MANIFEST)} is not a manifest of this program ({error}): choose another folder, or move it away"
        ) from error
    known = {each.name for each in _OWN}
    rows = []
    for values in table.to_pylist():
        theirs = {
            name: value
            for name in columns
            if (value := values.get(f"input_{name}" if name in known else name)) is not None
        }
        rows.append(Row(**{name: values[name] for name in known}, columns=theirs))
    return rows
