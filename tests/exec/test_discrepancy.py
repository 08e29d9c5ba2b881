"""After the repairs both views agree, a fill is booked once, and silence never becomes REJECTED."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exec.discrepancy import (
    Discrepancy,
    DiscrepancyKind,
    OurOrder,
    OurView,
    Repair,
    VenueAnswer,
    VenueFill,
    VenueOrder,
    VenueView,
    compare,
    our_order,
)
from exec.entries import read_discrepancy
from exec.lifecycle import Event
from exec.order import Order, make_client_order_id
from exec.repairs import repair
from exec.session import VenueReport
from shm.enums import JournalKind, OrderStatus, ReportKind, Side
from shm.errors import JournalError
from tests.exec.scene import BUY, EPOCH, SELL, Scene, check_ledger, check_order

KINDS = DiscrepancyKind
LATER = 10**12


def names(found: list[Discrepancy]) -> list[tuple[str, str]]:
    return [(KINDS(d.kind).name, Repair(d.repair).name) for d in found]


def mine(status: OrderStatus = OrderStatus.NEW, **changes: object) -> OurOrder:
    row = OurOrder(5, 0, BUY, int(status), 1000, 10, 0, request_ns=1, aliases=(5, 6))
    return row._replace(**changes)  # type: ignore[arg-type]


def theirs(**changes: int) -> VenueOrder:
    return VenueOrder(5, 77, 0, BUY, 1000, 10, 0)._replace(**changes)


FILL = VenueFill(0, 900, 5, BUY, 1000, 4)


@pytest.mark.parametrize(
    ("ours", "venue", "due"),
    [
        (OurView([mine()]), VenueView(LATER, [theirs()]), []),
        (OurView([mine()]), VenueView(LATER, [theirs(client_order_id=6)]), []),
        (OurView(), VenueView(LATER, [theirs()]), [("GHOST_ORDER", "CANCEL")]),
        (OurView(), VenueView(LATER, [theirs(client_order_id=0)]), [("GHOST_ORDER", "CANCEL")]),
        (
            OurView([mine(OrderStatus.CANCELED, is_terminal=True)]),
            VenueView(LATER, [theirs()]),
            [("GHOST_ORDER", "CANCEL")],
        ),
        (OurView([mine()]), VenueView(LATER), [("LOST_ORDER", "ASK")]),
        (OurView([mine(OrderStatus.UNKNOWN)]), VenueView(LATER), [("LOST_ORDER", "ASK")]),
        (OurView([mine(request_ns=LATER - 5)]), VenueView(LATER), []),
        (OurView([mine(request_ns=LATER + 5)]), VenueView(LATER), []),
        (
            OurView([mine(OrderStatus.UNKNOWN)]),
            VenueView(LATER, [theirs()]),
            [("UNKNOWN_RESOLVED", "TAKE_WORD")],
        ),
        (
            OurView([mine(OrderStatus.PENDING_NEW)]),
            VenueView(LATER, [theirs()]),
            [("MISSED_ACK", "TAKE_WORD")],
        ),
        (OurView([mine()]), VenueView(LATER, [theirs(order_units=7)]), [("TERMS_DRIFT", "TAKE_WORD")]),
        (OurView([mine()]), VenueView(LATER, [theirs(price_units=990)]), [("TERMS_DRIFT", "TAKE_WORD")]),
        (OurView([mine(is_pending_replace=True)]), VenueView(LATER, [theirs(order_units=7)]), []),
        (
            OurView([mine()]),
            VenueView(LATER, [theirs(filled_units=4)], fills=[FILL]),
            [("MISSED_FILL", "BOOK_FILL")],
        ),
        (
            OurView([mine(filled_units=4)], booked={(0, 900)}),
            VenueView(LATER, [theirs(filled_units=4)], fills=[FILL, FILL]),
            [("DUPLICATE_FILL", "NONE")],
        ),
        (OurView([mine()]), VenueView(LATER, [theirs(filled_units=4)]), [("FILL_GAP", "ASK_FILLS")]),
        (
            OurView([mine(order_units=4)]),
            VenueView(LATER, fills=[FILL]),
            [("MISSED_FILL", "BOOK_FILL")],
        ),
        (
            OurView([mine(OrderStatus.UNKNOWN)]),
            VenueView(LATER, answers={6: VenueAnswer(Event.NOT_FOUND)}),
            [("UNKNOWN_RESOLVED", "TAKE_WORD")],
        ),
        (
            OurView([mine()]),
            VenueView(LATER, answers={5: VenueAnswer(Event.NOT_FOUND)}),
            [("LOST_ORDER", "ASK")],
        ),
        (
            OurView([mine()]),
            VenueView(LATER, answers={5: VenueAnswer(Event.CANCELED)}),
            [("MISSED_END", "TAKE_WORD")],
        ),
        (
            OurView([mine()]),
            VenueView(LATER, answers={5: VenueAnswer(Event.CANCELED, filled_units=3)}),
            [("FILL_GAP", "ASK_FILLS")],
        ),
        (OurView([mine()]), VenueView(LATER, answers={5: VenueAnswer(Event.ACCEPTED)}), []),
        (
            OurView(positions={0: 3}, prices={0: 1000}),
            VenueView(LATER, positions={0: 5}),
            [("POSITION_DRIFT", "BOOK_DRIFT")],
        ),
        (
            OurView(positions={0: 3}, prices={0: 1000}),
            VenueView(LATER, positions={}, has_all_fills=False),
            [("POSITION_DRIFT", "ASK_FILLS")],
        ),
        (OurView(positions={0: 3}), VenueView(LATER, positions={}), [("POSITION_DRIFT", "ASK_FILLS")]),
        (OurView(positions={0: 3}), VenueView(LATER, positions=None), []),
        (
            OurView(positions={0: 1}),
            VenueView(LATER, fills=[FILL], positions={0: 5}),
            [("MISSED_FILL", "BOOK_FILL")],
        ),
        (
            OurView(balances={"USDT": 100, "BTC": 5}),
            VenueView(LATER, balances={"USDT": 111, "BTC": 6, "ETH": 9}),
            [("BALANCE_DRIFT", "TAKE_BALANCE")],
        ),
    ],
)
def test_each_difference_has_its_name_and_its_repair(
    ours: OurView, venue: VenueView, due: list[tuple[str, str]]
) -> None:
    assert names(compare(ours, venue, balance_tolerance_e8=2)) == due


def test_a_drift_waits_for_the_fills_that_are_known_to_be_missing() -> None:
    found = compare(
        OurView([mine()], positions={0: 0}, prices={0: 1000}),
        VenueView(LATER, [theirs(filled_units=4)], positions={0: 4}),
    )
    assert names(found) == [("FILL_GAP", "ASK_FILLS"), ("POSITION_DRIFT", "ASK_FILLS")]


class Venue:
    """The truth: a venue that fills, cancels and ends orders by itself, and remembers all of it."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.open: dict[int, VenueOrder] = {}
        self.ended: dict[int, VenueAnswer] = {}
        self.fills: list[VenueFill] = []
        self.position = 0

    def send(self, order: Order) -> None:
        row = VenueOrder(
            order.client_order_id, len(self.open) + len(self.ended) + 1, order.instrument_id, order.side,
            order.price_units, order.order_units, 0,
        )  # fmt: skip
        self.open[row.client_order_id] = row

    def live(self) -> list[VenueReport]:
        """Something happens to some order; what the venue says of it."""
        if not self.open:
            return []
        row = self.chance.choice(list(self.open.values()))
        if self.chance.random() < 0.25:
            word = self.chance.choice([Event.CANCELED, Event.EXPIRED])
            del self.open[row.client_order_id]
            self.ended[row.client_order_id] = VenueAnswer(int(word), row.filled_units, row.venue_order_id)
            return [self._report(row, word)]
        units = self.chance.randrange(1, row.order_units - row.filled_units + 1)
        fill = VenueFill(
            row.instrument_id, len(self.fills) + 1, row.client_order_id, row.side, row.price_units, units, 7
        )
        self.fills.append(fill)
        self.position += units if row.side == BUY else -units
        row = row._replace(filled_units=row.filled_units + units)
        self.open[row.client_order_id] = row
        if row.filled_units == row.order_units:
            del self.open[row.client_order_id]
            self.ended[row.client_order_id] = VenueAnswer(
                int(Event.FILL_ALL), row.filled_units, row.venue_order_id
            )
        report = self._report(row, Event.FILL_PART)
        report.last_units, report.last_price_units, report.trade_id = units, row.price_units, fill.trade_id
        report.fee_units = 7
        return [report]

    def _report(self, row: VenueOrder, event: Event) -> VenueReport:
        return VenueReport(
            event, row.client_order_id, row.instrument_id, row.side, venue_order_id=row.venue_order_id
        )

    def view(self, asked: set[int], now_ns: int) -> VenueView:
        listed = list(self.fills)
        if listed and self.chance.random() < 0.5:
            listed.insert(self.chance.randrange(len(listed)), self.chance.choice(listed))
        return VenueView(
            now_ns,
            list(self.open.values()),
            {i: self.ended.get(i, VenueAnswer(int(Event.NOT_FOUND))) for i in asked if i not in self.open},
            listed,
            positions={0: self.position},
        )


def our_view(scene: Scene, booked: set[tuple[int, int]]) -> OurView:
    return OurView(
        [our_order(order) for order in scene.oms], booked, {0: scene.ledger.position_units(0)}, {0: 1000}
    )


def booked_by(scene: Scene) -> set[tuple[int, int]]:
    fills = [(r.instrument_id, r.trade_id) for r in scene.reports if r.kind == ReportKind.FILL]
    assert max(Counter(fills).values(), default=1) == 1, "a fill is booked once"
    return set(fills)


def lossy_run(seed: int) -> tuple[Scene, Venue]:
    """Orders whose commands and reports are lost, doubled or late, ghosts included."""
    chance = random.Random(seed)
    scene, venue = Scene(), Venue(chance)
    scene.ledger.mark(0, 1000)
    for _ in range(25):
        scene.now_ns += 10
        if chance.random() < 0.5:
            intent = scene.intent(
                side=chance.choice([BUY, SELL]), price_units=chance.choice([990, 1000]),
                quantity_units=chance.randrange(1, 9),
            )  # fmt: skip
            order = scene.oms.accept_new(intent, scene.now_ns)
            scene.oms.mark_sent(order, scene.now_ns)
            if chance.random() < 0.8:
                venue.send(order)
                if chance.random() < 0.6:
                    word = VenueReport(Event.ACCEPTED, order.client_order_id, 0, order.side)
                    scene.oms.apply_report(word, scene.now_ns)
        for report in venue.live():
            for _ in range(chance.choice([0, 0, 1, 1, 2])):
                scene.oms.apply_report(report, scene.now_ns)
        if chance.random() < 0.1:
            scene.oms.disconnected(scene.now_ns)
    if chance.random() < 0.3:
        stranger = Order(make_client_order_id(EPOCH, 9, 1, 1), 0, BUY, 980, 3)
        venue.send(stranger)
    return scene, venue


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_after_the_repairs_both_views_agree(seed: int) -> None:
    scene, venue = lossy_run(seed)
    asked: set[int] = set()
    for _ in range(6):
        scene.now_ns += 10
        found = compare(our_view(scene, booked_by(scene)), venue.view(asked, scene.now_ns), grace_ns=0)
        for one in found:
            before = scene.oms.order(one.client_order_id)
            was = None if before is None else before.status
            todo = repair(one, scene.oms, scene.entries, scene.now_ns)
            if before is not None and before.status == OrderStatus.REJECTED and was != OrderStatus.REJECTED:
                assert one.word in (Event.NOT_FOUND, Event.REJECTED), "only by the venue's word"
            if todo == Repair.CANCEL:
                gone = venue.open.pop(one.client_order_id)
                venue.ended[gone.client_order_id] = VenueAnswer(int(Event.CANCELED), gone.filled_units)
            elif todo == Repair.ASK:
                asked.add(one.client_order_id)
    final = compare(our_view(scene, booked_by(scene)), venue.view(asked, scene.now_ns + 10), grace_ns=0)
    assert {name for name, _ in names(final)} <= {"DUPLICATE_FILL"}, (seed, final)
    assert scene.ledger.position_units(0) == venue.position
    assert booked_by(scene) == {(0, fill.trade_id) for fill in venue.fills}
    ours = {o.root_client_order_id: (o.order_units, o.filled_units) for o in scene.oms.open_orders()}
    assert ours == {i: (row.order_units, row.filled_units) for i, row in venue.open.items()}
    for order in scene.oms:
        check_order(order)
    check_ledger(scene.oms, scene.ledger)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_without_an_answer_nothing_ends_but_by_fills(seed: int) -> None:
    scene, venue = lossy_run(seed)
    for _ in range(3):
        scene.now_ns += 10
        before = {o.root_client_order_id for o in scene.oms.open_orders()}
        for one in compare(our_view(scene, booked_by(scene)), venue.view(set(), scene.now_ns), grace_ns=0):
            repair(one, scene.oms, scene.entries, scene.now_ns)
        for order in scene.oms:
            if order.root_client_order_id in before and order.is_terminal:
                assert order.status == OrderStatus.FILLED


def test_each_discrepancy_is_journaled_before_its_repair() -> None:
    scene = Scene()
    order = scene.new(BUY, 1000, 5)
    found = Discrepancy(
        int(KINDS.MISSED_FILL), int(Repair.BOOK_FILL), 0, order.client_order_id, 9, BUY, int(Event.FILL_PART),
        price_units=1000, units=2, trade_id=44, fee_e8=-3, liquidity=1, venue_utc_ns=5, asset="USDT",
    )  # fmt: skip
    scene.journal.entries.clear()
    assert repair(found, scene.oms, scene.entries, scene.now_ns) == Repair.NONE
    assert [e.kind for e in scene.journal.entries] == [JournalKind.DISCREPANCY, JournalKind.REPORT]
    assert read_discrepancy(scene.journal.entries[0].payload) == found
    assert order.filled_units == 2 and scene.reports[-1].trade_id == 44


def test_a_full_journal_stops_no_repair_but_a_drift_that_a_restart_would_not_know() -> None:
    scene = Scene()
    order = scene.new(BUY, 1000, 5)
    scene.oms.on_report = lambda record: None
    scene.journal.fails = JournalError("full")
    lost = Discrepancy(int(KINDS.LOST_ORDER), int(Repair.ASK), 0, order.client_order_id)
    assert repair(lost, scene.oms, scene.entries, 1) == Repair.ASK
    assert order.status == OrderStatus.UNKNOWN
    drift = Discrepancy(
        int(KINDS.POSITION_DRIFT), int(Repair.BOOK_DRIFT), 0, side=int(Side.BUY), price_units=1000, units=3
    )
    assert repair(drift, scene.oms, scene.entries, 1) == Repair.ASK_FILLS
    assert scene.ledger.position_units(0) == 0
