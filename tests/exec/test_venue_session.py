"""A venue session in virtual time against a venue that loses, repeats, delays, refuses and forgets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exec.client_ids import encode
from exec.order_protocol import Channel, Lane
from exec.venue_commands import NoRates
from exec.venue_states import TABLE, SessionEvent, SessionState
from shm.enums import JournalKind, OrderStatus, Reason, ReportKind, Side
from tests.exec.venue_rig import MS, ORDERS, PRIVATE, SECOND, TAG, AtVenue, Rig

S = OrderStatus


def kinds(rig: Rig) -> list[ReportKind]:
    return [ReportKind(report.kind) for report in rig.reports]


# ---- the ordinary way ---------------------------------------------------------------------------------


def test_every_pair_of_state_and_event_is_decided() -> None:
    assert set(TABLE) == {(state, event) for state in SessionState for event in SessionEvent}
    assert all(
        TABLE[SessionState.STOPPED, e] is SessionState.STOPPED
        for e in SessionEvent
        if e is not SessionEvent.END
    )


def test_a_session_is_up_only_after_clock_key_login_and_comparison() -> None:
    rig = Rig()
    rig.session.start(rig.now_ns)
    assert not rig.session.accepts(1, 0)
    rig.run(20 * MS)
    assert rig.session.is_connected
    assert rig.venue.methods[:2] == ["GET /fapi/v1/time", "POST /fapi/v1/listenKey"]
    assert set(rig.venue.methods[2:]) == {"GET /fapi/v1/openOrders", "GET /fapi/v3/positionRisk"}
    assert rig.opened[PRIVATE].endswith("/key1")


def test_an_order_lives_and_ends_as_at_the_venue() -> None:
    rig = Rig().up()
    order = rig.buy(10)
    rig.run(SECOND)
    assert rig.status(order) is S.NEW and order.venue_order_id
    rig.venue.fill(rig.at_venue(order).client_id, 4)
    rig.run(SECOND)
    assert rig.status(order) is S.PARTIALLY_FILLED
    rig.replace(order, 12, 10_010)
    rig.run(SECOND)
    assert (order.order_units, order.price_units, order.leaves_units) == (12, 10_010, 8)
    rig.cancel(order)
    rig.run(SECOND)
    assert rig.status(order) is S.CANCELED
    assert rig.oms.statistics.breaches == 0
    assert rig.session.counts.stale_streams == 0
    rig.agrees()


class Purse(NoRates):
    """Rates that can be out of money for a while."""

    def __init__(self) -> None:
        self.wait_ns = 0
        self.stops: list[tuple[str, int]] = []

    def take(self, rates: object, lane: int, instrument_id: int, now_ns: int) -> int:
        del rates, lane, instrument_id, now_ns
        return self.wait_ns

    def on_refused(self, code: str, rates: object, instrument_id: int, until_ns: int) -> bool:
        del rates, instrument_id
        self.stops.append((code, until_ns))
        return True


def test_commands_leave_at_once_and_what_had_to_wait_leaves_in_batches() -> None:
    purse = Purse()
    rig = Rig(rates=purse).up()
    orders = [rig.buy(1, 10_000 + i) for i in range(8)]
    assert len(rig.sent_frames) == 8  # before the duty cycle ends
    purse.wait_ns = 20 * MS
    orders += [rig.buy(1, 20_000 + i) for i in range(12)]
    rig.run(30 * MS)
    purse.wait_ns = 0
    rig.run(SECOND)
    assert rig.venue.methods.count("order.place") == 8
    assert rig.venue.methods.count("POST /fapi/v1/batchOrders") == 3
    assert all(rig.status(o) is S.NEW for o in orders)
    rig.cut(ORDERS)
    rig.run(1 * MS)
    for order in orders:
        rig.cancel(order)
    rig.run(5 * SECOND)
    assert rig.venue.methods.count("DELETE /fapi/v1/batchOrders") == 2
    assert not rig.oms.open_count
    rig.agrees()


def test_a_cancel_never_overtakes_its_order() -> None:
    purse = Purse()
    rig = Rig(rates=purse).up()
    order = rig.buy()
    rig.cancel(order)
    purse.wait_ns = 20 * MS
    batch = [rig.buy(1, 20_000 + i) for i in range(6)]
    for one in batch:
        rig.cancel(one)
    rig.run(30 * MS)
    purse.wait_ns = 0
    rig.run(SECOND)
    assert not rig.oms.open_count
    assert ReportKind.CANCEL_REJECTED not in kinds(rig)
    rig.agrees()


def test_a_refusal_is_a_rejection_with_our_reason() -> None:
    rig = Rig().up()
    rig.venue.script.refuse = [(400, -5022, "would take"), (400, -2019, "Margin is insufficient.")]
    first, second = rig.buy(), rig.buy()
    rig.run(SECOND)
    assert (rig.status(first), first.reason) == (S.REJECTED, Reason.POST_ONLY_WOULD_CROSS)
    assert (rig.status(second), second.reason) == (S.REJECTED, Reason.VENUE_MARGIN)
    assert rig.session.is_connected
    rig.agrees()


# ---- what goes wrong ----------------------------------------------------------------------------------


def test_a_lost_acknowledgment_is_asked_about_and_never_guessed() -> None:
    rig = Rig().up()
    rig.venue.script.lose_answers = 1
    rig.venue.script.mute_stream = True
    order = rig.buy()
    rig.run(1_900 * MS)
    assert rig.status(order) is S.PENDING_NEW
    rig.run(200 * MS)
    assert rig.status(order) is S.NEW
    assert ReportKind.UNKNOWN in kinds(rig)
    assert ReportKind.REJECTED not in kinds(rig)


def test_an_order_that_never_arrived_is_rejected_only_once_it_can_not_arrive_any_more() -> None:
    rig = Rig(options={"order_window_ms": 2_000}).up()
    rig.venue.script.lose_requests = 1
    order = rig.buy()
    rig.run(2_400 * MS)
    # Asked meanwhile, and not found; but an order may be two seconds late, and clocks differ.
    assert rig.session.counts.questions >= 1
    assert rig.status(order) is S.UNKNOWN
    rig.run(3 * SECOND)
    assert (rig.status(order), order.reason) == (S.REJECTED, Reason.NOT_RECEIVED)
    rig.agrees()


def test_an_order_on_a_slow_way_is_never_taken_for_lost() -> None:
    rig = Rig(options={"order_window_ms": 2_000}).up()
    rig.venue.script.delay_requests_ns = 1_950 * MS
    order = rig.buy()
    rig.run(6 * SECOND)
    assert rig.status(order) is S.NEW
    assert ReportKind.REJECTED not in kinds(rig)
    rig.agrees()


def test_an_order_that_arrives_too_late_is_refused_by_the_venue_itself() -> None:
    rig = Rig().up()
    rig.venue.script.delay_requests_ns = 2_100 * MS
    order = rig.buy()
    rig.run(2_050 * MS)
    rig.venue.script.delay_requests_ns = 0
    rig.run(6 * SECOND)
    assert rig.status(order) is S.REJECTED
    assert not rig.venue.orders
    rig.agrees()


def test_a_fill_before_the_acknowledgment_is_booked_once() -> None:
    rig = Rig().up()
    rig.venue.script.fill_before_ack = 10
    rig.venue.script.answer_ns = 5 * MS
    order = rig.buy(10)
    rig.run(SECOND)
    assert rig.status(order) is S.FILLED
    assert kinds(rig).count(ReportKind.FILL) == 1
    rig.agrees()


def test_repeated_reports_change_nothing() -> None:
    rig = Rig().up()
    rig.venue.script.duplicate_stream = True
    order = rig.buy(10)
    rig.run(SECOND)
    rig.venue.fill(rig.at_venue(order).client_id, 3)
    rig.replace(order, 20, 10_010)
    rig.run(SECOND)
    rig.cancel(order)
    rig.run(SECOND)
    assert kinds(rig).count(ReportKind.FILL) == 1
    assert kinds(rig).count(ReportKind.REPLACED) == 1
    assert kinds(rig).count(ReportKind.CANCELED) == 1
    assert rig.oms.statistics.breaches == 0
    rig.agrees()


def test_a_socket_lost_between_order_and_acknowledgment_leaves_nothing_in_doubt() -> None:
    rig = Rig().up()
    resting = rig.buy(5, 9_000)
    rig.run(SECOND)
    rig.venue.script.answer_ns = rig.venue.script.stream_ns = 20 * MS
    order = rig.buy(10)
    rig.run(5 * MS)
    rig.cut(ORDERS)
    rig.run(1 * MS)
    assert rig.status(resting) is S.UNKNOWN and rig.status(order) is S.UNKNOWN
    assert rig.session.state is SessionState.CONNECTING
    late = rig.buy(1)
    assert (rig.status(late), late.reason) == (S.REJECTED, Reason.NOT_RECEIVED)
    rig.run(5 * SECOND)
    assert rig.session.is_connected
    assert rig.status(order) is S.NEW and rig.status(resting) is S.NEW
    rig.agrees()


def test_fills_and_ends_missed_while_disconnected_are_found() -> None:
    rig = Rig().up()
    orders = [rig.buy(10, 10_000 + i) for i in range(3)]
    rig.run(SECOND)
    rig.may_connect = False
    rig.cut(PRIVATE)
    rig.run(10 * MS)
    rig.venue.fill(rig.at_venue(orders[0]).client_id, 10)
    rig.venue.fill(rig.at_venue(orders[1]).client_id, 4)
    rig.venue.execute(
        "order.cancel", {"symbol": "S0", "origClientOrderId": rig.at_venue(orders[1]).client_id}
    )
    rig.run(SECOND)
    rig.may_connect = True
    rig.run(5 * SECOND)
    assert [rig.status(o) for o in orders] == [S.FILLED, S.CANCELED, S.NEW]
    assert orders[1].filled_units == 4
    assert rig.session.is_connected
    rig.agrees()


def test_a_cancel_given_while_disconnected_goes_first_when_the_venue_is_back() -> None:
    rig = Rig().up()
    order = rig.buy()
    rig.run(SECOND)
    rig.may_connect = False
    rig.cut(ORDERS)
    rig.run(10 * MS)
    rig.cancel(order)
    rig.run(SECOND)
    assert rig.at_venue(order).is_open
    rig.may_connect = True
    before = len(rig.venue.methods)
    rig.run(5 * SECOND)
    sent = [m for m in rig.venue.methods[before:] if m.startswith("order.")]
    assert sent[0] == "order.cancel"
    assert rig.status(order) is S.CANCELED
    rig.agrees()


def test_a_reject_storm_leaves_orders_rejected_and_the_session_up() -> None:
    rig = Rig().up()
    rig.venue.script.refuse = [(400, -2010, "rejected")] * 40
    orders = []
    for i in range(40):
        orders.append(rig.buy(1, 10_000 + i))
        rig.run(1 * MS)
    rig.run(SECOND)
    assert {rig.status(o) for o in orders} == {S.REJECTED}
    assert rig.session.is_connected and not rig.oms.open_count
    rig.agrees()


def test_a_slow_cancel_is_asked_about_and_ends() -> None:
    rig = Rig().up()
    order = rig.buy()
    rig.run(SECOND)
    rig.venue.script.delay_requests_ns = 1_900 * MS
    rig.venue.script.answer_ns = 500 * MS
    rig.cancel(order)
    rig.run(10 * SECOND)
    assert rig.status(order) is S.CANCELED
    rig.agrees()


def test_a_lost_cancel_is_told_so_that_it_can_be_sent_again() -> None:
    rig = Rig().up()
    order = rig.buy()
    rig.run(SECOND)
    rig.venue.script.lose_requests = 1
    rig.cancel(order)
    rig.run(4 * SECOND)
    assert rig.status(order) is S.NEW
    assert ReportKind.CANCEL_REJECTED in kinds(rig)
    rig.cancel(order)
    rig.run(SECOND)
    assert rig.status(order) is S.CANCELED


def test_a_stream_that_tells_nothing_is_found_and_replaced() -> None:
    """A stale listen key: the socket stands and commands are acknowledged, but no event comes."""
    rig = Rig().up()
    rig.venue.script.mute_stream = True
    order = rig.buy()
    rig.run(SECOND)
    rig.venue.fill(rig.at_venue(order).client_id, 10)
    rig.run(2_500 * MS)
    assert rig.session.counts.stale_streams == 1
    rig.venue.script.mute_stream = False
    rig.run(5 * SECOND)
    assert rig.status(order) is S.FILLED
    assert rig.venue.listen_keys == 2 and rig.session.is_connected
    rig.agrees()


def test_an_expired_listen_key_costs_a_relogin_and_nothing_else() -> None:
    rig = Rig().up()
    order = rig.buy()
    rig.run(SECOND)
    rig.deliver(PRIVATE, {"e": "listenKeyExpired", "listenKey": "key1"}, 0)
    rig.run(5 * SECOND)
    assert rig.opened[PRIVATE].endswith("/key2") and rig.session.is_connected
    assert rig.status(order) is S.NEW
    rig.agrees()


def test_a_listen_key_is_prolonged_and_a_refusal_makes_a_new_one() -> None:
    rig = Rig().up()
    rig.run(1_900 * SECOND)
    assert rig.venue.methods.count("PUT /fapi/v1/listenKey") == 1
    rig.venue.script.key_expires = True
    rig.run(1_900 * SECOND)
    assert rig.opened[PRIVATE].endswith("/key2") and rig.session.is_connected


def test_a_clock_that_is_off_is_measured_and_the_cancel_goes_out_again() -> None:
    rig = Rig().up()
    order = rig.buy()
    rig.run(SECOND)
    rig.venue.skew_ns = 5 * SECOND
    rig.cancel(order)
    rig.run(2 * SECOND)
    assert rig.status(order) is S.CANCELED
    assert rig.session.counts.clock_resyncs >= 1
    assert abs(rig.session.offset_ns - 5 * SECOND) < 10 * MS


def test_an_unknown_outcome_is_asked_about() -> None:
    rig = Rig().up()
    rig.venue.script.refuse = [(503, -1007, "Timeout waiting for response from backend server.")]
    order = rig.buy()
    rig.run(100 * MS)
    assert rig.status(order) is S.UNKNOWN
    rig.run(6 * SECOND)
    assert (rig.status(order), order.reason) == (S.REJECTED, Reason.NOT_RECEIVED)
    rig.agrees()


def test_a_refused_key_stops_the_session_for_good() -> None:
    rig = Rig().up()
    rig.venue.script.refuse = [(401, -2015, "Invalid API-key, IP, or permissions for action.")]
    order = rig.buy()
    rig.run(60 * SECOND)
    assert rig.status(order) is S.REJECTED
    assert rig.session.state is SessionState.STOPPED
    assert not rig.session.accepts(1, 0) and not rig.session.accepts(2, 0)
    assert any(name == "refused" for name, _ in rig.events)


def test_a_rate_limit_is_obeyed_and_cancels_come_back_by_themselves() -> None:
    purse = Purse()
    rig = Rig(rates=purse).up()
    order = rig.buy()
    rig.run(SECOND)
    rig.venue.script.refuse = [(429, -1003, "Too many requests"), (429, -1003, "Too many requests")]
    late = rig.buy(1)
    rig.cancel(order)
    rig.run(30 * SECOND)
    assert (rig.status(late), late.reason) == (S.REJECTED, Reason.VENUE_LIMIT)
    assert rig.status(order) is S.CANCELED
    assert [code for code, _ in purse.stops] == ["-1003", "-1003"]


def test_what_can_not_be_paid_for_waits_a_little_and_cancels_wait_on() -> None:
    purse = Purse()
    rig = Rig(rates=purse).up()
    resting = rig.buy()
    rig.run(SECOND)
    purse.wait_ns = 20 * MS
    late = rig.buy(1)
    rig.cancel(resting)
    rig.run(SECOND)
    assert (rig.status(late), late.reason) == (S.REJECTED, Reason.VENUE_LIMIT)
    assert rig.status(resting) is S.PENDING_CANCEL
    purse.wait_ns = 0
    rig.run(SECOND)
    assert rig.status(resting) is S.CANCELED
    assert len(rig.venue.orders) == 1


# ---- reconciliation -----------------------------------------------------------------------------------


def test_an_order_of_ours_that_nobody_knows_is_canceled_and_manual_ones_are_left() -> None:
    rig = Rig()
    ghost = AtVenue("S0", encode(0xABC, TAG), 7, "BUY", 10_000, 5, "LIMIT", "GTC")
    manual = AtVenue("S0", "web_1", 8, "BUY", 10_000, 5, "LIMIT", "GTC")
    rig.venue.orders = {o.client_id: o for o in (ghost, manual)}
    rig.up()
    rig.run(2 * SECOND)
    assert ghost.status == "CANCELED" and manual.status == "NEW"
    assert rig.session.counts.ghosts_canceled == 1 and rig.session.counts.foreign_orders == 1
    assert any("GHOST_ORDER" in text for name, text in rig.events if name == "discrepancy")


def test_a_position_from_before_is_taken_over_and_named() -> None:
    rig = Rig()
    rig.venue.positions["S0"] = -25
    rig.up()
    assert rig.ledger.position_units(0) == -25
    assert any("POSITION_DRIFT" in text for name, text in rig.events if name == "discrepancy")


def test_a_manual_fill_is_our_position() -> None:
    rig = Rig().up()
    manual = AtVenue("S0", "web_1", 8, "BUY", 10_000, 5, "LIMIT", "GTC")
    rig.venue.orders["web_1"] = manual
    rig.venue.fill("web_1", 5)
    rig.run(SECOND)
    assert rig.ledger.position_units(0) == 5


def test_an_amendment_by_somebody_else_is_noticed() -> None:
    rig = Rig().up()
    order = rig.buy(10)
    rig.run(SECOND)
    rig.venue.execute(
        "order.modify",
        {
            "symbol": "S0",
            "origClientOrderId": rig.at_venue(order).client_id,
            "price": "90.00",
            "quantity": "0.007",
        },
    )
    rig.run(SECOND)
    assert (order.order_units, order.price_units) == (7, 9_000)
    assert rig.oms.statistics.breaches == 0


def test_the_two_views_are_compared_from_time_to_time() -> None:
    rig = Rig().up()
    order = rig.buy(10)
    rig.run(SECOND)
    rig.venue.script.mute_stream = True  # a stream that loses one event in silence
    rig.venue.fill(rig.at_venue(order).client_id, 10)
    rig.venue.script.mute_stream = False
    rig.run(70 * SECOND)
    assert rig.status(order) is S.FILLED
    rig.agrees()


# ---- frames that make no sense ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame", [b"", b"[]", b"{}", b'{"e":"ORDER_TRADE_UPDATE"}', b'{"status":200}', b"\xff"]
)
@pytest.mark.parametrize("channel", [Channel.ORDER_SOCKET, Channel.PRIVATE_STREAM])
def test_nonsense_changes_nothing(frame: bytes, channel: Channel) -> None:
    rig = Rig().up()
    order = rig.buy()
    rig.run(SECOND)
    rig.session.on_frame(frame, channel, rig.now_ns)
    rig.run(SECOND)
    assert rig.status(order) is S.NEW and rig.session.is_connected


# ---- anything at any time -----------------------------------------------------------------------------

MISHAPS = (
    "lose_requests",
    "lose_answers",
    "duplicate",
    "mute",
    "cut_orders",
    "cut_private",
    "cut_both",
    "slow",
    "unknown",
    "reject",
    "lose_rest",
    "fill_first",
    "poor",
)


def _mishap(rig: Rig, name: str, depth: int) -> None:
    script = rig.venue.script
    if name in ("lose_requests", "lose_answers", "lose_rest"):
        setattr(script, name, 1 + depth)
    elif name == "duplicate":
        script.duplicate_stream = not script.duplicate_stream
    elif name == "mute":
        script.mute_stream = not script.mute_stream
    elif name == "cut_orders":
        rig.cut(ORDERS)
    elif name == "cut_private":
        rig.cut(PRIVATE)
    elif name == "cut_both":
        rig.cut(ORDERS)
        rig.cut(PRIVATE)
    elif name == "slow":
        script.delay_requests_ns = (0, 30 * MS, 1_500 * MS)[depth % 3]
    elif name == "unknown":
        script.refuse = [(503, -1007, "Timeout")] * depth
    elif name == "reject":
        script.refuse = [(400, -2010, "no")] * depth
    elif name == "poor":
        purse = rig.session.rates
        assert isinstance(purse, Purse)
        purse.wait_ns = 0 if purse.wait_ns else 30 * MS
    elif name == "fill_first":
        script.fill_before_ack = depth % 2


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from((*MISHAPS, "new", "new", "cancel", "replace", "fill")),
            st.integers(0, 3),
            st.integers(0, 600),
        ),
        max_size=25,
    )
)
def test_whatever_happens_the_two_views_agree_in_the_end(steps: list[tuple[str, int, int]]) -> None:
    purse = Purse()
    rig = Rig(instruments=2, rates=purse).up()
    for name, depth, wait_ms in steps:
        open_orders = [o for o in rig.oms.open_orders() if not o.is_pending_cancel]
        if name == "new":
            for i in range(1 + depth * 2):
                rig.buy(4, 10_000 + i, side=int(Side.BUY if i % 2 else Side.SELL), instrument_id=i % 2)
        elif name == "cancel" and open_orders:
            rig.cancel(open_orders[depth % len(open_orders)])
        elif name == "replace" and open_orders:
            order = open_orders[depth % len(open_orders)]
            if rig.status(order) in (S.NEW, S.PARTIALLY_FILLED):
                rig.replace(order, 4 + depth, 10_020)
        elif name == "fill":
            at_venue = [o for o in rig.venue.orders.values() if o.is_open]
            if at_venue:
                rig.venue.fill(at_venue[depth % len(at_venue)].client_id, 1)
        else:
            _mishap(rig, name, depth)
        rig.run(wait_ms * MS)
    keep = rig.venue.script
    keep.lose_requests = keep.lose_answers = keep.lose_rest = keep.delay_requests_ns = (
        keep.fill_before_ack
    ) = 0
    keep.refuse.clear()
    purse.wait_ns = 0
    keep.mute_stream = keep.duplicate_stream = False
    rig.run(150 * SECOND)
    assert rig.session.is_connected, rig.events[-10:]
    assert not len(rig.session.doubts)
    assert not any(rig.status(o) is S.UNKNOWN for o in rig.oms.open_orders())
    rig.agrees()


def test_the_journal_tells_each_discrepancy() -> None:
    rig = Rig()
    rig.venue.positions["S0"] = 3
    rig.up()
    found = [e for e in rig.journal.entries if e.kind == JournalKind.DISCREPANCY]
    # First more fills are asked for, then the drift is booked.
    assert len(found) == 2


def test_a_cancel_that_the_stream_tells_before_it_is_acknowledged_makes_no_stream_stale() -> None:
    rig = Rig().up()
    order = rig.buy()
    rig.run(100 * MS)
    rig.venue.script.answer_ns = 20 * MS  # the stream takes 1 ms
    rig.cancel(order)
    rig.run(10 * SECOND)
    assert rig.status(order) is OrderStatus.CANCELED
    assert rig.session.counts.stale_streams == 0
    assert rig.session.counts.reconnects == 0


def test_an_end_in_a_frame_that_can_not_be_read_is_found_by_a_comparison() -> None:
    rig = Rig().up()
    order = rig.buy()
    rig.run(2 * SECOND)
    there = rig.at_venue(order)
    rig.venue.script.mute_stream = True
    rig.venue.fill(there.client_id, 4)
    there.status = "EXPIRED_IN_MATCH"
    rig.venue.script.mute_stream = False
    rig.session.on_frame(b'{"e":"ORDER_TRADE_UPDATE","o":{}}', PRIVATE, rig.now_ns)
    rig.run(5 * SECOND)  # long before the next regular comparison
    assert rig.status(order) is OrderStatus.EXPIRED
    rig.agrees()


def test_a_login_that_is_never_answered_is_begun_anew_on_new_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    asked = []

    def logins(channel: Channel, request_id: int, utc_ns: int) -> list[bytes]:
        del request_id, utc_ns
        asked.append(channel)
        return [b"lost"] if len(asked) <= 2 else []

    monkeypatch.setattr(rig.protocol, "logins", logins)
    monkeypatch.setattr(rig.venue, "on_frame", lambda frame: None)
    rig.session.start(rig.now_ns)
    states = []
    for _ in range(2):
        rig.run(4 * SECOND)
        states.append(rig.session.state)
    assert states == [SessionState.LOGGING_IN, SessionState.UP]
    assert len(asked) == 4


def test_cancels_again_and_again_do_not_keep_an_order_of_a_dead_process_in_doubt() -> None:
    rig = Rig().up()
    rig.venue.script.lose_requests = 1
    order = rig.buy()
    rig.run(10 * MS)
    # As a recovery leaves an order whose command never left the process before.
    order.send_ns = 0
    rig.session._new_sent_ns.clear()
    for _ in range(100):
        if order.is_terminal:
            break
        rig.cancel(order)
        rig.run(150 * MS)
    assert rig.status(order) is OrderStatus.REJECTED
    assert rig.now_ns < 10 * SECOND
    rig.agrees()


class Trickle(NoRates):
    """One question every 40 ms, 15 at once; none is left when a restart has many."""

    def __init__(self) -> None:
        self.is_scarce = False
        self.empty_ns = 0

    def take(self, rates: tuple[tuple[str, int], ...], lane: int, instrument_id: int, now_ns: int) -> int:
        del instrument_id
        if not self.is_scarce or not rates or lane != Lane.RECONCILE:
            return 0
        due_ns = max(self.empty_ns, now_ns - 15 * 40 * MS) + 40 * MS
        if due_ns > now_ns:
            return due_ns - now_ns
        self.empty_ns = due_ns
        return 0


def test_questions_that_can_be_paid_for_only_in_parts_still_come_to_an_end() -> None:
    trickle = Trickle()
    rig = Rig(rates=trickle).up()
    orders = [rig.buy(10, 10_000 + i) for i in range(40)]
    rig.run(SECOND)
    trickle.is_scarce, trickle.empty_ns = True, rig.now_ns
    rig.cut(ORDERS)
    rig.cut(PRIVATE)
    for order in orders:
        rig.venue.fill(rig.at_venue(order).client_id, 10)
    rig.run(20 * SECOND)
    assert rig.session.is_connected
    assert [rig.status(order) for order in orders] == [S.FILLED] * 40
    rig.agrees()
