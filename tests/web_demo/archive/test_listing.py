"""What a run is about: folders, patterns, manifests, stores."""

import json
import os
from pathlib import Path

import fsspec
import pytest

from web_demo.archive.listing import RECORDINGS, Listing, listed
from web_demo.errors import SetupError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.wav", "deep/er/b.MP3", "deep/notes.txt", ".hidden.wav", ".git/c.wav", "单声道.flac"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "in"


def insides(listing: Listing) -> list[str]:
    return [entry.inside for entry in listing.entries]


def test_a_folder_has_the_recordings_below_it_in_order(folder: Path):
    listing = listed([str(folder)], RECORDINGS)
    assert insides(listing) == ["a.wav", "单声道.flac", "deep/er/b.MP3"]
    assert listing.passed_over == 1
    assert listing.entries[0].size == len("a.wav")


def test_a_file_that_is_named_is_taken_whatever_it_is_called(folder: Path):
    assert insides(listed([str(folder / "deep" / "notes.txt")], RECORDINGS)) == ["notes.txt"]


def test_a_pattern_keeps_the_folders_from_its_first_star_on(folder: Path):
    assert insides(listed([f"{folder}/**/*.MP3"], RECORDINGS)) == ["deep/er/b.MP3"]


def test_a_file_with_a_star_in_its_name_is_no_pattern(folder: Path):
    (folder / "what?[1]*.wav").touch()
    assert insides(listed([str(folder / "what?[1]*.wav")], RECORDINGS)) == ["what?[1]*.wav"]


def test_what_is_named_twice_counts_once(folder: Path):
    os.symlink(folder / "a.wav", folder / "link.wav")
    listing = listed([str(folder), str(folder / "a.wav"), f"{folder}/../in/*.wav"], RECORDINGS)
    assert insides(listing) == ["a.wav", "单声道.flac", "deep/er/b.MP3"]
    assert listing.twice == 4  # the link, the name, and both once more


def test_a_relative_place_is_the_same_entry_as_an_absolute_one(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder.parent)
    assert listed(["in"], RECORDINGS).entries == listed([str(folder)], RECORDINGS).entries


@pytest.mark.parametrize("column", ["path", "audio", "audio_filepath"])
def test_a_manifest_of_json_lines_names_recordings_and_brings_columns(folder: Path, column: str):
    manifest = folder / "list.jsonl"
    rows = [{column: "a.wav", "speaker": "Ann", "take": 3}, {column: str(folder / "deep/er/b.MP3"), "language": "zh"}]
    manifest.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    listing = listed([str(manifest)], RECORDINGS)
    assert insides(listing) == ["a.wav", "b.MP3"]
    assert [dict(entry.columns) for entry in listing.entries] == [{"speaker": "Ann", "take": 3}, {"language": "zh"}]


def test_a_manifest_as_excel_writes_it(folder: Path):
    manifest = folder / "list.csv"
    manifest.write_text('path,title\r\na.wav,"One, two"\r\n单声道.flac,声\r\n', "utf-8-sig")
    listing = listed([str(manifest)], RECORDINGS)
    assert [(entry.inside, entry.columns["title"]) for entry in listing.entries] == [
        ("a.wav", "One, two"),
        ("单声道.flac", "声"),
    ]


def test_a_row_whose_recording_is_not_there_is_told_with_its_reason(folder: Path):
    manifest = folder / "list.jsonl"
    manifest.write_text('{"path": "a.wav"}\n{"path": "gone.wav"}\n{"path": 7}\n{"path": "nul\\u0000.wav"}\n')
    listing = listed([str(manifest)], RECORDINGS)
    assert insides(listing) == ["a.wav"]
    assert [error for _, error in listing.unread] == [
        "it cannot be read: No such file or directory",
        "row 3 has no path",
        "row 4 has no path",
    ]


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("a.jsonl", '{"path": "a.wav"}\n{broken', "line 2 of .* is no JSON"),
        ("a.jsonl", "[1]", "line 1 of .* is no object but list"),
        ("a.csv", "title\nx\n", "has no column that names the recordings; call it path .it has title"),
        ("a.csv", "path\n", "has no rows"),
    ],
)
def test_a_manifest_that_is_none_says_what_is_wrong(folder: Path, name: str, content: str, error: str):
    (folder / name).write_text(content)
    with pytest.raises(SetupError, match=error):
        listed([str(folder / name)], RECORDINGS)


@pytest.mark.parametrize("source", ["gone", "gone/*.wav", "nosuch://bucket/x"])
def test_a_source_that_is_not_there_says_so(folder: Path, source: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    with pytest.raises(SetupError, match=r"gone|nosuch"):
        listed([source], RECORDINGS)


def test_a_store_is_read_as_a_folder_is(folder: Path):
    store = fsspec.filesystem("memory")
    for name in ("bucket/a.wav", "bucket/deep/b.mp3", "bucket/notes.txt"):
        store.pipe_file(f"/{name}", b"sound")
    listing = listed(["memory://bucket"], RECORDINGS)
    assert insides(listing) == ["a.wav", "deep/b.mp3"]
    assert insides(listed(["memory://bucket/**/*.mp3"], RECORDINGS)) == ["deep/b.mp3"]
    assert insides(listed(["memory://bucket/a.wav"], RECORDINGS)) == ["a.wav"]
    assert listing.passed_over == 1
