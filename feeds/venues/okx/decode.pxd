# cython: language_level=3
"""C face of the decoder."""

from libc.stdint cimport int64_t, uint32_t

from feeds.decoder cimport Decoder
from feeds.message cimport feed_item, feed_keymap, feed_message, feed_object, feed_scan


cdef class OkxDecoder(Decoder):
    cdef feed_keymap outer_map
    cdef feed_keymap arg_map
    cdef feed_keymap data_map
    cdef feed_keymap detail_map
    cdef feed_object outer
    cdef feed_object arg
    cdef feed_object data
    cdef feed_object detail
    cdef feed_scan scan
    cdef int channel
    cdef int decode(self, const char *p, Py_ssize_t n, feed_message *out) noexcept nogil
    cdef int decode_snapshot(self, const char *p, Py_ssize_t n, feed_message *out) noexcept nogil
    cdef bint _frame(self, feed_message *out) noexcept nogil
    cdef int _find_channel(self) noexcept nogil
    cdef const char *_data(self, const char *p, feed_message *out) noexcept nogil
    cdef bint _element(self, feed_message *out) noexcept nogil
    cdef bint _depth(self, feed_message *out) noexcept nogil
    cdef bint _finish_depth(self, feed_message *out) noexcept nogil
    cdef bint _bbo(self, feed_message *out) noexcept nogil
    cdef bint _trade(self, feed_message *out) noexcept nogil
    cdef bint _ticker(self, feed_message *out) noexcept nogil
    cdef bint _tick(self, feed_message *out, uint32_t place, uint32_t number) noexcept nogil
    cdef bint _liquidations(self, feed_message *out) noexcept nogil
    cdef bint _side(self, const feed_keymap *map, const feed_object *o, uint32_t number, feed_item *item) noexcept nogil
    cdef feed_item *_new_item(self, feed_message *out) noexcept nogil
