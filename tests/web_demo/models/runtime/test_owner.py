"""The thread that owns a model, with a model that counts."""

from __future__ import annotations

import threading

import pytest

from web_demo.models.runtime.owner import OwnerThread, Stopped


class Counter:
    """Busy until it has counted what it was given; everything is written down as it happens."""

    def __init__(self) -> None:
        self.left = 0
        self.log: list[str] = []
        self.over = threading.Event()
        self.threads: set[str] = set()
        self.owner = OwnerThread(
            "counter",
            step=self.step,
            idle_s=lambda: 0.0 if self.left > 0 else None,
            ended=self.ended,
            prepare=lambda: self.log.append("prepared"),
        )

    def step(self) -> None:
        self.threads.add(threading.current_thread().name)
        self.left -= 1
        self.log.append(f"step, {self.left} left")
        if self.left == 0:
            self.over.set()

    def give(self, number: int) -> None:
        self.left += number
        self.log.append(f"given {number}")

    def ended(self) -> None:
        self.log.append("ended")
        self.over.set()


def test_commands_and_steps_run_in_the_thread_in_order_and_it_sleeps_between() -> None:
    counter = Counter()
    counter.owner.start()
    for _ in range(2):
        counter.over.clear()
        counter.owner.do(lambda: counter.give(2))
        assert counter.over.wait(10)
    counter.owner.stop()
    counter.owner.stop()
    assert counter.log == [
        "prepared", "given 2", "step, 1 left", "step, 0 left", "given 2", "step, 1 left", "step, 0 left", "ended",
    ]  # fmt: skip
    assert counter.threads == {"counter"}
    assert counter.owner.broken is None
    with pytest.raises(Stopped):
        counter.owner.do(lambda: None)


def test_a_step_that_fails_ends_the_thread_and_says_what_it_was() -> None:
    counter = Counter()

    def fail() -> None:
        raise ZeroDivisionError

    counter.owner.start()
    counter.owner.do(fail)
    assert counter.over.wait(10)
    counter.owner.stop()
    assert (counter.owner.broken, counter.log[-1]) == ("ZeroDivisionError", "ended")
    with pytest.raises(Stopped):
        counter.owner.do(lambda: None)


def test_what_was_accepted_before_the_end_is_carried_out_before_it_is_told() -> None:
    counter = Counter()
    holding, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        holding.set()
        go_on.wait(10)
        raise ZeroDivisionError

    counter.owner.start()
    counter.owner.do(hold)
    assert holding.wait(10)
    counter.owner.do(lambda: counter.give(5))
    go_on.set()
    counter.owner.stop()
    assert counter.log[-2:] == ["given 5", "ended"]


def test_a_thread_that_was_never_started_can_be_stopped() -> None:
    counter = Counter()
    counter.owner.stop()
    assert counter.log == []


def test_it_wakes_by_itself_for_what_is_due_later_and_at_once_for_a_command() -> None:
    """Without waking by time it would sleep for ever after the first step."""
    waits = iter([0.001, 0.0, 3600.0])
    stepped, asked = threading.Event(), threading.Event()

    def idle_s() -> float:
        wait = next(waits)
        if wait > 1:
            asked.set()
        return wait

    owner = OwnerThread("sleeper", step=stepped.set, idle_s=idle_s, ended=lambda: None)
    owner.start()
    assert stepped.wait(10)
    assert asked.wait(10)
    owner.stop(10)
    assert owner.broken is None
