# cython: language_level=3, freethreading_compatible=False
"""The OMS: owns order identity and state, applies the lifecycle table, says what changed.

It has no I/O: commands come from `exec.flow`, venue reports from a session, every change goes out through
one callback as a `ReportRecord`; open quantity and fills go to a ledger (risk's exposure book, passed in).
Memory is bounded: terminal orders stay findable in a ring of fixed length, to catch late fills.
"""

from libc.stdint cimport int64_t, uint64_t

from exec.applier cimport Cell, ReportApplier, decided
from exec.order cimport Order, is_ended
from exec.report cimport blank_report, report_for
from shm.records cimport IntentRecord, ReportRecord

from exec.errors import OrderError
from exec.lifecycle import Event, Outcome
from shm.enums import IntentKind, OrderStatus, OrderType, Reason, ReportKind, RequestStatus

cdef int _MARKET = int(OrderType.MARKET)
cdef int _DENIED = int(OrderStatus.DENIED)
cdef int _SENT = int(RequestStatus.SENT)
cdef int _ACCEPTED = int(RequestStatus.ACCEPTED)
cdef int _REFUSED = int(RequestStatus.REFUSED)
cdef int _NOT_RECEIVED = int(Reason.NOT_RECEIVED)
cdef int _UNKNOWN_ORDER = int(Reason.UNKNOWN_ORDER)
cdef int _ORDER_TERMINAL = int(Reason.ORDER_TERMINAL)
cdef int _BAD_INTENT = int(Reason.BAD_INTENT)
cdef int _WORKING = int(Outcome.WORKING)
cdef int _SAME = int(Outcome.SAME)
cdef int I_REPLACE = int(IntentKind.REPLACE)
cdef int E_NOT_SENT = int(Event.NOT_SENT)
cdef int E_CANCEL_SENT = int(Event.CANCEL_SENT)
cdef int E_REPLACE_SENT = int(Event.REPLACE_SENT)
cdef int K_DENIED = int(ReportKind.DENIED)
cdef int K_REPLACE_REJECTED = int(ReportKind.REPLACE_REJECTED)
cdef int K_CANCEL_REJECTED = int(ReportKind.CANCEL_REJECTED)
cdef int K_STATUS = int(ReportKind.STATUS)


cdef class Oms(ReportApplier):
    """All orders of one gateway.

    Args:
        epoch: of the run.
        ledger: open quantity and positions; changed before the report of the change goes out.
        on_report: called with each change. The record is reused: copy what must outlive the call. If it
            raises, the OMS's state is already changed and consistent, and the exception passes to the caller.
        terminal_capacity: how many terminal orders stay findable.
    """

    def __init__(self, epoch, ledger, on_report, *, terminal_capacity=100_000):
        ReportApplier.__init__(self, epoch, ledger, on_report, terminal_capacity)

    # ---- commands --------------------------------------------------------------------------------

    cpdef Order accept_new(self, IntentRecord intent, int64_t gate_ns):
        """Make the order of an intent that passed the gate: PENDING_NEW, open in the ledger, not yet sent.

        Raises:
            OrderError: the id is in use (the gate refuses that as DUPLICATE_ID).
        """
        if intent.client_order_id in self._by_id:
            raise OrderError(f"client order id {intent.client_order_id:#x} is in use")
        cdef Order order = Order.__new__(Order)
        order.begin(
            intent.client_order_id, intent.instrument_id, intent.side, intent.price_units, intent.quantity_units
        )
        order.order_type = intent.order_type
        order.time_in_force = intent.time_in_force
        order.flags = intent.flags
        order.actor_id = intent.actor_id
        order.worker_slot = intent.worker_slot
        order.incarnation = intent.incarnation
        order.generation = intent.generation
        order.epoch = intent.epoch
        order.frame_ns = intent.frame_ns
        order.decide_ns = intent.decide_ns
        order.gate_ns = order.request_ns = gate_ns
        if intent.order_type == _MARKET:
            order.value_price_units = self.ledger.reference_price_units(intent.instrument_id)
        self.index(order)
        self.reserve(order)
        return order

    cpdef mark_sent(self, Order order, int64_t send_ns):
        """Note that the order's last command was given to the session."""
        if not order.sent:
            order.sent = True
            order.send_ns = send_ns
        order.request_ns = send_ns
        if not is_ended(order.status):
            order.request_status = _SENT

    cpdef not_sent(self, Order order, int64_t now_ns, int reason=_NOT_RECEIVED):
        """The order never left this process: REJECTED with that reason."""
        self.word(order, E_NOT_SENT, now_ns, reason, None)

    cpdef deny(self, IntentRecord intent, int reason, int64_t now_ns):
        """Report an intent that the gate refused: DENIED, or REPLACE_REJECTED for a replace."""
        self.statistics.denied += 1
        cdef ReportRecord record = self.record
        cdef Order target
        if intent.kind == I_REPLACE:
            target = self._by_id.get(intent.orig_client_order_id)
            if target is not None:
                report_for(record, target, K_REPLACE_REJECTED, reason, now_ns)
            else:
                blank_report(record, intent, self.epoch, K_REPLACE_REJECTED, reason, now_ns)
            record.client_order_id = intent.client_order_id
            record.orig_client_order_id = intent.orig_client_order_id
        else:
            blank_report(record, intent, self.epoch, K_DENIED, reason, now_ns)
            record.order_status = _DENIED
        record.request_status = _REFUSED
        record.gate_ns = now_ns
        self.send(record)

    cpdef Order on_cancel(self, IntentRecord intent, int64_t now_ns):
        """Find the order a CANCEL names; the order to send a cancel for, or None (refused, or under way).

        An unknown or terminal order is refused with a CANCEL_REJECTED report.
        """
        cdef uint64_t target = intent.orig_client_order_id or intent.client_order_id
        cdef Order order = self._by_id.get(target)
        cdef int reason
        if order is None or is_ended(order.status):
            self.statistics.cancels_refused += 1
            reason = _UNKNOWN_ORDER if order is None else _ORDER_TERMINAL
            self.refuse_cancel(intent, order, reason, now_ns)
            return None
        return order if self.request_cancel(order, now_ns) else None

    cpdef refuse_cancel(self, IntentRecord intent, Order order, int reason, int64_t now_ns):
        """Report that a cancel was not sent."""
        if order is not None:
            report_for(self.record, order, K_CANCEL_REJECTED, reason, now_ns)
        else:
            blank_report(self.record, intent, self.epoch, K_CANCEL_REJECTED, reason, now_ns)
        self.record.client_order_id = intent.orig_client_order_id or intent.client_order_id
        self.record.orig_client_order_id = 0
        self.record.request_status = _REFUSED
        self.send(self.record)

    cpdef bint request_cancel(self, Order order, int64_t now_ns) except -1:
        """Note that a cancel is about to be sent; False = none is to be (terminal, or already under way)."""
        cdef Cell cell = decided(order.status, E_CANCEL_SENT)
        if cell.outcome != _WORKING and cell.outcome != _SAME:
            self.statistics.ignored += 1
            return False
        order.is_pending_cancel = True
        order.request_ns = now_ns
        order.request_status = _SENT
        if cell.outcome == _WORKING:
            self.settle(order, order.working_status())
        return True

    cpdef Order request_replace(self, IntentRecord intent, int64_t now_ns):
        """Note that a replace is about to be sent; None = refused with a REPLACE_REJECTED report.

        One replace at a time: a second one, or one behind a cancel, is refused as BAD_INTENT.
        """
        cdef Order order = self._by_id.get(intent.orig_client_order_id)
        if order is None or is_ended(order.status):
            self.deny(intent, _UNKNOWN_ORDER if order is None else _ORDER_TERMINAL, now_ns)
            return None
        if decided(order.status, E_REPLACE_SENT).outcome != _WORKING or order.is_pending_replace:
            self.deny(intent, _BAD_INTENT, now_ns)
            return None
        self.start_replace(order, intent.client_order_id, intent.price_units, intent.quantity_units, now_ns)
        return order

    cpdef start_replace(
        self, Order order, uint64_t new_id, int64_t price_units, int64_t units, int64_t now_ns
    ):
        """Take up the terms of a replace; both old and new terms count as open until it is answered."""
        order.is_pending_replace = True
        order.new_client_order_id = new_id
        order.new_price_units = price_units
        order.new_units = units
        order.request_ns = now_ns
        order.request_status = _SENT
        if new_id:
            self.add_alias(order, new_id)
        self.settle(order, order.working_status())

    def cancel_not_sent(self, Order order not None, int reason, int64_t now_ns):
        """A requested cancel never left this process: CANCEL_REJECTED."""
        self.cancel_rejected(order, reason, now_ns)

    def replace_not_sent(self, Order order not None, int reason, int64_t now_ns):
        """A requested replace never left this process: REPLACE_REJECTED."""
        self.replace_rejected(order, reason, now_ns)

    def status_reports(self, IntentRecord intent not None, int64_t now_ns):
        """Answer MASS_STATUS: a STATUS report of each open order of the actor, then one of the request."""
        for order in self.open_by_actor(intent.actor_id, intent.instrument_id):
            self.report(order, K_STATUS, order.reason, now_ns)
        blank_report(self.record, intent, self.epoch, K_STATUS, 0, now_ns)
        self.record.side = 0
        self.record.price_units = self.record.order_units = 0
        self.record.request_status = _ACCEPTED
        self.send(self.record)
