# cython: language_level=3
from libc.stdint cimport int64_t, uint64_t

from tools.venues.encoding cimport Encoder, sim_instrument, sim_stats, sim_trade


cdef class BybitEncoder(Encoder):
    cdef char* put_trade(self, char* p, const sim_instrument* info, int64_t now_ms, uint64_t sequence,
                         const sim_trade* trade, int place) noexcept
    cdef char* put_changed(self, char* p, const sim_instrument* info, const sim_stats* stats,
                           const sim_stats* sent) noexcept
    cdef char* put_spot(self, char* out, const sim_instrument* info, int64_t now_ms, const sim_stats* stats) noexcept
