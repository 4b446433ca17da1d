"""Who runs when, in virtual time: listeners hear one second of sound a second, a frame makes 0.2 s of it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tests.web_demo.models.funaudiochat.engine.test_scheduler import Ids
from web_demo.models.funaudiochat.engine.pace import FILLED_S, FIRST_S, HIGH_S, LOW_S, REST_S, SOON_S
from web_demo.models.funaudiochat.engine.scheduler import Limits, Scheduler
from web_demo.models.funaudiochat.engine.sequence import EndReason, Request, Turn
from web_demo.models.funaudiochat.settings import GenerationSettings

FRAME_S = 0.2
FIRST_FRAMES = round(FIRST_S / FRAME_S)
TAKES_S = 0.02  # one iteration of the simulated device


def turn(*, live: bool = True, new: int = 200) -> Turn:
    request = Request("t", cast("Any", Ids((1, 2, 3))), GenerationSettings(max_new_tokens=new), live=live)
    return Turn(request, (1, 2, 3))


class Simulated:
    """A scheduler whose iterations take `TAKES_S`, and nothing else takes time."""

    def __init__(self, slots: int = 64) -> None:
        self.scheduler = Scheduler(Limits(slots=slots, pages=slots * 20, max_context=300, max_new_tokens=200))
        self.now = 100.0
        self.batches: list[int] = []
        self.idle_s = 0.0

    def add(self, *turns: Turn) -> None:
        for one in turns:
            self.scheduler.add(one)

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            idle_s = self.scheduler.idle_s(self.now)
            if idle_s == 0.0:
                self.step()
            else:
                waits = min(until - self.now, until if idle_s is None else idle_s)
                self.idle_s += waits
                self.now += waits + 1e-6

    def step(self) -> tuple[Turn, ...]:
        plan, _ = self.scheduler.schedule(self.now)
        self.now += TAKES_S
        for one in plan.decode:
            one.generated += 1
            if one.generated == one.request.settings.max_new_tokens:
                self.scheduler.finish(one, EndReason.LENGTH)
        self.batches.append(len(plan.decode))
        return plan.decode

    def lead(self, one: Turn) -> float:
        assert one.began is not None
        return one.generated * FRAME_S - (self.now - one.began)


def test_an_answer_is_made_a_few_seconds_ahead_and_the_device_rests_between() -> None:
    device, one = Simulated(), turn()
    device.add(one)
    device.run(2.0)
    assert LOW_S - 0.1 <= device.lead(one) <= FILLED_S + FRAME_S
    device.run(20.0)
    assert LOW_S - 0.1 <= device.lead(one) <= FILLED_S + FRAME_S
    assert device.idle_s > 18


def test_a_new_turn_does_not_share_its_first_frames_with_those_that_are_ahead() -> None:
    device = Simulated()
    old = [turn() for _ in range(32)]
    device.add(*old)
    device.run(30.0)
    new = turn()
    device.add(new)
    frames = [device.step() for _ in range(FIRST_FRAMES)]
    assert frames == [(new,)] * FIRST_FRAMES
    assert new in (together := device.step())
    assert len(together) == 33


def test_the_device_is_free_for_the_sound_of_a_first_window() -> None:
    device, one = Simulated(), turn()
    device.add(one)
    for _ in range(FIRST_FRAMES):
        device.step()
    assert device.scheduler.idle_s(device.now) == pytest.approx(REST_S)
    device.now += REST_S / 2
    assert device.scheduler.idle_s(device.now) == pytest.approx(REST_S / 2)
    device.now += REST_S / 2 + 1e-6
    assert device.scheduler.idle_s(device.now) == 0.0
    assert device.step() == (one,)
    assert device.scheduler.idle_s(device.now) == 0.0


def test_but_not_while_others_have_something_to_make() -> None:
    device, first, second = Simulated(), turn(), turn()
    device.add(first)
    for _ in range(3):
        device.step()
    device.add(second)
    for _ in range(FIRST_FRAMES):
        assert device.step() == (first, second)


def test_many_together_are_made_in_large_batches_and_nobody_runs_dry() -> None:
    device = Simulated()
    turns = [turn() for _ in range(48)]
    for one in turns:
        device.add(one)
        device.run(0.1)
    device.run(5.0)
    device.batches.clear()
    for _ in range(100):
        device.run(0.1)
        assert min(device.lead(one) for one in turns) > SOON_S
    assert sum(device.batches) / len(device.batches) > 24


def test_a_constant_stream_of_new_turns_starves_nobody() -> None:
    device = Simulated()
    old = [turn() for _ in range(16)]
    device.add(*old)
    device.run(3.0)
    for _ in range(30):
        device.add(turn(new=20))
        device.run(0.3)
        assert min(device.lead(one) for one in old) > SOON_S - 0.2


def test_a_device_that_is_too_slow_makes_all_alike_late() -> None:
    """Sixteen rows in 0.3 s an iteration: nobody is left out for others."""
    device = Simulated()
    turns = [turn() for _ in range(16)]
    device.add(*turns)
    for _ in range(50):
        device.step()
        device.now += 0.3
    assert {one.generated for one in turns} <= {49, 50}


def test_what_nobody_hears_live_is_made_as_fast_as_can_be() -> None:
    device = Simulated()
    live, text = turn(), turn(live=False)
    device.add(live)
    device.run(4.0)
    device.add(text)
    device.run(2.0)
    assert text.generated == pytest.approx(2.0 / TAKES_S, abs=2)
    assert device.lead(live) < HIGH_S + 2 * FRAME_S


def test_nobody_is_held_back_while_another_waits_for_a_place() -> None:
    device = Simulated(slots=1)
    first, second = turn(new=150), turn()
    device.add(first)
    device.run(4.0)
    device.add(second)
    device.run(150 * TAKES_S)
    assert first.end is EndReason.LENGTH
    assert second.generated > 0


def test_without_turns_there_is_nothing_to_wait_for() -> None:
    device, one = Simulated(), turn(new=5)
    assert device.scheduler.idle_s(0.0) is None
    device.add(one)
    device.run(1.0)
    assert device.scheduler.idle_s(device.now) is None
