"""The live books of a run: certificates, top of book, levels, totals, and how fast each changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from actors.runtime.spec import books_name, instruments_name
from feeds.errors import VenueError
from feeds.venues import venue_name
from shm.book import BookSlab, BookSnapshot
from shm.enums import BookReason, BookState, InstrumentStatus, SegmentKind
from shm.instruments import Instrument, InstrumentTable
from shm.layout import PAIR_BYTES, STRUCTS
from shm.units import format_units
from shm.words import load_acquire
from tools.outside.rates import Rates
from tools.outside.view import RunView
from tools.outside.workers import Machine

BUSY = "BUSY"


class NoSuchBookError(Exception):
    """No book fits a pattern; the text names some that exist."""


#: Loads that find a writer at work before a row says BUSY; each is a bounded number of tries already.
LOADS = 3


@dataclass(frozen=True, slots=True)
class Level:
    """One level as decimal text, and the quantity from the best level up to it."""

    price: str
    quantity: str
    total: str
    share: float


@dataclass(frozen=True, slots=True)
class SideTotals:
    """Public trades of one aggressor side since the feed began, exact."""

    count: int
    quantity: str
    notional: str


@dataclass(frozen=True, slots=True)
class BookRow:
    """One book.

    Attributes:
        instrument: canonical name, the symbol if it has none.
        state: BookState by name, BUSY when the entry was being written at every try.
        reason: why the state last changed.
        bid, ask, bid_quantity, ask_quantity, last_price: decimal text as the venue writes it, None = none.
        spread_bps: of the mid.
        data_age_ns: since the last applied update.
        silence_ns: since the last frame of any kind on the stream that carries the book.
        updates_per_s: stores of the slab entry: book updates, trades and changes of state.
        bids, asks: best first, as many as were asked for.
    """

    instrument_id: int
    instrument: str
    symbol: str
    venue: str
    state: str
    reason: str = ""
    bid: str | None = None
    bid_quantity: str | None = None
    ask: str | None = None
    ask_quantity: str | None = None
    spread_bps: float | None = None
    data_age_ns: int | None = None
    silence_ns: int | None = None
    last_sequence: int | None = None
    epoch: int | None = None
    live_id: int | None = None
    gaps: int | None = None
    resyncs: int | None = None
    updates_per_s: float | None = None
    trades_per_s: float | None = None
    last_price: str | None = None
    buys: SideTotals | None = None
    sells: SideTotals | None = None
    bids: tuple[Level, ...] = ()
    asks: tuple[Level, ...] = ()


def name_of_venue(venue_id: int) -> str:
    """Name of a venue number; one this build does not know stays a number."""
    try:
        return venue_name(venue_id)
    except VenueError:
        return f"venue-{venue_id}"


def choose(instruments: Iterable[Instrument], patterns: Sequence[str]) -> list[Instrument]:
    """Instruments that fit any of the patterns, in the order of their ids; all if there is no pattern.

    A pattern is a canonical name or symbol, a beginning of one, or a shell pattern (`*-USDT-PERP`); the
    venue and a colon may stand before it. Upper and lower case are the same. A whole name means that
    instrument alone.

    Raises:
        NoSuchBookError: nothing fits a pattern.
    """
    rows = [row for row in instruments if row.status != InstrumentStatus.RETIRED]
    if not patterns:
        return rows
    wanted: set[int] = set()
    for pattern in patterns:
        found = _matching(rows, pattern.lower())
        if not found:
            some = ", ".join(row.canonical or row.symbol for row in rows[:5])
            more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
            raise NoSuchBookError(f'no book fits "{pattern}"; there are: {some or "none yet"}{more}')
        wanted |= found
    return [row for row in rows if row.instrument_id in wanted]


def _matching(rows: Iterable[Instrument], pattern: str) -> set[int]:
    whole, partly = set(), set()
    for row in rows:
        venue = name_of_venue(row.venue_id)
        names = [name.lower() for name in (row.canonical, row.symbol) if name]
        for name in [*names, *(f"{venue}:{name}" for name in names)]:
            if name == pattern:
                whole.add(row.instrument_id)
            elif fnmatchcase(name, pattern) or name.startswith(pattern):
                partly.add(row.instrument_id)
    return whole or partly


def stores_of(payload: memoryview, slab: BookSlab, instrument_id: int) -> int:
    """How often a slab entry was stored: half the count of its seqlock (layout in `native/shm_book.h`)."""
    header = STRUCTS["shm_slab_header"]
    at = header.offset("entry_bytes")
    entry_bytes = int.from_bytes(payload[at : at + 4], "little")
    streams = slab.streams * STRUCTS["shm_stream"].size_bytes
    entries_at = header.size_bytes + -(-streams // PAIR_BYTES) * PAIR_BYTES
    return load_acquire(payload, entries_at + instrument_id * entry_bytes) // 2


def ladder(levels: Sequence[tuple[int, int]], row: Instrument, depth: int) -> tuple[Level, ...]:
    """The first `depth` levels of one side as text, with running totals."""
    shown = levels[:depth]
    whole = sum(quantity for _, quantity in shown) or 1
    total, made = 0, []
    for price, quantity in shown:
        total += quantity
        made.append(
            Level(
                format_units(price, row.price_exponent),
                format_units(quantity, row.quantity_exponent),
                format_units(total, row.quantity_exponent),
                quantity / whole,
            )
        )
    return tuple(made)


def spread_bps(bid: int, ask: int) -> float | None:
    """Spread in basis points of the mid; negative when crossed, None when there is no mid."""
    return (ask - bid) * 20_000 / (ask + bid) if ask + bid > 0 else None


def side_totals(count: int, quantity: int, notional: int, row: Instrument) -> SideTotals:
    """Totals of one aggressor side; the notional is exact, in the currency of the multiplier."""
    if row.is_inverse:
        # price × quantity is no money where one quantity unit is a fixed amount of the quote currency.
        mantissa, exponent = quantity * row.multiplier, row.quantity_exponent + row.multiplier_exponent
    else:
        mantissa, exponent = (
            notional * row.multiplier,
            (row.price_exponent + row.quantity_exponent + row.multiplier_exponent),
        )
    return SideTotals(count, format_units(quantity, row.quantity_exponent), format_units(mantissa, exponent))


class BookReader:
    """Looks at the books of one run again and again.

    Args:
        view: the run.
        rates: keeps the counters between looks.
        machine: clock.
        patterns: which books, see `choose`; they are chosen anew at each look, as rows may be added.
        depth: levels per side that a row bears.
    """

    def __init__(
        self, view: RunView, rates: Rates, machine: Machine, patterns: Sequence[str], depth: int
    ) -> None:
        self._view = view
        self._rates = rates
        self._machine = machine
        self._patterns = patterns
        self._depth = depth

    def choose(self) -> list[Instrument]:
        """Instruments that fit the patterns now.

        Raises:
            NoSuchBookError: nothing fits one of them.
        """
        table = self._view.face(instruments_name(), SegmentKind.INSTRUMENTS, InstrumentTable.attach)
        return [] if table is None else choose(table, self._patterns)

    def look(self) -> list[BookRow]:
        """Read every chosen book; a slab that can not be read is among the view's problems."""
        try:
            chosen = self.choose()
        except NoSuchBookError:
            return []  # the next run may be of other instruments, or its table not filled yet
        rows = []
        for instrument in chosen:
            short = books_name(instrument.slab)
            slab = self._view.face(short, SegmentKind.BOOKS, BookSlab.attach)
            if slab is not None:
                rows.append(self._book(slab, self._view.payload(short, SegmentKind.BOOKS), instrument))
        return rows

    def _book(self, slab: BookSlab, payload: memoryview, instrument: Instrument) -> BookRow:
        number = instrument.instrument_id
        name = instrument.canonical or instrument.symbol
        venue = name_of_venue(instrument.venue_id)
        snapshot = None
        for _ in range(LOADS):
            snapshot = slab.load(number)
            if snapshot is not None:
                break
        now = self._machine.now_ns()
        updates = self._rates.per_s(("stores", number), stores_of(payload, slab, number), now)
        if snapshot is None:
            return BookRow(number, name, instrument.symbol, venue, BUSY, updates_per_s=updates)
        return self._row(snapshot, slab, instrument, venue, updates, now)

    def _row(
        self,
        snapshot: BookSnapshot,
        slab: BookSlab,
        instrument: Instrument,
        venue: str,
        updates: float | None,
        now: int,
    ) -> BookRow:
        certificate, totals = snapshot.certificate, snapshot.totals
        number = instrument.instrument_id
        alive = slab.stream_alive_ns(certificate.stream)
        bids = ladder(snapshot.bids, instrument, max(self._depth, 1))
        asks = ladder(snapshot.asks, instrument, max(self._depth, 1))
        spread = spread_bps(snapshot.bids[0][0], snapshot.asks[0][0]) if bids and asks else None
        trades = self._rates.per_s(("trades", number), totals.buy_count + totals.sell_count, now)
        last = totals.last_price_units
        return BookRow(
            instrument_id=number,
            instrument=instrument.canonical or instrument.symbol,
            symbol=instrument.symbol,
            venue=venue,
            state=_name(BookState, certificate.state),
            reason=_name(BookReason, certificate.reason),
            bid=bids[0].price if bids else None,
            bid_quantity=bids[0].quantity if bids else None,
            ask=asks[0].price if asks else None,
            ask_quantity=asks[0].quantity if asks else None,
            spread_bps=spread,
            data_age_ns=max(now - certificate.data_ns, 0) if certificate.data_ns else None,
            silence_ns=max(now - alive, 0) if alive else None,
            last_sequence=certificate.last_sequence,
            epoch=certificate.epoch,
            live_id=certificate.live_id,
            gaps=certificate.gaps,
            resyncs=certificate.resyncs,
            updates_per_s=updates,
            trades_per_s=trades,
            last_price=format_units(last, instrument.price_exponent) if last else None,
            buys=side_totals(totals.buy_count, totals.buy_quantity_units, totals.buy_notional, instrument),
            sells=side_totals(
                totals.sell_count, totals.sell_quantity_units, totals.sell_notional, instrument
            ),
            bids=bids[: self._depth],
            asks=asks[: self._depth],
        )


def _name(kind: type[BookState | BookReason], value: int) -> str:
    """Name of an enumeration's number; a number of a newer build stays one."""
    try:
        return kind(value).name
    except ValueError:
        return str(value)


SORTS = {
    "name": lambda row: (row.instrument, row.venue),
    "rate": lambda row: (-(row.updates_per_s or 0.0), row.instrument),
    "age": lambda row: (-(row.data_age_ns or 0), row.instrument),
    "spread": lambda row: (-(row.spread_bps or 0.0), row.instrument),
    "state": lambda row: (row.state == BookState.LIVE.name, row.instrument),
}


def sort_books(rows: list[BookRow], by: str) -> list[BookRow]:
    """Rows by `name`, or first the fastest (`rate`), oldest (`age`), widest, those not LIVE (`state`)."""
    return sorted(rows, key=SORTS[by])
