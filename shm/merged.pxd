# cython: language_level=3
"""C face of the merged view: merged in place, read by whoever made it."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from shm.book cimport BookSlab
from shm.layout cimport shm_book_head, shm_level

cdef extern from "shm/native/shm_merged.h" nogil:
    enum:
        SHM_MERGED_LEGS

    ctypedef struct shm_merged_level:
        int64_t price_units
        int64_t quantity_units
        int64_t mask


# One book of the view; `levels` has the room of both sides, bids first, in shared units.
cdef struct merged_leg:
    uint32_t instrument_id
    int64_t bit
    int64_t price_scale
    int64_t quantity_scale
    uint64_t seen       # count of the entry's seqlock when it was copied
    bint has_copy
    bint fits
    uint32_t standing   # Standing
    shm_book_head head
    shm_level *levels
    int64_t alive_ns


cdef class MergedBook:
    cdef readonly object rows
    cdef readonly object bids
    cdef readonly object asks
    cdef readonly int price_exponent
    cdef readonly int quantity_exponent
    cdef readonly uint32_t depth
    cdef readonly uint32_t mask
    cdef readonly uint32_t bid_count
    cdef readonly uint32_t ask_count
    cdef readonly uint32_t bid_whole
    cdef readonly uint32_t ask_whole
    cdef readonly int64_t merged_ns
    cdef readonly int64_t max_silence_ns
    cdef readonly int64_t max_data_age_ns
    cdef uint32_t _count
    cdef int64_t _quantity_max
    cdef list _slabs
    cdef merged_leg *_legs
    cdef shm_level *_room
    cdef Py_buffer _bid_view
    cdef Py_buffer _ask_view
    cdef bint _has_bids
    cdef bint _has_asks

    # Mask of the venues that take part, bit VENUE_ID each; 0 = none.
    cdef uint32_t merge_c(self, int64_t now_ns) noexcept
    # Best prices mean something only while `has_both`.
    cdef bint has_both(self) noexcept
    cdef int64_t best_bid(self) noexcept
    cdef int64_t best_ask(self) noexcept
    cdef bint look(self, uint32_t index, int64_t now_ns) noexcept
    cdef void copy(self, BookSlab slab, merged_leg *leg) noexcept
    cdef uint32_t merge_side(self, bint is_ask, shm_merged_level *out, uint32_t *whole) noexcept
