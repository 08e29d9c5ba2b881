# cython: language_level=3, freethreading_compatible=False
"""Filling of report records from orders, and the OMS's own counts."""

from libc.stdint cimport int64_t, uint64_t

from shm.records cimport IntentRecord, ReportRecord

from exec.order cimport Order
from exec.venue_report cimport VenueReport

from shm.enums import Liquidity, Reason, ReportKind

DENIED_COUNTER = "orders.denied"
cdef int _DENIED = int(ReportKind.DENIED)
cdef int _NEW = int(ReportKind.NEW)
cdef int _FILL = int(ReportKind.FILL)
cdef int _REPLACE_REJECTED = int(ReportKind.REPLACE_REJECTED)
cdef int _NO_LIQUIDITY = int(Liquidity.NONE)
cdef dict _COUNTERS = {
    _NEW: ("orders.new",),
    _FILL: ("fills",),
    _REPLACE_REJECTED: ("orders.replace_rejected",),
    int(ReportKind.CANCELED): ("orders.canceled",),
    int(ReportKind.REJECTED): ("orders.rejected",),
    int(ReportKind.REPLACED): ("orders.replaced",),
    int(ReportKind.CANCEL_REJECTED): ("orders.cancel_rejected",),
    int(ReportKind.EXPIRED): ("orders.expired",),
}
cdef tuple _FILLED = ("fills", "orders.filled")
cdef dict _DENIALS = {
    int(reason): (DENIED_COUNTER, f"denied.{reason.name}") for reason in Reason if reason
}
cdef tuple _DENIED_OTHER = (DENIED_COUNTER,)
cdef frozenset _TOO_LATE = frozenset((int(Reason.UNKNOWN_ORDER), int(Reason.ORDER_TERMINAL)))
#: Every name that `counters_of` can give.
COUNTER_NAMES = frozenset(
    name for names in (*_COUNTERS.values(), *_DENIALS.values(), _FILLED) for name in names
)


cpdef tuple counters_of(ReportRecord report):
    """Names of the counters that a report adds one to; the same for a live one and one read back.

    An intent that we refused ourselves, new order or replace, counts as denied, with its reason; a replace
    that only came too late for its order does not. An order counts as new when it is acknowledged for the
    first time, not when the venue says so again.
    """
    cdef int kind = report.kind
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


cdef class OmsStatistics:
    """Counts since start: `ignored` = duplicate or overtaken words; `breaches` = contradictions."""

    def reset(self):
        """Set every count to 0 (after a replay)."""
        self.reports = self.fills = self.duplicate_fills = self.late_fills = self.overfills = 0
        self.stranger_fills = self.unknown_reports = self.ignored = self.breaches = self.denied = 0
        self.cancels_refused = self.unjournaled = 0


cpdef report_for(ReportRecord record, Order order, int kind, int reason, int64_t now_ns):
    """Write an order as it stands into a report; fields of a fill and the position are left 0."""
    record.reset()
    record.kind = kind
    record.side = order.side
    record.order_status = order.status
    record.request_status = order.request_status
    record.reason = reason
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


cpdef fill_report(ReportRecord record, Order order, VenueReport report, int64_t now_ns):
    """Write a fill of an order into a report."""
    report_for(record, order, _FILL, report.reason, now_ns)
    record.liquidity = report.liquidity or _NO_LIQUIDITY
    record.trade_id = report.trade_id
    record.last_units = report.last_units
    record.last_price_units = report.last_price_units
    record.fee_units = report.fee_units
    record.venue_utc_ns = report.venue_utc_ns


cpdef blank_report(ReportRecord record, IntentRecord intent, uint64_t epoch, int kind, int reason, int64_t now_ns):
    """Write a report about an intent that has no order."""
    record.reset()
    record.kind = kind
    record.side = intent.side
    record.reason = reason
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
