"""The lifecycle table, and the OMS's behavior pair by pair."""

from __future__ import annotations

import pytest

from exec.errors import OrderError
from exec.lifecycle import TABLE, Event, Outcome, decide, working_status
from exec.order import TERMINAL, make_client_order_id, split_client_order_id
from exec.session import VenueReport
from shm.enums import OrderStatus, Reason, ReportKind, RequestStatus
from tests.exec.scene import BUY, SELL, Scene, check_ledger, check_order


def test_every_pair_of_status_and_event_is_decided() -> None:
    assert set(TABLE) == {(status, event) for status in OrderStatus for event in Event}


def test_a_decision_names_a_status_exactly_when_it_moves_there() -> None:
    for decision in TABLE.values():
        assert (decision.status != OrderStatus.NONE) == (decision.outcome == Outcome.TO)


def test_fills_are_never_ignored() -> None:
    for status in OrderStatus:
        if status == OrderStatus.NONE:
            continue
        for event in (Event.FILL_PART, Event.FILL_ALL):
            assert decide(status, event).outcome in (Outcome.TO, Outcome.WORKING, Outcome.SAME, Outcome.LATE)


def test_unknown_leaves_only_by_the_venues_word() -> None:
    ours = (
        Event.CANCEL_SENT,
        Event.REPLACE_SENT,
        Event.DISCONNECTED,
        Event.TIMED_OUT,
        Event.NOT_SENT,
        Event.DENIED,
    )
    for event in ours:
        assert decide(OrderStatus.UNKNOWN, event).outcome in (Outcome.SAME, Outcome.IGNORED, Outcome.ILLEGAL)
    for event in Event:
        assert decide(OrderStatus.UNKNOWN, event).status != OrderStatus.REJECTED


def test_terminal_statuses_stay_terminal() -> None:
    for status in TERMINAL:
        for event in Event:
            decision = decide(status, event)
            assert decision.outcome not in (Outcome.WORKING, Outcome.GONE)
            assert decision.outcome != Outcome.TO or int(decision.status) in TERMINAL


def test_working_status_prefers_pending_over_working() -> None:

    def status(cancel: bool, replace: bool) -> int:
        return working_status(
            acknowledged=True,
            filled_units=1,
            leaves_units=1,
            is_pending_cancel=cancel,
            is_pending_replace=replace,
        )

    assert status(True, True) == OrderStatus.PENDING_CANCEL
    assert status(False, True) == OrderStatus.PENDING_REPLACE
    assert status(False, False) == OrderStatus.PARTIALLY_FILLED


@pytest.mark.parametrize("parts", [(1, 0, 1, 0), (2**18 - 1, 63, 255, 2**32 - 1), (5, 3, 9, 77)])
def test_client_order_id_round_trips(parts: tuple[int, int, int, int]) -> None:
    packed = make_client_order_id(*parts)
    assert 0 < packed < 2**64
    assert split_client_order_id(packed) == parts


def test_client_order_id_wraps_epoch_and_incarnation_and_refuses_the_rest() -> None:
    assert split_client_order_id(make_client_order_id(2**18 + 4, 1, 256 + 2, 9)) == (4, 1, 2, 9)
    for slot, counter in ((64, 0), (-1, 0), (0, 2**32), (0, -1)):
        with pytest.raises(OrderError):
            make_client_order_id(1, slot, 1, counter)


class Wire:
    """An OMS whose venue is the test itself."""

    def __init__(self) -> None:
        self.scene = Scene()
        self.scene.session.on_timer = lambda now_ns: None  # type: ignore[method-assign]
        self.oms = self.scene.oms
        self.order = self.scene.new(BUY, 1000, 10)

    def say(self, event: Event, **fields: int) -> None:
        """The venue speaks."""
        report = VenueReport(event, self.order.root_client_order_id, 0, self.order.side, **fields)
        self.oms.apply_report(report, 2_000)
        check_order(self.order)
        check_ledger(self.oms, self.scene.ledger)

    def fill(self, trade_id: int, units: int, price: int = 1000) -> None:
        """The venue fills."""
        self.say(Event.FILL_PART, trade_id=trade_id, last_units=units, last_price_units=price)

    @property
    def position(self) -> int:
        """Booked position."""
        return self.scene.ledger.position_units(0)


def test_a_fill_before_the_ack_is_booked_and_the_ack_is_still_told() -> None:
    wire = Wire()
    wire.fill(1, 4)
    assert wire.order.status == OrderStatus.PARTIALLY_FILLED and wire.position == 4
    wire.say(Event.ACCEPTED, venue_order_id=9)
    assert wire.order.status == OrderStatus.PARTIALLY_FILLED
    assert wire.scene.kinds == ["FILL", "NEW"]
    wire.say(Event.ACCEPTED)
    assert wire.scene.kinds == ["FILL", "NEW"] and wire.oms.statistics.ignored == 1


def test_a_duplicate_fill_is_ignored_and_counted() -> None:
    wire = Wire()
    wire.say(Event.ACCEPTED)
    wire.fill(5, 4)
    wire.fill(5, 4)
    assert wire.position == 4 and wire.oms.statistics.duplicate_fills == 1


def test_a_late_fill_after_canceled_is_booked() -> None:
    wire = Wire()
    wire.say(Event.ACCEPTED)
    wire.say(Event.CANCELED)
    wire.fill(1, 4)
    assert wire.order.status == OrderStatus.CANCELED and wire.position == 4
    assert wire.oms.statistics.late_fills == 1 and wire.scene.reports[-1].filled_units == 4
    wire.fill(2, 6)
    assert wire.order.status == OrderStatus.FILLED and wire.position == 10


def test_a_cancel_that_races_a_fill_ends_filled_with_the_request_refused() -> None:
    wire = Wire()
    wire.say(Event.ACCEPTED)
    wire.scene.cancel(wire.order)
    assert wire.order.status == OrderStatus.PENDING_CANCEL
    wire.fill(1, 4)
    assert wire.order.status == OrderStatus.PENDING_CANCEL
    wire.fill(2, 6)
    assert wire.order.status == OrderStatus.FILLED
    wire.say(Event.CANCEL_REJECTED, reason=int(Reason.VENUE_UNKNOWN_ORDER))
    last = wire.scene.reports[-1]
    assert (last.kind, last.order_status, last.request_status) == (
        ReportKind.CANCEL_REJECTED,
        OrderStatus.FILLED,
        RequestStatus.REFUSED,
    )


def test_unknown_does_not_become_rejected_without_the_venues_word() -> None:
    wire = Wire()
    wire.oms.timed_out(wire.order, 3_000)
    assert wire.order.status == OrderStatus.UNKNOWN and wire.order.request_status == RequestStatus.TIMED_OUT
    wire.oms.disconnected(3_000)
    wire.oms.not_sent(wire.order, 3_000)
    assert wire.order.status == OrderStatus.UNKNOWN
    wire.say(Event.NOT_FOUND)
    assert wire.order.status == OrderStatus.REJECTED and wire.order.reason == Reason.NOT_RECEIVED


def test_an_acknowledged_unknown_order_that_the_venue_lost_is_canceled() -> None:
    wire = Wire()
    wire.say(Event.ACCEPTED)
    wire.oms.disconnected(3_000)
    wire.say(Event.NOT_FOUND)
    assert wire.order.status == OrderStatus.CANCELED and wire.order.reason == Reason.VENUE_UNKNOWN_ORDER


def test_an_unknown_order_stays_open_in_the_ledger() -> None:
    wire = Wire()
    wire.oms.disconnected(3_000)
    assert wire.scene.ledger.row(0).open_buy_units == 10


def test_an_overfill_is_booked_and_counted() -> None:
    wire = Wire()
    wire.say(Event.ACCEPTED)
    wire.fill(1, 15)
    assert (
        wire.order.status == OrderStatus.FILLED and wire.position == 15 and wire.oms.statistics.overfills == 1
    )


def test_a_fill_of_an_order_nobody_keeps_is_booked_once() -> None:
    wire = Wire()
    for _ in range(2):
        wire.oms.apply_report(
            VenueReport(Event.FILL_PART, 999, 0, SELL, trade_id=3, last_units=2, last_price_units=1000), 2_000
        )
    assert wire.position == -2 and wire.oms.statistics.stranger_fills == 1
    wire.oms.apply_report(VenueReport(Event.CANCELED, 999, 0, SELL), 2_000)
    assert wire.oms.statistics.unknown_reports == 1


def test_a_replace_holds_the_worst_of_both_terms_until_answered() -> None:
    wire = Wire()
    wire.say(Event.ACCEPTED)
    new_id = wire.scene.replace(wire.order, 1010, 14)
    row = wire.scene.ledger.row(0)
    assert (row.open_buy_units, row.open_buy_product) == (14, 14 * 1010)
    assert wire.order.status == OrderStatus.PENDING_REPLACE and wire.order.order_units == 10
    wire.say(Event.REPLACED, price_units=1010, order_units=14)
    assert wire.order.client_order_id == new_id and wire.order.order_units == 14
    last = wire.scene.reports[-1]
    assert last.client_order_id == new_id and last.orig_client_order_id == wire.order.root_client_order_id
    assert (
        wire.oms.order(new_id) is wire.order and wire.oms.order(wire.order.root_client_order_id) is wire.order
    )


def test_a_refused_replace_leaves_the_old_terms() -> None:
    wire = Wire()
    wire.say(Event.ACCEPTED)
    wire.scene.replace(wire.order, 1010, 14)
    wire.say(Event.REPLACE_REJECTED, reason=102)
    assert wire.order.status == OrderStatus.NEW and wire.scene.ledger.row(0).open_buy_units == 10


def test_old_terms_filled_while_a_larger_replace_is_out_is_not_the_end() -> None:
    wire = Wire()
    wire.say(Event.ACCEPTED)
    wire.scene.replace(wire.order, 1000, 14)
    wire.fill(1, 10)
    assert wire.order.status == OrderStatus.PENDING_REPLACE and wire.scene.ledger.row(0).open_buy_units == 4
    wire.say(Event.REPLACED, price_units=1000, order_units=14)
    assert wire.order.status == OrderStatus.PARTIALLY_FILLED and wire.order.leaves_units == 4


def test_old_terms_filled_and_the_larger_replace_refused_is_filled() -> None:
    wire = Wire()
    wire.say(Event.ACCEPTED)
    wire.scene.replace(wire.order, 1000, 14)
    wire.fill(1, 10)
    wire.say(Event.REPLACE_REJECTED)
    assert wire.order.status == OrderStatus.FILLED
    assert wire.scene.kinds[-2:] == ["REPLACE_REJECTED", "STATUS"]
    assert wire.scene.reports[-1].client_order_id == wire.order.client_order_id


def test_fills_beyond_the_old_terms_prove_the_replace() -> None:
    wire = Wire()
    wire.say(Event.ACCEPTED)
    wire.scene.replace(wire.order, 1000, 14)
    wire.fill(1, 12)
    assert (
        wire.order.order_units == 14 and wire.order.leaves_units == 2 and wire.oms.statistics.overfills == 0
    )


def test_an_order_that_ends_settles_its_outstanding_replace_first() -> None:
    wire = Wire()
    wire.say(Event.ACCEPTED)
    wire.scene.replace(wire.order, 1000, 8)
    wire.fill(1, 10)
    assert wire.order.status == OrderStatus.FILLED
    assert wire.scene.kinds[-2:] == ["REPLACE_REJECTED", "FILL"]


def test_cancel_of_unknown_and_terminal_orders_is_rejected_with_the_reason() -> None:
    wire = Wire()
    wire.scene.cancel(12345)
    assert (wire.scene.kinds[-1], wire.scene.reports[-1].reason) == ("CANCEL_REJECTED", Reason.UNKNOWN_ORDER)
    wire.say(Event.ACCEPTED)
    wire.say(Event.CANCELED)
    wire.scene.cancel(wire.order)
    assert (wire.scene.kinds[-1], wire.scene.reports[-1].reason) == ("CANCEL_REJECTED", Reason.ORDER_TERMINAL)


def test_terminal_orders_are_kept_in_a_bounded_ring() -> None:
    scene = Scene(terminal_capacity=3)
    ids = []
    for _ in range(5):
        order = scene.new(BUY, 1000, 1)
        scene.cancel(order)
        ids.append(order.client_order_id)
    assert [scene.oms.knows(i) for i in ids] == [False, False, True, True, True]


def test_open_orders_are_found_by_instrument_actor_worker_and_incarnation() -> None:
    scene = Scene(instruments=2)
    a = scene.new(BUY, 1000, 1)
    b = scene.new(BUY, 1000, 1, instrument_id=1, actor_id=2)
    c = scene.new(BUY, 990, 1, incarnation=2)
    assert scene.oms.open_by_instrument(0) == [a, c] and scene.oms.open_by_actor(2) == [b]
    assert scene.oms.open_by_worker(3) == [a, b, c] and scene.oms.open_by_worker(3, 2) == [c]
    assert scene.oms.orphans(3, 2) == [a, b] and scene.oms.orphans(3, 0) == [a, b, c]
    assert scene.oms.overdue(10**9, 1) == []
