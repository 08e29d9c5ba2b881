# cython: language_level=3
"""C face of the watches, for the frame pump."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from shm.layout cimport shm_trade_totals


cdef extern from "feeds/native/watch.h" nogil:
    enum:
        FEED_CHANNELS
        FEED_FOUND_JUMP
        FEED_FOUND_VOLUME
        FEED_FOUND_ANOMALY
    const double FEED_TAIL

    ctypedef struct feed_watch_settings:
        double jump_bps
        double jump_scale
        int64_t jump_tau_ns
        uint64_t jump_warm_up
        double volume_ratio
        int64_t volume_bucket_ns
        uint32_t volume_warm_up
        double anomaly_odds
        uint64_t anomaly_warm_up
        double floor_bps
        int64_t floor_gap_ns
        double floor_rate

    ctypedef struct feed_channel:
        double level
        double limit

    ctypedef struct feed_watch:
        feed_channel channel[8]
        int64_t tick
        uint64_t live_id
        double score
        int32_t dominant

    uint32_t feed_watch_book(feed_watch *w, const feed_watch_settings *s, int64_t bid, int64_t bid_quantity, int64_t ask,
                             int64_t ask_quantity, int64_t now_ns)
    uint32_t feed_watch_trade(feed_watch *w, const feed_watch_settings *s, int64_t price, int64_t quantity, int64_t now_ns)
    uint32_t feed_watch_totals(feed_watch *w, const feed_watch_settings *s, const shm_trade_totals *t, int64_t now_ns)
    void feed_watch_pause(feed_watch *w)


@cython.final
cdef class Watches:
    cdef feed_watch_settings _settings
    cdef feed_watch **_watches
    cdef uint32_t _capacity

    cdef feed_watch *_get(self, object instrument_id) except NULL
    # FEED_FOUND bits; 0 for an instrument without a watch.
    cdef uint32_t c_book(self, int64_t number, uint64_t live_id, int64_t bid, int64_t bid_quantity, int64_t ask, int64_t ask_quantity,
                         int64_t now_ns) noexcept nogil
    cdef uint32_t c_totals(self, int64_t number, const shm_trade_totals *totals, int64_t now_ns) noexcept nogil
