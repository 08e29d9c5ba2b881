"""A hostile venue against the OMS: reports lost, doubled, reordered, contradicting, for unknown orders.

2,000 sequences by default; `RINGLANE_FUZZ_SEQUENCES`, or the markers `prove` (100,000) and `soak` (1,000,000)
for more.
"""

from __future__ import annotations

import os
import random

import pytest

from exec.lifecycle import Event
from exec.order import TERMINAL, Order
from exec.session import VenueReport
from shm.enums import IntentKind, OrderStatus, ReportKind
from tests.exec.scene import BUY, SELL, Scene, check_ledger, check_order

WORDS = [
    Event.ACCEPTED,
    Event.ACCEPTED,
    Event.REJECTED,
    Event.CANCELED,
    Event.CANCEL_REJECTED,
    Event.REPLACED,
    Event.REPLACE_REJECTED,
    Event.EXPIRED,
    Event.NOT_FOUND,
]


class Hostile:
    """One random sequence and its independent bookkeeping."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.scene = Scene(terminal_capacity=4)
        self.scene.session.on_timer = lambda now_ns: None  # type: ignore[method-assign]
        self.orders: list[Order] = []
        self.booked: dict[tuple[int, int], int] = {}
        self.ended: dict[int, int] = {}
        self.unknown_without_word: set[int] = set()

    def step(self) -> None:
        """One thing happens."""
        chance, scene = self.chance, self.scene
        what = chance.choices(
            ["new", "fill", "word", "cancel", "replace", "lost", "timeout"], [2, 5, 6, 2, 2, 1, 1]
        )[0]
        order = chance.choice(self.orders) if self.orders else None
        if what == "new" or order is None:
            self.orders.append(
                scene.new(chance.choice([BUY, SELL]), chance.randrange(90, 110) * 10, chance.randrange(1, 20))
            )
        elif what == "fill":
            self.fill(order)
        elif what == "word":
            self.word(order)
        elif what == "cancel":
            scene.cancel(chance.choice(order.aliases))
        elif what == "replace":
            scene.replace(order, chance.randrange(90, 110) * 10, chance.randrange(1, 25))
        elif what == "lost":
            scene.oms.disconnected(scene.now_ns)
        else:
            scene.oms.timed_out(order, scene.now_ns)
        scene.now_ns += 1

    def fill(self, order: Order) -> None:
        """A fill, sometimes a repeated one; each (order, trade) moves the position once while it is kept."""
        chance = self.chance
        trade_id, units = chance.randrange(1, 6), chance.randrange(1, 8)
        kept = self.scene.oms.order(order.root_client_order_id) is order
        key = (order.root_client_order_id, trade_id) if kept else (-1, trade_id)
        if key not in self.booked and not (kept and trade_id in (order.trade_ids or ())):
            self.booked[key] = units if order.side == BUY else -units
        self.scene.oms.apply_report(
            VenueReport(
                Event.FILL_PART,
                order.root_client_order_id,
                0,
                order.side,
                trade_id=trade_id,
                last_units=units,
                last_price_units=1000,
            ),
            self.scene.now_ns,
        )

    def word(self, order: Order) -> None:
        """Any other word, true or not."""
        chance = self.chance
        event = chance.choice(WORDS)
        terms = {}
        if event in (Event.ACCEPTED, Event.REPLACED) and chance.random() < 0.5:
            terms = {"price_units": chance.randrange(90, 110) * 10, "order_units": chance.randrange(1, 25)}
        self.scene.oms.apply_report(
            VenueReport(event, order.root_client_order_id, 0, order.side, **terms), self.scene.now_ns
        )

    def check(self) -> None:
        """Everything that must hold after every step."""
        scene = self.scene
        for order in self.orders:
            check_order(order)
            root = order.root_client_order_id
            if root in self.ended:
                before = self.ended[root]
                assert order.status == before or (
                    order.status == OrderStatus.FILLED
                    and before in (OrderStatus.CANCELED, OrderStatus.EXPIRED)
                )
            if order.status in TERMINAL:
                self.ended[root] = order.status
        check_ledger(scene.oms, scene.ledger)
        assert scene.ledger.position_units(0) == sum(self.booked.values())
        for report in scene.reports:
            if report.kind == ReportKind.REJECTED:
                assert report.order_status == OrderStatus.REJECTED
        scene.reports.clear()

    def settle(self) -> None:
        """The venue's last word on every open order ends it, whatever was before; nothing stays reserved."""
        scene = self.scene
        for order in scene.oms.open_orders():
            word = self.chance.choice([Event.CANCELED, Event.EXPIRED, Event.NOT_FOUND])
            if word == Event.NOT_FOUND:
                scene.oms.lose(order, scene.now_ns)
            report = VenueReport(word, order.root_client_order_id, 0, order.side)
            scene.oms.apply_report(report, scene.now_ns)
            assert order.is_terminal, order
        assert scene.oms.open_count == 0
        self.check()


def run(seed: int) -> None:
    """One sequence; the seed reproduces it."""
    hostile = Hostile(seed)
    for _ in range(hostile.chance.randrange(5, 30)):
        hostile.step()
        hostile.check()
    hostile.settle()


def run_all(first: int, count: int) -> None:
    """Sequences of consecutive seeds; a failure names its own."""
    for seed in range(first, first + count):
        try:
            run(seed)
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise


def test_no_sequence_of_reports_breaks_the_books() -> None:
    run_all(0, int(os.environ.get("RINGLANE_FUZZ_SEQUENCES", "2000")))


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_no_long_campaign_breaks_the_books() -> None:
    run_all(10_000, 100_000)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(10))
def test_no_campaign_of_a_million_breaks_the_books(part: int) -> None:
    run_all(1_000_000 + part * 100_000, 100_000)


def test_our_own_doubt_never_rejects() -> None:
    for seed in range(50):
        hostile = Hostile(seed)
        for _ in range(5):
            hostile.step()
        hostile.scene.oms.disconnected(0)
        unknown = [o for o in hostile.orders if o.status == OrderStatus.UNKNOWN]
        for order in unknown:
            hostile.scene.oms.timed_out(order, 1)
            hostile.scene.oms.not_sent(order, 1)
            hostile.scene.process(
                hostile.scene.intent(IntentKind.CANCEL, orig_client_order_id=order.client_order_id)
            )
            assert order.status == OrderStatus.UNKNOWN
