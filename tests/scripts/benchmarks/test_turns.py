"""The benchmark of turns counts what it says that it counts."""

import numpy as np
import pytest

from scripts.benchmarks.turns import (
    MESSAGE,
    RECORDINGS,
    Sentence,
    converse,
    level,
    paused,
    recorded,
    sentences,
    turn_of,
)
from web_demo.audio.samples import SPEECH_RATE, Samples


class Sure:
    """A model for which everybody has finished."""

    name = "sure"

    def probability(self, samples: Samples) -> float:
        return 0.95


@pytest.fixture(scope="module")
def spoken() -> list[Sentence]:
    return sentences(RECORDINGS, 2)


def test_pauses_stand_between_words(spoken):
    (sentence,) = [one for one in spoken if one.name == "go_forward_ten_meters"]
    assert 1 <= len(sentence.cuts) <= 2
    ends_s = np.array([0.18, 0.71, 1.07])  # of go, forward, ten, from the first sound on
    assert all(np.abs(ends_s - cut / SPEECH_RATE).min() < 0.1 for cut in sentence.cuts)
    assert sentence.end / SPEECH_RATE == pytest.approx(1.66, abs=0.1)


@pytest.mark.parametrize(
    ("mode", "pause_s", "cut", "back"),
    [("timer 600 ms", 0.3, False, 0), ("timer 600 ms", 1.2, True, 0), ("meaning, medium", 0.9, False, 1)],
)
def test_who_is_cut_off_and_who_goes_on(spoken, mode, pause_s, cut, back):
    (sentence,) = [one for one in spoken if one.name == "librivox_0930"]
    sound, end_s = paused(sentence, sentence.cuts[0], pause_s)
    turn = turn_of(converse(recorded(sound), len(sound) // MESSAGE, mode, Sure(), 0.25), sentence, end_s)
    assert (turn.cut, turn.back, turn.lost, turn.extra) == (cut, back, False, 0)
    assert 0.0 < turn.wait_s < 1.0
    assert turn.sound_s >= turn.wait_s + 0.2


def test_a_level_is_that_of_full_scale():
    sound = level(np.random.default_rng(0).standard_normal(1000).astype(np.float32), -20.0)
    assert 10 * np.log10(np.square(sound).mean()) == pytest.approx(-20.0, abs=0.01)
