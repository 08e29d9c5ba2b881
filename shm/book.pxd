# cython: language_level=3
"""C face of the book slab: what the feed's core stores and what gate and drain load."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from shm.layout cimport shm_book_head, shm_certificate, shm_level, shm_slab_header, shm_stream

cdef extern from "shm/native/shm_book.h" nogil:
    int shm_book_store_update(void *entry, uint32_t depth, const shm_book_head *head, const shm_level *bids,
                              uint32_t bid_from, uint32_t bid_to, const shm_level *asks, uint32_t ask_from, uint32_t ask_to)
    void shm_stream_touch(shm_stream *stream, int64_t now_ns)


cdef class BookSlab:
    cdef const uint8_t[::1] view
    cdef shm_slab_header *header
    cdef shm_stream *stream_table
    cdef char *entries
    cdef uint64_t entry_bytes
    cdef readonly uint32_t depth
    cdef readonly uint32_t capacity
    cdef readonly uint32_t streams
    cdef uint32_t writable_entries
    cdef uint32_t writable_streams

    cdef int check_id(self, object instrument_id) except -1

    # 0 = stored; ids and streams outside the slab are the caller's mistake and change nothing.
    cdef void store_ptr(
        self, uint32_t instrument_id, const shm_book_head *head, const shm_level *bids, const shm_level *asks
    ) noexcept nogil
    # 0 = stored, 1 = the entry is torn (its writer died): store it whole instead.
    cdef int store_head_ptr(self, uint32_t instrument_id, const shm_book_head *head) noexcept nogil
    # 0 = loaded, 1 = BUSY, 2 = no such instrument.
    cdef int load_certificate_ptr(self, uint32_t instrument_id, shm_certificate *out) noexcept nogil
    cdef int load_head_ptr(self, uint32_t instrument_id, shm_book_head *out) noexcept nogil
    cdef int load_ptr(
        self, uint32_t instrument_id, shm_book_head *head, shm_level *bids, uint32_t bid_limit, shm_level
        *asks, uint32_t ask_limit
    ) noexcept nogil
    cdef void touch_stream_ptr(self, uint32_t stream, int64_t now_ns) noexcept nogil
    cdef int64_t stream_alive_ptr(self, uint32_t stream) noexcept nogil


# Of the feed's core, for each frame: inlined, a call into another module costs as much as what it does.
cdef inline void touch_stream(BookSlab slab, uint32_t stream, int64_t now_ns) noexcept nogil:
    if stream < slab.writable_streams:
        shm_stream_touch(slab.stream_table + stream, now_ns)


# Certificate, counts and the levels from there to there; 1 = the entry is torn: store it whole instead, 2 = there is none.
cdef inline int store_update(
    BookSlab slab, uint32_t instrument_id, const shm_book_head *head, const shm_level *bids, uint32_t bid_from,
    uint32_t bid_to, const shm_level *asks, uint32_t ask_from, uint32_t ask_to
) noexcept nogil:
    if instrument_id >= slab.writable_entries:
        return 2
    return shm_book_store_update(
        slab.entries + instrument_id * slab.entry_bytes, slab.depth, head, bids, bid_from, bid_to, asks, ask_from, ask_to
    )


cdef class BookReader:
    cdef readonly BookSlab slab
    cdef readonly object bids
    cdef readonly object asks
    cdef Py_buffer bid_view
    cdef Py_buffer ask_view
    cdef bint has_bids
    cdef bint has_asks
    cdef uint32_t bid_limit
    cdef uint32_t ask_limit
    # Head of the last load: certificate, totals and how many levels stand in the arrays.
    cdef shm_book_head head

    # 0 = loaded, 1 = BUSY, 2 = no such instrument.
    cdef int load_c(self, uint32_t instrument_id) noexcept nogil
