# cython: language_level=3
from libc.math cimport log
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

from tools.venues.encoding cimport sim_best, sim_instrument, sim_level, sim_trade

cdef enum:
    WINDOW = 2048           # price levels held around the mid; a power of two
    MASK = 2047
    HALF = 1024
    SPEEDS = 3              # slow depth streams, each with its own pending changes
    SLIDE_MAX = 4           # levels that enter and leave in one event, so that no diff is large
    CHANGES_MAX = 64
    TRADES_MAX = 4

cdef struct sim_book:
    sim_instrument info
    uint64_t rng[4]
    int64_t* lots
    int32_t* orders
    uint8_t* dirty
    int64_t* own            # of lots: what orders from outside hold there
    int64_t* pending[3]
    int pending_count[3]
    int pending_capacity[3]
    uint64_t flushed_id[3]
    int64_t flush_ms[3]
    bint conflating[3]
    int64_t low
    int64_t bid
    int64_t ask
    uint64_t update_id
    int64_t trade_id
    int64_t aggregate_id
    int64_t mark_ms[2]
    uint64_t events
    uint64_t regime_left
    int burst
    int flow
    int drift
    double mean_lots


cdef void seed_random(uint64_t* s, uint64_t seed, uint64_t stream, uint64_t total) noexcept


cdef inline uint64_t rotate(uint64_t x, int k) noexcept nogil:
    return (x << k) | (x >> (64 - k))


cdef inline uint64_t next_random(uint64_t* s) noexcept nogil:
    # xoshiro256** 1.0 (Blackman, Vigna 2018)
    cdef uint64_t result = rotate(s[1] * 5, 7) * 9
    cdef uint64_t t = s[1] << 17
    s[2] ^= s[0]
    s[3] ^= s[1]
    s[1] ^= s[2]
    s[0] ^= s[3]
    s[2] ^= t
    s[3] = rotate(s[3], 45)
    return result


cdef inline double uniform(uint64_t* s) noexcept nogil:
    return <double> (next_random(s) >> 11) * (1.0 / 9007199254740992.0)


cdef inline double exponential(uint64_t* s) noexcept nogil:
    return -log(1.0 - uniform(s))


cdef class BookModel:
    cdef sim_level bid_changes[64]
    cdef sim_level ask_changes[64]
    cdef int bid_change_count
    cdef int ask_change_count
    cdef sim_trade trades[16]
    cdef int trade_count
    cdef int64_t trade_before[16]       # at each trade's price, without orders from outside
    cdef bint is_liquidation

    cdef int64_t quantity(self, sim_book* book, int64_t price, bint is_bid) noexcept
    cdef void touch(self, sim_book* book, int64_t price, bint is_bid) noexcept
    cdef void remember(self, sim_book* book, int speed, int64_t price, bint is_bid) noexcept
    cdef void place(self, sim_book* book, int64_t price, bint is_bid) noexcept
    cdef void cancel(self, sim_book* book, int64_t price, bint is_bid) noexcept
    cdef void remove_lots(self, sim_book* book, int64_t price, bint is_bid, int64_t lots) noexcept
    cdef void cross(self, sim_book* book) noexcept
    cdef void slide(self, sim_book* book) noexcept
    cdef void evolve(self, sim_book* book) noexcept
    cdef void passive(self, sim_book* book) noexcept
    cdef void regime(self, sim_book* book) noexcept
    cdef void fill(self, sim_book* book) noexcept
    cdef void best(self, sim_book* book, sim_best* out) noexcept
    cdef bint show(self, sim_book* book, bint is_bid, int64_t price, int64_t lots) noexcept
    cdef int64_t take(self, sim_book* book, bint buys, int64_t price, int64_t lots) noexcept
    cdef int collect(self, sim_book* book, bint is_bid, int limit, sim_level* out) noexcept
