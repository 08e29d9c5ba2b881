"""The sockets of an account: their attempts are counted with everybody's, before the feeds' own."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

from actors.runtime.context import Context
from actors.venue_account import VenueAccount
from actors.venue_orders import AccountLink, VenueOrders, _steady_utc
from exec.order_protocol import Channel
from feeds.transport.rates import LedgerBudget
from shm.enums import RateLane, RateScope, RateUnit
from shm.rate_ledger import RateLedger
from shm.rate_rules import SECOND_NS, RateRule

NOW_NS = 1_000 * SECOND_NS
RULE = RateRule("v.connects", 1, RateScope.ADDRESS, RateUnit.CONNECTS, 300, 300 * SECOND_NS, burst=20)


class Host:
    """What a link asks of its context for a gate."""

    def __init__(self) -> None:
        self.ledger = RateLedger.create(bytearray(RateLedger.bytes_needed((RULE,))), (RULE,))

    def rate_budget(self, rates: Mapping[str, str], purpose: str, lane: RateLane) -> LedgerBudget | None:
        name = rates.get(purpose, "")
        return LedgerBudget(self.ledger, self.ledger.bucket(name), lane) if self.ledger.has(name) else None


def link(host: Host, **rates: str) -> AccountLink:
    account = VenueAccount("main", "binance_usdm", ["binance_usdm"], rates=rates)
    return AccountLink(cast(Context, host), 0, account, cast(Any, None), lambda: None)


def attempts(made: AccountLink, channel: Channel) -> int:
    """How many connections are let through at one moment."""
    gate = made._gate(channel)
    assert gate is not None
    count = 0
    while not gate.delay_ns(NOW_NS):
        count += 1
    return count


def test_attempts_of_two_processes_come_out_of_one_ledger() -> None:
    host = Host()
    first = attempts(link(host, connects="v.connects"), Channel.PRIVATE_STREAM)
    assert 0 < first <= 20
    assert attempts(link(host, connects="v.connects"), Channel.SPARE_STREAM) == 0


def test_both_sockets_still_connect_when_feeds_and_spare_sockets_have_used_theirs() -> None:
    host = Host()
    bucket = host.ledger.bucket("v.connects")
    while not host.ledger.take(bucket, RateLane.RESYNC, 1, NOW_NS):
        pass
    made = link(host, connects="v.connects")
    assert attempts(made, Channel.SPARE_STREAM) > 0
    for channel in (Channel.ORDER_SOCKET, Channel.PRIVATE_STREAM):
        gate = made._gate(channel)
        assert gate is not None and not gate.delay_ns(NOW_NS)


def test_a_clock_that_is_set_moves_no_deadline_of_a_request() -> None:
    """A deadline that moved with it would let an order arrive after "not found" was believed."""
    now_ns, wall_ns = [NOW_NS], [5_000 * SECOND_NS]
    context = SimpleNamespace(now_ns=lambda: now_ns[0], utc_ns=lambda: wall_ns[0])
    utc_ns = _steady_utc(cast(Context, context))
    assert utc_ns() == wall_ns[0]
    now_ns[0] += SECOND_NS
    wall_ns[0] += 11 * SECOND_NS
    assert utc_ns() == 5_001 * SECOND_NS


def test_a_run_that_counts_nothing_has_no_gate() -> None:
    assert link(Host())._gate(Channel.ORDER_SOCKET) is None


def test_a_venue_that_refuses_for_too_much_is_told_of_now_and_then_and_everything_else_each_time() -> None:
    told: list[str] = []
    faults: list[str] = []
    now = [NOW_NS]
    host = SimpleNamespace(
        metrics=SimpleNamespace(fault=lambda _code, text, _utc: faults.append(text)),
        utc_ns=lambda: 0,
        notify=lambda message: told.append(message["text"]),
    )
    orders = VenueOrders.__new__(VenueOrders)
    orders._context = cast(Context, SimpleNamespace(host=host, now_ns=lambda: now[0]))
    orders._wait_told_ns = {}
    for second in range(12):
        now[0] = NOW_NS + second * SECOND_NS
        orders._tell("main", "wait", f"429 at {second}")
        orders._tell("other", "wait", "429")
        orders._tell("main", "lost", str(second))
        orders._tell("main", "encode", "not for everybody")
    assert [text for text in told if "main: wait" in text] == [f"main: wait: 429 at {s}" for s in (0, 5, 10)]
    assert len([text for text in told if "other: wait" in text]) == 3
    assert len([text for text in told if "lost" in text]) == 12
    assert not any("encode" in text for text in told) and len(faults) == 48
