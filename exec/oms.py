"""The OMS: owns order identity and state, applies the lifecycle table, says what changed.

It has no I/O: commands come from `exec.flow`, venue reports from a session, every change goes out through
one callback as a `ReportRecord`; open quantity and fills go to a ledger (risk's exposure book, passed in).
Memory is bounded: terminal orders stay findable in a ring of fixed length, to catch late fills.
"""

from __future__ import annotations

from collections.abc import Callable

from exec.applier import Ledger, ReportApplier
from exec.errors import OrderError
from exec.lifecycle import Event, Outcome, decide
from exec.order import Order
from exec.report import blank_report, report_for
from shm.enums import IntentKind, OrderStatus, OrderType, Reason, ReportKind, RequestStatus
from shm.records import IntentRecord, ReportRecord

_MARKET = int(OrderType.MARKET)
_SENT, _ACCEPTED, _REFUSED = (
    int(RequestStatus.SENT),
    int(RequestStatus.ACCEPTED),
    int(RequestStatus.REFUSED),
)
_NOT_RECEIVED = int(Reason.NOT_RECEIVED)
_WORKING, _SAME = Outcome.WORKING, Outcome.SAME


class Oms(ReportApplier):
    """All orders of one gateway.

    Args:
        epoch: of the run.
        ledger: open quantity and positions; changed before the report of the change goes out.
        on_report: called with each change. The record is reused: copy what must outlive the call. If it
            raises, the OMS's state is already changed and consistent, and the exception passes to the caller.
        terminal_capacity: how many terminal orders stay findable.
    """

    def __init__(
        self,
        epoch: int,
        ledger: Ledger,
        on_report: Callable[[ReportRecord], None],
        *,
        terminal_capacity: int = 100_000,
    ) -> None:
        super().__init__(epoch, ledger, on_report, terminal_capacity)

    # ---- commands --------------------------------------------------------------------------------

    def accept_new(self, intent: IntentRecord, gate_ns: int) -> Order:
        """Make the order of an intent that passed the gate: PENDING_NEW, open in the ledger, not yet sent.

        Raises:
            OrderError: the id is in use (the gate refuses that as DUPLICATE_ID).
        """
        if intent.client_order_id in self._by_id:
            raise OrderError(f"client order id {intent.client_order_id:#x} is in use")
        order = Order(
            intent.client_order_id,
            intent.instrument_id,
            intent.side,
            intent.price_units,
            intent.quantity_units,
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

    def mark_sent(self, order: Order, send_ns: int) -> None:
        """Note that the order's last command was given to the session."""
        if not order.sent:
            order.sent = True
            order.send_ns = send_ns
        order.request_ns = send_ns
        if not order.is_terminal:
            order.request_status = _SENT

    def not_sent(self, order: Order, now_ns: int, reason: int = _NOT_RECEIVED) -> None:
        """The order never left this process: REJECTED with that reason."""
        self.word(order, Event.NOT_SENT, now_ns, reason, None)

    def deny(self, intent: IntentRecord, reason: int, now_ns: int) -> None:
        """Report an intent that the gate refused: DENIED, or REPLACE_REJECTED for a replace."""
        self.statistics.denied += 1
        record = self.record
        if intent.kind == IntentKind.REPLACE:
            target = self._by_id.get(intent.orig_client_order_id)
            if target is not None:
                report_for(record, target, ReportKind.REPLACE_REJECTED, reason, now_ns)
            else:
                blank_report(record, intent, self.epoch, ReportKind.REPLACE_REJECTED, reason, now_ns)
            record.client_order_id = intent.client_order_id
            record.orig_client_order_id = intent.orig_client_order_id
        else:
            blank_report(record, intent, self.epoch, ReportKind.DENIED, reason, now_ns)
            record.order_status = int(OrderStatus.DENIED)
        record.request_status = _REFUSED
        record.gate_ns = now_ns
        self.send(record)

    def on_cancel(self, intent: IntentRecord, now_ns: int) -> Order | None:
        """Find the order a CANCEL names; the order to send a cancel for, or None (refused, or under way).

        An unknown or terminal order is refused with a CANCEL_REJECTED report.
        """
        target = intent.orig_client_order_id or intent.client_order_id
        order = self._by_id.get(target)
        if order is None or order.is_terminal:
            self.statistics.cancels_refused += 1
            reason = Reason.UNKNOWN_ORDER if order is None else Reason.ORDER_TERMINAL
            self.refuse_cancel(intent, order, reason, now_ns)
            return None
        return order if self.request_cancel(order, now_ns) else None

    def refuse_cancel(self, intent: IntentRecord, order: Order | None, reason: int, now_ns: int) -> None:
        """Report that a cancel was not sent."""
        if order is not None:
            report_for(self.record, order, ReportKind.CANCEL_REJECTED, reason, now_ns)
        else:
            blank_report(self.record, intent, self.epoch, ReportKind.CANCEL_REJECTED, reason, now_ns)
        self.record.client_order_id = intent.orig_client_order_id or intent.client_order_id
        self.record.orig_client_order_id = 0
        self.record.request_status = _REFUSED
        self.send(self.record)

    def request_cancel(self, order: Order, now_ns: int) -> bool:
        """Note that a cancel is about to be sent; False = none is to be (terminal, or already under way)."""
        decision = decide(order.status, Event.CANCEL_SENT)
        if decision.outcome not in (_WORKING, _SAME):
            self.statistics.ignored += 1
            return False
        order.is_pending_cancel = True
        order.request_ns = now_ns
        order.request_status = _SENT
        if decision.outcome == _WORKING:
            self.settle(order, order.working_status())
        return True

    def request_replace(self, intent: IntentRecord, now_ns: int) -> Order | None:
        """Note that a replace is about to be sent; None = refused with a REPLACE_REJECTED report.

        One replace at a time: a second one, or one behind a cancel, is refused as BAD_INTENT.
        """
        order = self._by_id.get(intent.orig_client_order_id)
        if order is None or order.is_terminal:
            self.deny(intent, Reason.UNKNOWN_ORDER if order is None else Reason.ORDER_TERMINAL, now_ns)
            return None
        if decide(order.status, Event.REPLACE_SENT).outcome != _WORKING or order.is_pending_replace:
            self.deny(intent, Reason.BAD_INTENT, now_ns)
            return None
        self.start_replace(order, intent.client_order_id, intent.price_units, intent.quantity_units, now_ns)
        return order

    def start_replace(self, order: Order, new_id: int, price_units: int, units: int, now_ns: int) -> None:
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

    def cancel_not_sent(self, order: Order, reason: int, now_ns: int) -> None:
        """A requested cancel never left this process: CANCEL_REJECTED."""
        self.cancel_rejected(order, reason, now_ns)

    def replace_not_sent(self, order: Order, reason: int, now_ns: int) -> None:
        """A requested replace never left this process: REPLACE_REJECTED."""
        self.replace_rejected(order, reason, now_ns)

    def status_reports(self, intent: IntentRecord, now_ns: int) -> None:
        """Answer MASS_STATUS: a STATUS report of each open order of the actor, then one of the request."""
        for order in self.open_by_actor(intent.actor_id, intent.instrument_id):
            self.report(order, ReportKind.STATUS, order.reason, now_ns)
        blank_report(self.record, intent, self.epoch, ReportKind.STATUS, Reason.NONE, now_ns)
        self.record.side = self.record.price_units = self.record.order_units = 0
        self.record.request_status = _ACCEPTED
        self.send(self.record)
