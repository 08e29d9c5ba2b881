"""Order rate as GCRA (generic cell rate algorithm, ITU-T I.371, virtual scheduling form).

One integer of state, no timer, no token refill: `theoretical_ns` is the time at which the next order
would be due at exactly the allowed rate; an order passes while it is at most `tolerance_ns` early. A
process that dies holding state leaks nothing.
"""

from __future__ import annotations

_SECOND_NS = 1_000_000_000


class OrderRate:
    """Allows `burst` orders at once and `orders_per_s` in the long run; 0 per second = no limit."""

    __slots__ = ("interval_ns", "theoretical_ns", "tolerance_ns")

    def __init__(self, orders_per_s: int, burst: int) -> None:
        self.interval_ns = -(-_SECOND_NS // orders_per_s) if orders_per_s else 0
        self.tolerance_ns = self.interval_ns * (burst - 1)
        self.theoretical_ns = -(1 << 62)

    def conforms(self, now_ns: int) -> bool:
        """Say whether an order at `now_ns` would pass; spends nothing."""
        return not self.interval_ns or self.theoretical_ns - now_ns <= self.tolerance_ns

    def spend(self, now_ns: int) -> None:
        """Count one order that did pass."""
        due = max(self.theoretical_ns, now_ns)
        self.theoretical_ns = due + self.interval_ns
