from __future__ import annotations

import asyncio

from utils.turns import CLIENTS_REMEMBERED, Turns


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
