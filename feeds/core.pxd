# cython: language_level=3
"""C face of the feed core: listeners call `FeedCore.on_frame_ptr`."""

cimport cython
from libc.stdint cimport int64_t, uint32_t

from feeds.decoder cimport Decoder
from feeds.publishing cimport FeedPublishing, feed_instrument


@cython.final
cdef class FeedCore(FeedPublishing):
    cdef Decoder _decoder
    cdef dict _publishers
    cdef dict _names
    cdef uint32_t _depth
    cdef uint32_t _epoch
    cdef readonly int64_t instrument_id
    cdef readonly int message_kind
    cdef readonly int64_t first_sequence
    cdef readonly int64_t last_sequence
    cdef readonly int64_t previous_sequence
    cdef readonly int64_t venue_utc_ns
    cdef readonly bint is_snapshot
    cdef readonly bint is_unnumbered
    cdef readonly str error

    cdef int on_frame_ptr(self, const char *p, Py_ssize_t n, int64_t frame_ns) noexcept
    cdef int _refuse(self, feed_instrument *e, int result) noexcept
    cdef int _on_depth(self, feed_instrument *e, int64_t frame_ns) noexcept nogil
    cdef int _apply(self, feed_instrument *e, int64_t frame_ns) noexcept nogil
    cdef int _take(self, feed_instrument *e, int64_t frame_ns) except -1
    cdef void _advance(self, feed_instrument *e, int64_t frame_ns) noexcept nogil
