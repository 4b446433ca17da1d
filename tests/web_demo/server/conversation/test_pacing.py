"""The sample clock, with a clock of our own."""

import random

import pytest

from web_demo.server.conversation.pacing import SampleClock

RATE = 24_000


def test_the_first_audio_is_due_at_once():
    assert SampleClock(RATE, 0.6).due(0, now=100.0) == 100.0


def test_audio_within_the_lead_is_due_at_once_and_later_audio_waits():
    clock = SampleClock(RATE, prebuffer_s=0.6)
    clock.due(0, now=100.0)
    assert clock.due(RATE // 2, now=100.0) <= 100.0  # plays at 100.5
    assert clock.due(RATE, now=100.0) == pytest.approx(100.4)
    assert clock.due(10 * RATE, now=100.0) == pytest.approx(109.4)


def test_without_a_lead_audio_is_due_when_it_plays():
    clock = SampleClock(RATE, prebuffer_s=0.0)
    clock.due(0, now=5.0)
    assert clock.due(RATE, now=5.0) == pytest.approx(6.0)


def test_a_late_producer_gets_no_burst_beyond_the_lead():
    clock = SampleClock(RATE, prebuffer_s=0.6)
    clock.due(0, now=0.0)
    assert clock.due(RATE, now=5.0) == 5.0  # should have played at 1.0
    assert clock.due(2 * RATE, now=5.0) == pytest.approx(5.4)  # a second after that, less the lead


def test_a_stall_within_the_lead_moves_nothing():
    clock = SampleClock(RATE, prebuffer_s=0.6)
    clock.due(0, now=0.0)
    clock.due(RATE, now=0.9)
    assert clock.due(2 * RATE, now=0.9) == pytest.approx(1.4)


@pytest.mark.parametrize("seed", range(20))
def test_no_audio_is_early_beyond_the_lead_nor_due_after_its_time(seed):
    """A listener simulated apart from the clock: it plays what it has, and waits when it has nothing."""
    choice, prebuffer_s = random.Random(seed), 0.6
    clock = SampleClock(RATE, prebuffer_s)
    now, position, plays_until = 0.0, 0, 0.0
    for _ in range(300):
        now += choice.choice([0.0, 0.0, 0.0, 0.03, 0.3, 2.0])  # the producer takes its time
        due = clock.due(position, now)
        ran_dry = position == 0 or plays_until < now
        if ran_dry:
            assert due == now
        now = max(now, due)
        ahead = plays_until - now
        assert ahead <= prebuffer_s + 1e-6
        assert ran_dry or ahead >= -1e-6, "the clock itself let the listener run dry"
        samples = choice.randrange(1, 4000)
        plays_until = max(plays_until, now) + samples / RATE
        position += samples


def test_nothing_is_heard_before_the_first_audio():
    assert SampleClock(RATE, 0.6).played(0, now=9.0) == 0
    assert SampleClock(RATE, 0.6).played(RATE, now=9.0) == 0


def test_no_more_is_heard_than_was_sent_nor_than_time_allowed():
    clock = SampleClock(RATE, 0.6)
    clock.due(0, now=10.0)
    assert clock.played(RATE, now=10.25) == RATE // 4
    assert clock.played(RATE, now=10.0) == 0
    assert clock.played(RATE, now=99.0) == RATE


def test_a_gap_is_not_counted_as_heard():
    clock = SampleClock(RATE, 0.6)
    clock.due(0, now=0.0)
    clock.due(RATE, now=5.0)  # four seconds of nothing
    assert clock.played(2 * RATE, now=5.5) == RATE + RATE // 2


def test_a_listener_runs_dry_when_all_that_was_sent_is_played():
    clock = SampleClock(RATE, 0.6)
    assert clock.runs_dry_at(0, now=3.0) == 0.0
    clock.due(0, now=3.0)
    assert clock.runs_dry_at(RATE, now=3.0) == pytest.approx(4.0)
    assert clock.runs_dry_at(RATE, now=8.0) == 8.0
