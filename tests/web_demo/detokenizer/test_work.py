"""Which windows the detokenizer child takes next."""

from __future__ import annotations

from web_demo.detokenizer.backend import Window
from web_demo.detokenizer.messages import Close, Decode, Open
from web_demo.detokenizer.worker import FEW, URGENT_S, Work

NOW = 1000.0


def waiting(**deadlines: float) -> Work:
    """One window of each turn."""
    work = Work()
    for turn, deadline in deadlines.items():
        work.accept(Open(turn, ""))
        work.accept(Decode(Window(turn, 0, codes=(1,), deadline=deadline)))
    return work


def taken(work: Work, size: int = 64) -> list[str]:
    return [window.turn_id for window in work.take_batch(size, NOW)]


def test_a_first_window_does_not_share_its_batch_with_those_that_have_time() -> None:
    work = waiting(ahead=NOW + 3, new=0.0, dry=NOW + URGENT_S / 2, further=NOW + 2)
    assert taken(work) == ["new", "dry"]
    assert taken(work) == ["further", "ahead"]
    assert taken(work) == []


def test_what_has_time_goes_in_batches_that_grow_with_what_waits() -> None:
    few = waiting(**{f"t{number}": NOW + 2 + number for number in range(FEW + 2)})
    assert taken(few) == [f"t{number}" for number in range(FEW)]
    many = waiting(**{f"t{number}": NOW + 2 + number for number in range(40)})
    assert len(taken(many)) == 20
    assert len(taken(many, size=4)) == 4


def test_windows_of_one_turn_come_one_by_one_in_their_order() -> None:
    work = waiting(a=0.0)
    work.accept(Decode(Window("a", 1, codes=(2,), deadline=0.0)))
    assert [window.index for window in work.take_batch(8, NOW)] == [0]
    assert [window.index for window in work.take_batch(8, NOW)] == [1]


def test_a_closed_turn_leaves_nothing_to_do() -> None:
    work = waiting(a=0.0)
    work.accept(Close("a"))
    assert taken(work) == []
