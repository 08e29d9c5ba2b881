"""A stop waits for the venue's word on every order, on a virtual clock and at a venue that misbehaves."""

from __future__ import annotations

import asyncio

from actors.order_end import settle_orders
from exec.entries import read_sent
from exec.flow import cancel_orders
from exec.order_protocol import Lane
from exec.venue_commands import NoRates
from shm.enums import IntentKind, JournalKind, OrderStatus
from tests.exec.venue_rig import MS, ORDERS, SECOND, Rig


def stop(rig: Rig, limit_ns: int) -> str:
    """Stop as the gateway does."""

    def cancel_all() -> None:
        cancel_orders(
            rig.oms.open_orders(), rig.oms, rig.session, rig.entries, lambda: rig.now_ns, rig.now_ns
        )

    async def sleep(step_ns: int) -> None:
        rig.run(step_ns)

    return asyncio.run(
        settle_orders(
            rig.oms,
            rig.session,
            cancel_all,
            rig.session.flush,
            lambda: rig.now_ns,
            sleep,
            rig.now_ns + limit_ns,
        )
    )


def cancels(rig: Rig) -> int:
    return sum(name in ("order.cancel", "DELETE /fapi/v1/batchOrders") for name in rig.venue.methods)


def test_a_stop_waits_until_a_lost_cancel_was_asked_about_and_sent_again() -> None:
    rig = Rig().up()
    order = rig.buy()
    rig.run(1 * SECOND)
    rig.venue.script.lose_requests = 1
    assert stop(rig, 4 * SECOND) == ""
    assert rig.status(order) is OrderStatus.CANCELED
    assert cancels(rig) == 2
    rig.agrees()


def test_a_stop_while_the_session_comes_back_settles_what_is_unknown_and_floods_nothing() -> None:
    rig = Rig().up()
    orders = [rig.buy(price=10_000 + i) for i in range(4)]
    rig.run(1 * SECOND)
    rig.may_connect = False
    rig.cut(ORDERS)
    rig.run(1 * MS)
    assert {rig.status(order) for order in orders} == {OrderStatus.UNKNOWN}

    def back() -> None:
        rig.may_connect = True

    rig.after(1 * SECOND, back)
    assert stop(rig, 4 * SECOND) == ""
    assert {rig.status(order) for order in orders} == {OrderStatus.CANCELED}
    sent = [read_sent(e.payload) for e in rig.journal.entries if e.kind == JournalKind.SENT]
    assert sum(one.kind == IntentKind.CANCEL for one in sent) <= 2 * len(orders)
    rig.agrees()


def test_a_stop_waits_for_the_fills_of_an_order_that_has_ended() -> None:
    rig = Rig().up()
    order = rig.buy()
    rig.run(1 * SECOND)
    there = rig.at_venue(order)
    rig.venue.script.rest_ns = 100 * MS
    rig.venue.script.mute_stream = True
    rig.venue.fill(there.client_id, 4)
    rig.venue.script.mute_stream = False
    there.status = "CANCELED"
    rig.venue.tell(there, "CANCELED")
    rig.session.query(order, rig.now_ns)
    assert stop(rig, 4 * SECOND) == ""
    assert rig.status(order) is OrderStatus.CANCELED
    assert order.filled_units == 4
    rig.agrees()


class Scarce(NoRates):
    """One unit every 25 ms for all; cancels may take the last ones, questions must leave ten to them."""

    def __init__(self) -> None:
        self.is_scarce, self.left, self.last_ns = False, 0, 0

    def take(self, rates: tuple[tuple[str, int], ...], lane: int, instrument_id: int, now_ns: int) -> int:
        del instrument_id
        cost, kept = sum(weight for _, weight in rates), 0 if lane == Lane.CANCEL else 10
        if not self.is_scarce or not cost:
            self.last_ns = now_ns
            return 0
        gained = (now_ns - self.last_ns) // (25 * MS)
        self.left, self.last_ns = self.left + gained, self.last_ns + gained * 25 * MS
        if self.left < cost + kept:
            return (cost + kept - self.left) * 25 * MS
        self.left -= cost
        return 0


def test_cancels_of_orders_that_are_gone_do_not_starve_the_question_what_became_of_them() -> None:
    scarce = Scarce()
    rig = Rig(rates=scarce).up()
    orders = [rig.buy(price=10_000 + i) for i in range(2)]
    rig.run(1 * SECOND)
    rig.venue.script.mute_stream = True
    for order in orders:
        rig.at_venue(order).status = "CANCELED"  # by somebody else, and the stream has lost it
    scarce.is_scarce, scarce.last_ns = True, rig.now_ns
    assert stop(rig, 4 * SECOND) == ""
    assert {rig.status(order) for order in orders} == {OrderStatus.CANCELED}
    rig.agrees()


def test_what_the_venue_does_not_say_by_the_deadline_is_named() -> None:
    rig = Rig().up()
    order = rig.buy()
    rig.run(1 * SECOND)
    rig.may_connect = False
    rig.cut(ORDERS)
    began_ns = rig.now_ns
    text = stop(rig, 3 * SECOND)
    assert rig.status(order) is OrderStatus.UNKNOWN
    assert "1 open orders" in text
    assert repr(order) in text
    assert rig.now_ns - began_ns >= 3 * SECOND


def test_a_cancel_that_waits_for_its_venue_is_not_queued_twice() -> None:
    rig = Rig().up()
    order = rig.buy()
    rig.run(1 * SECOND)
    rig.may_connect = False
    rig.cut(ORDERS)
    rig.run(1 * MS)
    for _ in range(50):
        rig.cancel(order)
    assert rig.session.queued == 1
