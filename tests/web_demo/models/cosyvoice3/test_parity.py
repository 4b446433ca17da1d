"""The reference's tensors, through the same check that `scripts/check_parity.py` runs."""

import json
import shutil

import pytest
import torch

from tests.web_demo.models.cosyvoice3.golden import DATA
from web_demo.models.cosyvoice3.parity import check
from web_demo.models.cosyvoice3.voices import load_voices

pytestmark = pytest.mark.models


@pytest.mark.long
def test_every_golden_case_is_met(golden):
    results = list(check(golden))
    assert {result.name: result.problems for result in results if not result.passed} == {}
    listed = {case["name"] for case in json.loads((golden / "cases" / "index.json").read_text())["cases"]}
    assert {result.name for result in results} == listed | {"noise"}


@pytest.mark.long
def test_the_tests_own_folder_is_read_as_it_lies_here(tmp_path):
    compact = tmp_path / "golden"
    shutil.copytree(DATA, compact)
    keep_cases(compact, {"estimator_stream1", "lm"})
    results = list(check(compact))
    assert {result.name: result.problems for result in results} == {"noise": (), "estimator_stream1": (), "lm": ()}


def keep_cases(directory, names):
    index = json.loads((directory / "cases" / "index.json").read_text())
    index["cases"] = [case for case in index["cases"] if case["name"] in names]
    (directory / "cases" / "index.json").write_text(json.dumps(index))


def test_a_wrong_weight_is_noticed(golden, tmp_path):
    wrong = tmp_path / "golden"
    shutil.copytree(golden, wrong)
    keep_cases(wrong, {"vocoder_final0", "estimator_stream1"})
    weights = torch.load(wrong / "model" / "hift.pt", weights_only=True)
    weights["resblocks.4.activations1.1.alpha"] *= 1.05
    torch.save(weights, wrong / "model" / "hift.pt")
    failed = {result.name for result in check(wrong) if not result.passed}
    assert failed == {"vocoder_final0"}


def test_an_unknown_kind_of_case_is_a_failure_not_a_skip(golden, tmp_path):
    other = tmp_path / "golden"
    shutil.copytree(golden, other)
    index = json.loads((other / "cases" / "index.json").read_text())
    index["cases"] = [{**index["cases"][0], "kind": "telepathy"}]
    (other / "cases" / "index.json").write_text(json.dumps(index))
    assert [result.problems for result in check(other)][-1] == ("unknown kind 'telepathy'",)


def test_the_speaker_file_of_the_reference_is_read(model_dir):
    assert load_voices(model_dir / "spk2info.pt").names == ("tiny_female", "tiny_male")
