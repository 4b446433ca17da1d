"""What a benchmark prints, for people and for programs."""

import json
import math

import pytest

from scripts.benchmarks.report import Report, quantile


def test_the_last_line_is_everything_as_json(capsys: pytest.CaptureFixture[str]):
    report = Report("some", engine="null", device="cpu")
    report.row(clients=1, first={"p50": 2.5, "p95": math.nan})
    report.row(clients=16, first={"p50": 86.0, "p95": 90.0})
    report.row("memory", clients=16, mb=143.0)
    report.note(restarts=0)
    report.end()
    last = json.loads(capsys.readouterr().out.splitlines()[-1], parse_constant=pytest.fail)  # NaN is not JSON
    assert last["benchmark"] == "some"
    assert {"cpu", "cores", "python"} <= last.keys()
    assert (last["engine"], last["restarts"]) == ("null", 0)
    assert last["rows"] == [
        {"clients": 1, "first": {"p50": 2.5, "p95": None}},
        {"clients": 16, "first": {"p50": 86.0, "p95": 90.0}},
    ]
    assert last["memory"] == [{"clients": 16, "mb": 143.0}]


def test_a_table_has_its_names_once_and_again_when_the_columns_change(capsys: pytest.CaptureFixture[str]):
    report = Report("some")
    capsys.readouterr()
    report.row(clients=1, first={"p50": 2.5})
    report.row(clients=16, first={"p50": math.nan})
    report.row(clients=16, late=3)
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    assert lines == [["clients", "first.p50"], ["1", "2.5"], ["16", "–"], ["clients", "late"], ["16", "3"]]


@pytest.mark.parametrize(
    ("values", "part", "expected"),
    [([3.0], 0.95, 3.0), ([4.0, 1.0, 2.0, 3.0], 0.5, 2.5), ([1.0, 2.0], 1.0, 2.0), ([1.0, 2.0, 3.0], 0.25, 1.5)],
)
def test_a_quantile_lies_between_the_two_nearest_values(values: list[float], part: float, expected: float):
    assert quantile(values, part) == pytest.approx(expected)


def test_nothing_has_no_quantile():
    assert math.isnan(quantile([], 0.5))
