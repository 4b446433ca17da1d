from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from scripts import check_parity
from web_demo.models.funaudiochat.parity import check

pytestmark = pytest.mark.models


@pytest.mark.long
def test_every_golden_case_passes(golden: Path) -> None:
    results = list(check(golden))
    assert len(results) == 5
    assert {result.name: result.problems for result in results if not result.passed} == {}


def test_a_changed_golden_token_fails_its_case_and_the_command(
    golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "golden"
    shutil.copytree(golden, copy)
    index = json.loads((copy / "cases.json").read_text(encoding="utf-8"))
    index["cases"] = [case for case in index["cases"] if case["name"] == "discrete_only_json"]
    index["cases"][0]["runs"][0]["speech_tokens"][3] += 1
    (copy / "cases.json").write_text(json.dumps(index), encoding="utf-8")
    assert check_parity.main(["funaudiochat", str(copy)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "greedy_rp12.speech_tokens: at 3" in "".join(lines)
    assert json.loads(lines[-1])["failed"] == 1


def test_a_folder_without_cases_is_refused(tmp_path: Path) -> None:
    assert check_parity.main(["funaudiochat", str(tmp_path)]) == 2


def test_a_golden_folder_without_its_checkpoint_is_refused(
    golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(golden / "cases.json", tmp_path)
    assert check_parity.main(["funaudiochat", str(tmp_path)]) == 2
    assert "checkpoint" in capsys.readouterr().err


def test_a_case_that_this_code_refuses_is_a_failed_case(golden: Path, tmp_path: Path) -> None:
    copy = tmp_path / "golden"
    shutil.copytree(golden, copy)
    index = json.loads((copy / "cases.json").read_text(encoding="utf-8"))
    index["cases"] = [case for case in index["cases"] if case["name"] == "discrete_only_json"]
    index["cases"][0]["audio"] = []
    (copy / "cases.json").write_text(json.dumps(index), encoding="utf-8")
    (result,) = check(copy)
    assert "raised ValueError" in result.problems[0]
