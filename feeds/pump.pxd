# cython: language_level=3
"""C face of the frame pump, for listeners."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from feeds.anomaly cimport Watches
from feeds.core cimport FeedCore
from feeds.publishing cimport feed_instrument


cdef struct pump_connection:
    int64_t alive_ns
    int64_t offset_ns
    int64_t sampled_ns
    uint64_t frames
    uint64_t won  # frames that were applied or published
    uint64_t late  # ... that another connection of the same stream brought first
    uint32_t stream
    int line
    bint is_ready


cdef class FramePump:
    cdef FeedCore _core
    cdef object _session
    cdef pump_connection *_connections
    cdef uint32_t _count
    cdef Watches _watches
    cdef uint8_t *_kept  # [capacity of the slab]
    cdef public int64_t deviation_ns
    cdef public double spread_bps
    cdef public object keeper

    cdef pump_connection *_get(self, int64_t connection) except NULL
    cdef int on_text(self, const char *p, Py_ssize_t n, int64_t frame_ns, int64_t connection) except -1
    # No frame of this socket read follows: signals what is still held.
    cdef void end_batch(self) noexcept nogil
    cdef void _signal_owed(self) noexcept nogil
    cdef bint _is_wide(self, int64_t number) noexcept nogil
    cdef uint32_t _look(self, feed_instrument *e, int64_t frame_ns) noexcept nogil
    cdef int _suspect(self, int reason, int64_t frame_ns, int64_t number) except -1
    cdef int _found(self, uint32_t found, int64_t frame_ns, int64_t number) except -1
