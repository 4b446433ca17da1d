"""What is kept of a live stream."""

import numpy as np
import pytest

from web_demo.audio.recording import Recording


def test_a_recording_keeps_its_end_and_knows_where_that_began():
    kept = Recording()
    sound = np.linspace(-0.5, 0.5, 5000, dtype=np.float32)
    for start in range(0, 5000, 700):
        kept.append(sound[start : start + 700])
    kept.keep_last(2000)
    assert (kept.start, len(kept)) == (3000, 2000)
    assert kept.samples() == pytest.approx(sound[3000:], abs=1e-4)
    kept.keep_last(9000)
    assert len(kept) == 2000
    kept.keep_last(0)
    assert (kept.start, len(kept), len(kept.samples())) == (5000, 0, 0)


def test_what_came_before_is_put_in_front_and_is_the_first_to_be_forgotten():
    kept = Recording()
    sound = np.linspace(-0.5, 0.5, 3000, dtype=np.float32)
    kept.append(sound[1000:])
    kept.keep_last(1500)
    kept.prepend(sound[:1500])
    kept.prepend(sound[:0])
    assert (kept.start, len(kept)) == (-1000, 3000)
    assert kept.samples() == pytest.approx(sound, abs=1e-4)
    kept.keep_last(2000)
    assert kept.samples() == pytest.approx(sound[1000:], abs=1e-4)


@pytest.mark.parametrize("size", [1, 700, 701, 5000, 9000])
def test_its_oldest_and_its_last_samples_are_to_be_had_and_may_be_taken(size):
    kept = Recording()
    sound = np.linspace(-0.5, 0.5, 5000, dtype=np.float32)
    for start in range(0, 5000, 700):
        kept.append(sound[start : start + 700])
    assert kept.first(size) == pytest.approx(sound[:size], abs=1e-4)
    assert kept.last(size) == pytest.approx(sound[-size:], abs=1e-4)
    assert kept.take(size) == pytest.approx(sound[:size], abs=1e-4)
    assert kept.samples() == pytest.approx(sound[size:], abs=1e-4)
    assert len(Recording().take(size)) == len(Recording().last(size)) == 0
