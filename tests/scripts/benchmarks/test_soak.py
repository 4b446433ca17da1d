"""What counts as growth."""

import pytest

from scripts.benchmarks.soak import Series


def series(values: list[float]) -> Series:
    made = Series()
    for number, value in enumerate(values):
        made.add(10.0 * number, value)
    return made


def test_a_steady_rise_is_its_slope_whatever_peaks_are_in_it():
    values = [100 + 0.5 * number for number in range(60)]
    values[20] += 400
    assert series(values).slope(0) == pytest.approx(0.05, rel=0.01)
    assert series(values).growth(0) == pytest.approx(0.05 * 590, rel=0.01)


def test_a_peak_alone_is_no_growth():
    assert series([100.0] * 30 + [500.0] + [100.0] * 30).growth(0) == 0


def test_what_came_while_it_warmed_up_counts_for_nothing():
    assert series([10.0 * number for number in range(20)] + [200.0] * 40).growth(200) == 0


def test_a_long_run_is_thinned_out_evenly():
    assert series([2.0 * number for number in range(3000)]).slope(0) == pytest.approx(0.2)


def test_nothing_has_no_growth():
    assert (Series().growth(0), series([5.0]).growth(0)) == (0, 0)
