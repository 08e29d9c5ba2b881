# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""The compiled path of one frame: decode, continuity, private book, slab, ring record.

Nothing here allocates or makes a Python object per level or per accepted frame. A frame is decoded
and scaled completely before anything is changed: a rejected frame leaves no trace but a count. What
needs a decision (gap, book not live, crossed) is returned as a value; the session decides.
"""

from enum import IntEnum

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from feeds.decoder cimport Decoder, describe
from feeds.message cimport (
    FEED_BBO, FEED_CONTROL, FEED_DEPTH, FEED_E_CROSSED, FEED_E_FIT, FEED_FLAG_NOT_MARKET, FEED_TRADE,
    feed_book_apply, feed_book_bytes, feed_book_create, feed_book_crossed, feed_book_free, feed_book_refresh, feed_book_replace,
    feed_book_reserve, feed_decimal, feed_levels_scale, feed_message_crossed, feed_scale,
    feed_side_count, feed_side_read, feed_symbols_add, feed_symbols_find, feed_totals_add,
)
from shm.clock cimport c_now_ns
from shm.layout cimport SHM_SYMBOL_BYTES, shm_level, shm_market_record
from shm.ring cimport Publisher

from feeds.decoder import MessageKind
from feeds.errors import DecodeError, FeedError
from shm.enums import BookReason, BookState, RecordKind


class FrameResult(IntEnum):
    """What became of a frame."""

    APPLIED = 0
    PUBLISHED = 1
    DEPTH_PENDING = 2
    GAP = 3
    REJECTED = 4
    UNKNOWN_SYMBOL = 5
    CONTROL = 6
    DUPLICATE = 7
    CROSSED = 8


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
    C_BOOKS = 9
    C_TRADES = 10
    C_BBOS = 11
    C_MARKS = 12
    C_FRAMES = 13

# Numbers of shm.enums, checked at import.
cdef enum:
    STATE_SYNCING = 1
    STATE_LIVE = 2
    STATE_DESYNC = 4
    REASON_START = 1
    REASON_GAP = 3
    REASON_CROSSED = 7
    REASON_PUBLISHER_RESTART = 11
    REASON_RESYNC_GRANTED = 13
    RECORD_BOOK = 1
    RECORD_BBO = 2
    RECORD_TRADE = 3
    RECORD_STATUS = 4
    RECORD_MARK = 5
    RULE_NEXT = 2

assert (STATE_SYNCING, STATE_LIVE, STATE_DESYNC) == (BookState.SYNCING, BookState.LIVE, BookState.DESYNC)
assert (REASON_START, REASON_GAP, REASON_CROSSED) == (BookReason.START, BookReason.GAP, BookReason.CROSSED)
assert REASON_PUBLISHER_RESTART == BookReason.PUBLISHER_RESTART
assert REASON_RESYNC_GRANTED == BookReason.RESYNC_GRANTED
assert (RECORD_BOOK, RECORD_BBO, RECORD_TRADE, RECORD_STATUS, RECORD_MARK) == tuple(RecordKind)

# Mark and index prices carry more decimals than the instrument's own prices: 10^-8 for all.
MARK_EXPONENT = 8
TRADE_NOT_MARKET = FEED_FLAG_NOT_MARKET

@cython.final
cdef class FeedCore:
    """Decoded state of one feed worker: private books, their certificates, trade totals.

    `rule` is the continuity rule (1: previous_sequence equals the proven one, 2: first_sequence is the
    proven one plus 1). `publishers` maps instrument priority to its ring. `epoch` is the publisher's
    incarnation, written into every certificate.
    """

    def __cinit__(self, Decoder decoder not None, int rule, BookSlab slab not None, publishers, uint32_t epoch):
        self._decoder = decoder
        self._rule = rule
        self._slab = slab
        self._publishers = dict(publishers)
        self._names = {}
        self._epoch = epoch
        self._depth = slab.depth
        self._capacity = slab.capacity
        self.instrument_id = -1
        self.error = ""
        self._instruments = <feed_instrument **>calloc(self._capacity, sizeof(feed_instrument *))
        if self._instruments == NULL:
            raise MemoryError("instrument table")
        for priority, publisher in self._publishers.items():
            if not isinstance(publisher, Publisher):
                raise FeedError(f"publisher of priority {priority} is {type(publisher).__name__}, not Publisher")

    def __dealloc__(self):
        cdef uint32_t i
        if self._instruments != NULL:
            for i in range(self._capacity):
                if self._instruments[i] != NULL:
                    feed_book_free(self._instruments[i].book)
                    free(self._instruments[i])
            free(self._instruments)
        free(self._symbols.slot)

    @property
    def epoch(self):
        """Incarnation of this publisher."""
        return self._epoch

    cdef feed_instrument *_get(self, object instrument_id) except NULL:
        cdef int64_t number = instrument_id
        if number < 0 or number >= self._capacity or self._instruments[number] == NULL:
            raise FeedError(f"instrument {instrument_id} is not in this feed")
        return self._instruments[number]

    def add_instrument(self, instrument, uint32_t stream):
        """Adds an instrument, carried by stream number `stream` of the slab; its book starts SYNCING.

        Totals and counts of an earlier publisher are taken over from the slab. Raises FeedError on a
        number beyond the slab, a symbol or number given twice, or a priority without a ring.
        """
        cdef char text[SHM_SYMBOL_BYTES]
        cdef bytes symbol = instrument.symbol.encode()
        cdef int64_t number = instrument.instrument_id
        cdef feed_instrument *e
        if number < 0 or number >= self._capacity:
            raise FeedError(f"{instrument.symbol}: instrument_id {number} is beyond the slab's {self._capacity}")
        if self._instruments[number] != NULL or instrument.symbol in self._names.values():
            raise FeedError(f"{instrument.symbol}: instrument {number} was added before")
        if instrument.priority not in self._publishers:
            raise FeedError(f"{instrument.symbol}: no ring for priority {instrument.priority}")
        if not 0 < len(symbol) < SHM_SYMBOL_BYTES:
            raise FeedError(f"symbol {instrument.symbol!r} must be 1 to {SHM_SYMBOL_BYTES - 1} bytes")
        memset(text, 0, SHM_SYMBOL_BYTES)
        memcpy(text, PyBytes_AS_STRING(symbol), len(symbol))
        e = <feed_instrument *>calloc(1, sizeof(feed_instrument))
        if e == NULL:
            raise MemoryError("instrument")
        e.book = feed_book_create(instrument.tick_size, self._depth)
        if e.book == NULL or not feed_symbols_add(&self._symbols, text, <uint32_t>len(symbol), <uint32_t>number):
            feed_book_free(e.book)
            free(e)
            raise MemoryError("book")
        e.publisher = <PyObject *>self._publishers[instrument.priority]
        e.price_exponent = instrument.price_exponent
        e.quantity_exponent = instrument.quantity_exponent
        if self._slab.load_head_ptr(<uint32_t>number, &e.head) != 0:
            memset(&e.head, 0, sizeof(e.head))
        e.head.certificate.reason = REASON_PUBLISHER_RESTART if e.head.certificate.epoch else REASON_START
        e.head.certificate.instrument_id = <uint32_t>number
        e.head.certificate.state = STATE_SYNCING
        e.head.certificate.epoch = self._epoch
        e.head.certificate.stream = stream
        e.head.certificate.live_id = 0
        e.head.certificate.last_sequence = 0
        self._instruments[number] = e
        self._names[number] = instrument.symbol
        self._store(e)

    def on_frame(self, frame, int64_t frame_ns):
        """Takes one frame as received at `frame_ns`; returns a FrameResult number."""
        cdef Py_buffer view
        cdef int result
        if PyBytes_CheckExact(frame):
            return self.on_frame_ptr(PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame), frame_ns)
        PyObject_GetBuffer(frame, &view, PyBUF_SIMPLE)
        result = self.on_frame_ptr(<const char *>view.buf, view.len, frame_ns)
        PyBuffer_Release(&view)
        return result

    cdef int on_frame_ptr(self, const char *p, Py_ssize_t n, int64_t frame_ns) noexcept:
        cdef feed_message *m = &self._message
        cdef feed_instrument *e
        cdef int64_t number
        cdef int result
        self._counts[C_FRAMES] += 1
        self.instrument_id = -1
        if self._decoder.decode(p, n, m) != 0:
            self.message_kind = m.kind
            return self._reject(NULL)
        self.message_kind = m.kind
        if m.kind == FEED_CONTROL:
            self._counts[R_CONTROL] += 1
            return R_CONTROL
        self.first_sequence = m.first_sequence
        self.last_sequence = m.last_sequence
        self.previous_sequence = m.previous_sequence
        self.venue_utc_ns = m.venue_utc_ns
        number = feed_symbols_find(&self._symbols, m.symbol, m.symbol_bytes)
        if number < 0:
            self._counts[R_UNKNOWN_SYMBOL] += 1
            self.error = f"unknown symbol {m.symbol[:m.symbol_bytes].decode('utf-8', 'replace')!r}"
            return R_UNKNOWN_SYMBOL
        self.instrument_id = number
        e = self._instruments[number]
        if m.kind == FEED_DEPTH:
            result = self._on_depth(e, frame_ns)
        elif m.kind == FEED_TRADE:
            result = self._on_trade(e, frame_ns)
        elif m.kind == FEED_BBO:
            result = self._on_bbo(e, frame_ns)
        else:
            result = self._on_mark(e, frame_ns)
        if result == R_REJECTED:
            return self._reject(e)
        self._counts[result] += 1
        return result

    cdef int _reject(self, feed_instrument *e) noexcept:
        self._counts[R_REJECTED] += 1
        name = self._names[e.head.certificate.instrument_id] if e != NULL else ""
        self.error = describe(&self._message, name)
        return R_REJECTED

    cdef int64_t _now(self) noexcept nogil:
        return self.virtual_now_ns if self.virtual_now_ns else c_now_ns()

    cdef void _store(self, feed_instrument *e) noexcept nogil:
        e.head.bid_count = e.book.side[0].top_count
        e.head.ask_count = e.book.side[1].top_count
        self._slab.store_ptr(e.head.certificate.instrument_id, &e.head, e.book.side[0].top, e.book.side[1].top)

    cdef void _store_head(self, feed_instrument *e) noexcept nogil:
        # The levels in the slab are the ones of the top already: most diffs change only what lies deeper.
        if self._slab.store_head_ptr(e.head.certificate.instrument_id, &e.head) != 0:
            self._store(e)

    cdef void _advance(self, feed_instrument *e, int64_t frame_ns) noexcept nogil:
        e.head.certificate.last_sequence = self._message.last_sequence
        e.head.certificate.venue_utc_ns = self._message.venue_utc_ns
        e.head.certificate.data_ns = frame_ns

    cdef void _publish(self, feed_instrument *e, int kind, int64_t frame_ns) noexcept nogil:
        """Publishes a BOOK or STATUS record of what the entry holds."""
        cdef shm_market_record record
        self._begin_record(e, kind, frame_ns, &record)
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
        (<Publisher>e.publisher).publish_ptr(&record)

    cdef int _on_depth(self, feed_instrument *e, int64_t frame_ns) noexcept nogil:
        cdef feed_message *m = &self._message
        cdef int64_t proven = e.head.certificate.last_sequence
        cdef bint changed
        if not feed_levels_scale(m, e.price_exponent, e.quantity_exponent):
            return R_REJECTED
        self._slab.touch_stream_ptr(e.head.certificate.stream, frame_ns)
        if e.head.certificate.state != STATE_LIVE:
            return R_DEPTH_PENDING
        if (m.first_sequence != proven + 1) if self._rule == RULE_NEXT else (m.previous_sequence != proven):
            return R_DUPLICATE if m.last_sequence <= proven else R_GAP
        if not feed_book_reserve(e.book, m):
            return R_REJECTED
        feed_book_apply(e.book, m)
        self._advance(e, frame_ns)
        if feed_book_crossed(e.book):
            return R_CROSSED
        changed = feed_book_refresh(e.book)
        e.head.certificate.publish_ns = self._now()
        if changed:
            self._store(e)
        else:
            self._store_head(e)
        self._publish(e, RECORD_BOOK, frame_ns)
        self._counts[C_BOOKS] += 1
        return R_APPLIED

    cdef bint _scale_value(self, int index, uint32_t exponent, int64_t *out) noexcept nogil:
        cdef feed_decimal *d = &self._message.value[index]
        out[0] = d.mantissa
        if feed_scale(out, d.decimals, exponent):
            return True
        self._message.error.code = FEED_E_FIT
        self._message.error.index = -1
        self._message.error.offset = d.offset
        self._message.error.field = d.field
        return False

    cdef void _begin_record(self, feed_instrument *e, int kind, int64_t frame_ns, shm_market_record *record) noexcept nogil:
        memset(record, 0, sizeof(shm_market_record))
        record.kind = kind
        record.book_state = <uint8_t>e.head.certificate.state
        record.instrument_id = e.head.certificate.instrument_id
        record.epoch = e.head.certificate.epoch
        record.live_id = e.head.certificate.live_id
        record.last_sequence = self._message.last_sequence
        record.frame_ns = frame_ns
        record.publish_ns = self._now()
        record.venue_utc_ns = self._message.venue_utc_ns
        record.reason = e.head.certificate.reason
        record.flags = self._message.flags

    cdef int _on_trade(self, feed_instrument *e, int64_t frame_ns) noexcept nogil:
        cdef feed_message *m = &self._message
        cdef shm_market_record record
        cdef int64_t price, quantity
        if not (self._scale_value(0, e.price_exponent, &price)
                and self._scale_value(1, e.quantity_exponent, &quantity)):
            return R_REJECTED
        self._begin_record(e, RECORD_TRADE, frame_ns, &record)
        record.side = <uint8_t>m.side
        record.value[0] = price
        record.value[1] = quantity
        record.value[2] = m.trade_id
        if not m.flags & FEED_FLAG_NOT_MARKET:
            # Totals first: who is lapped on the ring finds this trade in them.
            feed_totals_add(&e.head.totals, m.side, price, quantity, m.trade_id)
            self._store_head(e)
        (<Publisher>e.publisher).publish_ptr(&record)
        self._counts[C_TRADES] += 1
        return R_PUBLISHED

    cdef int _on_bbo(self, feed_instrument *e, int64_t frame_ns) noexcept nogil:
        cdef shm_market_record record
        cdef int64_t value[4]
        if not (self._scale_value(0, e.price_exponent, &value[0])
                and self._scale_value(1, e.quantity_exponent, &value[1])
                and self._scale_value(2, e.price_exponent, &value[2])
                and self._scale_value(3, e.quantity_exponent, &value[3])):
            return R_REJECTED
        # The top of book travels on the connection of the depth: both prove that it lives.
        self._slab.touch_stream_ptr(e.head.certificate.stream, frame_ns)
        self._begin_record(e, RECORD_BBO, frame_ns, &record)
        memcpy(record.value, value, sizeof(value))
        record.bid_count = value[1] != 0
        record.ask_count = value[3] != 0
        (<Publisher>e.publisher).publish_ptr(&record)
        self._counts[C_BBOS] += 1
        return R_PUBLISHED

    cdef int _on_mark(self, feed_instrument *e, int64_t frame_ns) noexcept nogil:
        cdef shm_market_record record
        cdef int64_t value[3]
        if not (self._scale_value(0, 8, &value[0]) and self._scale_value(1, 8, &value[1])
                and self._scale_value(2, 8, &value[2])):
            return R_REJECTED
        self._begin_record(e, RECORD_MARK, frame_ns, &record)
        memcpy(record.value, value, sizeof(value))
        record.value[3] = self._message.next_funding_utc_ns
        (<Publisher>e.publisher).publish_ptr(&record)
        self._counts[C_MARKS] += 1
        return R_PUBLISHED

    def set_state(self, instrument_id, uint32_t state, uint32_t reason, int64_t now_ns):
        """Sets a book's state, stores its certificate and publishes a STATUS record; returns the state set.

        Entering LIVE makes a new live_id and publishes the book too. A book that is crossed can not
        become LIVE: it becomes DESYNC with reason CROSSED instead.
        """
        cdef feed_instrument *e = self._get(instrument_id)
        cdef bint enters = state == STATE_LIVE and e.head.certificate.state != STATE_LIVE
        if enters and feed_book_crossed(e.book):
            state = STATE_DESYNC
            reason = REASON_CROSSED
            enters = False
        if state == STATE_DESYNC and reason == REASON_GAP:
            e.head.certificate.gaps += 1
        if state == STATE_SYNCING and reason == REASON_RESYNC_GRANTED:
            e.head.certificate.resyncs += 1
        e.head.certificate.state = state
        e.head.certificate.reason = reason
        if enters:
            e.head.certificate.live_id += 1
            feed_book_refresh(e.book)
        e.head.certificate.publish_ns = self.virtual_now_ns if self.virtual_now_ns else now_ns
        self._store(e)
        memset(&self._message, 0, sizeof(self._message))
        self._publish(e, RECORD_STATUS, now_ns)
        if enters:
            self._publish(e, RECORD_BOOK, e.head.certificate.data_ns)
        return state

    def load_snapshot(self, instrument_id, body, int64_t now_ns):
        """Replaces the private book by a snapshot body; returns its sequence. Nothing is published.

        Raises DecodeError when the body is malformed, does not fit or is crossed: the book is then as
        it was.
        """
        cdef feed_instrument *e = self._get(instrument_id)
        cdef feed_message *m = &self._message
        cdef bytes data = bytes(body)
        name = self._names[instrument_id]
        if self._decoder.decode_snapshot(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), m) != 0:
            raise DecodeError(describe(m, name))
        if not feed_levels_scale(m, e.price_exponent, e.quantity_exponent):
            raise DecodeError(describe(m, name))
        if feed_message_crossed(m):
            m.error.code = FEED_E_CROSSED
            raise DecodeError(describe(m, name))
        if not feed_book_reserve(e.book, m):
            raise DecodeError(describe(m, name))
        feed_book_replace(e.book, m)
        self._advance(e, now_ns)
        return m.last_sequence

    def apply_depth(self, instrument_id, frame, int64_t frame_ns):
        """Applies one depth frame without asking for continuity; nothing is published until LIVE.

        Raises DecodeError when the frame is not a depth message of this instrument or is rejected:
        the book is then as it was.
        """
        cdef feed_instrument *e = self._get(instrument_id)
        cdef feed_message *m = &self._message
        cdef bytes data = bytes(frame)
        name = self._names[instrument_id]
        if self._decoder.decode(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), m) != 0:
            raise DecodeError(describe(m, name))
        if m.kind != FEED_DEPTH or feed_symbols_find(&self._symbols, m.symbol, m.symbol_bytes) != instrument_id:
            raise DecodeError(f"{name}: not a depth message of this instrument")
        if not (feed_levels_scale(m, e.price_exponent, e.quantity_exponent) and feed_book_reserve(e.book, m)):
            raise DecodeError(describe(m, name))
        feed_book_apply(e.book, m)
        self._advance(e, frame_ns)

    def is_crossed(self, instrument_id):
        """Whether the private book's best bid is at or above its best ask."""
        return bool(feed_book_crossed(self._get(instrument_id).book))

    def book(self, instrument_id):
        """Full private book (bids, asks), best first, as (price_units, quantity_units) pairs."""
        cdef feed_instrument *e = self._get(instrument_id)
        cdef uint32_t count
        cdef shm_level *levels
        sides = []
        for side in range(2):
            count = feed_side_count(&e.book.side[side])
            levels = <shm_level *>malloc((count + 1) * sizeof(shm_level))
            if levels == NULL:
                raise MemoryError("book")
            count = feed_side_read(e.book, &e.book.side[side], side, levels, count)
            sides.append([(levels[i].price_units, levels[i].quantity_units) for i in range(count)])
            free(levels)
        return sides[0], sides[1]

    def certificate(self, instrument_id):
        """Certificate as it stands in the slab."""
        self._get(instrument_id)
        return self._slab.certificate(instrument_id)

    def proven_sequence(self, instrument_id):
        """Sequence of the last update applied to the private book."""
        return self._get(instrument_id).head.certificate.last_sequence

    def book_bytes(self, instrument_id):
        """Memory held by the private book."""
        return feed_book_bytes(self._get(instrument_id).book)

    def statistics(self):
        """Counts since the start: frames by result, published records by kind, window moves."""
        cdef uint32_t i
        moves = 0
        for i in range(self._capacity):
            if self._instruments[i] != NULL:
                moves += self._instruments[i].book.recenters
        c = self._counts
        return {
            "frames": c[C_FRAMES], "books": c[C_BOOKS], "trades": c[C_TRADES], "bbos": c[C_BBOS],
            "marks": c[C_MARKS], "pending": c[R_DEPTH_PENDING], "gaps": c[R_GAP], "rejected": c[R_REJECTED],
            "unknown_symbols": c[R_UNKNOWN_SYMBOL], "control": c[R_CONTROL], "duplicates": c[R_DUPLICATE],
            "crossed": c[R_CROSSED], "recenters": moves,
        }

    def decode_only(self, instrument_id, frames):
        """Decodes and applies depth frames in one C loop, no continuity, slab or ring: the bench's floor.

        Returns how many frames were depth messages.
        """
        cdef feed_instrument *e = self._get(instrument_id)
        cdef feed_message *m = &self._message
        cdef bytes frame
        cdef int count = 0
        for frame in frames:
            if self._decoder.decode(PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame), m) != 0:
                continue
            if m.kind != FEED_DEPTH or not feed_levels_scale(m, e.price_exponent, e.quantity_exponent):
                continue
            if feed_book_reserve(e.book, m):
                feed_book_apply(e.book, m)
                count += 1
        return count
