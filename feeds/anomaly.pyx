# cython: language_level=3, freethreading_compatible=False
"""Watches of plausible data: price jumps, volume spikes and a learned anomaly score, one watch for each instrument.

The arithmetic stands in `feeds/native/watch.h`. It allocates nothing per update and stores no history: a few hundred bytes
for each instrument, tens of nanoseconds for each update. What is found is returned as bits; what it does is decided by the
session (`feeds.validation.Severity`).
"""

from enum import IntEnum, IntFlag

cimport cython
from libc.math cimport log
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from shm.layout cimport shm_trade_totals

from feeds.errors import FeedError


class Found(IntFlag):
    """What a watch found in one update or trade."""

    NONE = 0
    JUMP = 1
    VOLUME = 2
    ANOMALY = 4


class Channel(IntEnum):
    """What the anomaly score looks at; the number of its channel."""

    RETURN = 0
    SPREAD = 1
    SIZE = 2
    IMBALANCE = 3
    GAP = 4
    RATE = 5
    TRADE = 6
    DISTANCE = 7


assert len(Channel) == FEED_CHANNELS
assert (Found.JUMP, Found.VOLUME, Found.ANOMALY) == (FEED_FOUND_JUMP, FEED_FOUND_VOLUME, FEED_FOUND_ANOMALY)


@cython.final
cdef class Watches:
    """The watches of one feed, by instrument number.

    `settings` is a `feeds.validation.WatchSettings`; `capacity` is the number of instruments there may be. Prices and
    quantities are in the instrument's units. Raises FeedError for an instrument without a watch.
    """

    def __cinit__(self, settings, uint32_t capacity):
        cdef feed_watch_settings *s = &self._settings
        s.jump_bps = settings.jump_bps
        s.jump_scale = settings.jump_scale
        s.jump_tau_ns = settings.jump_tau_ns
        s.jump_warm_up = settings.jump_warm_up
        s.volume_ratio = settings.volume_ratio
        s.volume_bucket_ns = settings.volume_bucket_ns
        s.volume_warm_up = settings.volume_warm_up
        s.anomaly_odds = log(FEED_TAIL / settings.anomaly_probability) if settings.anomaly_probability > 0 else 0.0
        s.anomaly_warm_up = settings.anomaly_warm_up
        s.floor_bps = settings.floor_bps
        s.floor_gap_ns = settings.floor_gap_ns
        s.floor_rate = settings.floor_rate
        self._capacity = capacity
        self._watches = <feed_watch **>calloc(capacity, sizeof(feed_watch *))
        if self._watches == NULL:
            raise MemoryError("watches")

    def __dealloc__(self):
        cdef uint32_t i
        if self._watches != NULL:
            for i in range(self._capacity):
                free(self._watches[i])
            free(self._watches)

    cdef feed_watch *_get(self, object instrument_id) except NULL:
        cdef int64_t number = instrument_id
        if number < 0 or number >= self._capacity or self._watches[number] == NULL:
            raise FeedError(f"instrument {instrument_id} has no watch")
        return self._watches[number]

    def add(self, int64_t instrument_id, int64_t tick_size):
        """Begins to watch an instrument; one that is watched already begins anew."""
        if not 0 <= instrument_id < self._capacity or tick_size < 1:
            raise FeedError(f"instrument {instrument_id} with tick {tick_size} can not be one of {self._capacity} watches")
        cdef feed_watch *w = <feed_watch *>calloc(1, sizeof(feed_watch))
        if w == NULL:
            raise MemoryError("watch")
        w.tick = tick_size
        w.dominant = -1
        free(self._watches[instrument_id])
        self._watches[instrument_id] = w

    def book(self, instrument_id, int64_t bid, int64_t bid_quantity, int64_t ask, int64_t ask_quantity, int64_t now_ns):
        """Takes a top of book; returns Found bits. A side that is empty (price 0) or a crossed top is not judged."""
        return feed_watch_book(self._get(instrument_id), &self._settings, bid, bid_quantity, ask, ask_quantity, now_ns)

    def trade(self, instrument_id, int64_t price_units, int64_t quantity_units, int64_t now_ns):
        """Takes a trade; returns Found bits."""
        return feed_watch_trade(self._get(instrument_id), &self._settings, price_units, quantity_units, now_ns)

    def pause(self, instrument_id):
        """Says that the stream was interrupted: what comes next is not compared with what was last."""
        feed_watch_pause(self._get(instrument_id))

    def score(self, instrument_id):
        """Anomaly score of the last update or trade; 1 and above is an anomaly once it is warm."""
        return self._get(instrument_id).score

    def channel(self, instrument_id):
        """Number of the Channel that stood out most in it, -1 = none."""
        return self._get(instrument_id).dominant

    def usual(self, instrument_id, int channel):
        """What a Channel has learned: its level, and how far above it an anomaly begins, both in its own measure."""
        cdef feed_watch *w = self._get(instrument_id)
        if not 0 <= channel < FEED_CHANNELS:
            raise FeedError(f"there is no channel {channel}")
        return w.channel[channel].level, w.channel[channel].limit

    cdef uint32_t c_book(self, int64_t number, uint64_t live_id, int64_t bid, int64_t bid_quantity, int64_t ask,
                         int64_t ask_quantity, int64_t now_ns) noexcept nogil:
        cdef feed_watch *w
        if number >= self._capacity or self._watches[number] == NULL:
            return 0
        w = self._watches[number]
        if w.live_id != live_id:  # the book was proven anew
            w.live_id = live_id
            feed_watch_pause(w)
        return feed_watch_book(w, &self._settings, bid, bid_quantity, ask, ask_quantity, now_ns)

    cdef uint32_t c_totals(self, int64_t number, const shm_trade_totals *totals, int64_t now_ns) noexcept nogil:
        if number >= self._capacity or self._watches[number] == NULL:
            return 0
        return feed_watch_totals(self._watches[number], &self._settings, totals, now_ns)
