"""The order gateway: intents in; gate, OMS, journal, session; reports, positions and PnL out.

One gateway per account. Its start is its recovery: the journal of this epoch is replayed whether there is
anything in it or not. It watches the strategy workers: the orders of one that is gone or stalls are canceled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from actors.correlation_watch import CorrelationWatch
from actors.errors import ActorError
from actors.gateway_ledger import GatewayLedger, journal_directory, open_journal
from actors.gateway_settings import OrderGatewaySettings
from actors.halt_care import HaltCare
from actors.order_end import settle_orders
from actors.order_lane import Lane
from actors.order_rehearsal import OrderRehearsal
from actors.paper_orders import PaperOrders
from actors.position_board import PositionBoard
from actors.runtime import spec as names
from actors.runtime.actor import Actor
from actors.runtime.context import Context
from actors.runtime.host import ORDER_INTENTS
from actors.runtime.mailboxes import IntentSource
from actors.runtime.publishers import PUBLISHES
from actors.runtime.schedule import Timer
from actors.runtime.settings import read_settings
from actors.venue_orders import VenueOrders, check_accounts
from exec.entries import EntryWriter
from exec.flow import cancel_orders, process_intent
from exec.recovery import Recovered
from exec.report import COUNTER_NAMES, DENIED_COUNTER, counters_of
from exec.session import OrderSession
from risk.gate import Gate, LivingWorkers
from shm.enums import (
    IntentKind,
    JournalKind,
    OrderFlags,
    Reason,
    ReportKind,
    SegmentKind,
    TradingState,
    WorkerState,
)
from shm.errors import JournalError
from shm.instruments import Instrument
from shm.records import IntentRecord, MarketRecord, ReportRecord
from shm.spsc import Producer

_NEW, _REPLACE = int(IntentKind.NEW), int(IntentKind.REPLACE)
_MASS_STATUS = int(IntentKind.MASS_STATUS)
_ACKNOWLEDGED = int(ReportKind.NEW)
_SENDS = frozenset({_NEW, _REPLACE})
# A strategy worker that the supervisor calls stalled keeps its orders until its heartbeat is orphan_ns old.
_KEEPS_ORDERS = PUBLISHES | {int(WorkerState.STARTING), int(WorkerState.STALLED)}
_SLOT_SHIFT, _SLOT_MASK = 40, 63
_UNSENT_MAX = 100_000
_FORCED = int(OrderFlags.FROM_HALT | OrderFlags.FROM_SENTINEL | OrderFlags.FROM_EMERGENCY)
# Heartbeats between two looks at what only arriving records can have changed, while none arrive.
QUIET_BEATS = 10
# Room kept in the journal for what must be said about orders that are out already.
JOURNAL_RESERVE_BYTES = 1 << 20
FAULT_JOURNAL, FAULT_UNSETTLED = 2000, 2001


class OrderGateway(Actor):
    """The actor; see the module."""

    role: ClassVar[str] = "order_gateway"
    is_critical: ClassVar[bool] = True
    wants_cycle: ClassVar[bool] = True

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        self.config = read_settings(OrderGatewaySettings, settings, self.role)
        host = context.host
        self._host = host
        self._slot = host.spec.slot
        self._ledger = GatewayLedger(host, self._on_report)
        self.exposures = self._ledger.exposures
        self.journal = open_journal(host, self.config.journal_file_bytes)
        self.entries = EntryWriter(self.journal)
        self.oms = self._ledger.oms
        self.desk: PaperOrders | VenueOrders
        self.session: OrderSession
        self.recovered = Recovered()
        self.board = PositionBoard(host.positions(self._slot), self.exposures)
        self.gate = Gate(
            epoch=host.spec.epoch,
            control=host.control,
            slab_of=host.slab_of,
            is_alive=LivingWorkers(host.control, PUBLISHES),
            limits=self.config.make_limits(),
            exposures=self.exposures,
            instruments=host.instruments,
            find_order=self.oms.order,
        )
        self.gate.generation = host.spec.generation
        self.correlation = CorrelationWatch(context, self.gate, self.exposures, self.config)
        self._producers: dict[int, Producer] = {}
        self._unsent: dict[int, deque[bytes]] = {}
        self._has_unsent = False
        self._timer: Timer | None = None
        tell = partial(self._append, JournalKind.HALT)
        self._halts = HaltCare(host.control, host.spec.sentinel_slot, self.config.orphan_ns, tell)
        self._is_quiesced = False
        self._journal_error = ""
        self._must_withdraw = False  # something could not be journaled: nothing may rest
        self._reserve_bytes = min(JOURNAL_RESERVE_BYTES, self.config.journal_file_bytes // 4)
        self._listed = 0
        self._dispatched = 0
        self._quiet_beats = 0
        # All made here: a worker's counters are few, and a strategy beside us may use up the rest.
        self._counters = {name: context.counter(name) for name in sorted(COUNTER_NAMES)}
        self._skipped = context.counter("gateway.skipped")
        self._mass_cancels = context.counter("gateway.mass_cancels")
        self._orphans = context.counter("gateway.orphans_canceled")
        self._recovered_orders = context.counter("gateway.recovered_orders")
        self._journal_faults = context.counter("gateway.journal_faults")
        self._dropped = context.counter("gateway.reports_dropped")
        self._intent_ns = context.histogram("hop.intent_ns")
        self._gate_ns = context.histogram("hop.gate_ns")
        self._send_ns = context.histogram("hop.send_ns")
        self._ack_ns = context.histogram("hop.ack_ns")
        self._tick_to_trade_ns = context.histogram("tick_to_trade_ns")

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Raise SettingsError for what OrderGatewaySettings does not allow."""
        config = read_settings(OrderGatewaySettings, settings, cls.role)
        config.make_limits()
        check_accounts(config.accounts)

    # ---- start ----------------------------------------------------------------------------------

    def on_attach(self) -> None:
        """Open the intent ring of every strategy worker and the report ring back."""
        host = self._host
        for slot in host.spec.strategies:
            reports = host.spsc(names.reports_name(self._slot, slot), SegmentKind.REPORT_RING)
            self._producers[slot] = host.producer(reports)
            self._unsent[slot] = deque()

    def subscriptions(self) -> Sequence[int]:
        """All instruments of the run: marks for PnL, books and trades for the simulated venue."""
        return [row.instrument_id for row in self.context.instruments]

    def follows(self, instrument: Instrument) -> bool:  # noqa: ARG002
        """Every one, as above."""
        return True

    def on_start(self, reason: str, *_: Any) -> None:
        """Recover from the journal, settle what was under way, and only then take intents.

        Raises:
            ActorError: a run that only begins finds entries of its own epoch: the epoch file was lost or put
                back, and these orders and positions are another run's.
        """
        if reason == "start" and self.journal.sequence:
            raise ActorError(
                f"order_gateway: {journal_directory(self._host)} holds {self.journal.sequence} entries of "
                f"epoch {self._host.spec.epoch}, which only begins: move them away, "
                "or put the epoch file right"
            )
        now = self.context.now_ns()
        self.recovered = self._ledger.recover(journal_directory(self._host), now, self._restore_counts)
        self.desk = self._make_desk()
        self.session = self.desk.session
        self._rehearsal = OrderRehearsal(self.context, self.gate, self.config, self.session, self._on_intent)
        self._list_instruments()
        self._recovered_orders.inc(self.oms.open_count)
        self.desk.resume(self.recovered, self.entries, self.context.now_ns, now)
        self._offer_tail()
        self.board.store_all(now)
        self._keep_room()
        self._open_intents()
        self.on_halt()
        self.on_cycle(now)

    def _make_desk(self) -> PaperOrders | VenueOrders:
        if self.config.mode == "paper":
            return PaperOrders(self.context, self.config, self.oms, self.recovered)
        if not self.config.accounts:
            raise ActorError("order_gateway: mode 'venue' needs accounts")
        desk = VenueOrders(
            self.context, self.config.accounts, self.oms, self.entries, on_wire=self._on_wire,
            after=lambda: self.on_cycle(self.context.now_ns()),
        )  # fmt: skip
        self._ledger.value_fees(desk.sessions, self.context.instruments)
        return desk

    def _restore_counts(self, recovered: Recovered) -> None:
        """Count what the journal proves: the process before this one may have died between the two."""
        for name, counter in self._counters.items():
            counter.set(recovered.counts[name])

    def _list_instruments(self) -> None:
        """Take new rows of the table to the session and the journal."""
        table = self.context.instruments
        if len(table) == self._listed:
            return
        for row in list(table)[self._listed :]:
            self.desk.add_instrument(row)
            if self._listed >= self.recovered.instruments:
                self._append(JournalKind.INSTRUMENT, row.to_bytes())
            self.board.add(row.instrument_id)
            self._listed += 1

    def _offer_tail(self) -> None:
        """Offer the last journaled reports again: their actors may not have had them (at least once)."""
        for payload in self.recovered.tail:
            self._route(int.from_bytes(payload[16:24], "little"), payload)

    def _open_intents(self) -> None:
        host = self._host
        for slot in host.spec.strategies:
            ring = host.inbound(names.intents_name(slot, self._slot), SegmentKind.INTENT_RING)
            lane = Lane(
                slot=slot,
                consumed=self.recovered.consumed.get(slot, 0),
                judge=self.gate.check,
                oms=self.oms,
                session=self.session,
                entries=self.entries,
                intent_ns=self._intent_ns,
                gate_ns=self._gate_ns,
            )
            host.add_source(IntentSource(host.consumer(ring), ORDER_INTENTS, self._on_intent, lane))

    # ---- intents --------------------------------------------------------------------------------

    def _on_intent(self, lane: Lane, sequence: int, intent: IntentRecord) -> None:
        """Gate, journal and carry out one intent; the ring's position moves on after this returns."""
        if sequence <= lane.consumed:
            self._skipped.inc(1)  # journaled by the process before this one
            return
        if intent.instrument_id >= self._listed:
            self._list_instruments()  # its strategy saw the listing first
        now_ns, judge = self._host.clock.now_ns, lane.judge
        now = now_ns()
        reason = judge(intent, now)
        gate_ns = now_ns()
        kind = intent.kind
        if kind in _SENDS:
            reason = reason or self._check_own(intent.flags, gate_ns)
            if self._journal_error:
                # Not journaled: what room is left belongs to the orders that are out.
                lane.oms.deny(intent, reason, gate_ns)
                return
            if lane.is_real and not reason:
                self.desk.before_order(intent.instrument_id, gate_ns)
        elif kind == _MASS_STATUS:
            self._watch_workers(gate_ns)  # a reborn worker asks: its predecessor's orders go first
        # By place: names would cost a tenth of the whole call.
        order = process_intent(
            intent, reason, sequence, lane.slot, lane.oms, lane.session, lane.entries, now_ns, gate_ns
        )
        # The order is on its way: what need not come before it comes now.
        lane.intent_ns.record(now - intent.decide_ns)
        lane.gate_ns.record(gate_ns - now)
        if lane.is_real:
            if order is not None:
                if self.config.mode == "paper":
                    self._on_wire(intent.frame_ns, gate_ns)  # a venue's desk tells it when bytes have left
                self._rehearsal.seen(intent, gate_ns)
            self.board.touch(intent.instrument_id)

    def _check_own(self, flags: int, now_ns: int) -> Reason:
        """What only the gateway knows: a stop is under way, the journal is full, no sentinel stands by."""
        if self._journal_error:
            return Reason.JOURNAL
        if self._host.is_stopping and not flags & _FORCED:
            return Reason.STOPPING
        return self._halts.reason(flags, now_ns)

    def _on_wire(self, frame_ns: int, since_ns: int) -> None:
        send_ns = self.context.now_ns()
        self._send_ns.record(send_ns - since_ns)
        if frame_ns:
            self._tick_to_trade_ns.record(send_ns - frame_ns)

    # ---- market data ----------------------------------------------------------------------------

    def on_book(self, record: MarketRecord) -> None:
        """Mark the position; a paper venue moves with the book, after this cycle's intents."""
        instrument_id = record.instrument_id
        bid, ask = record.value0, record.value2
        if bid > 0 and ask > 0:
            self.exposures.mark(instrument_id, (bid + ask) >> 1)
        self.desk.on_book(instrument_id)

    def on_trade(self, record: MarketRecord) -> None:
        """A public trade moves a paper venue's queues and fills."""
        self.desk.on_trade(record)

    def on_status(self, record: MarketRecord) -> None:
        """A book left LIVE, or came back."""
        self.desk.on_status(record)

    def on_lapped(self, lost: int) -> None:
        """Trades were missed."""
        del lost
        self.desk.on_lapped()

    # ---- reports --------------------------------------------------------------------------------

    def _on_report(self, report: ReportRecord) -> None:
        """Journal a report, then bring positions, counters and the actor up to date."""
        counted = counters_of(report)
        if not (self._journal_error and DENIED_COUNTER in counted):
            try:
                self.entries.report(report, report.report_ns)
            except JournalError as error:
                self._journal_failed(error)
                self._must_withdraw = True
        for name in counted:
            self._counters[name].inc(1)
        if report.kind == _ACKNOWLEDGED and report.ack_ns > report.send_ns > 0:
            self._ack_ns.record(report.ack_ns - report.send_ns)
        self.board.touch(report.instrument_id)
        self._route(report.client_order_id, report.to_bytes())

    def _route(self, client_order_id: int, payload: bytes) -> None:
        slot = client_order_id >> _SLOT_SHIFT & _SLOT_MASK
        producer = self._producers.get(slot)
        if producer is None:
            return
        unsent = self._unsent[slot]
        if unsent or not producer.offer(payload):
            if len(unsent) >= _UNSENT_MAX:
                unsent.popleft()
                self._dropped.inc(1)
            unsent.append(payload)
            self._has_unsent = True

    def _flush_reports(self) -> None:
        self._has_unsent = False
        for slot, unsent in self._unsent.items():
            producer = self._producers[slot]
            while unsent and producer.offer(unsent[0]):
                unsent.popleft()
            self._has_unsent = self._has_unsent or bool(unsent)

    # ---- the journal ----------------------------------------------------------------------------

    def _append(self, kind: JournalKind, payload: bytes) -> None:
        try:
            self.journal.append(kind, payload, self.context.now_ns())
        except JournalError as error:
            self._journal_failed(error)

    def _keep_room(self) -> None:
        """Have room for reports ahead of time; while there is none, nothing new is sent."""
        try:
            self.journal.prepare(self._reserve_bytes)
        except (JournalError, OSError) as error:
            self._journal_failed(error)
            return
        if self._journal_error:
            self._journal_error = ""
            self._tell(FAULT_JOURNAL, "journal", "has room again: new orders pass")

    def _journal_failed(self, error: Exception) -> None:
        self._journal_faults.inc(1)
        if not self._journal_error:
            self._journal_error = str(error)
            text = f"{error}: new orders are denied (JOURNAL), cancels pass"
            self._tell(FAULT_JOURNAL, "journal", text)

    def _tell(self, code: int, what: str, text: str) -> None:
        host = self._host
        host.metrics.fault(code, f"{what}: {text}", host.utc_ns())
        host.notify({"op": what, "text": text})

    # ---- time -----------------------------------------------------------------------------------

    def on_cycle(self, now_ns: int) -> None:
        """After each duty cycle: what moved or is due at the venue, unsent reports, changed positions."""
        self.desk.on_cycle(now_ns)
        due = self.session.next_due_ns()
        if due is not None and due <= now_ns:
            self.session.on_timer(now_ns)
            due = self.session.next_due_ns()
        if self._has_unsent:
            self._flush_reports()
        if self._must_withdraw:
            self._must_withdraw = False
            self.cancel_all()
            self.desk.on_cycle(now_ns)
            due = self.session.next_due_ns()
        self.board.flush(now_ns)
        if due is not None or self._timer is not None:
            self._wake_at(due)

    def _wake_at(self, due: int | None) -> None:
        timer = self._timer
        if timer is not None and not timer.is_canceled and timer.due_ns == due:
            return
        if timer is not None:
            timer.cancel()
        self._timer = None if due is None else self.context.call_at(due, self._on_due)

    def _on_due(self) -> None:
        self._timer = None
        self.on_cycle(self.context.now_ns())

    def on_heartbeat(self, now_ns: int) -> None:
        """Watch strategy workers and the halt word; store positions at their marks."""
        self._watch_workers(now_ns)
        self.correlation.on_heartbeat(now_ns)
        self.on_halt()
        dispatched = self._host.mailbox.dispatched
        self._quiet_beats = self._quiet_beats + 1 if dispatched == self._dispatched else 0
        if self._quiet_beats % QUIET_BEATS == 0:  # else nothing came: no mark moved, no room was used
            self._dispatched = dispatched
            self._keep_room()
            self._list_instruments()
            self.board.touch_held()
            self.desk.publish()
        self.on_cycle(now_ns)

    def _watch_workers(self, now_ns: int) -> None:
        for slot in self._host.spec.strategies:
            worker = self._host.control.slot(slot)
            if slot == self._slot:
                orphans = self.oms.orphans(slot, self._host.spec.incarnation)
            elif worker.state not in _KEEPS_ORDERS or now_ns - worker.heartbeat_ns > self.config.orphan_ns:
                orphans = self.oms.open_by_worker(slot)
            else:
                orphans = self.oms.orphans(slot, worker.incarnation)
            if orphans and not self.config.keep_orphans:
                self._orphans.inc(self._cancel(orphans, now_ns))

    def _cancel(self, orders: Sequence[Any], now_ns: int) -> int:
        context = self.context
        return cancel_orders(orders, self.oms, self.session, self.entries, context.now_ns, now_ns)

    def cancel_all(self) -> int:
        """Cancel every order that is not terminal; returns how many cancels were sent."""
        count = self._cancel(self.oms.open_orders(), self.context.now_ns())
        if count:
            self._mass_cancels.inc(1)
        return count

    # ---- halt, generations, stop ----------------------------------------------------------------

    def on_halt(self) -> None:
        """HALTED: nothing may rest; REDUCING: nothing that could open a position."""
        if self._halts.look() == TradingState.ACTIVE:
            return
        now = self.context.now_ns()
        count = self._cancel(self._halts.withdrawn(self.oms.open_orders(), self.exposures), now)
        if count:
            self._mass_cancels.inc(1)
            self.on_cycle(now)

    def on_config(self, settings: Mapping[str, Any], generation: int) -> None:
        """New limits; everything else needs a new run."""
        super().on_config(settings, generation)
        self.config = read_settings(OrderGatewaySettings, settings, self.role)
        self.gate.set_limits(self.config.make_limits())
        self.correlation.configure(self.config)
        self.gate.generation = generation
        self._append(JournalKind.GENERATION, generation.to_bytes(8, "little"))

    async def on_quiesce(self, deadline_ns: int) -> None:
        """Cancel everything and wait for the venue's word on every order; what has none is told."""
        context = self.context
        self._is_quiesced = True
        acts = (self.cancel_all, self.on_cycle, context.now_ns, context.sleep)
        if unsettled := await settle_orders(self.oms, self.session, *acts, deadline_ns):
            self._tell(FAULT_UNSETTLED, "venue", unsettled)

    async def on_stop(self) -> None:
        """Nothing rests, everything is stored, the journal is closed."""
        # A venue that did not answer the first time gets no second: everybody is gone in two seconds.
        if not self._is_quiesced:
            await self.on_quiesce(self.context.now_ns() + 1_000_000_000)
        self._flush_reports()
        self.board.store_all(self.context.now_ns())
        self.desk.close()
        self._rehearsal.close()
        self.journal.close()
