from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from web_demo.errors import Busy
from web_demo.server.common.budgets import CLIENTS_REMEMBERED, Budget, Turns, client_of


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


def test_beyond_its_bounds_a_request_is_busy_and_a_place_comes_free_again() -> None:
    refused: list[None] = []
    budget = Budget(lambda: 3, per_client=2, retry_after_s=7, refused=lambda: refused.append(None))
    with ExitStack() as places:
        places.enter_context(budget.admit("a"))
        places.enter_context(budget.admit("a"))
        with pytest.raises(Busy, match="2 places are yours"), budget.admit("a"):
            pass
        places.enter_context(budget.admit("b"))
        with pytest.raises(Busy, match="all 3 places are in use") as refusal, budget.admit("c"):
            pass
        assert refusal.value.retry_after_s == 7
        assert (budget.taken, len(refused)) == (3, 2)
    assert budget.taken == 0
    with budget.admit("a"):
        assert budget.taken == 1


def test_what_a_budget_holds_may_change_and_a_request_may_cost_more_than_one() -> None:
    most = 10
    budget = Budget(lambda: most, of="seconds")
    with budget.admit("a", 6):
        with pytest.raises(Busy, match="all 10 seconds"), budget.admit("b", 5):
            pass
        with budget.admit("b", 4):
            assert budget.taken == 10
        most = 5
        with pytest.raises(Busy), budget.admit("b"):
            pass


@pytest.mark.parametrize(
    ("peer", "named", "client"),
    [
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("::1", ["2001:db8::1"], "2001:db8::1"),
        ("127.0.0.1", ["198.51.100.1, 203.0.113.7"], "203.0.113.7"),  # what came before the proxy's own may be invented
        ("127.0.0.1", ["198.51.100.1", "203.0.113.7"], "203.0.113.7"),
        ("127.0.0.1", ["somebody"], "127.0.0.1"),
        ("203.0.113.9", ["203.0.113.7"], "203.0.113.9"),  # anybody may send the header
    ],
)
def test_only_who_is_on_this_machine_may_speak_for_another(peer: str, named: list[str], client: str) -> None:
    headers = CIMultiDict([("X-Forwarded-For", value) for value in named])
    request = make_mocked_request("GET", "/", headers=headers).clone(remote=peer)
    assert client_of(request) == client


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
