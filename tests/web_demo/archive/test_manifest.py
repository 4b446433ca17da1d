"""Rows: put down so that any end leaves them, and written out as Parquet."""

import io
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from web_demo.archive.manifest import FOLDER, KEEP_ROWS, MANIFEST, Manifest, Row
from web_demo.archive.stores import Store
from web_demo.errors import SetupError


def loaded(store: Store) -> Manifest:
    manifest = Manifest(store)
    manifest.load(store.names())
    return manifest


def table(store: Store) -> list[dict]:
    content = store.get(MANIFEST)
    assert content is not None
    return parquet.read_table(io.BytesIO(content)).to_pylist()


@pytest.fixture(params=["folder", "store"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(str(tmp_path / "out") if request.param == "folder" else f"memory://{tmp_path.name}")


def test_rows_that_were_kept_are_there_after_a_kill(store: Store):
    manifest = Manifest(store)
    manifest.add(Row("a", "a", "ok", seconds=1.5, columns={"title": "声", "take": 3}), now=0.0)
    manifest.keep()
    manifest.add(Row("b", "b", "ok"), now=0.0)  # lost with the process: its entry is done again
    assert loaded(store).rows == {"a": Row("a", "a", "ok", seconds=1.5, columns={"title": "声", "take": 3})}
    assert store.get(MANIFEST) is None


def test_a_later_row_of_an_entry_takes_the_place_of_the_earlier_one(store: Store):
    first = Manifest(store)
    first.add(Row("a", "a", "failed", error="why"), now=0.0)
    first.keep()
    for status in ("failed", "ok"):
        later = loaded(store)
        later.add(Row("a", "a", status), now=0.0)
        later.keep()
    assert loaded(store).rows["a"].status == "ok"


def test_the_manifest_has_a_row_each_and_the_files_of_rows_are_gone(store: Store):
    manifest = Manifest(store)
    for name in ("b", "a"):
        manifest.add(Row(name, name, "ok", words=2, columns={"speaker": name}), now=0.0)
        manifest.keep()
    manifest.fold()
    assert store.names() == {MANIFEST}
    assert [(row["path"], row["words"], row["speaker"]) for row in table(store)] == [("a", 2, "a"), ("b", 2, "b")]
    assert loaded(store).rows == manifest.rows


def test_rows_are_put_down_when_they_waited_or_are_many():
    manifest = Manifest(Store("memory://many"))
    assert not manifest.add(Row("a", "a", "ok"), now=10.0)
    assert not manifest.add(Row("b", "b", "ok"), now=11.9)
    assert manifest.add(Row("c", "c", "ok"), now=12.0)
    due = [manifest.add(Row(str(number), "", "ok"), now=12.0) for number in range(KEEP_ROWS)]
    assert due[-1]


def test_columns_of_others_keep_their_type_where_they_have_one_and_never_hide_ours(store: Store):
    manifest = Manifest(store)
    manifest.add(Row("a", "a", "ok", seconds=2.0, columns={"take": 1, "seconds": 9, "mixed": 1, "gain": 1}), now=0.0)
    manifest.add(Row("b", "b", "ok", seconds=3.0, columns={"take": 2, "mixed": ["x"], "gain": 0.5}), now=0.0)
    manifest.fold()
    first, second = table(store)
    assert (first["take"], first["seconds"], first["input_seconds"], first["mixed"]) == (1, 2.0, 9, "1")
    assert (second["take"], second["input_seconds"], second["mixed"], second["gain"]) == (2, None, '["x"]', 0.5)
    again = loaded(store)
    assert again.rows["a"].columns == {"take": 1, "seconds": 9, "mixed": "1", "gain": 1.0}
    again.fold()
    assert table(store) == [first, second]


def test_half_a_character_in_a_column_does_not_lose_the_manifest(store: Store):
    manifest = Manifest(store)
    manifest.add(Row("a", "a", "ok", columns={"title": "half \ud800"}), now=0.0)
    manifest.keep()
    manifest.fold()
    assert table(store)[0]["title"] == "half \\ud800"


def test_a_manifest_of_somebody_else_is_left_alone(tmp_path: Path):
    (tmp_path / MANIFEST).write_bytes(b"PAR1 not ours")
    with pytest.raises(SetupError, match="not a manifest of this program"):
        loaded(Store(str(tmp_path)))
    assert (tmp_path / MANIFEST).read_bytes() == b"PAR1 not ours"


def test_a_file_that_cannot_be_written_whole_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = Store(str(tmp_path))
    store.put("a.txt", b"before")
    (tmp_path / "b.txt").mkdir()
    with pytest.raises(IsADirectoryError):
        store.put("b.txt", b"after")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt"]
    assert FOLDER not in store.names()
