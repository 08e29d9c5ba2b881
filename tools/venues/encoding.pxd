# cython: language_level=3
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcpy

# What an encoder needs to know of an instrument; prices and quantities arrive in units of 10^-decimals.
# category: which of the venue's own kinds it is (a number of the venue's).
cdef struct sim_instrument:
    char symbol[32]
    int symbol_size
    int price_decimals
    int quantity_decimals
    int64_t tick_units
    int64_t lot_units
    int category
    double contract_value

cdef struct sim_level:
    int64_t price_units
    int64_t quantity_units
    int32_t orders

# fills: how many resting orders it met; trade_id is the last of so many ids.
cdef struct sim_trade:
    int64_t price_units
    int64_t quantity_units
    int64_t trade_id
    int64_t aggregate_id
    int fills
    bint buyer_is_maker

cdef struct sim_best:
    sim_level bid
    sim_level ask

# A stream of the best `levels` of a book, and what it holds: whole = each message says all of it.
cdef struct sim_view:
    int levels
    bint whole
    uint64_t update
    uint64_t sequence
    uint64_t previous
    const sim_level* bids
    const sim_level* asks
    int bid_count
    int ask_count

# What tickers tell. Prices in price units, volumes in quantity units, rates in 10^-8.
cdef struct sim_stats:
    sim_best best
    int64_t last_price
    int64_t last_quantity
    int64_t open_price
    int64_t high_price
    int64_t low_price
    int64_t mark_price
    int64_t index_price
    int64_t volume_units
    double turnover
    int64_t open_interest
    int64_t funding_e8
    int64_t next_funding_ms
    uint64_t sequence
    bint is_buy


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
    cdef Py_ssize_t liquidation(self, char* out, const sim_instrument* info, int64_t now_ms,
                                const sim_trade* trade) noexcept
    cdef Py_ssize_t view(self, char* out, const sim_instrument* info, int64_t now_ms, int number, const sim_view* view,
                         bint is_whole, const sim_level* bids, int bid_count, const sim_level* asks,
                         int ask_count) noexcept
    cdef Py_ssize_t trades(self, char* out, const sim_instrument* info, int64_t now_ms, uint64_t sequence,
                           const sim_trade* trades, int count, bint each_fill) noexcept
    cdef Py_ssize_t statistics(self, char* out, const sim_instrument* info, int64_t now_ms, const sim_stats* stats,
                               const sim_stats* sent) noexcept
    cdef Py_ssize_t mark_price(self, char* out, const sim_instrument* info, int64_t now_ms,
                               const sim_stats* stats) noexcept
    cdef Py_ssize_t index_price(self, char* out, const sim_instrument* info, int64_t now_ms,
                                const sim_stats* stats) noexcept
    cdef Py_ssize_t funding(self, char* out, const sim_instrument* info, int64_t now_ms,
                            const sim_stats* stats) noexcept
    cdef bint joins_trades(self) noexcept


cdef inline char* put(char* p, const char* text) noexcept:
    while text[0]:
        p[0] = text[0]
        p += 1
        text += 1
    return p


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


cdef inline char* put_number(char* p, const char* key, uint64_t value) noexcept:
    p = put(p, key)
    return put_unsigned(p, value)


cdef inline char* put_decimal(char* p, int64_t units, int decimals) noexcept:
    cdef uint64_t scale = 1
    cdef int i
    cdef uint64_t fraction
    if units < 0:
        p[0] = 45
        p += 1
        units = -units
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


# As put_decimal, without zeros at the end.
cdef inline char* put_short(char* p, int64_t units, int decimals) noexcept:
    while decimals and units % 10 == 0:
        units //= 10
        decimals -= 1
    return put_decimal(p, units, decimals)


cdef inline char* put_price(char* p, const char* key, int64_t units, int decimals) noexcept:
    p = put(p, key)
    p = put_decimal(p, units, decimals)
    p[0] = 34
    return p + 1


cdef inline char* put_short_price(char* p, const char* key, int64_t units, int decimals) noexcept:
    p = put(p, key)
    p = put_short(p, units, decimals)
    p[0] = 34
    return p + 1
