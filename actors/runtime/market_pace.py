"""How fast markets move and trade, and how far venues are: what judges a route besides books and fees."""

from __future__ import annotations

import math

from shm.book import BookSnapshot

#: Time between two looks at a book, and how many of them count half.
LOOK_NS = 100_000_000
HALF_LIFE = 100
_DECAY = 0.5 ** (1.0 / HALF_LIFE)
#: Weight of a new round trip: 2^-3, as in the smoothed round trip of RFC 6298.
_TRIP_SHIFT = 3
#: Mean of the adverse half of a normal distribution, in standard deviations: 1 / sqrt(2 pi).
_ADVERSE = 1.0 / math.sqrt(2.0 * math.pi)
_SECOND_NS = 1_000_000_000
E8 = 10**8


class Pace:
    """Volatility of the mid and flow of trades of one book, exponentially weighted over looks at it."""

    __slots__ = ("_at_ns", "_bought", "_flow_seconds", "_log_mid", "_seconds", "_sold", "_square", "_totals")

    def __init__(self) -> None:
        self._at_ns = 0
        self._log_mid = 0.0
        self._seconds = 0.0
        self._square = 0.0
        self._totals = (0, 0)
        self._flow_seconds = 0.0
        self._bought = 0.0
        self._sold = 0.0

    def look(self, book: BookSnapshot, now_ns: int) -> None:
        """Take one look; a book without both sides only breaks the chain of returns."""
        if not book.bids or not book.asks:
            self._log_mid = 0.0
            return
        log_mid = math.log(book.bids[0][0] + book.asks[0][0])
        totals = (book.totals.buy_quantity_units, book.totals.sell_quantity_units)
        seconds = (now_ns - self._at_ns) / _SECOND_NS
        if self._log_mid and seconds > 0.0:
            change = log_mid - self._log_mid
            self._square = self._square * _DECAY + change * change
            self._seconds = self._seconds * _DECAY + seconds
            bought, sold = totals[0] - self._totals[0], totals[1] - self._totals[1]
            if bought >= 0 and sold >= 0:  # totals begin anew with the feed
                self._flow_seconds = self._flow_seconds * _DECAY + seconds
                self._bought = self._bought * _DECAY + bought
                self._sold = self._sold * _DECAY + sold
        self._log_mid, self._totals, self._at_ns = log_mid, totals, now_ns

    @property
    def volatility(self) -> float:
        """Standard deviation of the log return over one second; 0 before the second look."""
        return math.sqrt(self._square / self._seconds) if self._seconds > 0.0 else 0.0

    def flow_units(self, buys: bool) -> float:
        """Quantity per second that aggressors buy (or sell)."""
        traded = self._bought if buys else self._sold
        return traded / self._flow_seconds if self._flow_seconds > 0.0 else 0.0

    def adverse_e8(self, wait_ns: int) -> int:
        """Expected adverse move while waiting, as a fraction of the price × 10^8.

        The mean of the adverse half of a driftless walk, sigma × sqrt(t / 2 pi): what goes against us must be
        paid for, and what goes our way is not counted on.
        """
        return round(_ADVERSE * self.volatility * math.sqrt(max(wait_ns, 0) / _SECOND_NS) * E8)


class RoundTrips:
    """Measured time from handing an order to the socket to the venue's word, by venue, smoothed."""

    def __init__(self) -> None:
        self._trips: dict[int, int] = {}
        self._counts: dict[int, int] = {}

    def take(self, venue_id: int, round_trip_ns: int) -> None:
        """Take one measurement."""
        known = self._trips.get(venue_id)
        self._counts[venue_id] = self._counts.get(venue_id, 0) + 1
        self._trips[venue_id] = (
            round_trip_ns if known is None else known + ((round_trip_ns - known) >> _TRIP_SHIFT)
        )

    def round_trip_ns(self, venue_id: int) -> int:
        """The smoothed round trip; of a venue that was never measured, the longest of those that were."""
        known = self._trips.get(venue_id)
        return max(self._trips.values(), default=0) if known is None else known

    def rows(self) -> dict[str, dict[str, float | int]]:
        """By venue id, JSON-ready."""
        return {
            str(venue_id): {"round_trip_ms": round(trip / 1e6, 3), "count": self._counts[venue_id]}
            for venue_id, trip in sorted(self._trips.items())
        }
