from __future__ import annotations

import logging
from contextlib import ExitStack
from ipaddress import ip_network

import pytest

from web_demo.errors import Busy
from web_demo.server.common.budgets import PROXIES_TOLD, Budget, Clients, half


def test_beyond_its_bounds_a_request_is_busy_and_a_place_comes_free_again() -> None:
    refused: list[None] = []
    budget = Budget(lambda: 3, per_client=lambda: 2, retry_after_s=7, refused=lambda: refused.append(None))
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
        ("127.0.0.1", [""], "127.0.0.1"),
        ("203.0.113.9", ["203.0.113.7"], "203.0.113.9"),  # anybody may send the header
        ("10.0.0.5", ["203.0.113.7"], "203.0.113.7"),
        ("::ffff:10.0.0.5", ["::ffff:203.0.113.7"], "203.0.113.7"),  # of a socket for both families
        ("10.0.0.5", ["203.0.113.7:40000"], "203.0.113.7"),
        ("10.0.0.5", ["[2001:db8::7]:40000"], "2001:db8::7"),
        ("10.0.1.9", ["203.0.113.7"], "10.0.1.9"),  # beside the network
        ("10.0.0.6", ["203.0.113.7, 10.0.0.5"], "203.0.113.7"),  # a proxy behind a proxy, and both are ours
        ("127.0.0.1", ["203.0.113.7, 10.0.0.5"], "203.0.113.7"),  # the page's forwarder behind a proxy
        ("127.0.0.1", ["6.6.6.6, 203.0.113.7, 10.0.0.5"], "203.0.113.7"),
        ("10.0.0.5", ["203.0.113.7, nonsense"], "10.0.0.5"),
        ("10.0.0.5", ["10.0.0.77"], "10.0.0.77"),  # somebody on the proxies' network
        ("2a00:1450:4001:81b::200e", [], "2a00:1450:4001:81b::"),  # a line has so many addresses that each may be new
        ("fd00::1:2", [], "fd00::1:2"),  # at home they are machines
        ("", [], ""),
    ],
)
def test_only_a_trusted_proxy_may_speak_for_another(peer: str, named: list[str], client: str) -> None:
    assert Clients([ip_network("10.0.0.0/24")]).of(peer, named) == client


def test_a_proxy_that_is_not_trusted_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    clients = Clients()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            clients.of("10.0.0.5", ["203.0.113.7"])
    assert len(caplog.records) == 1
    assert "--trusted-proxy 10.0.0.5" in caplog.text
    for number in range(2 * PROXIES_TOLD):  # strangers may send the header too
        clients.of(f"198.51.100.{number}", ["203.0.113.7"])
    assert len(caplog.records) == PROXIES_TOLD


@pytest.mark.parametrize(("most", "share"), [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2), (64, 32)])
def test_one_client_has_half_and_at_least_one(most: int, share: int) -> None:
    assert half(most) == share
