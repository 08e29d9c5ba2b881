"""The strategy of `ringlane bench scale`: it trades at a steady rate and says what became of every order.

Orders are immediate-or-cancel at the other side's touch, each counted from when it was due, in turn to buy
and to sell at every instrument, so that fills are the rule and no position grows. An order that no report has
ended when the run is over is lost: that is what the figures are about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import orjson

from actors.runtime.context import TERMINAL, Context
from actors.runtime.settings import read_settings
from actors.strategies.base import Strategy, quantity_of
from shm.enums import BookState, InstrumentKind, OrderStatus, Reason, Side, TimeInForce
from shm.records import MarketRecord, ReportRecord
from tools.bench.order_flood import Times

NOTIONAL = "200"
#: A market of random steps may move while an order is under way, and a fill is what is wanted.
BEYOND_BPS = 5
#: From the first moment with all books live until the first order: venue sessions log in meanwhile.
CALM_NS = 2_000_000_000
LAST_WORD_NS = 5_000_000_000
LOOK_NS = 50_000_000
#: So long an order waits for an update that can cause it before it goes without one.
WAIT_NS = 5_000_000
_LIVE = int(BookState.LIVE)
_FILLED = int(OrderStatus.FILLED)
_REFUSED = frozenset((int(OrderStatus.DENIED), int(OrderStatus.REJECTED)))


@dataclass(frozen=True, slots=True)
class TradeSettings:
    """Settings of the trader.

    Args:
        path: file the figures are written to.
        venue, instruments: what to trade.
        rate: orders a second.
        seconds: how long.
    """

    path: str
    venue: str = ""
    instruments: Any = "all"
    rate: float = 1.0
    seconds: float = 1.0


class SteadyTrader(Strategy):
    """The actor; see the module."""

    role: ClassVar[str] = "steady_trader"

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        self.config = read_settings(TradeSettings, settings, self.role)
        self.times = Times()
        self.counts = dict.fromkeys(
            ("due", "sent", "not_taken", "acknowledged", "filled", "refused", "other_end"), 0
        )
        self.reasons: dict[str, int] = {}  # of refusals
        self._open: dict[int, int] = {}  # client order id → when it was due
        self._unacknowledged: set[int] = set()
        self._tops: dict[int, tuple[int, int]] = {}
        self._turns: dict[int, int] = {}
        self._first_ns = 0
        self._number = 0
        self._over_ns = 0

    def subscriptions(self) -> Sequence[int]:
        """Ids of the linear contracts: what is not owned can not be sold spot."""
        super().subscriptions()
        rows = self.instruments.values()
        self.instruments = {
            row.instrument_id: row for row in rows if row.kind != InstrumentKind.SPOT and not row.is_inverse
        }
        return list(self.instruments)

    # ---- sending --------------------------------------------------------------------------------

    def on_book(self, record: MarketRecord) -> None:
        """Keep the touch; once every book is live, begin."""
        if record.book_state != _LIVE or record.value0 <= 0 or record.value2 <= record.value0:
            self._tops.pop(record.instrument_id, None)
            return
        self._tops[record.instrument_id] = (record.value0, record.value2)
        if not self._first_ns and len(self._tops) == len(self.instruments):
            self._first_ns = self.context.now_ns() + CALM_NS
            self.context.call_at(self._first_ns, self._on_due)
        elif self._first_ns > 0 and self.context.now_ns() >= self._due_ns():
            self._send_due()  # caused by this update: that is a tick to trade

    def _due_ns(self) -> int:
        return self._first_ns + round(self._number * 1e9 / self.config.rate)

    def _on_due(self) -> None:
        """Send what no update has sent; then wait for the next, or for the last words."""
        self._send_due()
        if self._due_ns() < self._end_ns():
            self.context.call_at(self._due_ns() + WAIT_NS, self._on_due)
        else:
            self._over_ns = self.context.now_ns()
            self._await_last()

    def _end_ns(self) -> int:
        return self._first_ns + round(self.config.seconds * 1e9)

    def _send_due(self) -> None:
        now, end_ns = self.context.now_ns(), self._end_ns()
        while (due_ns := self._due_ns()) <= now and due_ns < end_ns:
            self._number += 1
            self._send(due_ns)

    def _send(self, due_ns: int) -> None:
        self.counts["due"] += 1
        ids = list(self.instruments)
        instrument_id = ids[self._number % len(ids)]
        top, row = self._tops.get(instrument_id), self.instruments[instrument_id]
        turn = self._turns.get(instrument_id, 0)
        order_id = None
        if top is not None:
            buys = turn % 2 == 0
            beyond = max(row.tick_size, top[0] * BEYOND_BPS // 10_000 // row.tick_size * row.tick_size)
            price = top[1] + beyond if buys else max(top[0] - beyond, row.tick_size)
            order_id = self.context.new_order(
                instrument_id, Side.BUY if buys else Side.SELL, price,
                quantity_of(row, "", NOTIONAL, price), time_in_force=TimeInForce.IOC,
            )  # fmt: skip
        if order_id is None:
            self.counts["not_taken"] += 1
            return
        self._turns[instrument_id] = turn + 1
        self.counts["sent"] += 1
        self._open[order_id] = due_ns
        self._unacknowledged.add(order_id)

    # ---- reports --------------------------------------------------------------------------------

    def on_report(self, report: ReportRecord) -> None:
        """Count acknowledgment and end of each order once."""
        due_ns = self._open.get(report.client_order_id)
        if due_ns is None:
            return
        if report.ack_ns > report.send_ns > 0 and report.client_order_id in self._unacknowledged:
            self._unacknowledged.discard(report.client_order_id)
            self.counts["acknowledged"] += 1
            self.times.add(due_ns, report, self.context.now_ns())
        status = report.order_status
        if status in TERMINAL:
            del self._open[report.client_order_id]
            end = "filled" if status == _FILLED else "refused" if status in _REFUSED else "other_end"
            self.counts[end] += 1
            if end == "refused":
                name = Reason(report.reason).name
                self.reasons[name] = self.reasons.get(name, 0) + 1

    # ---- figures --------------------------------------------------------------------------------

    def _await_last(self) -> None:
        if self._open and self.context.now_ns() < self._over_ns + LAST_WORD_NS:
            self.context.call_later(LOOK_NS, self._await_last)
            return
        document = {
            **self.counts,
            "reasons": self.reasons,
            "lost": len(self._open),
            "seconds": (self._over_ns - self._first_ns) / 1e9,
            "times": self.times.figures(),
            "decided_to_acknowledged": self.times.decided_to_acknowledged,
            "sent_to_acknowledged": self.times.sent_to_acknowledged,
            "decided_to_sent": self.times.decided_to_sent,
        }
        target = Path(self.config.path)
        part = target.with_suffix(".part")
        part.write_bytes(orjson.dumps(document))
        part.replace(target)
