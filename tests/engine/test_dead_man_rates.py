"""The venues' timers beside small or much shared limits: setting them leaves the rest what it needs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, cast

import pytest

from engine.dead_man import DeadMan
from engine.venue_client import VenueClient
from exec.order_protocol import Lane, OrderProtocol, Request, RequestKind, Way
from exec.rate_limits import AccountRates, order_rules
from shm.enums import RateLane
from shm.rate_ledger import RateLedger
from shm.rate_rules import SECOND_NS, scaled

WEIGHT = 10


class Client:
    """An account whose venue has one timer a symbol, and counts ten units for each that is set."""

    name = "venue"
    error = ""
    protocol = OrderProtocol

    def __init__(self, share: float) -> None:
        rules = scaled(order_rules("binance_usdm", "me", 3), share)
        ledger = RateLedger.create(bytearray(RateLedger.bytes_needed(rules)), rules)
        names = {rule.name.partition(":")[2]: rule.name for rule in rules}
        self.rates = AccountRates(ledger, "binance_usdm", names, lambda: 0)
        self.now_ns = 0
        self.asked: list[tuple[int, float, int]] = []
        self.refused = 0

    def dead_man_s(self, symbols: Iterable[str]) -> float:
        return self.rates.lasting_ns([("weight_1m", WEIGHT) for _ in symbols], self.now_ns) / SECOND_NS

    async def dead_man(self, timeout_s: float, symbols: Iterable[str]) -> bool:
        wanted = list(symbols)
        self.asked.append((self.now_ns, timeout_s, len(wanted)))
        for _ in wanted:
            cost = (("weight_1m", WEIGHT),)
            self.refused += self.rates.take(cost, int(RateLane.CANCEL), 0, self.now_ns) != 0
        return True


def kept(share: float, symbols: int, seconds: int) -> tuple[Client, list[str]]:
    client, told = Client(share), list[str]()

    async def keep() -> None:
        timers = DeadMan(cast(Any, client), 30.0, told.append, lambda _: None)
        resting = {f"S{i}" for i in range(symbols)}
        for tenth in range(10 * seconds):
            client.now_ns = SECOND_NS + tenth * SECOND_NS // 10
            timers.keep(client.now_ns, resting)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    asyncio.run(keep())
    return client, told


@pytest.mark.parametrize(("share", "symbols"), [(0.05, 3), (0.2, 3), (1.0, 40), (1.0, 3)])
def test_setting_timers_takes_a_part_of_the_limits_and_no_timer_runs_out(share: float, symbols: int) -> None:
    client, told = kept(share, symbols, 1_200)
    assert client.refused == 0
    bucket = client.rates.bucket("weight_1m")
    view = client.rates.ledger.view(bucket, client.now_ns)
    lasting = (client.now_ns - SECOND_NS) / view.interval_ns
    # All but the first setting, which the burst pays for.
    assert sum(view.granted) - symbols * WEIGHT <= lasting / 2 + 1
    for (at_ns, timeout_s, _), (next_ns, _, count) in zip(client.asked, client.asked[1:], strict=False):
        assert count == symbols
        assert next_ns - at_ns < timeout_s * SECOND_NS / 2
    assert bool(told) == (share < 1 or symbols > 3)


def test_a_timer_is_never_set_to_more_than_the_venue_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OrderProtocol, "dead_man_max_s", 45.0)
    client, told = kept(1.0, 40, 300)
    assert {timeout_s for _, timeout_s, _ in client.asked} == {45.0} and len(told) == 1
    gaps = [after - before for (before, *_), (after, *_) in zip(client.asked, client.asked[1:], strict=False)]
    assert max(gaps) <= 45 * SECOND_NS // 3 + SECOND_NS // 10


def test_while_the_venue_wants_to_be_left_alone_a_request_of_the_sentinel_waits_before_it_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It goes out unpaid in the end; but a loop that asks again and again made a ban of it."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("engine.venue_client.asyncio.sleep", sleep)
    monkeypatch.setattr("engine.venue_client.now_ns", lambda: SECOND_NS)
    client = VenueClient.__new__(VenueClient)
    client._rates = rates = Client(1.0).rates
    cost = (("weight_1m", 60),)
    asked = Request(1, RequestKind.POSITIONS, Lane.RECONCILE, Way.REST, (), -1, rates=cost)
    asyncio.run(client._wait_rates(asked, Lane.CANCEL))
    assert slept == []
    while not rates.take((("weight_1m", 1),), int(RateLane.CANCEL), 0, SECOND_NS):
        pass
    asyncio.run(client._wait_rates(asked, Lane.CANCEL))
    assert slept == [], "used up: what closes positions goes out all the same"
    rates.on_refused("429", cost, 0, 28 * SECOND_NS)
    asyncio.run(client._wait_rates(asked, Lane.CANCEL))
    assert slept == [2.0]


def test_a_client_without_limits_keeps_the_timers_as_configured() -> None:
    client = VenueClient.__new__(VenueClient)
    client._rates = None
    assert client.dead_man_s({"S0"}) == 0.0
