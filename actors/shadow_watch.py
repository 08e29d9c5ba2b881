"""The shadow of a run, off the hot path: orders from the journal, market data from the rings, one meter.

It lives in the housekeeping worker. It polls the rings without a bell, so no feed pays for it, and follows
the gateways' journals as the store does. Both are put in order of time a moment later (`LAG_NS`) and given to
`exec.shadow`. An instrument is followed from its first order on; that order is not counted, because the
market before it was not seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import Any, ClassVar

from actors.errors import ActorError, SettingsError
from actors.runtime import spec as names
from actors.runtime.actor import Actor
from actors.runtime.context import Context
from actors.runtime.settings import read_settings
from exec.entries import SentCommand, read_intent, read_sent
from exec.errors import SimulatorError
from exec.shadow import Shadow, Terms
from exec.shadow_meter import DivergenceMeter, Outcome
from exec.simulator.latency import parse_latency
from exec.simulator.queue_model import parse_queue_model
from feeds.core import TRADE_NOT_MARKET
from shm.enums import BookState, IntentKind, JournalKind, RecordKind, SegmentKind
from shm.errors import JournalError
from shm.journal import JournalEntry
from shm.journal_reader import JournalFollower
from shm.records import MARKET_RECORD_BYTES, IntentRecord, MarketRecord, ReportRecord
from shm.ring import BroadcastRing, Subscriber

#: Journal and rings are this far behind the present when they are merged.
LAG_NS = 200_000_000
JOURNAL_NS = 50_000_000
NOTE_NS = 2_000_000_000
RECORDS, ENTRIES, EVENTS = 256, 500, 4_000  # of one step at most
INTENTS_MAX = 10_000
FAULT_SHADOW = 2200
BPS_E8 = 10_000
_MS = 1_000_000
_LIVE = int(BookState.LIVE)
_BOOK, _TRADE, _STATUS = int(RecordKind.BOOK), int(RecordKind.TRADE), int(RecordKind.STATUS)
_INTENT, _SENT, _REPORT = int(JournalKind.INTENT), int(JournalKind.SENT), int(JournalKind.REPORT)
_HELD, _RELEASED = int(JournalKind.HELD), int(JournalKind.RELEASED)
_NEW, _CANCEL, _REPLACE = int(IntentKind.NEW), int(IntentKind.CANCEL), int(IntentKind.REPLACE)


@dataclass(frozen=True, slots=True)
class ShadowSettings:
    """Settings of the role `shadow`.

    Args:
        gateways: worker slots whose journals are followed.
        queue_model, entry_latency, response_latency, feed_latency: of the simulation, as texts.
        maker_fee_bps, taker_fee_bps: of the simulation; None = the instrument rows' own.
        alpha: probability of a false alarm over all time.
        fill_points: how far the fill probability may be off.
        latency_share: how far the latency may be off, relative.
        pnl_bps: how far the PnL of a quote may be off.
        grace_ms: how much later than the other one of the two may fill.
        poll_ms: between two looks at the rings; a book is taken at most that often.
    """

    gateways: list[int] = field(default_factory=list)
    queue_model: str = "risk_averse"
    entry_latency: str = "0"
    response_latency: str = "0"
    feed_latency: str = "0"
    maker_fee_bps: float | None = None
    taker_fee_bps: float | None = None
    alpha: float = 0.05
    fill_points: float = 3.0
    latency_share: float = 0.25
    pnl_bps: float = 0.5
    grace_ms: int = 100
    poll_ms: int = 5

    def __post_init__(self) -> None:
        for name in ("grace_ms", "poll_ms"):
            if getattr(self, name) < 1:
                raise SettingsError(f"shadow: setting {name!r} must be positive")
        try:
            self.make_meter()
            self.make_shadow(None, "")
        except SimulatorError as error:
            raise SettingsError(f"shadow: {error}") from error

    def make_meter(self) -> DivergenceMeter:
        """The meter; raises SimulatorError for bounds that mean nothing."""
        return DivergenceMeter(
            alpha=self.alpha,
            fill_tolerance=self.fill_points / 100.0,
            latency_tolerance=self.latency_share,
            pnl_tolerance_bps=self.pnl_bps,
        )

    def make_shadow(self, on_outcome: Any, seed: str) -> Shadow:
        """The shadow; raises SimulatorError for a text that describes no model."""
        return Shadow(
            on_outcome,
            entry=parse_latency(self.entry_latency, f"{seed}/entry"),
            response=parse_latency(self.response_latency, f"{seed}/response"),
            feed=parse_latency(self.feed_latency, f"{seed}/feed"),
            queue=parse_queue_model(self.queue_model),
            grace_ns=self.grace_ms * _MS,
        )


class ShadowWatch(Actor):
    """The actor; see the module."""

    role: ClassVar[str] = "shadow"

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        self.config = read_settings(ShadowSettings, settings, self.role)
        self.meter = self.config.make_meter()
        self.shadow = self.config.make_shadow(self._on_outcome, f"{context.host.spec.seed}/shadow")
        self._followers: list[JournalFollower] = []
        self._intents: dict[int, IntentRecord] = {}
        self._rings: dict[tuple[int, int], Subscriber] = {}
        self._lost: dict[tuple[int, int], int] = {}
        self._followed: set[int] = set()
        self._moved: dict[int, None] = {}
        self._record = MarketRecord()
        self._room = bytearray(RECORDS * MARKET_RECORD_BYTES)
        # (time, serial, what, with what): the serial keeps the order of what came at one time.
        self._events: list[tuple[int, int, str, tuple[Any, ...]]] = []
        self._serial = 0
        self._done_ns = 0
        self._journal_due_ns = self._note_due_ns = 0
        self._told = ""
        self._quotes = context.counter("shadow.quotes")
        self._excluded = context.counter("shadow.excluded")
        self._alarms = context.counter("shadow.alarms")

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Raise SettingsError for what ShadowSettings does not allow."""
        read_settings(ShadowSettings, settings, cls.role)

    def on_start(self, *_: Any) -> None:
        """Begin at the end of the journals: what happened before was not watched.

        Raises:
            ActorError: the run has no state directory (a replay).
        """
        spec = self.context.host.spec
        if not spec.state_dir:
            raise ActorError("shadow: no state directory, so no journal to follow")
        for gateway in self.config.gateways:
            directory = Path(spec.state_dir) / f"journal-{gateway}"
            directory.mkdir(parents=True, exist_ok=True)
            follower = JournalFollower(directory, epoch=spec.epoch)
            while follower.read(ENTRIES):
                pass
            self._followers.append(follower)
        self.context.call_every(self.config.poll_ms * _MS, self._step)

    def on_stop(self) -> None:
        """Take what has come and say the last word."""
        now = self.context.now_ns()
        self._read_rings(now)
        self._read_journals()
        self._merge(now, len(self._events))
        self._tell(now)

    # ---- what comes -----------------------------------------------------------------------------

    def _step(self) -> None:
        now = self.context.now_ns()
        if self._rings:
            self._read_rings(now)
        if now >= self._journal_due_ns:
            self._journal_due_ns = now + JOURNAL_NS
            self._read_journals()
        if self._events:
            self._merge(now - LAG_NS, EVENTS)
        elif self.shadow.open_count:
            self._advance(now - LAG_NS)
        if now >= self._note_due_ns:
            self._note_due_ns = now + NOTE_NS
            self._tell(now)

    def _put(self, at_ns: int, what: str, *arguments: Any) -> None:
        self._serial += 1
        heappush(self._events, (at_ns, self._serial, what, arguments))

    def _read_journals(self) -> None:
        for follower in self._followers:
            try:
                for entry in follower.read(ENTRIES):
                    self._take_entry(entry)
            except JournalError as error:
                if str(error) != self._told:
                    self._told = str(error)
                    self.context.host.metrics.fault(FAULT_SHADOW, f"shadow: {error}", self.context.utc_ns())

    def _take_entry(self, entry: JournalEntry) -> None:
        if entry.kind == _INTENT:
            intent, _, _, reason = read_intent(entry.payload)
            if intent.kind == _NEW and not reason:
                if len(self._intents) >= INTENTS_MAX:
                    self._intents.clear()
                self._intents[intent.client_order_id] = intent
        elif entry.kind in (_SENT, _RELEASED):
            sent = read_sent(entry.payload)
            self._put(sent.sent_ns, "sent", sent, self._follow(sent.instrument_id))
        elif entry.kind == _HELD:
            self._hold_back(read_sent(entry.payload))
        elif entry.kind == _REPORT:
            report = ReportRecord.from_bytes(entry.payload)
            self._put(report.report_ns or entry.append_ns, "report", report)

    def _hold_back(self, held: SentCommand) -> None:
        """A command waits where its rate is: its twin begins when it leaves, if it ever does."""
        for i, (_, _, what, arguments) in enumerate(self._events):
            if what == "sent" and arguments[0][:6] == held[:6]:
                del self._events[i]
                heapify(self._events)
                return

    def _follow(self, instrument_id: int) -> bool:
        """Follow an instrument from now on; returns whether it was followed before."""
        if instrument_id in self._followed or instrument_id >= len(self.context.instruments):
            return instrument_id in self._followed
        self._followed.add(instrument_id)
        row = self.context.instruments.get(instrument_id)
        host, config = self.context.host, self.config
        fees = [
            None if bps is None else round(bps * BPS_E8)
            for bps in (config.maker_fee_bps, config.taker_fee_bps)
        ]
        self.shadow.add_instrument(row, host.slab_of(instrument_id).depth, *fees)
        key = (row.slab, row.priority)
        if key not in self._rings:
            payload = host.open(names.market_name(*key), SegmentKind.MARKET_RING).payload
            self._rings[key] = Subscriber(BroadcastRing.attach(payload))
            self._lost[key] = 0
        self._moved[instrument_id] = None
        return False

    def _read_rings(self, now_ns: int) -> None:
        record, room = self._record, self._room
        for key, subscriber in self._rings.items():
            while count := subscriber.poll_into(room, RECORDS):
                for i in range(count):
                    record.load(room, i * MARKET_RECORD_BYTES)
                    if record.instrument_id in self._followed:
                        self._take_record(record)
                if count < RECORDS:
                    break
            if subscriber.lapped != self._lost[key]:
                self._lost[key] = subscriber.lapped
                self._put(now_ns, "hole", None)
        for instrument_id in self._moved:
            self._take_book(instrument_id)
        self._moved.clear()

    def _take_record(self, record: MarketRecord) -> None:
        kind, instrument_id = record.kind, record.instrument_id
        if kind == _BOOK:
            self._moved[instrument_id] = None
        elif kind == _TRADE:
            if not record.flags & TRADE_NOT_MARKET:
                self._put(
                    record.frame_ns, "trade", instrument_id, record.value0, record.value1, record.side,
                    record.venue_utc_ns,
                )  # fmt: skip
        elif kind == _STATUS and record.book_state != _LIVE:
            self._put(record.frame_ns or self.context.now_ns(), "hole", instrument_id)

    def _take_book(self, instrument_id: int) -> None:
        book = self.context.book(instrument_id)
        if book is not None and book.certificate.state == _LIVE:
            at = book.certificate
            self._put(at.data_ns, "book", instrument_id, book.bids, book.asks, at.venue_utc_ns)

    # ---- in order of time -----------------------------------------------------------------------

    def _merge(self, until_ns: int, limit: int) -> None:
        events = self._events
        for _ in range(limit):
            if not events or events[0][0] > until_ns:
                break
            at_ns, _, what, arguments = heappop(events)
            # What came later than the lag allows is taken as if it came now.
            self._done_ns = max(self._done_ns, at_ns)
            self._play(self._done_ns, what, arguments)
        self._advance(until_ns if not events else min(until_ns, events[0][0]))

    def _advance(self, until_ns: int) -> None:
        if until_ns > self._done_ns:
            self._done_ns = until_ns
            self.shadow.advance(until_ns)

    def _play(self, at_ns: int, what: str, arguments: tuple[Any, ...]) -> None:
        shadow = self.shadow
        if what == "book":
            instrument_id, bids, asks, venue_utc_ns = arguments
            shadow.on_book(instrument_id, bids, asks, at_ns, venue_utc_ns)
        elif what == "trade":
            instrument_id, price, units, side, venue_utc_ns = arguments
            shadow.on_trade(instrument_id, price, units, side, at_ns, venue_utc_ns)
        elif what == "report":
            shadow.on_report(arguments[0], at_ns)
        elif what == "hole":
            shadow.on_hole(arguments[0])
        else:
            self._play_sent(at_ns, *arguments)

    def _play_sent(self, at_ns: int, sent: SentCommand, was_followed: bool) -> None:
        if sent.kind == _NEW:
            intent = self._intents.pop(sent.client_order_id, None)
            if intent is not None:
                terms = Terms(
                    sent.client_order_id, sent.instrument_id, intent.side, sent.price_units,
                    sent.quantity_units, intent.order_type, intent.time_in_force, intent.flags,
                )  # fmt: skip
                self.shadow.on_new(terms, at_ns, has_holes=not was_followed)
        elif sent.kind == _REPLACE:
            self.shadow.on_replace(
                sent.client_order_id, sent.new_client_order_id, sent.price_units, sent.quantity_units, at_ns
            )
        elif sent.kind == _CANCEL:
            self.shadow.on_cancel(sent.client_order_id, at_ns)

    # ---- what it says ---------------------------------------------------------------------------

    def _on_outcome(self, outcome: Outcome) -> None:
        for what in self.meter.take(outcome):
            self._alarms.inc(1)
            text = (
                f"shadow: {what}, at quote {self.meter.quotes}: back-tests with {self.config.queue_model} "
                "are not to be believed here any more"
            )
            self.context.host.metrics.fault(FAULT_SHADOW, text, self.context.utc_ns())
            self.context.host.notify({"op": "shadow", "text": text})

    def describe(self) -> dict[str, Any]:
        """What is known, JSON-ready."""
        return {
            "model": self.config.queue_model,
            "instruments": len(self._followed),
            "open": self.shadow.open_count,
            "excluded": self.shadow.excluded,
            **self.meter.describe(),
        }

    def _tell(self, now_ns: int) -> None:
        if self.meter.quotes or self.shadow.excluded:
            self._note_due_ns = now_ns + NOTE_NS
            self._quotes.set(self.meter.quotes)
            self._excluded.set(self.shadow.excluded)
            self.context.note("shadow", self.describe())
