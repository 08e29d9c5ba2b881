"""Working an order for a strategy: take at once, or rest at the touch for a while and take what is left then.

Which of the two is the switch's choice unless the strategy says it. What each order cost against the mid of
the book that was cited is measured, told, and learned from.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from actors.measures import measures_of
from actors.runtime.context import TERMINAL, Context
from exec.slippage import OrderSlippage, SlippageLedger, SlippageMeter, Style
from exec.style_switch import Choice, StyleSwitch, situation_of
from shm.book import BookSnapshot
from shm.enums import BookState, OrderFlags, OrderStatus, Reason, ReportKind, Side, TimeInForce
from shm.instruments import Instrument
from shm.records import ReportRecord

#: How often what is left is taken anew: displayed depth may not suffice, prices may have moved.
CROSSES_MAX = 3
#: Waiting for a book that can be cited, and for room in the ring.
AGAIN_NS = 20_000_000
WAITS_MAX = 50
PATIENCE_NS = 2_000_000_000
NOTE_NS = 1_000_000_000
DECISIONS_KEPT = 20
_LIVE = int(BookState.LIVE)
_BUY = int(Side.BUY)
_FILL = int(ReportKind.FILL)
_CANCEL_REJECTED = int(ReportKind.CANCEL_REJECTED)
_DENIED = int(OrderStatus.DENIED)


class Work:
    """One quantity that is being worked.

    Attributes:
        left_units: not filled yet.
        slippage: what it came to, once it has ended.
    """

    __slots__ = (
        "choice", "crosses", "denied", "instrument", "is_known", "is_resting", "left_units", "meter",
        "order_id", "side", "slippage", "waits",
    )  # fmt: skip

    def __init__(self, instrument: Instrument, side: int, meter: SlippageMeter, choice: Choice) -> None:
        self.instrument = instrument
        self.side = side
        self.meter = meter
        self.choice = choice
        self.left_units = meter.order_units
        self.order_id = 0
        self.is_resting = False
        self.is_known = False  # to the venue
        self.crosses = 0
        self.waits = 0
        self.denied = 0
        self.slippage: OrderSlippage | None = None


class Execution:
    """Works quantities for one actor, which forwards its reports (`on_report`) and its end (`tell`).

    Args:
        context: of the actor.
        switch: chooses the style; None = one with its defaults.
        patience_ns: how long a passive order rests before the rest of it takes.
    """

    def __init__(
        self, context: Context, switch: StyleSwitch | None = None, *, patience_ns: int = PATIENCE_NS
    ) -> None:
        self._context = context
        self.switch = switch or StyleSwitch()
        self.ledger = SlippageLedger()
        self._measures = measures_of(context)
        self.decisions: deque[dict[str, Any]] = deque(maxlen=DECISIONS_KEPT)
        self._patience_ns = patience_ns
        self._by_order: dict[int, Work] = {}
        self._told_ns = 0
        self.open = 0

    # ---- beginning ------------------------------------------------------------------------------

    def work(
        self,
        instrument_id: int,
        side: Side | int,
        quantity_units: int,
        *,
        style: Style | None = None,
        patience_ns: int | None = None,
    ) -> Work | None:
        """Begin to buy or sell a quantity.

        Args:
            instrument_id: what; the actor must be subscribed to it, its book is cited.
            side: BUY or SELL.
            quantity_units: in lots.
            style: None = the switch chooses, and learns from the outcome.
            patience_ns: of a passive one, None = the usual.

        Returns:
            What is under way; None if the book is not LIVE with both sides or the gateway takes nothing now.
        """
        context = self._context
        row = context.instruments.get(instrument_id)
        book = self._book(instrument_id)
        if book is None:
            return None
        (bid, bid_units), (ask, ask_units) = book.bids[0], book.asks[0]
        own, other = (bid_units, ask_units) if int(side) == _BUY else (ask_units, bid_units)
        situation = situation_of(ask - bid, row.tick_size, own, other)
        choice = self.switch.choose(situation, style)
        meter = SlippageMeter(row, side, choice.style, quantity_units, bid, ask, context.now_ns())
        work = Work(row, int(side), meter, choice)
        is_sent = (
            self._rest(work, book, self._patience_ns if patience_ns is None else patience_ns)
            if choice.style is Style.PASSIVE
            else self._take(work, book)
        )
        if not is_sent:
            self.switch.forget(choice)
            return None
        work.meter.order_id = work.order_id
        self.open += 1
        return work

    def _book(self, instrument_id: int) -> BookSnapshot | None:
        book = self._context.book(instrument_id)
        if book is None or book.certificate.state != _LIVE or not book.bids or not book.asks:
            return None
        return book if book.bids[0][0] < book.asks[0][0] else None

    def _rest(self, work: Work, book: BookSnapshot, patience_ns: int) -> bool:
        price = (book.bids if work.side == _BUY else book.asks)[0][0]
        if not self._send(work, price, TimeInForce.GTC, int(OrderFlags.POST_ONLY)):
            return False
        work.is_resting = True
        self._context.call_later(patience_ns, lambda: self._withdraw(work))
        return True

    def _take(self, work: Work, book: BookSnapshot) -> bool:
        """Take what is left, up to the price of the level that holds the last of it."""
        levels = book.asks if work.side == _BUY else book.bids
        left, price = work.left_units, levels[-1][0]
        for level, quantity in levels:
            left -= quantity
            if left <= 0:
                price = level
                break
        work.crosses += 1
        work.is_resting = False
        return self._send(work, price, TimeInForce.IOC, 0)

    def _send(self, work: Work, price: int, time_in_force: TimeInForce, flags: int) -> bool:
        order_id = self._context.new_order(
            work.instrument.instrument_id, work.side, price, work.left_units,
            time_in_force=time_in_force, flags=flags,
        )  # fmt: skip
        if order_id is None:
            return False
        work.order_id = order_id
        self._by_order[order_id] = work
        return True

    # ---- going on -------------------------------------------------------------------------------

    def _withdraw(self, work: Work) -> None:
        """The patience is at an end: cancel what rests; the cancel's report leads on."""
        order = self._context.working.get(work.order_id)
        if not work.is_resting or order is None or order.is_cancel_requested:
            return
        if self._context.cancel(work.order_id) is None:
            self._context.call_later(AGAIN_NS, lambda: self._withdraw(work))

    def _cross(self, work: Work) -> None:
        """Take the rest now, or as soon as there is a book to cite; not for ever."""
        if work.slippage is not None:
            return
        if work.crosses >= CROSSES_MAX or work.waits >= WAITS_MAX or not self._context.is_quoting:
            self._end(work)
            return
        book = self._book(work.instrument.instrument_id)
        if book is None or not self._take(work, book):
            work.waits += 1
            self._context.call_later(AGAIN_NS, lambda: self._cross(work))

    def on_report(self, report: ReportRecord) -> None:
        """Take a report of the actor; others than of what is worked here are passed over."""
        work = self._by_order.get(report.client_order_id)
        if work is None:
            return
        is_terminal = report.order_status in TERMINAL
        if report.kind == _FILL:
            work.meter.fill(
                report.last_price_units, report.last_units, report.fee_units, self._context.now_ns()
            )
            work.left_units -= report.last_units
        if report.order_status == _DENIED:
            work.denied = report.reason
        else:
            work.is_known = True
        if is_terminal:
            self._by_order.pop(report.client_order_id, None)
        if work.slippage is not None:
            return  # a fill after the end: booked by the ledger of positions, too late for this
        if report.kind == _CANCEL_REJECTED and not is_terminal:
            self._context.call_later(AGAIN_NS, lambda: self._withdraw(work))
        if work.left_units <= 0:
            self._end(work)
        elif is_terminal and report.client_order_id == work.order_id:
            self._cross(work)

    # ---- the end --------------------------------------------------------------------------------

    def _end(self, work: Work) -> None:
        context = self._context
        now = context.now_ns()
        book = self._book(work.instrument.instrument_id)
        bid, ask = (book.bids[0][0], book.asks[0][0]) if book is not None else (0, 0)
        work.slippage = found = work.meter.end(bid, ask, now)
        self.open -= 1
        if work.is_known:
            self.ledger.add(found)
            self._measures.slippage(context, found)
            self.switch.learn(work.choice, found.total_e8)
        else:
            self.switch.forget(work.choice)
        decision = self._decision(work, found)
        self.decisions.append(decision)
        self._measures.decision(context, "STYLE", found.order_id, decision)
        if now - self._told_ns >= NOTE_NS:
            self.tell()

    def _decision(self, work: Work, found: OrderSlippage) -> dict[str, Any]:
        """Which of style and risk changed the order, and by how much."""
        choice = work.choice
        expected = [None if cost is None else round(cost / 1e4, 4) for cost in choice.expected_e8]
        return {
            "order": found.order_id,
            "instrument": work.instrument.symbol,
            "style": choice.style.name.lower(),
            "situation": choice.situation.describe(),
            "expected_bps": {"aggressive": expected[0], "passive": expected[1]},
            "is_trial": choice.is_trial,
            "cost_bps": round(found.total_e8 / 1e4, 4),
            "unfilled_units": max(work.left_units, 0),
            "denied": Reason(work.denied).name if work.denied else "",
        }

    def tell(self) -> None:
        """Tell the supervisor what was measured so far; an actor calls it when it stops."""
        self._told_ns = self._context.now_ns()
        self._measures.prepare()
        if self.decisions:
            self._context.note("slippage", self.describe())

    def describe(self) -> dict[str, Any]:
        """Means by style, what the switch has learned, and the newest decisions; JSON-ready."""
        return {
            "styles": self.ledger.rows(),
            "learned": self.switch.rows(),
            "decisions": list(self.decisions),
        }
