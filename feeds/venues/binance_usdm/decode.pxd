# cython: language_level=3
"""C face of the decoder."""

from libc.stdint cimport int64_t, uint32_t

from feeds.decoder cimport Decoder
from feeds.message cimport feed_keymap, feed_message, feed_object, feed_scan


cdef class BinanceUsdmDecoder(Decoder):
    cdef feed_keymap outer_map
    cdef feed_keymap inner_map
    cdef feed_keymap snapshot_map
    cdef feed_keymap order_map
    cdef feed_object order
    cdef feed_object outer
    cdef feed_object inner
    cdef feed_scan scan
    cdef int decode(self, const char *p, Py_ssize_t n, feed_message *out) noexcept nogil
    cdef int decode_snapshot(self, const char *p, Py_ssize_t n, feed_message *out) noexcept nogil
    cdef void _judge_stream(self, feed_message *out) noexcept nogil
    cdef bint _liquidation(self, const feed_keymap *map, feed_object *o, feed_message *out) noexcept nogil
    cdef bint _event(self, const feed_keymap *map, feed_object *o, feed_message *out) noexcept nogil
    cdef bint _depth(self, const feed_keymap *map, feed_object *o, feed_message *out) noexcept nogil
    cdef bint _trade(self, const feed_keymap *map, feed_object *o, feed_message *out, bint aggregate) noexcept nogil
    cdef bint _bbo(self, const feed_keymap *map, feed_object *o, feed_message *out) noexcept nogil
    cdef bint _mark(self, const feed_keymap *map, feed_object *o, feed_message *out) noexcept nogil
