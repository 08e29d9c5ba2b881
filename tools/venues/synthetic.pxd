# cython: language_level=3
from libc.stdint cimport int64_t, uint64_t

from tools.venues.encoding cimport Encoder, sim_best, sim_trade
from tools.venues.fanout cimport Stream
from tools.venues.sim_book cimport BookModel, sim_book


cdef class Market(BookModel):
    cdef sim_book* books
    cdef readonly Py_ssize_t instruments
    cdef readonly unsigned long long updates
    cdef readonly unsigned long long events
    cdef Encoder encoder
    cdef list streams
    cdef double* weights
    cdef uint64_t rng[4]
    cdef int64_t start_ms
    cdef double clock_ns
    cdef double next_ns
    cdef double gap_ns
    cdef char* scratch
    cdef sim_trade fills[256]
    cdef set watched
    cdef list tapped

    cdef list foreign(self, sim_book* book, bint is_bid, int limit)
    cdef sim_book* book_of(self, Py_ssize_t index) except NULL
    cdef void begin(self, sim_book* book, sim_best* before) noexcept
    cdef int tap(self, Py_ssize_t index) except -1
    cdef int step(self, Py_ssize_t index) except -1
    cdef int emit(self, Py_ssize_t index, const sim_best* before) except -1
    cdef int emit_liquidation(self, Py_ssize_t index, int64_t now_ms) except -1
    cdef int split_fills(self, const sim_trade* trade, int64_t lot_units) noexcept
    cdef int flush_slow(self, int64_t now_ms) except -1
    cdef int flush_book(self, Py_ssize_t index, int speed, int64_t now_ms) except -1
    cdef int send_mark(self, Py_ssize_t index, int kind, int64_t now_ms) except -1
    cdef Py_ssize_t pick(self) noexcept
    cdef Stream stream(self, Py_ssize_t index, int kind)
