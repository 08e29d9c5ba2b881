# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""When to ring: the first record of a batch at once, the others together.

A socket read often carries several frames. A bell for each would wake a subscriber that has just gone back to sleep once a
frame, a system call each time. So the first record of each ring wakes its subscribers, and what follows in the same
batch is signaled at the end of it, or when its oldest record is older than `age_ns_max`. This object decides; it reads no
clock and signals nothing.
"""

cimport cython
from libc.stdint cimport int64_t, uint32_t

from feeds.errors import FeedError


@cython.final
cdef class BellHold:
    """Which rings owe their subscribers a signal.

    `age_ns_max` is how long a record may stay unsignaled while its batch goes on; 0 signals every record.
    """

    def __init__(self, int64_t age_ns_max=20_000):
        self.age_ns_max = age_ns_max

    cdef bint c_owe(self, uint32_t ring, int64_t now_ns) noexcept nogil:
        cdef uint32_t bit = <uint32_t>1 << ring
        if not self._rung & bit or self.age_ns_max <= 0:
            self._rung |= bit
            self.owed &= ~bit
            return True
        if not self.owed & bit:
            self.owed |= bit
            self._since_ns[ring] = now_ns
            return False
        if now_ns - self._since_ns[ring] < self.age_ns_max:
            return False
        self.owed &= ~bit
        return True

    cdef uint32_t c_due(self, int64_t now_ns) noexcept nogil:
        cdef uint32_t due = 0
        cdef int ring
        for ring in range(BELLS_RINGS):
            if self.owed >> ring & 1 and now_ns - self._since_ns[ring] >= self.age_ns_max:
                due |= <uint32_t>1 << ring
        self.owed &= ~due
        return due

    cdef uint32_t c_take(self) noexcept nogil:
        cdef uint32_t owed = self.owed
        self.owed = 0
        return owed

    cdef uint32_t c_end(self) noexcept nogil:
        self._rung = 0
        return self.c_take()

    def owe(self, ring, int64_t now_ns):
        """Says whether to signal `ring` now, a record stamped `now_ns` having just been published on it.

        Raises FeedError for a ring that is not within 0 .. BELLS_RINGS - 1.
        """
        if not 0 <= ring < BELLS_RINGS:
            raise FeedError(f"ring {ring} is not within 0 .. {BELLS_RINGS - 1}")
        return bool(self.c_owe(ring, now_ns))

    def due(self, int64_t now_ns):
        """Returns the rings, bit i = ring i, whose oldest held record has reached `age_ns_max`; they owe nothing then."""
        return self.c_due(now_ns)

    def take(self):
        """Returns the rings that owe, and forgets it; the batch goes on."""
        return self.c_take()

    def end(self):
        """Ends the batch and returns the rings that owe; the next record of each ring is a first one again."""
        return self.c_end()
