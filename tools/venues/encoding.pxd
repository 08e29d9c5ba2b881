# cython: language_level=3
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

# What an encoder needs to know of an instrument; prices and quantities arrive in units of 10^-decimals.
cdef struct sim_instrument:
    char symbol[32]
    int symbol_size
    int price_decimals
    int quantity_decimals
    int64_t tick_units
    int64_t lot_units

cdef struct sim_level:
    int64_t price_units
    int64_t quantity_units

cdef struct sim_trade:
    int64_t price_units
    int64_t quantity_units
    int64_t trade_id
    int64_t aggregate_id
    bint buyer_is_maker

cdef struct sim_best:
    sim_level bid
    sim_level ask


cdef class Encoder:
    cdef Py_ssize_t depth(self, char* out, const sim_instrument* info, int64_t now_ms, uint64_t first, uint64_t last,
                          uint64_t previous, const sim_level* bids, int bid_count, const sim_level* asks,
                          int ask_count) noexcept
    cdef Py_ssize_t ticker(self, char* out, const sim_instrument* info, int64_t now_ms, uint64_t update_id,
                           const sim_best* best) noexcept
    cdef Py_ssize_t aggregate_trade(self, char* out, const sim_instrument* info, int64_t now_ms,
                                    const sim_trade* trade) noexcept
    cdef Py_ssize_t trade(self, char* out, const sim_instrument* info, int64_t now_ms, const sim_trade* trade) noexcept
    cdef Py_ssize_t mark(self, char* out, const sim_instrument* info, int64_t now_ms, int64_t mid_units_x2) noexcept
    cdef Py_ssize_t snapshot(self, char* out, const sim_instrument* info, int64_t now_ms, uint64_t update_id,
                             const sim_level* bids, int bid_count, const sim_level* asks, int ask_count) noexcept


cdef inline char* put_text(char* p, const char* text, Py_ssize_t size) noexcept:
    memcpy(p, text, size)
    return p + size


cdef inline char* put_unsigned(char* p, uint64_t value) noexcept:
    cdef char digits[20]
    cdef int n = 0
    while True:
        digits[n] = <char> (48 + value % 10)
        n += 1
        value //= 10
        if value == 0:
            break
    while n:
        n -= 1
        p[0] = digits[n]
        p += 1
    return p


cdef inline char* put_decimal(char* p, int64_t units, int decimals) noexcept:
    cdef uint64_t scale = 1
    cdef int i
    cdef uint64_t fraction
    for i in range(decimals):
        scale *= 10
    p = put_unsigned(p, <uint64_t> units // scale)
    if decimals:
        fraction = <uint64_t> units % scale
        p[0] = 46
        for i in range(decimals):
            p[decimals - i] = <char> (48 + fraction % 10)
            fraction //= 10
        p += decimals + 1
    return p
