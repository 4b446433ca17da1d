"""What the simulated listener counts as a gap."""

import pytest

from scripts.benchmarks.conversations import START_BUFFER_PAGES, Playback
from web_demo.audio.opus import FRAME_S


def played(arrivals: list[float]) -> Playback:
    playback = Playback()
    for arrival in arrivals:
        playback.page(arrival)
    return playback


def test_pages_in_real_time_after_the_first_burst_have_no_gap():
    burst = [0.0] * START_BUFFER_PAGES
    assert played(burst + [number * FRAME_S for number in range(1, 100)]).gaps == []


def test_a_page_after_its_time_is_a_gap_and_what_follows_is_played_that_much_later():
    burst = [0.0] * START_BUFFER_PAGES
    stall = START_BUFFER_PAGES * FRAME_S + 0.25
    playback = played(burst + [stall + number * FRAME_S for number in range(50)])
    assert playback.gaps == [pytest.approx(0.25)]


def test_slow_pages_before_playing_begins_are_no_gap():
    assert played([number * 0.1 for number in range(START_BUFFER_PAGES)]).gaps == []
