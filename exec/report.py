"""Filling of report records from orders, and the OMS's own counts."""

from __future__ import annotations

from dataclasses import dataclass, fields

from exec.order import Order
from exec.session import VenueReport
from shm.enums import Liquidity, Reason, ReportKind
from shm.records import IntentRecord, ReportRecord

DENIED_COUNTER = "orders.denied"
_DENIED, _NEW, _FILL, _REPLACE_REJECTED = (
    int(ReportKind.DENIED),
    int(ReportKind.NEW),
    int(ReportKind.FILL),
    int(ReportKind.REPLACE_REJECTED),
)
_COUNTERS: dict[int, tuple[str, ...]] = {
    _NEW: ("orders.new",),
    _FILL: ("fills",),
    _REPLACE_REJECTED: ("orders.replace_rejected",),
    int(ReportKind.CANCELED): ("orders.canceled",),
    int(ReportKind.REJECTED): ("orders.rejected",),
    int(ReportKind.REPLACED): ("orders.replaced",),
    int(ReportKind.CANCEL_REJECTED): ("orders.cancel_rejected",),
    int(ReportKind.EXPIRED): ("orders.expired",),
}
_FILLED = ("fills", "orders.filled")
_DENIALS: dict[int, tuple[str, ...]] = {
    int(reason): (DENIED_COUNTER, f"denied.{reason.name}") for reason in Reason if reason
}
_DENIED_OTHER = (DENIED_COUNTER,)
_TOO_LATE = frozenset((int(Reason.UNKNOWN_ORDER), int(Reason.ORDER_TERMINAL)))
#: Every name that `counters_of` can give.
COUNTER_NAMES = frozenset(
    name for names in (*_COUNTERS.values(), *_DENIALS.values(), _FILLED) for name in names
)


def counters_of(report: ReportRecord) -> tuple[str, ...]:
    """Names of the counters that a report adds one to; the same for a live one and one read back.

    An intent that we refused ourselves, new order or replace, counts as denied, with its reason; a replace
    that only came too late for its order does not. An order counts as new when it is acknowledged for the
    first time, not when the venue says so again.
    """
    kind = report.kind
    if kind == _FILL:
        return _COUNTERS[_FILL] if report.leaves_units else _FILLED
    # Only a refusal of our own is stamped by the gate at the very time it is reported.
    if kind == _DENIED or (
        kind == _REPLACE_REJECTED and report.gate_ns == report.report_ns and report.reason not in _TOO_LATE
    ):
        return _DENIALS.get(report.reason, _DENIED_OTHER)
    if kind == _NEW and report.ack_ns != report.report_ns:
        return ()
    return _COUNTERS.get(kind, ())


@dataclass(slots=True)
class OmsStatistics:
    """Counts since start: `ignored` = duplicate or overtaken words; `breaches` = contradictions."""

    reports: int = 0
    fills: int = 0
    duplicate_fills: int = 0
    late_fills: int = 0
    overfills: int = 0
    stranger_fills: int = 0
    unknown_reports: int = 0
    ignored: int = 0
    breaches: int = 0
    denied: int = 0
    cancels_refused: int = 0
    unjournaled: int = 0

    def reset(self) -> None:
        """Set every count to 0 (after a replay)."""
        for field in fields(self):
            setattr(self, field.name, 0)


def report_for(record: ReportRecord, order: Order, kind: int, reason: int, now_ns: int) -> None:
    """Write an order as it stands into a report; fields of a fill and the position are left 0."""
    record.reset()
    record.kind = int(kind)
    record.side = order.side
    record.order_status = order.status
    record.request_status = order.request_status
    record.reason = int(reason)
    record.actor_id = order.actor_id
    record.instrument_id = order.instrument_id
    record.client_order_id = order.client_order_id
    record.venue_order_id = order.venue_order_id
    record.price_units = order.price_units
    record.order_units = order.order_units
    record.filled_units = order.filled_units
    record.leaves_units = order.leaves_units
    record.frame_ns = order.frame_ns
    record.decide_ns = order.decide_ns
    record.gate_ns = order.gate_ns
    record.send_ns = order.send_ns
    record.ack_ns = order.ack_ns
    record.report_ns = now_ns
    record.generation = order.generation
    record.epoch = order.epoch


def fill_report(record: ReportRecord, order: Order, report: VenueReport, now_ns: int) -> None:
    """Write a fill of an order into a report."""
    report_for(record, order, ReportKind.FILL, report.reason, now_ns)
    record.liquidity = int(report.liquidity or Liquidity.NONE)
    record.trade_id = report.trade_id
    record.last_units = report.last_units
    record.last_price_units = report.last_price_units
    record.fee_units = report.fee_units
    record.venue_utc_ns = report.venue_utc_ns


def blank_report(
    record: ReportRecord, intent: IntentRecord, epoch: int, kind: int, reason: int, now_ns: int
) -> None:
    """Write a report about an intent that has no order."""
    record.reset()
    record.kind = int(kind)
    record.side = intent.side
    record.reason = int(reason)
    record.actor_id = intent.actor_id
    record.instrument_id = intent.instrument_id
    record.client_order_id = intent.client_order_id
    record.price_units = intent.price_units
    record.order_units = intent.quantity_units
    record.frame_ns = intent.frame_ns
    record.decide_ns = intent.decide_ns
    record.report_ns = now_ns
    record.generation = intent.generation
    record.epoch = epoch
