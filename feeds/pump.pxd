# cython: language_level=3
"""C face of the frame pump, for listeners."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from feeds.core cimport FeedCore


cdef struct pump_connection:
    int64_t alive_ns
    int64_t offset_ns
    int64_t sampled_ns
    uint64_t frames
    bint is_ready


cdef class FramePump:
    cdef FeedCore _core
    cdef object _session
    cdef pump_connection *_connections
    cdef uint32_t _count
    cdef public int64_t deviation_ns
    cdef public double spread_bps

    cdef pump_connection *_get(self, int64_t connection) except NULL
    cdef int on_text(self, const char *p, Py_ssize_t n, int64_t frame_ns, int64_t connection) except -1
    cdef bint _is_wide(self, int64_t number) noexcept nogil
