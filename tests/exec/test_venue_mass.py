"""A mass cancel is carried out in the end: unpaid, refused, unanswered, cut off, or without a form."""

from __future__ import annotations

import pytest

from exec.venue_commands import NoRates
from shm.enums import OrderStatus
from tests.exec.venue_rig import MS, ORDERS, SECOND, Rig

ALL = "DELETE /fapi/v1/allOpenOrders"


class Meter(NoRates):
    """Mass cancels cost 50 of a lane that has nothing until `wait_ns` is 0; everything else is free."""

    def __init__(self, wait_ns: int) -> None:
        self.wait_ns = wait_ns
        self.is_mass = False

    def take(self, rates: tuple[tuple[str, int], ...], lane: int, instrument_id: int, now_ns: int) -> int:
        del rates, lane, instrument_id, now_ns
        return self.wait_ns if self.is_mass else 0


def resting(rig: Rig, monkeypatch: pytest.MonkeyPatch, meter: Meter | None = None) -> Rig:
    """A session with two orders at an instrument, and one of somebody else's."""
    rig.up()
    rig.buy(1, 10_000)
    rig.buy(1, 10_010)
    rig.run(SECOND)
    make = rig.session.protocol.mass_cancel

    def metered(*args: object) -> object:
        if meter is not None:
            meter.is_mass = True
        return make(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(rig.session.protocol, "mass_cancel", metered)
    return rig


def ended(rig: Rig) -> bool:
    return not rig.oms.open_count and not any(order.is_open for order in rig.venue.orders.values())


def test_a_mass_cancel_that_can_not_be_paid_for_waits_and_goes_out_once_it_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    meter = Meter(20 * MS)
    rig = resting(Rig(rates=meter), monkeypatch, meter)
    rig.session.mass_cancel(rig.now_ns)
    rig.run(100 * MS)
    assert rig.oms.open_count == 2 and ALL not in rig.venue.methods
    assert rig.session.next_due_ns() is not None
    meter.wait_ns = 0
    rig.run(SECOND)
    assert rig.venue.methods.count(ALL) == 1
    assert ended(rig)
    rig.agrees()


def test_a_mass_cancel_that_can_never_be_paid_for_becomes_cancels_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = resting(Rig(), monkeypatch)
    send = rig.session.mass._send
    monkeypatch.setattr(rig.session.mass, "_send", lambda request, now_ns: -1)
    rig.session.mass_cancel(rig.now_ns, 0)
    monkeypatch.setattr(rig.session.mass, "_send", send)
    rig.run(SECOND)
    assert rig.venue.methods.count("order.cancel") == 2 and ALL not in rig.venue.methods
    assert ended(rig)


@pytest.mark.parametrize(("code", "again"), [(-1003, 2), (-1021, 2), (-1000, 1), (-2015, 1)])
def test_a_refused_mass_cancel_is_made_again_where_that_helps_else_orders_are_canceled_one_by_one(
    monkeypatch: pytest.MonkeyPatch, code: int, again: int
) -> None:
    rig = resting(Rig(), monkeypatch)
    rig.venue.script.refuse = [(400, code, "no")]
    rig.session.mass_cancel(rig.now_ns)
    rig.run(30 * SECOND)
    assert rig.venue.methods.count(ALL) == again
    if code == -2015:  # the key is refused for good: nobody cancels by this session any more
        assert rig.session.accepts(2, 0) is False
    else:
        assert ended(rig)
        rig.agrees()


def test_a_mass_cancel_without_an_answer_becomes_cancels_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = resting(Rig(), monkeypatch)
    rig.venue.script.lose_rest = 1
    rig.session.mass_cancel(rig.now_ns)
    rig.run(10 * SECOND)
    assert ALL not in rig.venue.methods and rig.session.counts.timeouts == 1
    assert ended(rig)
    rig.agrees()


def test_a_mass_cancel_that_a_lost_socket_left_unanswered_is_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = resting(Rig(), monkeypatch)
    rig.venue.script.lose_rest = 1
    rig.session.mass_cancel(rig.now_ns)
    rig.session.mass_cancel(rig.now_ns)  # arrives, but its answer comes too late
    rig.cut(ORDERS)
    rig.run(MS)
    assert not rig.session.is_connected
    rig.session.mass_cancel(rig.now_ns)  # while nothing can be sent
    rig.run(10 * SECOND)
    assert rig.venue.methods.count(ALL) == 2
    assert ended(rig)
    rig.agrees()


def test_at_a_venue_without_mass_cancels_ours_are_canceled_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = resting(Rig(), monkeypatch)
    monkeypatch.setattr(rig.session.protocol, "mass_cancel", lambda *_: ())
    rig.session.mass_cancel(rig.now_ns)
    rig.run(SECOND)
    assert rig.venue.methods.count("order.cancel") == 2
    assert [order.status for order in rig.oms] == [OrderStatus.CANCELED] * 2
    assert ended(rig)
