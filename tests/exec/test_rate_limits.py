"""An account's lanes in the shared ledger: what requests cost, what refusals stop, what headers tell."""

from __future__ import annotations

import pytest

from exec.errors import OrderError
from exec.rate_limits import AccountRates, limits_of, order_rules
from exec.venues import PROTOCOLS
from shm.enums import RateLane, RateStop
from shm.rate_ledger import RateLedger
from shm.rate_rules import SECOND_NS, scaled

NOW_NS = 1_000 * SECOND_NS
#: The wall clock stands 5 s behind a whole minute, and our clock at NOW_NS.
UTC_NS = 1_800_000_000 * SECOND_NS + 5 * SECOND_NS


def account(protocol: str) -> AccountRates:
    rules = order_rules(protocol, "me", 3)
    ledger = RateLedger.create(bytearray(RateLedger.bytes_needed(rules)), rules)
    names = {rule.name.partition(":")[2]: rule.name for rule in rules}
    return AccountRates(ledger, protocol, names, lambda: UTC_NS)


def stopped(rates: AccountRates, purpose: str, lane: RateLane, instrument_id: int = 0) -> bool:
    bucket = rates.bucket(purpose, instrument_id)
    return rates.ledger.stop_ns(bucket, lane) > NOW_NS


def test_a_request_pays_all_its_rules_or_none() -> None:
    rates = account("binance_usdm")
    cost = (("orders_10s", 5), ("orders_1m", 1), ("weight_1m", 5))
    granted = 0
    while (wait := rates.take(cost, RateLane.NEW, 1, NOW_NS)) == 0:
        granted += 1
    assert granted == 15  # a burst of 75 orders in 10 s
    assert wait > 0
    assert rates.ledger.view(rates.bucket("weight_1m"), NOW_NS).used == 75
    assert rates.take((), RateLane.NEW, 1, NOW_NS) == 0
    assert not rates.can_ever((("orders_10s", 76),), RateLane.NEW, 1)


def test_instruments_are_counted_apart_where_the_venue_does() -> None:
    rates = account("okx")
    while rates.take((("order", 1),), RateLane.NEW, 1, NOW_NS) == 0:
        pass
    assert rates.take((("order", 1),), RateLane.NEW, 2, NOW_NS) == 0
    assert rates.take((("cancel", 1),), RateLane.CANCEL, 1, NOW_NS) == 0


@pytest.mark.parametrize(
    ("protocol", "code", "cost", "new_stops", "cancel_stops"),
    [
        ("binance_usdm", "-1015", (("orders_10s", 1),), True, False),
        ("binance_usdm", "418", (("weight_1m", 1),), True, True),
        ("okx", "50061", (("order", 1), ("orders", 1)), True, False),
        ("bybit", "403", (("order.linear", 1),), True, True),
    ],
)
def test_an_order_count_stops_new_orders_and_a_ban_stops_cancels_too(
    protocol: str, code: str, cost: tuple[tuple[str, int], ...], new_stops: bool, cancel_stops: bool
) -> None:
    rates = account(protocol)
    assert rates.on_refused(code, cost, 0, NOW_NS + SECOND_NS)
    purposes = {"binance_usdm": ("orders_10s", "weight_1m"), "okx": ("orders", "cancel")}.get(
        protocol, ("order.linear", "cancel.linear")
    )
    assert stopped(rates, purposes[0], RateLane.NEW) == new_stops
    assert stopped(rates, purposes[1], RateLane.CANCEL) == cancel_stops


def test_a_refused_endpoint_stops_itself_alone() -> None:
    rates = account("bybit")
    assert rates.on_refused("10006", (("order.linear", 1),), 0, NOW_NS + SECOND_NS)
    assert stopped(rates, "order.linear", RateLane.CANCEL)
    assert not stopped(rates, "cancel.linear", RateLane.CANCEL)
    assert not rates.on_refused("10001", (("order.linear", 1),), 0, NOW_NS + SECOND_NS)


def test_what_an_answer_says_was_used_counts_from_the_begin_of_the_venues_minute() -> None:
    rates = account("binance_usdm")
    rates.on_used("weight_1m", 1000, NOW_NS, NOW_NS)
    view = rates.ledger.view(rates.bucket("weight_1m"), NOW_NS)
    flowed = 5 * SECOND_NS // view.interval_ns
    assert 1000 - flowed - 1 <= view.used <= 1000 - flowed
    assert rates.ledger.view(rates.bucket("orders_10s"), NOW_NS).used == 0


@pytest.mark.parametrize(
    ("share", "stated", "limits"),
    [
        (1.0, (10, 4, 4, 0, 7, 20), (10, 4, 4, 4, 7, 10)),  # never above what is configured
        (0.5, (10, 4, 20, 1), (5, 2, 5, 1)),  # the share is of what the venue grants
    ],
)
def test_a_lower_limit_that_the_venue_states_is_taken_over_and_given_back(
    share: float, stated: tuple[int, ...], limits: tuple[int, ...]
) -> None:
    rules = scaled(order_rules("bybit", "me", 3), share)
    ledger = RateLedger.create(bytearray(RateLedger.bytes_needed(rules)), rules)
    names = {rule.name.partition(":")[2]: rule.name for rule in rules}
    configured = {
        purpose: (rule.limit, rule.burst_of(rule.limit))
        for (purpose, _), rule in zip(names.items(), rules, strict=True)
    }
    told = [
        AccountRates(ledger, "bybit", names, lambda: UTC_NS, limits=configured, share=share) for _ in "ab"
    ]
    bucket = told[0].bucket("order.linear")
    before = ledger.view(bucket, NOW_NS)
    seen = []
    for limit in stated:
        for rates in told:  # another process hears the same
            rates.on_limit("order.linear", limit, NOW_NS)
        seen.append(ledger.view(bucket, NOW_NS).limit)
    assert tuple(seen) == limits
    after = ledger.view(bucket, NOW_NS)
    if after.limit == before.limit:
        assert (after.burst, after.interval_ns) == (before.burst, before.interval_ns)
    assert ledger.view(told[0].bucket("cancel.linear"), NOW_NS).limit == int(10 * share)
    assert told[0].on_limit("nothing that is counted", 5, NOW_NS) == 0


def test_what_is_not_configured_is_not_taken_over() -> None:
    rates = account("bybit")
    assert rates.on_limit("order.linear", 5, NOW_NS) == 0
    assert rates.ledger.view(rates.bucket("order.linear"), NOW_NS).limit == 10


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_what_a_venue_stops_and_tells_names_rules_it_has(protocol: str) -> None:
    limits = limits_of(protocol)
    purposes = {rule.name for rule in limits.RULES}
    assert {purpose for purpose, _ in limits.STOPS.values()} - {""} <= purposes
    assert set(limits.SHARED) <= purposes
    assert {stop for _, stop in limits.STOPS.values()} <= set(RateStop)


def test_an_unknown_protocol_is_refused_by_name() -> None:
    with pytest.raises(OrderError, match="nobody"):
        limits_of("nobody")
