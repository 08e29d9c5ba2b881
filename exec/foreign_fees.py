"""Fees that a venue took in another asset than the one an instrument settles in (a venue's own token).

The books of an instrument are kept in its settlement currency. Such a fee is booked there at the token's mark
where the run has one (`TokenMarks`), else at the instrument's own rate, never as nothing, and then told as a
discrepancy. What was really paid is kept here by asset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from exec.discrepancy import Discrepancy, DiscrepancyKind, Repair
from exec.venue_report import VenueReport
from shm.enums import InstrumentKind, InstrumentStatus
from shm.instruments import Instrument

TRADES_MAX = 65_536
_GONE = frozenset((int(InstrumentStatus.RETIRED), int(InstrumentStatus.DELISTED)))

#: (instrument, asset, amount in 10^-8 of it) → worth in 10^-8 of the settlement currency, or None.
Value = Callable[[int, str, int], int | None]


class Table(Protocol):
    """The instruments of the run (`shm.instruments.InstrumentTable`)."""

    def get(self, instrument_id: int) -> Instrument:
        """A row; raises for one that does not exist."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Instrument]: ...


class ForeignFees:
    """What was paid in other assets; each trade once, however often a venue tells it."""

    def __init__(self) -> None:
        #: By asset, in 10^-8 of it.
        self.paid_e8: dict[str, int] = {}
        #: How many trades.
        self.trades = 0
        #: What an amount is worth; None = nobody knows.
        self.value_e8: Value = lambda _instrument_id, _asset, _amount_e8: None
        self._seen: dict[tuple[int, int], None] = {}
        self._news: list[Discrepancy] = []

    def note(self, report: VenueReport, asset: str, fee_e8: int) -> None:
        """Keep the fee of a fill (positive = paid), and book what it is worth, if that is known.

        Args:
            report: of the fill; its fee is the schedule's, and becomes the token's worth.
            asset: that it was paid in.
            fee_e8: in 10^-8 of the asset.
        """
        value_e8 = self.value_e8(report.instrument_id, asset, fee_e8)
        if value_e8 is not None:
            report.fee_units = value_e8
        key = (report.instrument_id, report.trade_id)
        if key in self._seen:
            return
        if len(self._seen) >= TRADES_MAX:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = None
        self.trades += 1
        self.paid_e8[asset] = self.paid_e8.get(asset, 0) + fee_e8
        if value_e8 is None:
            self._news.append(_unpriced(report, asset, fee_e8))

    def take_news(self) -> list[Discrepancy]:
        """One FOREIGN_FEE for each trade noted since the last call whose fee has no known worth."""
        if not self._news:
            return []
        news, self._news = self._news, []
        return news


def _unpriced(report: VenueReport, asset: str, fee_e8: int) -> Discrepancy:
    return Discrepancy(
        int(DiscrepancyKind.FOREIGN_FEE), int(Repair.NONE), report.instrument_id, report.client_order_id,
        report.venue_order_id, report.side, ours=report.fee_units, theirs=fee_e8,
        price_units=report.last_price_units, units=report.last_units, trade_id=report.trade_id,
        liquidity=report.liquidity, fee_e8=report.fee_units, venue_utc_ns=report.venue_utc_ns, asset=asset,
    )  # fmt: skip


class TokenMarks:
    """What a token is worth in a settlement currency, by the marks of instruments that price it there.

    Spot pairs, and linear contracts whose price is of one token (none of those that count in thousands).

    Args:
        table: the instruments of the run; it may grow.
        mark_of: the mark of an instrument in its price units, 0 = none yet.
    """

    def __init__(self, table: Table, mark_of: Callable[[int], int]) -> None:
        self._table = table
        self._mark_of = mark_of
        self._size = 0
        self._known: dict[tuple[str, str], list[Instrument]] = {}

    def value_e8(self, instrument_id: int, asset: str, amount_e8: int) -> int | None:
        """See `Value`; rounded up: a fee paid is never understated, a rebate never overstated."""
        settle = self._table.get(instrument_id).settle
        for row in self._rows(asset, settle):
            mark = self._mark_of(row.instrument_id)
            if mark > 0:
                return -(-amount_e8 * mark // int(10**row.price_exponent))
        return None

    def _rows(self, asset: str, settle: str) -> Iterable[Instrument]:
        if len(self._table) != self._size:
            self._size = len(self._table)
            self._known.clear()
        found = self._known.get((asset, settle))
        if found is None:
            found = [row for row in self._table if prices(row, asset, settle)]
            # Spot first: it is the price that the token is sold at.
            found.sort(key=lambda row: row.kind != InstrumentKind.SPOT)
            self._known[asset, settle] = found
        return found


def prices(row: Instrument, asset: str, settle: str) -> bool:
    """Whether an instrument's price is that of one unit of an asset in a currency."""
    return (
        row.base == asset
        and settle in (row.quote, row.settle)
        and not row.is_inverse
        and row.status not in _GONE
        and (row.kind == InstrumentKind.SPOT or row.multiplier <= 10**row.multiplier_exponent)
    )
