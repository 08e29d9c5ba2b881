"""A lane of the shared ledger as the budget of a REST client: taken, corrected, stopped for all."""

from __future__ import annotations

import asyncio

import pytest

from feeds.transport.rates import LedgerBudget
from feeds.transport.rest import RestClient
from shm.enums import RateLane, RateScope, RateStop, RateUnit
from shm.rate_ledger import RateLedger
from shm.rate_rules import SECOND_NS, RateRule
from tests.feeds.test_rest import Clock, answer, with_server

MINUTE_NS = 60 * SECOND_NS
NOW_NS = 1_000 * SECOND_NS
RULE = RateRule("weight", 1, RateScope.ADDRESS, RateUnit.WEIGHT, 2400, MINUTE_NS, burst=1200, slack_ns=0)


def make() -> RateLedger:
    return RateLedger.create(bytearray(RateLedger.bytes_needed([RULE])), [RULE])


def budget(ledger: RateLedger, lane: RateLane = RateLane.RESYNC, **more: object) -> LedgerBudget:
    return LedgerBudget(ledger, 0, lane, **more)  # type: ignore[arg-type]


def test_two_senders_share_what_the_venue_grants_and_each_knows_when_to_ask_again() -> None:
    ledger = make()
    first, second = budget(ledger), budget(ledger)
    assert first.take(NOW_NS, 600)
    assert second.take(NOW_NS, 300)
    assert not first.take(NOW_NS, 1)
    due = first.next_ns(NOW_NS, 1)
    assert due > NOW_NS
    assert second.take(due, 1)
    assert first.next_ns(NOW_NS, 901) == -1
    assert budget(ledger, RateLane.CANCEL).take(NOW_NS, 1), "the lane before it has its share"


@pytest.mark.parametrize(("is_aligned", "expected"), [(True, 600), (False, 0)])
def test_what_others_used_since_the_begin_of_the_venues_minute_is_counted(
    is_aligned: bool, expected: int
) -> None:
    """10 s into its minute the venue has counted 800; not knowing when it began, that proves nothing."""
    ledger = make()
    interval = ledger.view(0, 0).interval_ns
    one = budget(ledger, utc_ns=lambda: 20 * MINUTE_NS + 10 * SECOND_NS) if is_aligned else budget(ledger)
    one.observe_used(NOW_NS, 800)
    assert ledger.view(0, NOW_NS).used == (expected and -(-(800 * interval - 10 * SECOND_NS) // interval))


def test_an_answer_from_the_minute_before_does_not_spend_the_new_one() -> None:
    ledger = make()
    one = budget(ledger, utc_ns=lambda: 20 * MINUTE_NS + SECOND_NS // 10)
    one.observe_used(NOW_NS, 900, NOW_NS - SECOND_NS)
    assert ledger.view(0, NOW_NS).used == 0
    one.observe_used(NOW_NS, 900, NOW_NS)
    assert ledger.view(0, NOW_NS).used > 800


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        ("429 Too Many Requests", "retry-after: 7\r\n", 7),
        ("418 I'm a teapot", "", 60),
        ("403 Forbidden", "", 600),
    ],
)
def test_a_refusal_stops_every_lane_of_that_address_for_as_long_as_the_venue_says(
    status: str, headers: str, seconds: int
) -> None:
    ledger, clock = make(), Clock()
    clock.now_ns = NOW_NS
    one = budget(ledger)

    async def use(url: str) -> None:
        client = RestClient(url, now_ns=clock.read, budget=one, on_refused=one.on_refused, sleep=clock.sleep)
        await client.send("GET", "/a")
        for lane in RateLane:
            assert ledger.stop_ns(0, lane) == NOW_NS + seconds * SECOND_NS
        assert not budget(ledger, RateLane.CANCEL).take(clock.now_ns)
        await client.send("GET", "/b")
        assert clock.now_ns == NOW_NS + seconds * SECOND_NS
        await client.close()

    asyncio.run(with_server(answer(status, headers=headers), use))


def test_a_refusal_may_stop_less_than_an_address() -> None:
    ledger = make()
    budget(ledger, stop=RateStop.NEW).on_refused(NOW_NS + 5)
    assert ledger.stop_ns(0, RateLane.NEW) == NOW_NS + 5
    assert ledger.stop_ns(0, RateLane.RESYNC) == 0
