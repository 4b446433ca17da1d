"""Models on the disk: where they are looked for, and what they say of themselves."""

from pathlib import Path

import onnx
import pytest

from tests import tiny_sherpa
from web_demo.engines.onnx_models import folders, metadata, processes_and_threads
from web_demo.errors import SetupError


def test_metadata_is_what_the_onnx_package_reads(tmp_path):
    model = tiny_sherpa.sense_voice(tmp_path) / "model.int8.onnx"
    expected = {entry.key: entry.value for entry in onnx.load(model).metadata_props}
    assert metadata(model) == expected
    assert expected["lang_yue"] == "5"


def test_a_file_that_was_cut_or_is_something_else_is_refused_with_a_command(tmp_path):
    whole = (tiny_sherpa.sense_voice(tmp_path / "model") / "model.int8.onnx").read_bytes()
    path = tmp_path / "model.onnx"
    for content in (
        whole[: len(whole) // 2],
        whole[:-3],
        b"version https://git-lfs.github.com/spec/v1\n",
        b"\x00" * 40,
    ):
        path.write_bytes(content)
        with pytest.raises(SetupError, match=r"not a whole ONNX model.*download_models.sh"):
            metadata(path)


def test_models_beside_the_default_folder_count_and_those_beside_a_named_one_do_not(tmp_path):
    for name in ("b", "a", ".cache"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    assert folders(tmp_path / "Default", "Default") == (tmp_path / "Default", tmp_path / "a", tmp_path / "b")
    assert folders(tmp_path / "a", "Default") == (tmp_path / "a",)
    assert folders(tmp_path, "Default") == (tmp_path, tmp_path / "a", tmp_path / "b")
    assert folders(None, "Default") == ()


def test_a_relative_path_is_one_from_here_also_for_processes_that_stand_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert folders(Path("model"), "Default") == (tmp_path / "model",)


@pytest.mark.parametrize(("cores", "expected"), [(1, (1, 1)), (2, (1, 2)), (4, (2, 2)), (8, (2, 4)), (64, (2, 4))])
def test_processes_and_threads_by_cores(cores, expected):
    assert processes_and_threads(cores) == expected
