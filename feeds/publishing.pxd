# cython: language_level=3
"""C face of the publishing half of the core."""

from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t

from cpython.ref cimport PyObject

from feeds.bells cimport BELLS_RINGS, BellHold
from feeds.message cimport (
    feed_book, feed_check, feed_item, feed_merge, feed_message, feed_record_begin, feed_symbols, feed_ticker,
)
from shm.book cimport BookSlab, store_update
from shm.layout cimport shm_book_head, shm_market_record
from shm.ring cimport Publisher, shm_broadcast_publish


cdef extern from "shm/native/shm_clock.h" nogil:
    int64_t shm_now_ns()


# What became of a frame (feeds.core.FrameResult), and what else is counted beside it.
cdef enum:
    R_APPLIED = 0
    R_PUBLISHED = 1
    R_DEPTH_PENDING = 2
    R_GAP = 3
    R_REJECTED = 4
    R_UNKNOWN_SYMBOL = 5
    R_CONTROL = 6
    R_DUPLICATE = 7
    R_CROSSED = 8
    R_CHECKSUM = 9
    R_LATE = 10
    C_BOOKS = 11
    C_TRADES = 12
    C_BBOS = 13
    C_MARKS = 14
    C_FRAMES = 15
    C_LIQUIDATIONS = 16
    C_CHECKSUMS = 17

cdef enum:
    RECORD_BOOK = 1
    RECORD_BBO = 2
    RECORD_TRADE = 3
    RECORD_STATUS = 4
    RECORD_MARK = 5
    RECORD_LIQUIDATION = 6


cdef enum:
    RULE_NEXT = 2  # feeds.continuity.ContinuityRule


cdef struct feed_instrument:
    feed_book *book
    uint32_t ring  # of FeedCore._rings
    uint32_t price_exponent
    uint32_t quantity_exponent
    int32_t checksum  # the last one that came
    feed_check *check  # NULL where the venue has none
    feed_merge *merge  # NULL while each stream comes over one connection
    feed_instrument *next_index  # another instrument of the same index
    feed_ticker ticker
    shm_book_head head


cdef class FeedPublishing:
    cdef BookSlab _slab
    cdef PyObject *_rings[BELLS_RINGS]  # the publishers, held by the core
    cdef readonly BellHold bells
    cdef bint is_batching  # set by the pump while it takes a frame: bells.c_owe decides when to signal
    cdef feed_instrument **_instruments
    cdef feed_symbols _symbols
    cdef feed_symbols _indexes
    cdef feed_message _message
    cdef uint64_t _counts[20]
    cdef uint32_t _capacity
    cdef int _rule
    cdef readonly bint is_late  # merged lines: newer than what its own line brought before
    cdef readonly bint is_merging
    cdef public bint allows_overlap  # an update that begins before the proven number may be applied
    cdef public int line  # that brings the frame under way; -1 = taken up again
    cdef public int64_t virtual_now_ns

    # Signal the subscribers of these rings, bit i = ring i: what `bells` said is due.
    cdef void signal_rings(self, uint32_t rings) noexcept nogil
    cdef void _store(self, feed_instrument *e) noexcept nogil
    cdef void _store_head(self, feed_instrument *e) noexcept nogil
    cdef int _on_trades(self, feed_instrument *e, int64_t frame_ns) noexcept nogil
    cdef int _on_liquidations(self, int64_t frame_ns) noexcept nogil
    cdef int _on_bbo(self, feed_instrument *e, int64_t frame_ns) noexcept nogil
    cdef int _on_mark(self, feed_instrument *e, int64_t frame_ns) noexcept nogil
    cdef int _on_ticker(self, feed_instrument *e, int64_t frame_ns) noexcept nogil
    cdef uint32_t _keep_new(self, feed_instrument *e, feed_item *items, uint32_t count) noexcept nogil
    cdef feed_instrument *_get(self, object instrument_id) except NULL
    cdef int _place(self, feed_instrument *e) noexcept nogil
    cdef void _emit_item(self, feed_instrument *e, const feed_item *item, int kind, int64_t frame_ns) noexcept nogil
    cdef void _emit_bbo(self, feed_instrument *e, const int64_t *value, int64_t frame_ns) noexcept nogil
    cdef void _emit_mark(self, feed_instrument *e, int64_t frame_ns) noexcept nogil


# What is done for each update stands here to be inlined: calls into other modules cost as much as what they do.

cdef inline int64_t stamp(FeedPublishing f) noexcept nogil:
    return f.virtual_now_ns if f.virtual_now_ns else shm_now_ns()


# Whether a depth update is the next one by the venue's rule.
cdef inline bint follows(FeedPublishing f, const feed_instrument *e) noexcept nogil:
    if f._rule == RULE_NEXT:
        return f._message.first_sequence == e.head.certificate.last_sequence + 1
    return f._message.previous_sequence == e.head.certificate.last_sequence


# Stores the certificate and what of the top the last refresh changed; the slab holds the rest.
cdef inline void store_top(FeedPublishing f, feed_instrument *e) noexcept nogil:
    e.head.bid_count = e.book.side[0].top_count
    e.head.ask_count = e.book.side[1].top_count
    if store_update(f._slab, e.head.certificate.instrument_id, &e.head, e.book.side[0].top, e.book.side[0].kept,
                    e.book.side[0].until, e.book.side[1].top, e.book.side[1].kept, e.book.side[1].until) != 0:
        f._store(e)


cdef inline void emit(FeedPublishing f, const feed_instrument *e, const shm_market_record *record) noexcept nogil:
    shm_broadcast_publish((<Publisher>f._rings[e.ring]).raw, record, 1)
    if not f.is_batching or f.bells.c_owe(e.ring, record.publish_ns):
        (<Publisher>f._rings[e.ring]).signal()


# Publishes a BOOK or STATUS record of what the entry holds.
cdef inline void publish_entry(FeedPublishing f, const feed_instrument *e, int kind, int64_t frame_ns) noexcept nogil:
    cdef shm_market_record record
    feed_record_begin(&record, &e.head.certificate, &f._message, <uint16_t>kind, frame_ns, 0)
    record.last_sequence = e.head.certificate.last_sequence
    record.publish_ns = e.head.certificate.publish_ns
    record.venue_utc_ns = e.head.certificate.venue_utc_ns
    record.flags = 0
    record.bid_count = e.head.bid_count
    record.ask_count = e.head.ask_count
    if record.bid_count:
        record.value[0] = e.book.side[0].top[0].price_units
        record.value[1] = e.book.side[0].top[0].quantity_units
    if record.ask_count:
        record.value[2] = e.book.side[1].top[0].price_units
        record.value[3] = e.book.side[1].top[0].quantity_units
    emit(f, e, &record)
