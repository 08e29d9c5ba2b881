"""How far a venue's clock is from ours: the offset of the quickest of the last answers.

Each answer bounds the offset: it was said at some moment of the round trip. A new answer whose bounds exclude
those of an older one means that a clock was set in between: what was measured before is forgotten.
"""

from __future__ import annotations

from collections import deque

CLOCK_SAMPLES = 8
#: Venues say milliseconds, and clocks drift: by 100 ppm, 48 ms while the samples are gathered.
TOLERANCE_NS = 50_000_000


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
        offset_ns = venue_utc_ns - (our_utc_ns - trip_ns // 2)
        for other_trip_ns, other_ns in self._samples:
            if abs(offset_ns - other_ns) > (trip_ns + other_trip_ns) // 2 + TOLERANCE_NS:
                self._samples.clear()
                break
        self._samples.append((trip_ns, offset_ns))
        self.due_ns = now_ns + self._period_ns
        return min(self._samples)[1]
