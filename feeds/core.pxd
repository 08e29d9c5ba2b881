# cython: language_level=3
"""C face of the feed core: listeners call `FeedCore.on_frame_ptr`."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from cpython.ref cimport PyObject

from feeds.decoder cimport Decoder
from feeds.message cimport feed_book, feed_message, feed_symbols
from shm.book cimport BookSlab
from shm.layout cimport shm_book_head, shm_market_record


cdef struct feed_instrument:
    feed_book *book
    PyObject *publisher
    uint32_t price_exponent
    uint32_t quantity_exponent
    shm_book_head head


@cython.final
cdef class FeedCore:
    cdef Decoder _decoder
    cdef BookSlab _slab
    cdef dict _publishers
    cdef dict _names
    cdef feed_instrument **_instruments
    cdef uint32_t _capacity
    cdef uint32_t _depth
    cdef int _rule
    cdef uint32_t _epoch
    cdef feed_symbols _symbols
    cdef feed_message _message
    cdef uint64_t _counts[16]
    cdef public int64_t virtual_now_ns
    cdef readonly int64_t instrument_id
    cdef readonly int message_kind
    cdef readonly int64_t first_sequence
    cdef readonly int64_t last_sequence
    cdef readonly int64_t previous_sequence
    cdef readonly int64_t venue_utc_ns
    cdef readonly str error

    cdef int on_frame_ptr(self, const char *p, Py_ssize_t n, int64_t frame_ns) noexcept
    cdef int _reject(self, feed_instrument *e) noexcept
    cdef int _on_depth(self, feed_instrument *e, int64_t frame_ns) noexcept nogil
    cdef int _on_trade(self, feed_instrument *e, int64_t frame_ns) noexcept nogil
    cdef int _on_bbo(self, feed_instrument *e, int64_t frame_ns) noexcept nogil
    cdef int _on_mark(self, feed_instrument *e, int64_t frame_ns) noexcept nogil
    cdef bint _scale_value(self, int index, uint32_t exponent, int64_t *out) noexcept nogil
    cdef int64_t _now(self) noexcept nogil
    cdef void _advance(self, feed_instrument *e, int64_t frame_ns) noexcept nogil
    cdef void _store(self, feed_instrument *e) noexcept nogil
    cdef void _store_head(self, feed_instrument *e) noexcept nogil
    cdef void _begin_record(self, feed_instrument *e, int kind, int64_t frame_ns, shm_market_record *record) noexcept nogil
    cdef void _publish(self, feed_instrument *e, int kind, int64_t frame_ns) noexcept nogil
    cdef feed_instrument *_get(self, object instrument_id) except NULL
