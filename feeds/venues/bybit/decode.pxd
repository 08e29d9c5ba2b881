# cython: language_level=3
"""C face of the decoder."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from feeds.decoder cimport Decoder
from feeds.message cimport feed_item, feed_keymap, feed_message, feed_object, feed_scan


cdef class BybitDecoder(Decoder):
    cdef feed_keymap outer_map
    cdef feed_keymap data_map
    cdef feed_object outer
    cdef feed_object data
    cdef feed_scan scan
    cdef int topic
    cdef int decode(self, const char *p, Py_ssize_t n, feed_message *out) noexcept nogil
    cdef int decode_snapshot(self, const char *p, Py_ssize_t n, feed_message *out) noexcept nogil
    cdef bint _frame(self, feed_message *out) noexcept nogil
    cdef bint _find_topic(self, feed_message *out) noexcept nogil
    cdef const char *_data(self, const char *p, feed_message *out) noexcept nogil
    cdef bint _finish(self, feed_message *out) noexcept nogil
    cdef bint _is_own(self, uint32_t number, const feed_message *out) noexcept nogil
    cdef bint _depth(self, feed_message *out) noexcept nogil
    cdef bint _bbo(self, feed_message *out, bint whole) noexcept nogil
    cdef bint _item(self, feed_message *out) noexcept nogil
    cdef bint _old_liquidation(self, feed_message *out) noexcept nogil
    cdef bint _side(self, uint32_t number, feed_item *item) noexcept nogil
    cdef int64_t _trade_id(self) noexcept nogil
    cdef bint _ticker(self, feed_message *out) noexcept nogil
    cdef bint _tick(self, feed_message *out, uint32_t place, uint32_t number) noexcept nogil
    cdef feed_item *_new_item(self, feed_message *out) noexcept nogil
