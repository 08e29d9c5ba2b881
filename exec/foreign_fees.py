"""Fees that a venue took in another asset than the one an instrument settles in (a venue's own token).

The books of an instrument are kept in its settlement currency. Such a fee is booked there at the
instrument's own rate, never as nothing, and what was really paid is kept here by asset.
"""

from __future__ import annotations

from exec.venue_report import VenueReport

TRADES_MAX = 65_536


class ForeignFees:
    """What was paid in other assets; each trade once, however often a venue tells it."""

    def __init__(self) -> None:
        #: By asset, in 10^-8 of it.
        self.paid_e8: dict[str, int] = {}
        #: How many trades.
        self.trades = 0
        self._seen: dict[tuple[int, int], None] = {}
        self._news: list[str] = []

    def note(self, report: VenueReport, asset: str, fee_e8: int) -> None:
        """Keep the fee of a fill; positive = paid."""
        key = (report.instrument_id, report.trade_id)
        if key in self._seen:
            return
        if len(self._seen) >= TRADES_MAX:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = None
        self.trades += 1
        self.paid_e8[asset] = self.paid_e8.get(asset, 0) + fee_e8
        self._news.append(asset)

    def take_news(self) -> list[str]:
        """The assets of the trades noted since the last call, one for each trade."""
        if not self._news:
            return []
        news, self._news = self._news, []
        return news
