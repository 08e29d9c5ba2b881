"""Paper order entry inside the gateway: the simulator, fed with the run's own market data."""

from __future__ import annotations

from collections.abc import Callable

from actors.gateway_settings import OrderGatewaySettings
from actors.runtime.context import Context
from exec.entries import EntryWriter
from exec.oms import Oms
from exec.paper import PaperSession
from exec.recovery import Recovered, resume_paper
from feeds.core import TRADE_NOT_MARKET
from shm.book import Certificate
from shm.enums import BookState
from shm.instruments import Instrument
from shm.records import MarketRecord

_LIVE = int(BookState.LIVE)


class PaperOrders:
    """The paper session of a gateway and the market data it lives on.

    Args:
        context: of the gateway.
        config: fees, queue model and latencies.
        oms: orders.
        recovered: what the journal told.
    """

    def __init__(
        self, context: Context, config: OrderGatewaySettings, oms: Oms, recovered: Recovered
    ) -> None:
        self._context = context
        self._host = context.host
        self._config = config
        self._oms = oms
        seed = f"{context.host.spec.seed}/{context.spec.actor_id}"
        self.session = PaperSession(
            oms.apply_report,
            entry=config.make_latency("entry_latency", seed),
            response=config.make_latency("response_latency", seed),
            feed=config.make_latency("feed_latency", seed),
            queue=config.make_queue_model(),
            first_trade_id=recovered.last_trade_id + 1,
            first_venue_order_id=recovered.last_venue_order_id + 1,
        )
        self._moved: dict[int, None] = {}
        self._shown: dict[int, Certificate] = {}
        self._voided = context.counter("gateway.queue_voided")

    def add_instrument(self, row: Instrument) -> None:
        """Let the simulator trade a row."""
        config = self._config
        self.session.simulator.add_instrument(
            row,
            self._host.slab_of(row.instrument_id).depth,
            maker_fee_e8=config.maker_fee_e8,
            taker_fee_e8=config.taker_fee_e8,
        )

    def resume(
        self, recovered: Recovered, entries: EntryWriter, clock: Callable[[], int], now_ns: int
    ) -> None:
        """Put recovered orders back and settle each."""
        resume_paper(self.session, self._oms, recovered, entries, clock, now_ns)

    # ---- market data ----------------------------------------------------------------------------

    def before_order(self, instrument_id: int, now_ns: int) -> None:
        """Show the simulator the book as it is now: an order is about to arrive."""
        self._moved.pop(instrument_id, None)
        slab = self._host.slab_of(instrument_id)
        certificate = slab.certificate(instrument_id)
        if certificate is not None and certificate == self._shown.get(instrument_id):
            # The very same version: only what is under way moves, and nobody pays for its levels.
            due = self.session.next_due_ns()
            if due is not None and due <= now_ns:
                self.session.on_timer(now_ns)
            return
        snapshot = slab.load(instrument_id)
        # Levels of a book that is not LIVE are nobody's offer: nothing may fill against them.
        if snapshot is not None and snapshot.certificate.state == _LIVE:
            self._shown[instrument_id] = snapshot.certificate
            venue_utc_ns = snapshot.certificate.venue_utc_ns
            self.session.on_book(instrument_id, snapshot.bids, snapshot.asks, now_ns, venue_utc_ns)

    def on_book(self, instrument_id: int) -> None:
        """After this cycle's intents, move the venue if an order rests or is under way."""
        if self.session.simulator.has_resting(instrument_id) or self.session.next_due_ns() is not None:
            self._moved[instrument_id] = None

    def on_trade(self, record: MarketRecord) -> None:
        """A public trade moves queues and fills."""
        if record.flags & TRADE_NOT_MARKET:
            return
        instrument_id = record.instrument_id
        if self.session.simulator.has_resting(instrument_id):
            now_ns = self._context.now_ns()
            self.session.on_trade(
                instrument_id, record.value0, record.value1, record.side, now_ns, record.venue_utc_ns
            )

    def on_status(self, record: MarketRecord) -> None:
        """A book that left LIVE hides what stands ahead of our orders."""
        if record.book_state != _LIVE:
            self._moved.pop(record.instrument_id, None)
            self._shown.pop(record.instrument_id, None)
            self._voided.inc(self.session.simulator.void_queue(record.instrument_id))

    def on_lapped(self) -> None:
        """Trades were missed: nobody knows what stood ahead of our orders any more."""
        self._shown.clear()
        self._voided.inc(self.session.simulator.void_queue())

    # ---- time -----------------------------------------------------------------------------------

    def on_cycle(self, now_ns: int) -> None:
        """Move the books that changed."""
        for instrument_id in list(self._moved):
            self.before_order(instrument_id, now_ns)

    def publish(self) -> None:
        """Nothing to bring up to date."""

    def close(self) -> None:
        """Nothing to close."""
