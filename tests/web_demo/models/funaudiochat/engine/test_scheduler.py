from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest

from web_demo.models.funaudiochat.engine.scheduler import Full, Limits, Scheduler, TooLong
from web_demo.models.funaudiochat.engine.sequence import EndReason, Plan, Request, Status, Turn
from web_demo.models.funaudiochat.settings import GenerationSettings


@dataclass(frozen=True)
class Ids:
    ids: tuple[int, ...]


def turn(length: int, *, new: int = 8, conversation: str = "", name: str = "t") -> Turn:
    prompt = cast("Any", Ids(tuple(range(length))))
    request = Request(name, prompt, GenerationSettings(max_new_tokens=new), conversation)
    return Turn(request, tuple(range(length)))


def limits(**changes: int) -> Limits:
    values = {"slots": 2, "pages": 41, "page_tokens": 4, "max_context": 100, "max_new_tokens": 50, "prefill_tokens": 16}
    return Limits(**(values | changes))


def run(scheduler: Scheduler) -> Plan:
    """Schedule an iteration and pretend to have computed it."""
    plan, _ = scheduler.schedule(0.0)
    for chunk in plan.prefill:
        chunk.turn.prefilled = chunk.end
    return plan


def test_a_long_prompt_is_prefilled_in_chunks_beside_running_turns() -> None:
    scheduler = Scheduler(limits())
    short, long = turn(2), turn(60)
    scheduler.add(short)
    run(scheduler)
    scheduler.add(long)
    plans = [run(scheduler) for _ in range(4)]
    assert [[(chunk.start, chunk.end) for chunk in plan.prefill] for plan in plans] == [
        [(0, 16)],
        [(16, 32)],
        [(32, 48)],
        [(48, 59)],
    ]
    assert all(short in plan.decode for plan in plans)
    assert [long in plan.decode for plan in plans] == [False, False, False, True]


def test_the_last_prompt_token_is_left_to_the_first_frame() -> None:
    scheduler = Scheduler(limits())
    one = turn(1)
    scheduler.add(one)
    plan = run(scheduler)
    assert plan.prefill == ()
    assert plan.decode == (one,)


def test_turns_share_the_prefill_budget_in_their_order() -> None:
    scheduler = Scheduler(limits())
    first, second = turn(11), turn(11)
    scheduler.add(first)
    scheduler.add(second)
    plan = run(scheduler)
    assert [(chunk.turn is first, chunk.end - chunk.start) for chunk in plan.prefill] == [(True, 10), (False, 6)]


def test_many_new_turns_at_once_are_prefilled_a_few_at_a_time() -> None:
    scheduler = Scheduler(limits(slots=4, prefill_turns=2))
    for _ in range(4):
        scheduler.add(turn(3))
    assert [len(run(scheduler).prefill) for _ in range(3)] == [2, 2, 0]


def test_a_turn_waits_for_a_slot_and_gets_the_one_that_comes_free() -> None:
    scheduler = Scheduler(limits())
    first, second, third = turn(3), turn(3), turn(3)
    for one in (first, second, third):
        scheduler.add(one)
    assert run(scheduler).decode == (first, second)
    assert scheduler.waiting == 1
    slot = first.slot
    scheduler.finish(first, EndReason.EOS)
    assert run(scheduler).decode == (second, third)
    assert third.slot == slot


def test_a_turn_waits_until_all_its_pages_are_there() -> None:
    scheduler = Scheduler(limits(pages=6))
    first, second = turn(5, new=8), turn(5, new=8)  # 12 positions, 3 pages each; 5 pages in all
    scheduler.add(first)
    scheduler.add(second)
    assert run(scheduler).decode == (first,)
    scheduler.finish(first, EndReason.EOS)
    assert run(scheduler).decode == (second,)


def test_aborting_a_waiting_turn_removes_it() -> None:
    scheduler = Scheduler(limits(slots=1))
    first, second = turn(3), turn(3)
    scheduler.add(first)
    scheduler.add(second)
    run(scheduler)
    scheduler.finish(second, EndReason.ABORTED)
    assert scheduler.waiting == 0
    assert second.status is Status.FINISHED


def test_a_finished_turn_gives_back_everything_once() -> None:
    scheduler = Scheduler(limits())
    one = turn(20)
    scheduler.add(one)
    run(scheduler)
    scheduler.finish(one, EndReason.EOS)
    scheduler.finish(one, EndReason.ABORTED)
    assert scheduler.pool.free == scheduler.pool.total
    assert one.end is EndReason.EOS


def test_the_next_turn_of_a_conversation_prefills_only_what_is_new() -> None:
    scheduler = Scheduler(limits(prefill_tokens=64))
    first = turn(20, conversation="c")
    scheduler.add(first)
    run(scheduler)
    scheduler.finish(first, EndReason.EOS)
    second = turn(40, conversation="c")
    scheduler.add(second)
    plan = run(scheduler)
    assert [(chunk.start, chunk.end) for chunk in plan.prefill] == [(19, 39)]
    assert second.reused == 19


def test_an_aborted_prefill_keeps_what_was_filled() -> None:
    scheduler = Scheduler(limits())
    first = turn(40, conversation="c")
    scheduler.add(first)
    run(scheduler)
    scheduler.finish(first, EndReason.ABORTED)
    second = turn(40, conversation="c")
    scheduler.add(second)
    run(scheduler)
    assert second.reused == 16


def test_a_failed_turn_leaves_nothing_to_reuse() -> None:
    scheduler = Scheduler(limits())
    first = turn(20, conversation="c")
    scheduler.add(first)
    run(scheduler)
    scheduler.finish(first, EndReason.FAILED, "NaN")
    assert scheduler.pool.cached_conversations == 0
    assert scheduler.pool.free == scheduler.pool.total


def test_kept_prompts_give_way_to_new_turns() -> None:
    scheduler = Scheduler(limits(pages=9))
    first = turn(20, conversation="c")
    scheduler.add(first)
    run(scheduler)
    scheduler.finish(first, EndReason.EOS)
    second = turn(20, conversation="d")
    scheduler.add(second)
    run(scheduler)
    assert second.status is not Status.WAITING
    assert scheduler.pool.cached_conversations == 0


@pytest.mark.parametrize(
    ("length", "new", "words"), [(95, 8, "102|more than the 100"), (10, 51, "at most 50"), (90, 10, "pages")]
)
def test_a_turn_that_could_wait_for_ever_is_refused(length: int, new: int, words: str) -> None:
    scheduler = Scheduler(limits(pages=20 if words == "pages" else 41))
    with pytest.raises(TooLong, match=words):
        scheduler.add(turn(length, new=new))


def test_the_waiting_line_has_an_end() -> None:
    scheduler = Scheduler(limits(slots=1, max_waiting=1))
    scheduler.add(turn(3))
    with pytest.raises(Full):
        scheduler.add(turn(3))
