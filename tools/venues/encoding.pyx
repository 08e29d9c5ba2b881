# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True, freethreading_compatible=False
"""The face of a venue's payload writer: the synthetic market calls it, a venue implements it in Cython.

Every method writes one payload at `out` and returns its size; the caller has reserved 64 bytes a level and 4,096 more.
`depth` to `snapshot` serve venues whose diffs are of the whole book (tools.venues.synthetic), `view` to `funding` those
that send the best levels (tools.venues.views), `liquidation` both. A size of 0 sends nothing.
"""
from libc.stdint cimport int64_t, uint64_t


cdef class Encoder:
    """Writes a venue's payloads; a venue subclasses it in Cython. The base class writes nothing."""

    cdef Py_ssize_t depth(self, char* out, const sim_instrument* info, int64_t now_ms, uint64_t first, uint64_t last,
                          uint64_t previous, const sim_level* bids, int bid_count, const sim_level* asks,
                          int ask_count) noexcept:
        return 0

    cdef Py_ssize_t ticker(self, char* out, const sim_instrument* info, int64_t now_ms, uint64_t update_id,
                           const sim_best* best) noexcept:
        return 0

    cdef Py_ssize_t aggregate_trade(self, char* out, const sim_instrument* info, int64_t now_ms,
                                    const sim_trade* trade) noexcept:
        return 0

    cdef Py_ssize_t trade(self, char* out, const sim_instrument* info, int64_t now_ms, const sim_trade* trade) noexcept:
        return 0

    cdef Py_ssize_t mark(self, char* out, const sim_instrument* info, int64_t now_ms, int64_t mid_units_x2) noexcept:
        return 0

    cdef Py_ssize_t snapshot(self, char* out, const sim_instrument* info, int64_t now_ms, uint64_t update_id,
                             const sim_level* bids, int bid_count, const sim_level* asks, int ask_count) noexcept:
        return 0

    cdef Py_ssize_t liquidation(self, char* out, const sim_instrument* info, int64_t now_ms,
                                const sim_trade* trade) noexcept:
        return 0

    cdef Py_ssize_t view(self, char* out, const sim_instrument* info, int64_t now_ms, int number, const sim_view* view,
                         bint is_whole, const sim_level* bids, int bid_count, const sim_level* asks,
                         int ask_count) noexcept:
        return 0

    cdef Py_ssize_t trades(self, char* out, const sim_instrument* info, int64_t now_ms, uint64_t sequence,
                           const sim_trade* trades, int count, bint each_fill) noexcept:
        return 0

    cdef Py_ssize_t statistics(self, char* out, const sim_instrument* info, int64_t now_ms, const sim_stats* stats,
                               const sim_stats* sent) noexcept:
        return 0

    cdef Py_ssize_t mark_price(self, char* out, const sim_instrument* info, int64_t now_ms,
                               const sim_stats* stats) noexcept:
        return 0

    cdef Py_ssize_t index_price(self, char* out, const sim_instrument* info, int64_t now_ms,
                                const sim_stats* stats) noexcept:
        return 0

    cdef Py_ssize_t funding(self, char* out, const sim_instrument* info, int64_t now_ms,
                            const sim_stats* stats) noexcept:
        return 0

    cdef bint joins_trades(self) noexcept:
        return False
