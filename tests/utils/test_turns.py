from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress

from utils.turns import CLIENTS_REMEMBERED, Turn, Turns


async def served(turns: Turns, jobs: list[tuple[str, str, int]]) -> list[str]:
    """The order in which the pieces of `jobs` (client, name, pieces) are served, all of them waiting from the start."""
    order: list[str] = []

    async def work(client: str, name: str, pieces: int) -> None:
        for _ in range(pieces):
            async with turns.turn(client):
                order.append(name)
                await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        for job in jobs:
            tasks.create_task(work(*job))
    return order


async def test_a_short_text_of_another_client_waits_for_one_piece_at_most() -> None:
    order = await served(Turns(1), [("a", "long", 50), ("b", "short", 1)])
    assert order.index("short") <= 1


async def test_a_client_with_many_requests_gets_no_more_turns_than_one_with_a_single_request() -> None:
    order = await served(Turns(1), [("a", f"a{n}", 6) for n in range(6)] + [("b", "b", 6)])
    assert [index for index, name in enumerate(order) if name == "b"][-1] <= 12


async def test_the_requests_of_one_client_take_turns_too() -> None:
    order = await served(Turns(1), [("a", "long", 50), ("a", "short", 2)])
    assert [index for index, name in enumerate(order) if name == "short"][-1] <= 4


async def test_no_more_than_the_slots_run_at_once_and_all_of_them_are_used() -> None:
    turns, running, most = Turns(3), 0, 0

    async def work() -> None:
        nonlocal running, most
        async with turns.turn("a"):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    await asyncio.gather(*(work() for _ in range(12)))
    assert most == 3


async def test_many_clients_are_not_remembered_for_ever() -> None:
    turns = Turns(1)
    for number in range(CLIENTS_REMEMBERED + 10):
        async with turns.turn(f"client {number}"):
            pass
    assert len(turns._served) == CLIENTS_REMEMBERED


async def test_a_cancelled_wait_loses_no_slot() -> None:
    turns = Turns(1)
    async with turns.turn("a"):
        waiting = [asyncio.create_task(turns._take("b")) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
    waiting[1].cancel()  # at the moment in which it was given the slot
    await asyncio.wait_for(waiting[2], 1)
    assert waiting[0].cancelled()
    assert waiting[1].cancelled()


async def taken(turns: Turns, *clients: str) -> list[Turn | None]:
    """What each gets who asks in this order, and keeps; None for who would have to wait, and gives up."""
    asked = [asyncio.ensure_future(turns._take(client)) for client in clients]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    got = [each.result() if each.done() else None for each in asked]
    for each in asked:
        each.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    return got


async def test_what_a_client_wants_beyond_its_first_turn_is_done_in_the_background_and_leaves_a_slot_free() -> None:
    turns = Turns(2, background=1)
    got = await taken(turns, "a", "a", "a", "b")
    assert [turn and turn.background for turn in got] == [False, True, None, False]


async def test_who_has_no_turn_waits_for_a_slot_and_is_not_put_into_the_background() -> None:
    turns = Turns(2, background=1)
    (a, _, c) = await taken(turns, "a", "b", "c")
    assert a is not None
    assert c is None
    waiting = asyncio.ensure_future(turns._take("c"))
    await asyncio.sleep(0)
    assert not waiting.done()
    turns._end(a)
    assert not (await waiting).background


async def test_a_client_whose_first_turn_is_over_has_its_next_one_in_a_slot_though_another_is_in_the_background() -> (
    None
):
    turns = Turns(2, background=1)
    first, second = await taken(turns, "a", "a")
    assert first is not None
    assert second is not None
    turns._end(first)
    assert [turn and turn.background for turn in await taken(turns, "a", "a")] == [False, None]
    turns._end(second)
    assert [turn and turn.background for turn in await taken(turns, "b")] == [False]


async def test_a_turn_lasts_until_the_work_is_done_that_nobody_waits_for_any_more() -> None:
    turns, work = Turns(1), asyncio.get_running_loop().create_future()
    async with turns.turn("a") as turn:
        turn.lasts_until(work)
    waiting = asyncio.ensure_future(turns._take("b"))
    await asyncio.sleep(0)
    assert not waiting.done()
    work.set_result(None)
    await asyncio.wait_for(waiting, 1)


async def test_a_turn_whose_work_is_done_is_over_with_its_block() -> None:
    turns, work = Turns(1), asyncio.get_running_loop().create_future()
    async with turns.turn("a") as turn:
        turn.lasts_until(work)
        work.set_result(None)
    assert await taken(turns, "b") != [None]


async def test_no_slot_is_lost_or_given_twice_whatever_clients_do() -> None:
    turns, chance, held = Turns(2, background=1), random.Random(0), Counter[str]()

    async def client(name: str) -> None:
        for _ in range(30):
            with suppress(TimeoutError):
                async with asyncio.timeout(chance.choice((0.0, None, None))), turns.turn(name) as turn:
                    kind = "background" if turn.background else name
                    held[kind] += 1
                    assert held[kind] == 1
                    assert sum(number for kind, number in held.items() if kind != "background") <= 2
                    try:
                        await asyncio.sleep(0)
                    finally:
                        held[kind] -= 1

    await asyncio.gather(*(client(name) for name in "aaaabbc" for _ in range(5)))
    assert [turn and turn.background for turn in await taken(turns, "a", "a", "a", "b")] == [False, True, None, False]
