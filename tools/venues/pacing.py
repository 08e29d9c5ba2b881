"""Pace and lateness of a market source: how much may be sent now, and how late it was."""

from __future__ import annotations

BUCKET_NS = 100_000
BUCKETS = 10_001
CATCH_UP = 2
ELAPSED_MAX_NS = 5_000_000


class LatenessMeter:
    """Counts how late updates were sent against the moment they were due, in 10,000 buckets (of 0.1 ms)."""

    def __init__(self, bucket_ns: int = BUCKET_NS) -> None:
        self._bucket_ns = bucket_ns
        self._counts = [0] * BUCKETS
        self.count = 0
        self.ns_max = 0

    def record(self, late_ns: int, updates: int = 1) -> None:
        """Count `updates` that were `late_ns` late; early counts as on time."""
        self._counts[min(max(late_ns, 0) // self._bucket_ns, BUCKETS - 1)] += updates
        self.count += updates
        self.ns_max = max(self.ns_max, late_ns)

    def percentile(self, q: float) -> int:
        """Return the upper edge in ns of the bucket of percentile `q` (0 to 100); 0 before any count."""
        wanted = self.count * q / 100.0
        seen = 0
        for index, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return (index + 1) * self._bucket_ns
        return 0

    def statistics(self) -> dict[str, int]:
        """Return p50, p99 and the largest lateness."""
        return {
            "lateness_ns_p50": self.percentile(50.0),
            "lateness_ns_p99": self.percentile(99.0),
            "lateness_ns_max": self.ns_max,
        }


class Throttle:
    """Lets market time follow the clock, and after a stall catch up at no more than twice the set pace.

    All arguments are monotonic ns. The market never runs ahead of the clock and never skips: what a stall
    held back is
    sent later, and reported as lateness.
    """

    def __init__(self, start_ns: int) -> None:
        self._start_ns = start_ns
        self._seen_ns = start_ns
        self._market_ns = 0

    def advance(self, now_ns: int) -> int:
        """Return market time in ns since the start that may be played up to now."""
        # one long gap between two calls is not elapsed time that was paid for: it is a stall
        elapsed = min(now_ns - self._seen_ns, ELAPSED_MAX_NS)
        self._seen_ns = now_ns
        behind = now_ns - self._start_ns - self._market_ns
        self._market_ns += max(0, min(behind, CATCH_UP * elapsed))
        return self._market_ns

    def behind_ns(self, now_ns: int) -> int:
        """Return how far market time is behind the clock."""
        return now_ns - self._start_ns - self._market_ns
