# cython: language_level=3
"""C face of the bell hold."""

cimport cython
from libc.stdint cimport int64_t, uint32_t


cdef enum:
    BELLS_RINGS = 8


@cython.final
cdef class BellHold:
    cdef public int64_t age_ns_max
    cdef readonly uint32_t owed  # rings with records that were not signaled, bit i = ring i
    cdef uint32_t _rung  # rings that were signaled since the batch began
    cdef int64_t _since_ns[BELLS_RINGS]  # of an owing ring: stamp of its oldest record that was not signaled

    # Whether to signal `ring` now, a record stamped `now_ns` having just been published on it.
    cdef bint c_owe(self, uint32_t ring, int64_t now_ns) noexcept nogil
    # Which rings to signal now because their oldest record is too old; they owe nothing then.
    cdef uint32_t c_due(self, int64_t now_ns) noexcept nogil
    # The same for whatever reason. A batch goes on.
    cdef uint32_t c_take(self) noexcept nogil
    # The batch is over: which rings to signal; the next record begins another.
    cdef uint32_t c_end(self) noexcept nogil
