# cython: language_level=3, freethreading_compatible=False
"""What the OMS does with the venue's word: the table applied to orders, facts booked, reports made."""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from exec.order cimport Order, is_ended
from exec.order_index cimport OrderIndex
from exec.report cimport OmsStatistics, fill_report, report_for
from exec.venue_report cimport VenueReport
from shm.records cimport ReportRecord

from exec.ledger import Ledger
from exec.lifecycle import Event, Outcome, gone_status
from shm.enums import OrderStatus, Reason, ReportKind, RequestStatus, Side

cdef enum:
    STATUSES = 16
    EVENTS = 32

cdef int STRANGERS_MAX = 10_000
cdef int64_t UNITS_MAX = 1 << 62

cdef int _UNKNOWN = int(OrderStatus.UNKNOWN)
cdef int _FILLED = int(OrderStatus.FILLED)
cdef int _CANCELED = int(OrderStatus.CANCELED)
cdef int _REJECTED = int(OrderStatus.REJECTED)
cdef int _EXPIRED = int(OrderStatus.EXPIRED)
cdef int _SENT = int(RequestStatus.SENT)
cdef int _ACCEPTED = int(RequestStatus.ACCEPTED)
cdef int _REFUSED = int(RequestStatus.REFUSED)
cdef int _TIMED_OUT = int(RequestStatus.TIMED_OUT)
cdef int _NOT_RECEIVED = int(Reason.NOT_RECEIVED)
cdef int _VENUE_UNKNOWN = int(Reason.VENUE_UNKNOWN_ORDER)
cdef int _TERMINAL = int(Reason.ORDER_TERMINAL)
cdef int _TO = int(Outcome.TO)
cdef int _WORKING = int(Outcome.WORKING)
cdef int _GONE = int(Outcome.GONE)
cdef int _LATE = int(Outcome.LATE)
cdef int _IGNORED = int(Outcome.IGNORED)
cdef int _ILLEGAL = int(Outcome.ILLEGAL)
cdef int E_ACCEPTED = int(Event.ACCEPTED)
cdef int E_REJECTED = int(Event.REJECTED)
cdef int E_FILL_PART = int(Event.FILL_PART)
cdef int E_FILL_ALL = int(Event.FILL_ALL)
cdef int E_CANCEL_REJECTED = int(Event.CANCEL_REJECTED)
cdef int E_REPLACED = int(Event.REPLACED)
cdef int E_REPLACE_REJECTED = int(Event.REPLACE_REJECTED)
cdef int E_DISCONNECTED = int(Event.DISCONNECTED)
cdef int E_TIMED_OUT = int(Event.TIMED_OUT)
cdef int K_NEW = int(ReportKind.NEW)
cdef int K_STATUS = int(ReportKind.STATUS)
cdef int K_UNKNOWN = int(ReportKind.UNKNOWN)
cdef int K_CANCELED = int(ReportKind.CANCELED)
cdef int K_REJECTED = int(ReportKind.REJECTED)
cdef int K_EXPIRED = int(ReportKind.EXPIRED)
cdef int K_REPLACED = int(ReportKind.REPLACED)
cdef int K_REPLACE_REJECTED = int(ReportKind.REPLACE_REJECTED)
cdef int K_CANCEL_REJECTED = int(ReportKind.CANCEL_REJECTED)
cdef tuple _SIDES = (int(Side.BUY), int(Side.SELL))

cdef Cell _cells[STATUSES][EVENTS]


cdef int _fill_cells() except -1:
    """Copy `lifecycle.TABLE` to where a look-up costs nothing."""
    from exec.lifecycle import TABLE

    memset(_cells, 0, sizeof(_cells))
    for (status, event), decision in TABLE.items():
        if not (0 <= status < STATUSES and 0 <= event < EVENTS):
            raise AssertionError(f"{status!r} or {event!r} does not fit the compiled table")
        _cells[<int> status][<int> event].outcome = decision.outcome
        _cells[<int> status][<int> event].status = decision.status
    return 0


_fill_cells()


cdef Cell decided(int status, int event) except *:
    """As `lifecycle.decide`: KeyError for numbers that are no status or event."""
    if not (0 <= status < STATUSES and 0 <= event < EVENTS) or not _cells[status][event].outcome:
        raise KeyError((status, event))
    return _cells[status][event]


cdef int _kind_of(int status) except -1:
    """The kind of report that says that an order ended so."""
    if status == _CANCELED:
        return K_CANCELED
    if status == _REJECTED:
        return K_REJECTED
    if status == _EXPIRED:
        return K_EXPIRED
    raise KeyError(status)


cdef int _in_fact(Order order, int event, int outcome) noexcept:
    """Narrow the table's word by what the status does not tell: an outstanding request, an ack."""
    if event == E_CANCEL_REJECTED:
        return outcome if order.is_pending_cancel else _IGNORED
    if event == E_REPLACE_REJECTED:
        return outcome if order.is_pending_replace else _IGNORED
    if order.status != _UNKNOWN:
        if event == E_ACCEPTED and order.acknowledged:
            return _IGNORED
        if event == E_REJECTED and order.acknowledged and outcome == _TO:
            return _ILLEGAL
        if event == E_REPLACED and not order.is_pending_replace:
            return _ILLEGAL
    return outcome


cdef class ReportApplier(OrderIndex):
    """The half of `exec.oms.Oms` that listens; see there for the arguments."""

    def __init__(self, epoch, ledger, on_report, terminal_capacity):
        OrderIndex.__init__(self, terminal_capacity)
        self.epoch = epoch
        self.ledger = ledger
        self.on_report = on_report
        self.statistics = OmsStatistics()
        self.record = ReportRecord()
        self._strangers = {}

    # ---- what happened ---------------------------------------------------------------------------

    cpdef apply_report(self, VenueReport report, int64_t now_ns):
        """Apply one venue report: tolerant of duplicates, any order, and orders not (or no longer) known."""
        cdef Order order = self._by_id.get(report.client_order_id)
        cdef int event = report.event
        if event == E_FILL_PART or event == E_FILL_ALL:
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

    def disconnected(self, int64_t now_ns):
        """The session is lost: every open order becomes UNKNOWN until reconciled."""
        for order in self.open_orders():
            self.lose(order, now_ns)

    def lose(self, Order order not None, int64_t now_ns):
        """One order is out of touch: UNKNOWN until reconciled."""
        self.word(order, E_DISCONNECTED, now_ns, 0, None)

    def timed_out(self, Order order not None, int64_t now_ns):
        """A command had no answer in time: the order is UNKNOWN (never REJECTED) until reconciled."""
        self.word(order, E_TIMED_OUT, now_ns, 0, None)

    cdef _fill(self, Order order, VenueReport report, int64_t now_ns):
        cdef OmsStatistics statistics = self.statistics
        cdef int64_t units, price, most, rest
        cdef Cell cell
        trades = order.trade_ids
        if trades is None:
            trades = order.trade_ids = set()
        if report.trade_id in trades:
            statistics.duplicate_fills += 1
            return
        if report.last_units <= 0 or report.last_price_units <= 0 or (report.side and report.side != order.side):
            statistics.breaches += 1
            return
        units, price = report.last_units, report.last_price_units
        if units > UNITS_MAX - order.filled_units:
            statistics.breaches += 1
            return
        trades.add(report.trade_id)
        most = order.order_units
        if order.is_pending_replace and order.new_units > most:
            most = order.new_units
        rest = most - order.filled_units - units
        if rest < 0:
            statistics.overfills += 1
        cell = decided(order.status, E_FILL_ALL if rest <= 0 else E_FILL_PART)
        if cell.outcome == _TO and order.is_pending_replace:
            # Said first, so that a crash between the two reports loses neither.
            self.replace_rejected(order, _TERMINAL, now_ns)
        order.filled_units += units
        order.fill_product += <object> units * <object> price
        if not is_ended(order.status):
            if order.filled_units > order.order_units and rest >= 0:
                # More than the old terms allow: the replace is in force, its answer still to come.
                order.order_units = most
            order.leaves_units = order.order_units - order.filled_units
            if order.leaves_units < 0:
                order.leaves_units = 0
        statistics.fills += 1
        if cell.outcome == _LATE or is_ended(order.status):
            statistics.late_fills += 1
        self.ledger.apply_fill(order.instrument_id, order.side, price, units, report.fee_units)
        if cell.outcome == _TO:
            self.settle(order, cell.status)
        elif cell.outcome == _WORKING:
            self.settle(order, order.working_status())
        else:
            self.settle(order, order.status)
        if report.venue_order_id:
            order.venue_order_id = report.venue_order_id
        fill_report(self.record, order, report, now_ns)
        self.send(self.record)

    cpdef word(self, Order order, int event, int64_t now_ns, int reason, VenueReport report):
        """Apply everything that is not a fill."""
        cdef Cell cell = decided(order.status, event)
        cdef int outcome = _in_fact(order, event, cell.outcome)
        if outcome == _IGNORED:
            self.statistics.ignored += 1
            return
        if outcome == _ILLEGAL:
            self.statistics.breaches += 1
            return
        if event == E_CANCEL_REJECTED:
            self.cancel_rejected(order, reason, now_ns)
        elif event == E_REPLACE_REJECTED:
            self.replace_rejected(order, reason, now_ns)
        elif event == E_REPLACED:
            self._replaced(order, report, now_ns)
        elif event == E_ACCEPTED:
            self._accepted(order, report, now_ns)
        elif outcome == _TO and cell.status == _UNKNOWN:
            if order.request_status == _SENT:
                order.request_status = _TIMED_OUT
            self.settle(order, _UNKNOWN)
            self.report(order, K_UNKNOWN, reason, now_ns)
        else:
            self._end(order, event, reason, now_ns)

    cdef _end(self, Order order, int event, int reason, int64_t now_ns):
        cdef Cell cell = decided(order.status, event)
        cdef int status
        cdef bint lost, is_canceled
        if cell.outcome == _GONE:
            status = gone_status(acknowledged=order.acknowledged, filled_units=order.filled_units)
            lost = status == _REJECTED
            if not reason:
                reason = _NOT_RECEIVED if lost else _VENUE_UNKNOWN
        else:
            status = cell.status
        if order.is_pending_replace:
            # Settled here, because after a lost session its own answer would never come; and first, so that
            # a crash between the two reports loses neither.
            self.replace_rejected(order, _TERMINAL, now_ns)
            if is_ended(order.status):
                return
        order.reason = reason
        if order.request_status == _SENT or order.request_status == _TIMED_OUT:
            is_canceled = status == _CANCELED and order.is_pending_cancel
            order.request_status = _ACCEPTED if is_canceled or status == _EXPIRED else _REFUSED
        order.is_pending_cancel = False
        self.settle(order, status)
        self.report(order, _kind_of(status), reason, now_ns)

    cdef _accepted(self, Order order, VenueReport report, int64_t now_ns):
        cdef bint was_unknown = order.status == _UNKNOWN
        if not order.acknowledged:
            order.ack_ns = now_ns
        order.acknowledged = True
        if not (order.is_pending_cancel or order.is_pending_replace):
            order.request_status = _ACCEPTED
        if was_unknown and self._settle_requests(order, report, now_ns):
            return
        self.settle(order, order.working_status())
        # A query may answer that everything was filled.
        self.report(order, K_STATUS if is_ended(order.status) else K_NEW, 0, now_ns)

    cdef bint _settle_requests(self, Order order, VenueReport report, int64_t now_ns) except -1:
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

    cpdef cancel_rejected(self, Order order, int reason, int64_t now_ns):
        """The outstanding cancel failed; the order is what it was."""
        order.is_pending_cancel = False
        order.request_status = _REFUSED
        if order.status != _UNKNOWN and not is_ended(order.status):
            self.settle(order, order.working_status())
        self.report(order, K_CANCEL_REJECTED, reason, now_ns)

    cpdef replace_rejected(self, Order order, int reason, int64_t now_ns):
        """The outstanding replace failed; the order keeps its terms."""
        cdef bint was_terminal = is_ended(order.status)
        cdef uint64_t new_id
        order.is_pending_replace = False
        order.request_status = _SENT if order.is_pending_cancel else _REFUSED
        new_id = order.new_client_order_id
        order.new_client_order_id = order.new_price_units = order.new_units = 0
        if is_ended(order.status) or order.status == _UNKNOWN:
            self.reserve(order)
        else:
            self.settle(order, order.working_status())
        report_for(self.record, order, K_REPLACE_REJECTED, reason, now_ns)
        self.record.request_status = _REFUSED
        self.record.client_order_id = new_id
        self.record.orig_client_order_id = order.client_order_id
        self.send(self.record)
        if order.status == _FILLED and not was_terminal:
            # The old terms were complete all along; its own id has to hear that it ended.
            self.report(order, K_STATUS, 0, now_ns)

    cdef _replaced(self, Order order, VenueReport report, int64_t now_ns):
        cdef uint64_t old_id = order.client_order_id
        cdef int64_t price = order.new_price_units
        cdef int64_t units = order.new_units
        if report is not None and report.order_units:
            price, units = report.price_units, report.order_units
        if not units:
            units = order.order_units
        if order.new_client_order_id:
            order.client_order_id = order.new_client_order_id
        order.is_pending_replace = False
        order.new_client_order_id = order.new_price_units = order.new_units = 0
        order.acknowledged = True
        order.request_status = _SENT if order.is_pending_cancel else _ACCEPTED
        order.take_terms(price, units)
        self.settle(order, order.working_status())
        report_for(self.record, order, K_REPLACED, 0, now_ns)
        self.record.orig_client_order_id = old_id
        self.send(self.record)

    cdef _stranger_fill(self, VenueReport report, int64_t now_ns):
        """A fill of an order we do not keep: still our money, so it is booked, once."""
        cdef tuple key = (report.instrument_id, report.trade_id)
        cdef Order order
        if key in self._strangers:
            self.statistics.duplicate_fills += 1
            return
        if report.last_units <= 0 or report.last_price_units <= 0 or report.side not in _SIDES:
            self.statistics.breaches += 1
            return
        self._strangers[key] = None
        if len(self._strangers) > STRANGERS_MAX:
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

    cpdef settle(self, Order order, int status):
        """Take a status, and bring leaves, ledger and indexes in line with it."""
        cdef bint was_terminal = is_ended(order.status), is_terminal = is_ended(status)
        order.status = status
        if is_terminal:
            order.leaves_units = 0
            if status == _FILLED and not order.is_pending_cancel and not order.is_pending_replace:
                order.request_status = _ACCEPTED
        self.reserve(order)
        if is_terminal and not was_terminal:
            self.retire(order)

    cpdef reserve(self, Order order):
        """Bring what the ledger holds open for this order in line with its worst case."""
        cdef int64_t units = 0, rest, had = order.reserved_units
        cdef object product = 0, more
        cdef int count
        if not is_ended(order.status):
            units = order.leaves_units
            product = <object> units * <object> order.value_price_units
            if order.is_pending_replace:
                rest = order.new_units - order.filled_units
                more = <object> rest * <object> order.new_price_units
                if rest > units:
                    units = rest
                if more > product:
                    product = more
        if units == had and product == order.reserved_product:
            return
        count = (1 if units else 0) - (1 if had else 0)
        more = product - order.reserved_product
        order.reserved_units, order.reserved_product = units, product
        self.ledger.adjust(order.instrument_id, order.side, units - had, more, count)

    cpdef report(self, Order order, int kind, int reason, int64_t now_ns):
        """Report an order as it stands."""
        report_for(self.record, order, kind, reason, now_ns)
        self.send(self.record)

    cpdef send(self, ReportRecord record):
        """Let a report out, with the position as it now is."""
        self.statistics.reports += 1
        record.position_units = self.ledger.position_units(record.instrument_id)
        self.on_report(record)
