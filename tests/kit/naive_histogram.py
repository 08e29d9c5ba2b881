"""Naive twin of the histogram: every value kept in a sorted list."""

from __future__ import annotations

from bisect import insort
from fractions import Fraction


class NaiveHistogram:
    """Exact counts and percentiles by keeping everything."""

    def __init__(self) -> None:
        """Start empty."""
        self.values: list[int] = []

    def record(self, value: int) -> None:
        """Count one value; a negative one counts as 0."""
        insort(self.values, max(value, 0))

    def percentile(self, q: float) -> int:
        """The value of rank ceil(q / 100 × count); 0 when there are none."""
        if not self.values:
            return 0
        exact = Fraction(repr(q)) * len(self.values) / 100
        rank = max(-(-exact.numerator // exact.denominator), 1)
        return self.values[rank - 1]
