"""Start = recovery: rebuild orders, positions and exposure from the journal, wherever it was cut.

The entries are replayed through the same OMS that wrote them, its reports muted: INTENT makes the order, SENT
the request, REPORT the venue's word. Then what was cut off is finished aloud:

- an order never SENT, or HELD where the journal ends, was certainly not received: REJECTED (NOT_RECEIVED);
  so is a HELD replace of an order that goes on: REPLACE_REJECTED;
- a denial, refusal or answer that was decided but not reported is reported;
- every other open order is UNKNOWN until the venue answers a query;
- cancels that were wanted are handed back to be sent again (they are idempotent).

A second crash at any point of this finds a journal that says the same.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from exec.discrepancy import Repair
from exec.entries import EntryWriter, read_agreed, read_discrepancy, read_intent, read_sent
from exec.errors import RecoveryError
from exec.flow import cancel_orders
from exec.lifecycle import Event
from exec.oms import Oms
from exec.order import Order
from exec.paper import PaperSession
from exec.repairs import book_drift
from exec.report import counters_of
from exec.session import VenueReport
from shm.enums import IntentKind, JournalKind, OrderStatus, Reason, ReportKind
from shm.records import IntentRecord, ReportRecord

TAIL_REPORTS = 64
_NOT_RECEIVED = int(Reason.NOT_RECEIVED)

_EVENT_OF_KIND = {
    int(ReportKind.NEW): Event.ACCEPTED,
    int(ReportKind.FILL): Event.FILL_PART,
    int(ReportKind.CANCELED): Event.CANCELED,
    int(ReportKind.REPLACED): Event.REPLACED,
    int(ReportKind.REJECTED): Event.REJECTED,
    int(ReportKind.EXPIRED): Event.EXPIRED,
    int(ReportKind.CANCEL_REJECTED): Event.CANCEL_REJECTED,
    int(ReportKind.REPLACE_REJECTED): Event.REPLACE_REJECTED,
    int(ReportKind.UNKNOWN): Event.DISCONNECTED,
}


class EntryLike(Protocol):
    """One journal entry (`shm.journal.JournalEntry`)."""

    @property
    def sequence(self) -> int:
        """Its number in the journal."""

    @property
    def epoch(self) -> int:
        """The run that wrote it."""

    @property
    def kind(self) -> int:
        """`JournalKind`."""

    @property
    def append_ns(self) -> int:
        """When it was appended."""

    @property
    def payload(self) -> bytes:
        """Its bytes."""


@dataclass(slots=True)
class Recovered:
    """What recovery found.

    Args:
        consumed: highest ring sequence journaled, by worker slot: intents up to it must be skipped.
        cancels: open orders whose cancel was wanted and may not have arrived; send them first.
        tail: the last journaled reports, which may not have reached their actors (offer them again:
            at-least-once; fills carry their trade id).
        disagreements: sequences of reports that do not match the rebuilt order; empty unless there is a bug.
        counts: what the journaled reports count as, by counter name (`exec.report.counters_of`).
        instruments: how many instrument rows are journaled.
        instrument_rows: these rows, in order.
        discrepancies: how many differences from the venue are journaled.
        agreed: the venue's time up to which an account's view and the venue's were the same, by account (the
            lowest of its venue ids).
        never_sent: new orders that had certainly not left.
    """

    consumed: dict[int, int] = field(default_factory=dict)
    cancels: list[Order] = field(default_factory=list)
    tail: deque[bytes] = field(default_factory=lambda: deque(maxlen=TAIL_REPORTS))
    disagreements: list[int] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    instruments: int = 0
    instrument_rows: list[bytes] = field(default_factory=list)
    discrepancies: int = 0
    agreed: dict[int, int] = field(default_factory=dict)
    entries: int = 0
    fills: int = 0
    never_sent: int = 0
    last_trade_id: int = 0
    last_venue_order_id: int = 0


class Replay:
    """Applies entries to an OMS; its reports must be muted meanwhile (`mute`)."""

    def __init__(self, oms: Oms, recovered: Recovered) -> None:
        self.oms = oms
        self.recovered = recovered
        # Decided but not yet seen done, by the id that the proof of it will carry.
        self.denials: dict[int, tuple[IntentRecord, int]] = {}
        self.cancels: dict[int, IntentRecord | None] = {}
        self.replaces: dict[int, IntentRecord] = {}
        self.questions: dict[int, IntentRecord] = {}
        # Commands that wait in the session: of a new order its id, of a replace its own.
        self.held: set[int] = set()

    def apply(self, entry: EntryLike) -> None:
        """Apply one entry; kinds that are not the gateway's change nothing."""
        self.recovered.entries += 1
        if entry.kind == JournalKind.INTENT:
            self._intent(entry)
        elif entry.kind == JournalKind.SENT:
            self._sent(entry)
        elif entry.kind == JournalKind.REPORT:
            self._report(entry)
        elif entry.kind == JournalKind.INSTRUMENT:
            self.recovered.instruments += 1
            self.recovered.instrument_rows.append(bytes(entry.payload))
        elif entry.kind == JournalKind.DISCREPANCY:
            self._discrepancy(entry)
        elif entry.kind in (JournalKind.HELD, JournalKind.RELEASED):
            self._held(entry)
        elif entry.kind == JournalKind.AGREED:
            account, venue_utc_ns = read_agreed(entry.payload)
            self.recovered.agreed[account] = venue_utc_ns

    def _discrepancy(self, entry: EntryLike) -> None:
        self.recovered.discrepancies += 1
        found = read_discrepancy(entry.payload)
        if found.repair == Repair.BOOK_DRIFT:  # all other repairs speak by reports of their own
            book_drift(found, self.oms.ledger)

    def _intent(self, entry: EntryLike) -> None:
        intent, sequence, slot, reason = read_intent(entry.payload)
        self.recovered.consumed[slot] = max(sequence, self.recovered.consumed.get(slot, 0))
        kind = intent.kind
        if reason:
            self.denials[intent.client_order_id] = (intent, reason)
        elif kind == IntentKind.NEW:
            self.oms.accept_new(intent, entry.append_ns)
        elif kind == IntentKind.CANCEL:
            target = intent.orig_client_order_id or intent.client_order_id
            order = self.oms.order(target)
            if order is None or not order.is_pending_cancel:
                self.cancels[self._root(target)] = intent
        elif kind == IntentKind.MASS_CANCEL:
            for order in self.oms.mass_cancel_targets(intent):
                if not order.is_pending_cancel:
                    self.cancels[order.root_client_order_id] = None
        elif kind == IntentKind.REPLACE:
            self.replaces[intent.client_order_id] = intent
        elif kind == IntentKind.MASS_STATUS:
            self.questions[intent.client_order_id] = intent

    def _sent(self, entry: EntryLike) -> None:
        command = read_sent(entry.payload)
        order = self.oms.order(command.client_order_id)
        if order is None:
            raise RecoveryError(
                f"journal entry {entry.sequence}: command sent for order {command.client_order_id:#x}, "
                "which no earlier entry made"
            )
        if command.kind == IntentKind.CANCEL:
            self.cancels.pop(order.root_client_order_id, None)
            self.oms.request_cancel(order, command.sent_ns)
        elif command.kind == IntentKind.REPLACE:
            self.replaces.pop(command.new_client_order_id, None)
            self.oms.start_replace(
                order,
                command.new_client_order_id,
                command.price_units,
                command.quantity_units,
                command.sent_ns,
            )
        self.oms.mark_sent(order, command.sent_ns)

    def _held(self, entry: EntryLike) -> None:
        command = read_sent(entry.payload)
        number = command.new_client_order_id or command.client_order_id
        if entry.kind == JournalKind.HELD:
            self.held.add(number)
            return
        self.held.discard(number)
        order = self.oms.order(command.client_order_id)
        if order is not None and command.kind == IntentKind.NEW:
            order.send_ns = command.sent_ns  # from then on it may be under way

    def _report(self, entry: EntryLike) -> None:
        report = ReportRecord.from_bytes(entry.payload)
        self.recovered.tail.append(bytes(entry.payload))
        self._settle_debts(report)
        self.recovered.counts.update(counters_of(report))
        if report.kind == ReportKind.FILL:
            self.recovered.fills += 1
            self.recovered.last_trade_id = max(self.recovered.last_trade_id, report.trade_id)
        self.recovered.last_venue_order_id = max(self.recovered.last_venue_order_id, report.venue_order_id)
        event = _EVENT_OF_KIND.get(report.kind)
        if report.kind == ReportKind.STATUS and report.order_status == OrderStatus.FILLED:
            # A query's answer: complete, by its terms.
            event = Event.ACCEPTED
        if event is None:
            return
        target = report.client_order_id
        if event in (Event.REPLACED, Event.REPLACE_REJECTED):
            target = report.orig_client_order_id
        order = self.oms.order(target)
        if event == Event.REPLACE_REJECTED and (
            order is None or order.new_client_order_id != report.client_order_id
        ):
            return
        if event == Event.REJECTED and order is not None and not order.sent:
            self.oms.not_sent(order, report.report_ns, report.reason)
        elif event == Event.DISCONNECTED and order is not None:
            self.oms.lose(order, report.report_ns)
        else:
            self.oms.apply_report(self._venue_report(report, event, target), report.report_ns)
        if order is not None and not self._agrees(order, report):
            self.recovered.disagreements.append(entry.sequence)

    @staticmethod
    def _venue_report(report: ReportRecord, event: Event, target: int) -> VenueReport:
        return VenueReport(
            event,
            target,
            report.instrument_id,
            report.side,
            venue_order_id=report.venue_order_id,
            reason=report.reason,
            price_units=report.price_units,
            order_units=report.order_units,
            trade_id=report.trade_id,
            last_units=report.last_units,
            last_price_units=report.last_price_units,
            liquidity=report.liquidity,
            fee_units=report.fee_units,
            venue_utc_ns=report.venue_utc_ns,
        )

    @staticmethod
    def _agrees(order: Order, report: ReportRecord) -> bool:
        return (
            order.filled_units == report.filled_units
            and order.leaves_units == report.leaves_units
            and order.status == report.order_status
        )

    def _settle_debts(self, report: ReportRecord) -> None:
        kind = report.kind
        if kind in (ReportKind.REJECTED, ReportKind.REPLACE_REJECTED):
            self.held.discard(report.client_order_id)
        if kind in (ReportKind.DENIED, ReportKind.REPLACE_REJECTED):
            self.denials.pop(report.client_order_id, None)
            self.replaces.pop(report.client_order_id, None)
        elif kind == ReportKind.CANCEL_REJECTED:
            self.cancels.pop(self._root(report.client_order_id), None)
        elif kind == ReportKind.STATUS:
            self.questions.pop(report.client_order_id, None)

    def _root(self, client_order_id: int) -> int:
        order = self.oms.order(client_order_id)
        return client_order_id if order is None else order.root_client_order_id

    def finish(self, now_ns: int) -> None:
        """Say aloud what was cut off."""
        oms = self.oms
        for intent, reason in self.denials.values():
            oms.deny(intent, reason, now_ns)
        for order in oms.open_orders():
            if not order.sent:
                self.recovered.never_sent += 1
                oms.not_sent(order, now_ns)
            elif self.held:
                self._refuse_held(order, now_ns)
        for intent in self.replaces.values():
            oms.deny(intent, _NOT_RECEIVED, now_ns)
        wanted: dict[int, Order] = {}
        for target, cancel in self.cancels.items():
            found = oms.order(target)
            if found is not None and not found.is_terminal:
                wanted[found.root_client_order_id] = found
            elif cancel is not None:
                reason = Reason.UNKNOWN_ORDER if found is None else Reason.ORDER_TERMINAL
                oms.refuse_cancel(cancel, found, reason, now_ns)
        for order in oms.open_orders():
            if order.is_pending_cancel:
                wanted[order.root_client_order_id] = order
        self.recovered.cancels = list(wanted.values())
        oms.disconnected(now_ns)
        for intent in self.questions.values():
            oms.status_reports(intent, now_ns)

    def _refuse_held(self, order: Order, now_ns: int) -> None:
        """What still waited in the session is refused in the session's own words."""
        if order.root_client_order_id in self.held:
            self.recovered.never_sent += 1
            refusal = VenueReport(
                Event.REJECTED, order.root_client_order_id, order.instrument_id, order.side,
                reason=_NOT_RECEIVED,
            )  # fmt: skip
            self.oms.apply_report(refusal, now_ns)
        elif order.is_pending_replace and order.new_client_order_id in self.held:
            self.oms.replace_not_sent(order, _NOT_RECEIVED, now_ns)


def recover(
    entries: Iterable[EntryLike],
    oms: Oms,
    *,
    now_ns: int,
    on_replayed: Callable[[Recovered], None] | None = None,
    start: Callable[[Replay], None] | None = None,
    replay: Replay | None = None,
) -> Recovered:
    """Rebuild an empty OMS (and its ledger) from the journal entries of its epoch.

    Args:
        entries: in order, for example `read_journal(directory)`; those of other epochs are skipped.
        oms: freshly made; its `on_report` gets only what recovery has to say, not the replayed past.
        now_ns: stamps those reports.
        start: puts the state before the first entry into the replay (`exec.checkpoint.restore`); None = the
            entries are all there are.
        replay: has followed the journal up to the first of these entries, with this OMS; None = begin here.
        on_replayed: called between the past and the first report that recovery makes itself.

    Raises:
        RecoveryError: the journal contradicts itself. JournalError passes from a broken chain.
    """
    replay = replay or Replay(oms, Recovered())
    recovered = replay.recovered
    speak = oms.on_report
    oms.on_report = mute
    try:
        if start is not None:
            start(replay)
        for entry in entries:
            if entry.epoch == oms.epoch:
                replay.apply(entry)
    finally:
        oms.on_report = speak
    oms.statistics.reset()
    if on_replayed is not None:
        on_replayed(recovered)
    replay.finish(now_ns)
    return recovered


def resume_paper(
    session: PaperSession,
    oms: Oms,
    recovered: Recovered,
    entries: EntryWriter,
    clock: Callable[[], int],
    now_ns: int,
) -> None:
    """Put the recovered orders back into a new paper session and settle each.

    The simulated venue died with this process. Orders it had acknowledged rest again, behind everything
    displayed; it has never heard of the others. Cancels that were wanted go first, then a query of each order
    brings it out of UNKNOWN through the normal path.
    """
    for instrument_id in session.simulator.instrument_ids():
        session.simulator.set_position(instrument_id, oms.ledger.position_units(instrument_id))
    orders = oms.open_orders()
    for order in orders:
        if order.acknowledged or order.filled_units:
            session.restore(order)
    for order in recovered.cancels:
        # Its cancel may stand as under way from before; here it is sent for the first time.
        order.is_pending_cancel = False
    cancel_orders(recovered.cancels, oms, session, entries, clock, now_ns)
    for order in orders:
        session.query(order, now_ns)


def mute(report: ReportRecord) -> None:
    """Say nothing: the past was reported by the process that lived it."""
