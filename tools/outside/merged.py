"""One instrument over all venues of a run: the merged view, as a strategy in the engine would see it."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

from actors.runtime.spec import books_name, instruments_name
from shm.book import BookSlab
from shm.comparable import rows_of
from shm.enums import BookState, SegmentKind
from shm.errors import ShmError
from shm.instruments import Instrument, InstrumentTable
from shm.merged import MergedBook, MergedLeg, Standing
from shm.units import format_units
from tools.outside.books import NoSuchBookError, name_of_venue, spread_bps
from tools.outside.view import RunView
from tools.outside.workers import Machine

#: As the gate's own bound: a book that is silent for longer takes no part.
MAX_SILENCE_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class LegRow:
    """One venue's part.

    Attributes:
        letter: stands for the venue in the levels.
        state: of its book, BookState by name.
        standing: IN, or why it takes no part.
        bid, bid_quantity, ask, ask_quantity: its own best, in the units of the view; None = it takes no part.
        data_age_ns: since its last applied update.
        silence_ns: since the last frame on its stream.
    """

    letter: str
    instrument_id: int
    venue: str
    venue_id: int
    symbol: str
    state: str
    standing: str
    bid: str | None
    bid_quantity: str | None
    ask: str | None
    ask_quantity: str | None
    data_age_ns: int | None
    silence_ns: int | None
    last_sequence: int
    live_id: int


@dataclass(frozen=True, slots=True)
class MergedLevel:
    """One level: quantity of all venues at this price, which ones, and the quantity up to it."""

    price: str
    quantity: str
    total: str
    share: float
    mask: int
    venues: tuple[str, ...]
    letters: str


@dataclass(frozen=True, slots=True)
class MergedRow:
    """The merged view of one instrument.

    Attributes:
        mask: of the venues that take part, bit 1 << VENUE_ID.
        spread_bps: of the mid; negative while venues cross one another.
        bids_whole, asks_whole: so many levels from the best on are all the venues have; behind them a book
            that the engine shares is too short to tell.
    """

    instrument: str
    mask: int
    venues: tuple[str, ...]
    bid: str | None
    ask: str | None
    spread_bps: float | None
    is_crossed: bool
    is_locked: bool
    legs: tuple[LegRow, ...]
    bids: tuple[MergedLevel, ...]
    asks: tuple[MergedLevel, ...]
    bids_whole: int
    asks_whole: int


class MergedReader:
    """Looks at one instrument of one run again and again.

    Args:
        view: the run.
        machine: clock.
        canonical: name of the instrument, the same at all venues; upper and lower case are the same.
        depth: levels per side.
    """

    def __init__(self, view: RunView, machine: Machine, canonical: str, depth: int) -> None:
        self._view = view
        self._machine = machine
        self._canonical = canonical.upper()
        self._depth = depth
        self._rows: list[Instrument] = []
        self._merged: MergedBook | None = None

    def choose(self) -> list[Instrument]:
        """The venues' rows of that name now.

        Raises:
            NoSuchBookError: there is none; the text names some that exist.
        """
        table = self._view.face(instruments_name(), SegmentKind.INSTRUMENTS, InstrumentTable.attach)
        known = [] if table is None else list(table)
        rows = rows_of(known, self._canonical)
        if not rows:
            names = sorted({row.canonical for row in known if row.canonical})
            close = get_close_matches(self._canonical, names, n=3, cutoff=0.5) or names[:5]
            raise NoSuchBookError(
                f'no instrument is called "{self._canonical}"; there are: {", ".join(close) or "none yet"}'
            )
        return rows

    def look(self) -> list[MergedRow]:
        """The view now, as the only element; none while its books can not be read."""
        try:
            rows = self.choose()
        except NoSuchBookError:
            return []
        if rows != self._rows or self._merged is None:
            self._rows, self._merged = rows, self._make(rows)
        if self._merged is None:
            return []
        now = self._machine.now_ns()
        self._merged.merge(now)
        return [self._row(self._merged, now)]

    def _make(self, rows: list[Instrument]) -> MergedBook | None:
        slabs = []
        for row in rows:
            slab = self._view.face(books_name(row.slab), SegmentKind.BOOKS, BookSlab.attach)
            if slab is None:
                return None
            slabs.append(slab)
        try:
            return MergedBook(slabs, rows, self._depth, max_silence_ns=MAX_SILENCE_NS)
        except ShmError as error:
            self._view.problems[self._canonical] = f"{self._canonical} can not be merged: {error}"
            return None

    def _row(self, merged: MergedBook, now: int) -> MergedRow:
        legs = [merged.leg(index) for index in range(len(self._rows))]
        shown = tuple(
            self._leg(merged, leg, row, chr(ord("A") + index % 26), now)
            for index, (leg, row) in enumerate(zip(legs, self._rows, strict=True))
        )
        bids = self._levels(merged, shown, is_ask=False)
        asks = self._levels(merged, shown, is_ask=True)
        has_both = bool(bids and asks)
        return MergedRow(
            instrument=self._canonical,
            mask=merged.mask,
            venues=tuple(leg.venue for leg in shown if leg.standing == Standing.IN.name),
            bid=bids[0].price if bids else None,
            ask=asks[0].price if asks else None,
            spread_bps=spread_bps(int(merged.bids[0, 0]), int(merged.asks[0, 0])) if has_both else None,
            is_crossed=merged.is_crossed,
            is_locked=merged.is_locked,
            legs=shown,
            bids=bids,
            asks=asks,
            bids_whole=merged.bid_whole,
            asks_whole=merged.ask_whole,
        )

    @staticmethod
    def _leg(merged: MergedBook, leg: MergedLeg, row: Instrument, letter: str, now: int) -> LegRow:
        certificate = leg.certificate

        def price(units: int, quantity: int) -> str | None:
            return format_units(units, merged.price_exponent) if quantity else None

        def amount(quantity: int) -> str | None:
            return format_units(quantity, merged.quantity_exponent) if quantity else None

        return LegRow(
            letter=letter,
            instrument_id=leg.instrument_id,
            venue=name_of_venue(leg.venue_id),
            venue_id=leg.venue_id,
            symbol=row.symbol,
            state=BookState(certificate.state).name,
            standing=leg.standing.name,
            bid=price(leg.bid_price_units, leg.bid_quantity_units),
            bid_quantity=amount(leg.bid_quantity_units),
            ask=price(leg.ask_price_units, leg.ask_quantity_units),
            ask_quantity=amount(leg.ask_quantity_units),
            data_age_ns=max(now - certificate.data_ns, 0) if certificate.data_ns else None,
            silence_ns=max(now - leg.alive_ns, 0) if leg.alive_ns else None,
            last_sequence=certificate.last_sequence,
            live_id=certificate.live_id,
        )

    @staticmethod
    def _levels(merged: MergedBook, legs: tuple[LegRow, ...], *, is_ask: bool) -> tuple[MergedLevel, ...]:
        rows = merged.asks[: merged.ask_count] if is_ask else merged.bids[: merged.bid_count]
        found = [(int(price), int(quantity), int(mask)) for price, quantity, mask in rows]
        whole = sum(quantity for _, quantity, _ in found) or 1
        total, made = 0, []
        for price, quantity, mask in found:
            total += quantity
            here = [leg for leg in legs if leg.standing == Standing.IN.name and mask >> leg.venue_id & 1]
            made.append(
                MergedLevel(
                    price=format_units(price, merged.price_exponent),
                    quantity=format_units(quantity, merged.quantity_exponent),
                    total=format_units(total, merged.quantity_exponent),
                    share=quantity / whole,
                    mask=mask,
                    venues=tuple(leg.venue for leg in here),
                    letters="".join(leg.letter for leg in here),
                )
            )
        return tuple(made)
