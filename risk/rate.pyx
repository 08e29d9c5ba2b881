# cython: language_level=3, freethreading_compatible=False
"""Order rate as GCRA (generic cell rate algorithm, ITU-T I.371, virtual scheduling form).

One integer of state, no timer, no token refill: `theoretical_ns` is the time at which the next order
would be due at exactly the allowed rate; an order passes while it is at most `tolerance_ns` early. A
process that dies holding state leaks nothing.
"""

from libc.stdint cimport int64_t

cdef int64_t SECOND_NS = 1_000_000_000


cdef class OrderRate:
    """Allows `burst` orders at once and `orders_per_s` in the long run; 0 per second = no limit."""

    def __init__(self, int64_t orders_per_s, int64_t burst):
        self.interval_ns = -(-SECOND_NS // orders_per_s) if orders_per_s else 0
        self.tolerance_ns = self.interval_ns * (burst - 1)
        self.theoretical_ns = -(1 << 62)

    cpdef bint conforms(self, int64_t now_ns) noexcept:
        """Say whether an order at `now_ns` would pass; spends nothing."""
        return not self.interval_ns or self.theoretical_ns - self.tolerance_ns <= now_ns

    cpdef int spend(self, int64_t now_ns) noexcept:
        """Count one order that did pass; returns 0."""
        self.theoretical_ns = (self.theoretical_ns if self.theoretical_ns > now_ns else now_ns) + self.interval_ns
        return 0
