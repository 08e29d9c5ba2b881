# cython: language_level=3
from libc.stdint cimport int64_t, uint64_t

from tools.venues.encoding cimport sim_level, sim_stats, sim_view
from tools.venues.fanout cimport Stream
from tools.venues.sim_book cimport sim_book
from tools.venues.synthetic cimport Market

# One stream of the best levels of one book, as its clients know it.
cdef struct book_view:
    sim_view head
    sim_level* bids
    sim_level* asks
    int64_t interval_ms
    int64_t repeat_ms           # a whole message again, or an empty one, after so long without a change; 0: never
    int64_t next_ms
    int64_t sent_ms
    bint active
    bint dirty

cdef struct slow_state:
    sim_stats now
    sim_stats sent
    int64_t next_ms[4]          # statistics, mark, index, funding
    bint is_begun


cdef class ViewMarket(Market):
    cdef book_view* views
    cdef slow_state* slow
    cdef int view_count
    cdef int rest_view
    cdef list view_streams
    cdef sim_level* levels
    cdef uint64_t timer_rng[4]

    cdef void note(self, Py_ssize_t index) noexcept
    cdef int begin_view(self, sim_book* book, book_view* view, int64_t now_ms) except -1
    cdef int flush_view(self, Py_ssize_t index, int number, int64_t now_ms) except -1
    cdef int repeat_view(self, Py_ssize_t index, int number, int64_t now_ms) except -1
    cdef int emit_trades(self, Py_ssize_t index, int kind, int64_t now_ms) except -1
    cdef int send_slow(self, Py_ssize_t index, int64_t now_ms) except -1
    cdef void move_slow(self, Py_ssize_t index, int64_t now_ms) noexcept
    cdef int diff(self, const sim_level* old, int old_count, const sim_level* new, int new_count, bint is_bid,
                  sim_level* out) noexcept
