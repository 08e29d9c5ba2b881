# cython: language_level=3
"""C face of the decoder."""

from libc.stdint cimport int64_t, uint32_t

from feeds.decoder cimport Decoder
from feeds.message cimport feed_item, feed_keymap, feed_message, feed_object, feed_scan


# Field numbers in the order of the keys in decode.pyx.
cdef enum:
    K_ARG = 1
    K_DATA
    K_ACTION
    K_EVENT
    K_CODE

cdef enum:
    A_CHANNEL = 1
    A_SYMBOL

cdef enum:
    D_BIDS = 1
    D_ASKS
    D_TIME
    D_CHECKSUM
    D_SEQUENCE
    D_PREVIOUS
    D_SYMBOL
    D_TRADE_ID
    D_PRICE
    D_SIZE
    D_SIDE
    D_BID
    D_BID_SIZE
    D_ASK
    D_ASK_SIZE
    D_MARK
    D_INDEX
    D_RATE
    D_FUNDING_TIME
    D_DETAILS

cdef enum:
    L_PRICE = 1
    L_SIZE
    L_SIDE
    L_TIME

cdef enum:
    CH_OTHER = 0
    CH_DEPTH  # whole books and updates
    CH_WHOLE  # whole books of a few levels only
    CH_BBO
    CH_TRADES
    CH_TICKER
    CH_INDEX
    CH_LIQUIDATIONS

# Values of an update that is written as the last one was, by their numbers in its shape.
cdef enum:
    V_SYMBOL
    V_TIME
    V_BIDS
    V_ASKS
    V_CHECKSUM
    V_SEQUENCE
    V_PREVIOUS

cdef enum:
    CHECKSUM_MIN = -2147483648
    CHECKSUM_MAX = 2147483647

cdef enum:
    LEVEL_EXTRA = 2  # behind price and quantity: a field that is always "0", and the number of orders


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
    cdef bint _as_last(self, feed_message *out) noexcept nogil
    cdef void _learn(self, const feed_message *out) noexcept nogil
    cdef bint _frame(self, feed_message *out) noexcept nogil
    cdef int _find_channel(self) noexcept nogil
    cdef const char *_data(self, const char *p, feed_message *out) noexcept nogil
    cdef bint _element(self, feed_message *out) noexcept nogil
    cdef bint _depth(self, feed_message *out) noexcept nogil
    cdef void _set_levels(self, feed_message *out, const uint32_t *count) noexcept nogil
    cdef void _set_checksum(self, feed_message *out, int64_t checksum) noexcept nogil
    cdef bint _finish_depth(self, feed_message *out) noexcept nogil
    cdef bint _bbo(self, feed_message *out) noexcept nogil
    cdef bint _trade(self, feed_message *out) noexcept nogil
    cdef bint _ticker(self, feed_message *out) noexcept nogil
    cdef bint _tick(self, feed_message *out, uint32_t place, uint32_t number) noexcept nogil
    cdef bint _liquidations(self, feed_message *out) noexcept nogil
    cdef bint _side(self, const feed_keymap *map, const feed_object *o, uint32_t number, feed_item *item) noexcept nogil
    cdef feed_item *_new_item(self, feed_message *out) noexcept nogil
