"""An account's lanes in the shared ledger: what requests cost, what refusals stop, what headers tell."""

from __future__ import annotations

import pytest

from exec.errors import OrderError
from exec.rate_limits import AccountRates, limits_of, order_rules
from exec.venues import PROTOCOLS
from shm.enums import RateLane, RateStop
from shm.rate_ledger import RateLedger
from shm.rate_rules import SECOND_NS

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


def test_the_header_of_an_answer_counts_from_the_begin_of_the_venues_minute() -> None:
    rates = account("binance_usdm")
    rates.on_headers({"x-mbx-used-weight-1m": "1000", "x-mbx-order-count-10s": "?"}, NOW_NS, NOW_NS)
    view = rates.ledger.view(rates.bucket("weight_1m"), NOW_NS)
    flowed = 5 * SECOND_NS // view.interval_ns
    assert 1000 - flowed - 1 <= view.used <= 1000 - flowed
    assert rates.ledger.view(rates.bucket("orders_10s"), NOW_NS).used == 0


def test_a_limit_that_the_venue_states_is_taken_over() -> None:
    rates = account("bybit")
    rates.on_limit("order.linear", 20, NOW_NS)
    assert rates.ledger.view(rates.bucket("order.linear"), NOW_NS).limit == 20
    rates.on_limit("order.linear", 0, NOW_NS)
    assert rates.ledger.view(rates.bucket("order.linear"), NOW_NS).limit == 20


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_what_a_venue_stops_and_tells_names_rules_it_has(protocol: str) -> None:
    limits = limits_of(protocol)
    purposes = {rule.name for rule in limits.RULES}
    assert {purpose for purpose, _ in limits.STOPS.values()} - {""} <= purposes
    assert set(limits.HEADERS) <= purposes
    assert set(limits.SHARED) <= purposes
    assert {stop for _, stop in limits.STOPS.values()} <= set(RateStop)


def test_an_unknown_protocol_is_refused_by_name() -> None:
    with pytest.raises(OrderError, match="nobody"):
        limits_of("nobody")
