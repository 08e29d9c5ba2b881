"""What the OMS does with the venue's word: the table applied to orders, facts booked, reports made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from exec.lifecycle import Event, Outcome, decide, gone_status
from exec.order import TERMINAL, Order
from exec.order_index import OrderIndex
from exec.report import OmsStatistics, fill_report, report_for
from exec.session import VenueReport
from shm.enums import OrderStatus, Reason, ReportKind, RequestStatus, Side
from shm.records import ReportRecord

_STRANGERS_MAX = 10_000

_UNKNOWN = int(OrderStatus.UNKNOWN)
_FILLED = int(OrderStatus.FILLED)
_SENT, _ACCEPTED, _REFUSED, _TIMED_OUT = (
    int(RequestStatus.SENT),
    int(RequestStatus.ACCEPTED),
    int(RequestStatus.REFUSED),
    int(RequestStatus.TIMED_OUT),
)
_NOT_RECEIVED, _VENUE_UNKNOWN = int(Reason.NOT_RECEIVED), int(Reason.VENUE_UNKNOWN_ORDER)
_TO, _WORKING, _GONE = Outcome.TO, Outcome.WORKING, Outcome.GONE
_SAME, _LATE, _IGNORED = Outcome.SAME, Outcome.LATE, Outcome.IGNORED

_KIND_OF_STATUS = {
    int(OrderStatus.CANCELED): ReportKind.CANCELED,
    int(OrderStatus.REJECTED): ReportKind.REJECTED,
    int(OrderStatus.EXPIRED): ReportKind.EXPIRED,
}


class Ledger(Protocol):
    """What the OMS tells about quantity and money; `risk.exposure.ExposureBook` has this shape."""

    def adjust(self, instrument_id: int, side: int, units: int, product: int, orders: int) -> None:
        """Change what is open on one side by signed differences."""

    def apply_fill(self, instrument_id: int, side: int, price_units: int, units: int, fee_e8: int) -> int:
        """Book a fill; returns the signed position after it."""

    def position_units(self, instrument_id: int) -> int:
        """Signed net position."""

    def reference_price_units(self, instrument_id: int) -> int:
        """Price that values an order without one."""


class ReportApplier(OrderIndex):
    """The half of `exec.oms.Oms` that listens; see there for the arguments."""

    def __init__(
        self, epoch: int, ledger: Ledger, on_report: Callable[[ReportRecord], None], terminal_capacity: int
    ) -> None:
        super().__init__(terminal_capacity)
        self.epoch = epoch
        self.ledger = ledger
        self.on_report = on_report
        self.statistics = OmsStatistics()
        self.record = ReportRecord()
        self._strangers: dict[tuple[int, int], None] = {}

    # ---- what happened ---------------------------------------------------------------------------

    def apply_report(self, report: VenueReport, now_ns: int) -> None:
        """Apply one venue report: tolerant of duplicates, any order, and orders not (or no longer) known."""
        order = self._by_id.get(report.client_order_id)
        event = report.event
        if event == Event.FILL_PART or event == Event.FILL_ALL:
            if order is None:
                self._stranger_fill(report, now_ns)
            else:
                self._fill(order, report, now_ns)
        elif order is None:
            self.statistics.unknown_reports += 1
        else:
            if report.venue_order_id:
                order.venue_order_id = report.venue_order_id
            self.word(order, event, now_ns, report.reason, report)

    def disconnected(self, now_ns: int) -> None:
        """The session is lost: every open order becomes UNKNOWN until reconciled."""
        for order in self.open_orders():
            self.lose(order, now_ns)

    def lose(self, order: Order, now_ns: int) -> None:
        """One order is out of touch: UNKNOWN until reconciled."""
        self.word(order, Event.DISCONNECTED, now_ns, 0, None)

    def timed_out(self, order: Order, now_ns: int) -> None:
        """A command had no answer in time: the order is UNKNOWN (never REJECTED) until reconciled."""
        self.word(order, Event.TIMED_OUT, now_ns, 0, None)

    def _fill(self, order: Order, report: VenueReport, now_ns: int) -> None:
        statistics = self.statistics
        trades = order.trade_ids
        if trades is None:
            trades = order.trade_ids = set()
        if report.trade_id in trades:
            statistics.duplicate_fills += 1
            return
        units, price = report.last_units, report.last_price_units
        if units <= 0 or price <= 0 or report.side not in (0, order.side):
            statistics.breaches += 1
            return
        trades.add(report.trade_id)
        most = max(order.order_units, order.new_units) if order.is_pending_replace else order.order_units
        rest = most - order.filled_units - units
        if rest < 0:
            statistics.overfills += 1
        decision = decide(order.status, Event.FILL_ALL if rest <= 0 else Event.FILL_PART)
        if decision.outcome == _TO and order.is_pending_replace:
            # Said first, so that a crash between the two reports loses neither.
            self.replace_rejected(order, Reason.ORDER_TERMINAL, now_ns)
        order.filled_units += units
        order.fill_product += units * price
        if not order.is_terminal:
            if order.filled_units > order.order_units and rest >= 0:
                # More than the old terms allow: the replace is in force, its answer still to come.
                order.order_units = most
            order.leaves_units = max(0, order.order_units - order.filled_units)
        statistics.fills += 1
        if decision.outcome == _LATE or order.is_terminal:
            statistics.late_fills += 1
        self.ledger.apply_fill(order.instrument_id, order.side, price, units, report.fee_units)
        if decision.outcome == _TO:
            self.settle(order, decision.status)
        elif decision.outcome == _WORKING:
            self.settle(order, order.working_status())
        else:
            self.settle(order, order.status)
        if report.venue_order_id:
            order.venue_order_id = report.venue_order_id
        fill_report(self.record, order, report, now_ns)
        self.send(self.record)

    def word(self, order: Order, event: int, now_ns: int, reason: int, report: VenueReport | None) -> None:
        """Apply everything that is not a fill."""
        decision = decide(order.status, event)
        outcome = self._in_fact(order, event, decision.outcome)
        if outcome == _IGNORED:
            self.statistics.ignored += 1
            return
        if outcome == Outcome.ILLEGAL:
            self.statistics.breaches += 1
            return
        if event == Event.CANCEL_REJECTED:
            self.cancel_rejected(order, reason, now_ns)
        elif event == Event.REPLACE_REJECTED:
            self.replace_rejected(order, reason, now_ns)
        elif event == Event.REPLACED:
            self._replaced(order, report, now_ns)
        elif event == Event.ACCEPTED:
            self._accepted(order, report, now_ns)
        elif outcome == _TO and decision.status == _UNKNOWN:
            if order.request_status == _SENT:
                order.request_status = _TIMED_OUT
            self.settle(order, _UNKNOWN)
            self.report(order, ReportKind.UNKNOWN, reason, now_ns)
        else:
            self._end(order, event, reason, now_ns)

    @staticmethod
    def _in_fact(order: Order, event: int, outcome: Outcome) -> Outcome:
        """Narrow the table's word by what the status does not tell: an outstanding request, an ack."""
        if event == Event.CANCEL_REJECTED:
            return outcome if order.is_pending_cancel else _IGNORED
        if event == Event.REPLACE_REJECTED:
            return outcome if order.is_pending_replace else _IGNORED
        if order.status != _UNKNOWN:
            if event == Event.ACCEPTED and order.acknowledged:
                return _IGNORED
            if event == Event.REJECTED and order.acknowledged and outcome == _TO:
                return Outcome.ILLEGAL
            if event == Event.REPLACED and not order.is_pending_replace:
                return Outcome.ILLEGAL
        return outcome

    def _end(self, order: Order, event: int, reason: int, now_ns: int) -> None:
        decision = decide(order.status, event)
        if decision.outcome == _GONE:
            status = gone_status(acknowledged=order.acknowledged, filled_units=order.filled_units)
            lost = status == OrderStatus.REJECTED
            reason = reason or (_NOT_RECEIVED if lost else _VENUE_UNKNOWN)
        else:
            status = int(decision.status)
        if order.is_pending_replace:
            # Settled here, because after a lost session its own answer would never come; and first, so that
            # a crash between the two reports loses neither.
            self.replace_rejected(order, Reason.ORDER_TERMINAL, now_ns)
            if order.is_terminal:
                return
        order.reason = reason
        if order.request_status in (_SENT, _TIMED_OUT):
            canceled = status == OrderStatus.CANCELED and order.is_pending_cancel
            accepted = canceled or status == OrderStatus.EXPIRED
            order.request_status = _ACCEPTED if accepted else _REFUSED
        order.is_pending_cancel = False
        self.settle(order, status)
        self.report(order, _KIND_OF_STATUS[status], reason, now_ns)

    def _accepted(self, order: Order, report: VenueReport | None, now_ns: int) -> None:
        was_unknown = order.status == _UNKNOWN
        if not order.acknowledged:
            order.ack_ns = now_ns
        order.acknowledged = True
        if not (order.is_pending_cancel or order.is_pending_replace):
            order.request_status = _ACCEPTED
        if was_unknown and self._settle_requests(order, report, now_ns):
            return
        self.settle(order, order.working_status())
        # A query may answer that everything was filled.
        self.report(order, ReportKind.STATUS if order.is_terminal else ReportKind.NEW, 0, now_ns)

    def _settle_requests(self, order: Order, report: VenueReport | None, now_ns: int) -> bool:
        """A query's answer settles what was under way when the session was lost; True = told as REPLACED.

        Said before the state itself: a crash between the two leaves the order UNKNOWN, so it is asked again.
        """
        if order.is_pending_cancel:
            self.cancel_rejected(order, _NOT_RECEIVED, now_ns)
        if report is None or not report.order_units:
            return False
        if order.is_pending_replace:
            if order.has_new_terms(report.price_units, report.order_units):
                self._replaced(order, report, now_ns)
                return True
            self.replace_rejected(order, _NOT_RECEIVED, now_ns)
        order.take_terms(report.price_units, report.order_units)
        return False

    def cancel_rejected(self, order: Order, reason: int, now_ns: int) -> None:
        """The outstanding cancel failed; the order is what it was."""
        order.is_pending_cancel = False
        order.request_status = _REFUSED
        if order.status != _UNKNOWN and not order.is_terminal:
            self.settle(order, order.working_status())
        self.report(order, ReportKind.CANCEL_REJECTED, reason, now_ns)

    def replace_rejected(self, order: Order, reason: int, now_ns: int) -> None:
        """The outstanding replace failed; the order keeps its terms."""
        was_terminal = order.is_terminal
        order.is_pending_replace = False
        order.request_status = _SENT if order.is_pending_cancel else _REFUSED
        new_id = order.new_client_order_id
        order.new_client_order_id = order.new_price_units = order.new_units = 0
        if order.is_terminal or order.status == _UNKNOWN:
            self.reserve(order)
        else:
            self.settle(order, order.working_status())
        report_for(self.record, order, ReportKind.REPLACE_REJECTED, reason, now_ns)
        self.record.request_status = _REFUSED
        self.record.client_order_id = new_id
        self.record.orig_client_order_id = order.client_order_id
        self.send(self.record)
        if order.status == _FILLED and not was_terminal:
            # The old terms were complete all along; its own id has to hear that it ended.
            self.report(order, ReportKind.STATUS, 0, now_ns)

    def _replaced(self, order: Order, report: VenueReport | None, now_ns: int) -> None:
        old_id = order.client_order_id
        price, units = order.new_price_units, order.new_units
        if report is not None and report.order_units:
            price, units = report.price_units, report.order_units
        units = units or order.order_units
        if order.new_client_order_id:
            order.client_order_id = order.new_client_order_id
        order.is_pending_replace = False
        order.new_client_order_id = order.new_price_units = order.new_units = 0
        order.acknowledged = True
        order.request_status = _SENT if order.is_pending_cancel else _ACCEPTED
        order.take_terms(price, units)
        self.settle(order, order.working_status())
        report_for(self.record, order, ReportKind.REPLACED, 0, now_ns)
        self.record.orig_client_order_id = old_id
        self.send(self.record)

    def _stranger_fill(self, report: VenueReport, now_ns: int) -> None:
        """A fill of an order we do not keep: still our money, so it is booked, once."""
        key = (report.instrument_id, report.trade_id)
        if key in self._strangers:
            self.statistics.duplicate_fills += 1
            return
        if report.last_units <= 0 or report.last_price_units <= 0 or report.side not in (Side.BUY, Side.SELL):
            self.statistics.breaches += 1
            return
        self._strangers[key] = None
        if len(self._strangers) > _STRANGERS_MAX:
            del self._strangers[next(iter(self._strangers))]
        self.statistics.stranger_fills += 1
        order = Order(report.client_order_id, report.instrument_id, report.side, 0, report.last_units)
        order.filled_units = report.last_units
        order.leaves_units = 0
        order.epoch = self.epoch
        order.status = _UNKNOWN
        self.ledger.apply_fill(
            report.instrument_id, report.side, report.last_price_units, report.last_units, report.fee_units
        )
        fill_report(self.record, order, report, now_ns)
        self.send(self.record)

    # ---- state -----------------------------------------------------------------------------------

    def settle(self, order: Order, status: int) -> None:
        """Take a status, and bring leaves, ledger and indexes in line with it."""
        was_terminal = order.status in TERMINAL
        order.status = int(status)
        if order.status in TERMINAL:
            order.leaves_units = 0
            if status == _FILLED and not order.is_pending_cancel and not order.is_pending_replace:
                order.request_status = _ACCEPTED
        self.reserve(order)
        if order.status in TERMINAL and not was_terminal:
            self.retire(order)

    def reserve(self, order: Order) -> None:
        """Bring what the ledger holds open for this order in line with its worst case."""
        if order.status in TERMINAL:
            units = product = 0
        else:
            units = order.leaves_units
            product = units * order.value_price_units
            if order.is_pending_replace:
                rest = order.new_units - order.filled_units
                units = max(units, rest)
                product = max(product, rest * order.new_price_units)
        had = order.reserved_units
        if units == had and product == order.reserved_product:
            return
        count = (1 if units else 0) - (1 if had else 0)
        more = product - order.reserved_product
        order.reserved_units, order.reserved_product = units, product
        self.ledger.adjust(order.instrument_id, order.side, units - had, more, count)

    def report(self, order: Order, kind: int, reason: int, now_ns: int) -> None:
        """Report an order as it stands."""
        report_for(self.record, order, kind, reason, now_ns)
        self.send(self.record)

    def send(self, record: ReportRecord) -> None:
        """Let a report out, with the position as it now is."""
        self.statistics.reports += 1
        record.position_units = self.ledger.position_units(record.instrument_id)
        self.on_report(record)
