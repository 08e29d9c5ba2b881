"""A small gateway without processes: instruments, ledger, OMS, paper session, an in-memory journal."""

from __future__ import annotations

from dataclasses import dataclass, field

from typing_extensions import Buffer

from exec.entries import EntryWriter
from exec.flow import process_intent
from exec.oms import Oms
from exec.order import Order, make_client_order_id
from exec.paper import PaperSession
from exec.simulator.latency import Latency
from exec.simulator.queue_model import parse_queue_model
from risk.exposure import ExposureBook
from shm.enums import IntentKind, OrderStatus, OrderType, ReportKind, Side, TimeInForce
from shm.instruments import Instrument
from shm.records import IntentRecord, ReportRecord

EPOCH = 7
BUY, SELL = int(Side.BUY), int(Side.SELL)


def linear(instrument_id: int = 0, **changes: int) -> Instrument:
    """A USD-M-like perpetual: price exponent 2, quantity exponent 3, tick 10, lot 1."""
    terms: dict[str, object] = {
        "instrument_id": instrument_id,
        "venue_id": 1,
        "price_exponent": 2,
        "quantity_exponent": 3,
        "tick_size": 10,
        "lot_size": 1,
        "maker_fee_e8": 20_000,
        "taker_fee_e8": 50_000,
        "symbol": f"S{instrument_id}",
    } | changes
    return Instrument(**terms)  # type: ignore[arg-type]


def inverse(instrument_id: int = 0) -> Instrument:
    """A coin-margined contract of 100 quote currency, price exponent 1."""
    return linear(instrument_id, is_inverse=1, multiplier=100, price_exponent=1, quantity_exponent=0)


@dataclass
class Entry:
    """One journal entry in memory."""

    sequence: int
    epoch: int
    kind: int
    append_ns: int
    payload: bytes


@dataclass
class MemoryJournal:
    """A journal that keeps entries in a list; can be told to be full."""

    epoch: int = EPOCH
    entries: list[Entry] = field(default_factory=list)
    fails: Exception | None = None

    def append(self, kind: int, payload: Buffer, now_ns: int) -> int:
        """Keep a copy."""
        if self.fails is not None:
            raise self.fails
        self.entries.append(Entry(len(self.entries) + 1, self.epoch, kind, now_ns, bytes(payload)))
        return len(self.entries)


class Scene:
    """The gateway's parts wired as its actor does, on a clock that only the test moves."""

    def __init__(
        self,
        *,
        instruments: int = 1,
        entry_latency_ns: int = 0,
        response_latency_ns: int = 0,
        feed_latency_ns: int = 0,
        queue_model: str = "",
        depth: int = 5,
        terminal_capacity: int = 1000,
        journal: MemoryJournal | None = None,
    ) -> None:
        self.now_ns = 1_000
        self.rows = {i: linear(i) for i in range(instruments)}
        self.ledger = ExposureBook(self.rows.__getitem__)
        self.reports: list[ReportRecord] = []
        self.journal = journal or MemoryJournal()
        self.entries = EntryWriter(self.journal)
        self.oms = Oms(EPOCH, self.ledger, self.on_report, terminal_capacity=terminal_capacity)
        self.session = PaperSession(
            self.oms.apply_report,
            entry=Latency(entry_latency_ns),
            response=Latency(response_latency_ns),
            feed=Latency(feed_latency_ns),
            queue=parse_queue_model(queue_model),
        )
        for row in self.rows.values():
            self.session.simulator.add_instrument(row, depth)
        self.counter = 0
        self.ring_sequence = 0
        self.sent_new: list[int] = []

    def clock(self) -> int:
        """The test's time."""
        return self.now_ns

    def on_report(self, record: ReportRecord) -> None:
        """Journal, then keep, as the gateway does before it offers to the ring."""
        self.entries.report(record, self.now_ns)
        self.reports.append(record.copy())

    def intent(self, kind: int = IntentKind.NEW, **fields: int) -> IntentRecord:
        """An intent with a fresh id; fields as in the record."""
        self.counter += 1
        values: dict[str, int] = {
            "kind": int(kind),
            "side": BUY,
            "order_type": int(OrderType.LIMIT),
            "time_in_force": int(TimeInForce.GTC),
            "actor_id": 1,
            "worker_slot": 3,
            "incarnation": 1,
            "epoch": EPOCH,
            "generation": 1,
            "client_order_id": make_client_order_id(EPOCH, 3, 1, self.counter),
            "decide_ns": self.now_ns,
        } | {name: int(value) for name, value in fields.items()}
        return IntentRecord(**values)

    def process(self, intent: IntentRecord, reason: int = 0) -> Order | None:
        """Carry out one intent."""
        self.ring_sequence += 1
        return process_intent(
            intent,
            reason,
            ring_sequence=self.ring_sequence,
            from_slot=intent.worker_slot,
            oms=self.oms,
            session=self.session,
            entries=self.entries,
            clock=self.clock,
            now_ns=self.now_ns,
        )

    def new(self, side: int, price: int, units: int, **fields: int) -> Order:
        """Send a new order and let everything due happen."""
        order = self.process(self.intent(side=side, price_units=price, quantity_units=units, **fields))
        assert order is not None
        self.settle()
        return order

    def cancel(self, order_or_id: Order | int) -> None:
        """Send a cancel and let everything due happen."""
        target = order_or_id if isinstance(order_or_id, int) else order_or_id.client_order_id
        self.process(self.intent(IntentKind.CANCEL, side=0, orig_client_order_id=target))
        self.settle()

    def replace(self, order: Order, price: int, units: int) -> int:
        """Send a replace and let everything due happen; returns the new id."""
        intent = self.intent(
            IntentKind.REPLACE,
            side=order.side,
            price_units=price,
            quantity_units=units,
            orig_client_order_id=order.client_order_id,
            instrument_id=order.instrument_id,
        )
        self.process(intent)
        self.settle()
        return intent.client_order_id

    def settle(self) -> None:
        """Do what is due now."""
        self.session.on_timer(self.now_ns)

    def book(self, bids: list[tuple[int, int]], asks: list[tuple[int, int]], instrument_id: int = 0) -> None:
        """Show a book."""
        self.session.on_book(instrument_id, bids, asks, self.now_ns)

    def trade(self, price: int, units: int, aggressor: int, instrument_id: int = 0) -> None:
        """Show a public trade."""
        self.session.on_trade(instrument_id, price, units, aggressor, self.now_ns)

    @property
    def kinds(self) -> list[str]:
        """Kinds of all reports so far."""
        return [ReportKind(r.kind).name for r in self.reports]


def check_order(order: Order) -> None:
    """Invariants of one order, whatever happened to it."""
    if order.is_terminal:
        assert order.leaves_units == 0
        assert order.reserved_units == 0 and order.reserved_product == 0
        if order.status == OrderStatus.FILLED:
            assert order.filled_units >= order.order_units
    else:
        assert order.order_units == order.filled_units + order.leaves_units, order
        assert order.reserved_units >= order.leaves_units
    assert order.filled_units >= 0 and order.leaves_units >= 0


def check_ledger(oms: Oms, ledger: ExposureBook) -> None:
    """What the ledger holds open is exactly what the open orders reserve."""
    for instrument_id, row in ledger:
        orders = oms.open_by_instrument(instrument_id)
        for side, units, product in (
            (BUY, row.open_buy_units, row.open_buy_product),
            (SELL, row.open_sell_units, row.open_sell_product),
        ):
            mine = [o for o in orders if o.side == side]
            assert units == sum(o.reserved_units for o in mine)
            assert product == sum(o.reserved_product for o in mine)
        assert row.open_orders == sum(1 for o in orders if o.reserved_units)
    assert ledger.total_e8 == sum(row.exposure_e8 for _, row in ledger)
