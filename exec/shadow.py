"""The shadow: what the simulator would have made of each order, on the same market data.

Each order that is really sent gets a twin, alone in a `PaperSession` of its own: the session that a back-test
uses, with its queue model and latencies. It gets the same terms, is canceled when the real one is asked to be
canceled, and sees the books and trades that came. What both came to is an `Outcome` of `shadow_meter`.

The unit is a *quote*: an order from its terms to its cancel, its next replace or its end. A replace to a new
price begins a new quote with what is left of the real order, so that one difference is not counted again in
everything behind it. One that keeps its price (and place in the queue) ends the quote and begins none.

A quote that really filled has no cancel any more that its twin could get, and a twin that filled can not see
that the real one does a moment later. Both get the same `grace_ns` from then on, no more: who fills first is
exchangeable if the simulation is right. (A cancel within that time is only known where the order still rests,
so the grace should be short beside the life of a quote.)

Not counted are quotes whose market data had holes, and those that were refused.

Times are monotonic nanoseconds of one clock and must not go back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypedDict

from exec.lifecycle import Event
from exec.order import Order
from exec.paper import PaperSession
from exec.session import VenueReport
from exec.shadow_meter import Outcome
from exec.simulator.depth import Level
from exec.simulator.latency import Latency
from exec.simulator.queue_model import QueueModel
from exec.simulator.queue_position import RestingOrder
from shm.enums import Liquidity, OrderStatus, ReportKind, Side
from shm.instruments import Instrument
from shm.units import notional_exact, to_e8

GRACE_NS = 100_000_000
#: After a real fill at rest the trade that made it may still be on its way here.
PLACE_NS = 20_000_000
QUOTES_MAX = 10_000
_BUY = int(Side.BUY)
_MAKER = int(Liquidity.MAKER)
_FILL_REPORT = int(ReportKind.FILL)
_REPLACED, _REPLACE_REJECTED = int(ReportKind.REPLACED), int(ReportKind.REPLACE_REJECTED)
_REFUSED = frozenset((int(OrderStatus.REJECTED), int(OrderStatus.DENIED)))
_ENDED = frozenset((int(OrderStatus.FILLED), int(OrderStatus.CANCELED), int(OrderStatus.EXPIRED))) | _REFUSED
_TAKEN_BACK = frozenset((int(OrderStatus.CANCELED), int(OrderStatus.EXPIRED)))
_TWIN_ENDS = frozenset((int(Event.CANCELED), int(Event.EXPIRED), int(Event.REJECTED)))


class Report(Protocol):
    """What the shadow reads of a report (`shm.records.ReportRecord`)."""

    kind: int
    order_status: int
    client_order_id: int
    orig_client_order_id: int
    instrument_id: int
    liquidity: int
    leaves_units: int
    last_units: int
    last_price_units: int
    fee_units: int
    send_ns: int
    ack_ns: int


@dataclass(frozen=True, slots=True)
class Terms:
    """An order as it is sent."""

    client_order_id: int
    instrument_id: int
    side: int
    price_units: int
    units: int
    order_type: int = 1
    time_in_force: int = 1
    flags: int = 0


@dataclass(slots=True)
class Fate:
    """What one of the two has come to: filled, what it is worth, and whether it has ended."""

    units: int = 0
    product: int = 0  # price × units
    fees_e8: int = 0
    ack_ns: int = 0
    end_ns: int = 0


class _Delays(TypedDict):
    entry: Latency | None
    response: Latency | None
    feed: Latency | None


class Quote:
    """An order and its twin."""

    __slots__ = (
        "ahead_share", "has_holes", "is_canceling", "joined", "live", "place_ns", "sent_ns", "session",
        "shadow", "terms", "twin",
    )  # fmt: skip

    def __init__(self, terms: Terms, sent_ns: int, session: PaperSession, *, has_holes: bool) -> None:
        self.terms = terms
        self.sent_ns = sent_ns
        self.session = session
        self.has_holes = has_holes
        self.live = Fate()
        self.shadow = Fate()
        self.is_canceling = False  # the real one was asked to end, or replaced
        self.joined: int | None = None  # market quantity in front of the twin when it came to rest
        self.ahead_share: float | None = None
        self.place_ns = 0  # when to look where the twin stands
        self.twin = Order(1, terms.instrument_id, terms.side, terms.price_units, terms.units)
        self.twin.order_type = terms.order_type
        self.twin.time_in_force = terms.time_in_force
        self.twin.flags = terms.flags

    def resting(self) -> RestingOrder | None:
        """The twin where it rests."""
        return next(iter(self.session.simulator.resting()), None)


@dataclass(slots=True)
class Tape:
    """One instrument that is followed."""

    row: Instrument
    visible_levels: int
    maker_fee_e8: int | None
    taker_fee_e8: int | None
    bids: Sequence[Level] = ()
    asks: Sequence[Level] = ()
    book_ns: int = 0
    venue_utc_ns: int = 0
    quotes: list[Quote] = field(default_factory=list)

    @property
    def twice_mid(self) -> int:
        """Bid + ask, 0 = there is no mid."""
        return self.bids[0][0] + self.asks[0][0] if self.bids and self.asks else 0


class Shadow:
    """Twins of the real orders; see the module.

    Args:
        on_outcome: called with each quote that both have ended.
        entry, response, feed, queue: of the simulation, as of `PaperSession`.
        grace_ns: how long one of the two may be later than the other.

    Attributes:
        excluded: quotes that were not counted.
    """

    def __init__(
        self,
        on_outcome: Callable[[Outcome], object],
        *,
        entry: Latency | None = None,
        response: Latency | None = None,
        feed: Latency | None = None,
        queue: QueueModel | None = None,
        grace_ns: int = GRACE_NS,
    ) -> None:
        self._on_outcome = on_outcome
        self._delays: _Delays = {"entry": entry, "response": response, "feed": feed}
        self._queue = queue
        self.grace_ns = grace_ns
        self.excluded = 0
        self._tapes: dict[int, Tape] = {}
        self._quotes: dict[int, Quote] = {}  # by the id in force of the real order

    @property
    def open_count(self) -> int:
        """Quotes under way."""
        return sum(len(tape.quotes) for tape in self._tapes.values())

    # ---- market ---------------------------------------------------------------------------------

    def add_instrument(
        self,
        row: Instrument,
        visible_levels: int,
        maker_fee_e8: int | None = None,
        taker_fee_e8: int | None = None,
    ) -> None:
        """Follow an instrument; arguments as of `Simulator.add_instrument`."""
        self._tapes[row.instrument_id] = Tape(row, visible_levels, maker_fee_e8, taker_fee_e8)

    def on_book(
        self,
        instrument_id: int,
        bids: Sequence[Level],
        asks: Sequence[Level],
        now_ns: int,
        venue_utc_ns: int = 0,
    ) -> None:
        """A book came; arguments as of `PaperSession.on_book`."""
        tape = self._tapes.get(instrument_id)
        if tape is None:
            return
        self._settle_due(tape, now_ns)
        tape.bids, tape.asks, tape.book_ns, tape.venue_utc_ns = bids, asks, now_ns, venue_utc_ns
        for quote in tape.quotes:
            quote.session.on_book(instrument_id, bids, asks, now_ns, venue_utc_ns)
        self._settle_due(tape, now_ns)

    def on_trade(
        self,
        instrument_id: int,
        price: int,
        quantity: int,
        aggressor: int,
        now_ns: int,
        venue_utc_ns: int = 0,
    ) -> None:
        """A public trade came; arguments as of `PaperSession.on_trade`."""
        tape = self._tapes.get(instrument_id)
        if tape is None:
            return
        self._settle_due(tape, now_ns)
        for quote in tape.quotes:
            quote.session.on_trade(instrument_id, price, quantity, aggressor, now_ns, venue_utc_ns)
        self._settle_due(tape, now_ns)

    def on_hole(self, instrument_id: int | None = None) -> None:
        """Market data of an instrument (of all) were missed: what is under way there proves nothing."""
        for tape in self._tapes.values():
            if instrument_id in (None, tape.row.instrument_id):
                for quote in tape.quotes:
                    quote.has_holes = True

    # ---- the real order -------------------------------------------------------------------------

    def on_new(self, terms: Terms, now_ns: int, *, has_holes: bool = False) -> None:
        """An order was sent.

        Args:
            terms: of it.
            now_ns: when.
            has_holes: whether the market data before it are not all there.
        """
        tape = self._tapes.get(terms.instrument_id)
        if tape is None or len(tape.quotes) >= QUOTES_MAX or terms.units <= 0:
            self.excluded += 1
            return
        session = PaperSession(
            lambda report, at: self._on_twin(quote, report, at), queue=self._queue, **self._delays
        )
        session.simulator.add_instrument(
            tape.row, tape.visible_levels, maker_fee_e8=tape.maker_fee_e8, taker_fee_e8=tape.taker_fee_e8
        )
        quote = Quote(terms, now_ns, session, has_holes=has_holes or not tape.book_ns)
        if tape.book_ns:
            session.on_book(terms.instrument_id, tape.bids, tape.asks, tape.book_ns, tape.venue_utc_ns)
        tape.quotes.append(quote)
        self._quotes[terms.client_order_id] = quote
        session.new(quote.twin, now_ns)

    def on_cancel(self, client_order_id: int, now_ns: int) -> None:
        """A cancel of it was sent."""
        quote = self._quotes.get(client_order_id)
        if quote is not None:
            self._cancel_twin(quote, now_ns)

    @staticmethod
    def _cancel_twin(quote: Quote, now_ns: int) -> None:
        if not quote.is_canceling:
            quote.is_canceling = True
            quote.session.cancel(quote.twin, now_ns)

    def on_replace(
        self, client_order_id: int, new_id: int, price_units: int, units: int, now_ns: int
    ) -> None:
        """A replace was sent: `units` is the new total of the whole order."""
        quote = self._quotes.get(client_order_id)
        if quote is None:
            return
        old = quote.terms
        self.on_cancel(client_order_id, now_ns)
        if price_units == old.price_units:
            return
        left = units - quote.live.units
        self.on_new(
            Terms(new_id, old.instrument_id, old.side, price_units, left, old.order_type, old.time_in_force,
                  old.flags),
            now_ns,
            has_holes=quote.has_holes,
        )  # fmt: skip

    def on_report(self, report: Report, now_ns: int) -> None:
        """A report about a real order came."""
        kind = report.kind
        if kind == _REPLACED:
            self._end_live(self._quotes.get(report.orig_client_order_id), now_ns)
        elif kind == _REPLACE_REJECTED:
            # The old terms go on without a twin, the new ones never were.
            self._exclude(self._quotes.get(report.client_order_id))
            self._exclude(self._quotes.get(report.orig_client_order_id))
            return
        quote = self._quotes.get(report.client_order_id)
        if quote is None:
            return
        live, status = quote.live, report.order_status
        if not live.ack_ns and report.ack_ns > report.send_ns > 0:
            live.ack_ns = report.ack_ns - report.send_ns
        if kind == _FILL_REPORT:
            live.units += report.last_units
            live.product += report.last_units * report.last_price_units
            live.fees_e8 += report.fee_units
            if report.liquidity == _MAKER and not quote.place_ns and quote.ahead_share is None:
                quote.place_ns = now_ns + PLACE_NS
        if status in _REFUSED:
            self._exclude(quote)
            return
        if status in _ENDED or live.units >= quote.terms.units:
            self._end_live(quote, now_ns)
            if status in _TAKEN_BACK:
                self._cancel_twin(quote, now_ns)  # the venue's own doing: nobody asked for it
        self._settle_due(self._tapes[quote.terms.instrument_id], now_ns)

    @staticmethod
    def _end_live(quote: Quote | None, now_ns: int) -> None:
        if quote is not None and not quote.live.end_ns:
            quote.live.end_ns = now_ns

    # ---- the twin -------------------------------------------------------------------------------

    @staticmethod
    def _on_twin(quote: Quote, report: VenueReport, now_ns: int) -> None:
        shadow = quote.shadow
        if report.event == Event.ACCEPTED:
            shadow.ack_ns = now_ns - quote.sent_ns
            resting = quote.resting()
            quote.joined = None if resting is None else resting.ahead
        elif report.event == Event.FILL_PART:
            shadow.units += report.last_units
            shadow.product += report.last_units * report.last_price_units
            shadow.fees_e8 += report.fee_units
        if report.event in _TWIN_ENDS or shadow.units >= quote.terms.units:
            shadow.end_ns = shadow.end_ns or now_ns

    # ---- settling -------------------------------------------------------------------------------

    def advance(self, now_ns: int) -> None:
        """Let time go on: deliver what is due and settle what has ended."""
        for tape in self._tapes.values():
            self._settle_due(tape, now_ns)

    def _settle_due(self, tape: Tape, now_ns: int) -> None:
        settled = False
        for quote in tape.quotes:
            # Each at its own time, however late this call is: delays are measured by it.
            while (due := quote.session.next_due_ns()) is not None and due <= now_ns:
                quote.session.on_timer(due)
            if quote.place_ns and now_ns >= quote.place_ns:
                _look_at_place(quote)
            settled = settled or self._is_settled(quote, now_ns)
        if settled:
            for quote in [quote for quote in tape.quotes if self._is_settled(quote, now_ns)]:
                self._settle(tape, quote)

    def _is_settled(self, quote: Quote, now_ns: int) -> bool:
        live, shadow = quote.live, quote.shadow
        if quote.place_ns:
            return False
        if live.end_ns and shadow.end_ns:
            return True
        if live.end_ns:
            # Filled: nobody cancels the twin. Asked to end: its cancel is on its way.
            return not quote.is_canceling and now_ns >= live.end_ns + self.grace_ns
        is_filled = shadow.units >= quote.terms.units
        return is_filled and now_ns >= shadow.end_ns + self.grace_ns

    def _settle(self, tape: Tape, quote: Quote) -> None:
        self._forget(quote)
        if quote.has_holes:
            self.excluded += 1
            return
        terms, live, shadow = quote.terms, quote.live, quote.shadow
        self._on_outcome(
            Outcome(
                terms.client_order_id, terms.instrument_id,
                min(live.units / terms.units, 1.0), min(shadow.units / terms.units, 1.0),
                live.ack_ns, shadow.ack_ns, quote.ahead_share,
                _worth_bps(tape, terms, live), _worth_bps(tape, terms, shadow),
            )
        )  # fmt: skip

    def _exclude(self, quote: Quote | None) -> None:
        if quote is not None:
            self._forget(quote)
            self.excluded += 1

    def _forget(self, quote: Quote) -> None:
        self._tapes[quote.terms.instrument_id].quotes.remove(quote)
        if self._quotes.get(quote.terms.client_order_id) is quote:
            del self._quotes[quote.terms.client_order_id]


def _look_at_place(quote: Quote) -> None:
    """The real order has filled at rest: note how much the twin still has in front of it."""
    quote.place_ns = 0
    resting = quote.resting()
    if resting is not None and resting.ahead is not None:
        quote.ahead_share = resting.ahead / max(quote.joined or 0, resting.ahead, 1)
    elif quote.shadow.units:
        quote.ahead_share = 0.0


def _worth_bps(tape: Tape, terms: Terms, fate: Fate) -> float:
    """PnL at the mid, fees included, in basis points of what was asked; 0 where there is no mid."""
    twice_mid, row = tape.twice_mid, tape.row
    if row.is_inverse or not twice_mid or not fate.units:
        return 0.0
    whole = to_e8(*notional_exact(twice_mid, terms.units, row))
    gained = (twice_mid * fate.units - 2 * fate.product) * (1 if terms.side == _BUY else -1)
    mantissa, exponent = notional_exact(gained, 1, row)
    return 1e4 * (to_e8(mantissa, exponent) - 2 * fate.fees_e8) / whole if whole else 0.0
