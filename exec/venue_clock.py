"""How far a venue's clock is from ours: the offset of the quickest of the last answers."""

from __future__ import annotations

from collections import deque

CLOCK_SAMPLES = 8


class VenueClock:
    """Measures a venue's clock; see the module.

    Args:
        period_ns: between two measurements.
    """

    def __init__(self, period_ns: int) -> None:
        #: When to measure next; None before the first measurement.
        self.due_ns: int | None = None
        self._period_ns = period_ns
        self._samples: deque[tuple[int, int]] = deque(maxlen=CLOCK_SAMPLES)

    def asked(self, now_ns: int) -> None:
        """A measurement is under way, or failed: the next one comes in its turn."""
        self.due_ns = now_ns + self._period_ns

    def restart(self, now_ns: int) -> None:
        """The venue complains of our time: forget what was measured, measure now."""
        self._samples.clear()
        self.due_ns = now_ns

    def measured(self, venue_utc_ns: int, our_utc_ns: int, trip_ns: int, now_ns: int) -> int:
        """Take a measurement; returns the venue's time minus ours in ns.

        The error is at most half of a round trip, so the quickest of the last answers counts.

        Args:
            venue_utc_ns: what the venue said.
            our_utc_ns: when that came.
            trip_ns: from question to answer.
            now_ns: now.
        """
        self._samples.append((trip_ns, venue_utc_ns - (our_utc_ns - trip_ns // 2)))
        self.due_ns = now_ns + self._period_ns
        return min(self._samples)[1]
