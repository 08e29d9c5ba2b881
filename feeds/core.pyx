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
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from feeds.bells cimport BELLS_RINGS, BellHold
from feeds.decoder cimport Decoder, describe
from feeds.message cimport (
    FEED_BBO, FEED_CONTROL, FEED_DEPTH, FEED_E_CHECKSUM, FEED_E_CROSSED, FEED_FLAG_NOT_MARKET, FEED_LINES_MAX,
    FEED_LIQUIDATION, FEED_MARK_EXPONENT, FEED_TICKER, FEED_TRADE, FEED_TRAIT_CHECKSUM, FEED_TRAIT_INDEX,
    FEED_TRAIT_SNAPSHOT, FEED_TRAIT_UNNUMBERED, feed_book_apply, feed_book_create, feed_book_crossed,
    feed_book_free, feed_book_refresh, feed_book_replace, feed_book_reserve, feed_check_create, feed_check_free,
    feed_check_holds, feed_check_note, feed_check_reserve, feed_crc_init, feed_levels_scale, feed_merge,
    feed_merge_forget, feed_merge_note, feed_message, feed_message_crossed, feed_symbols, feed_symbols_add,
    feed_symbols_find, feed_symbols_set, feed_ticker_init,
)
from feeds.publishing cimport (
    C_BOOKS, C_CHECKSUMS, C_FRAMES, RECORD_BOOK, RECORD_STATUS, R_APPLIED, R_CHECKSUM, R_CONTROL, R_CROSSED,
    R_DEPTH_PENDING, R_DUPLICATE, R_GAP, R_REJECTED, R_UNKNOWN_SYMBOL, FeedPublishing, feed_instrument, follows,
    publish_entry, stamp, store_top,
)
from shm.book cimport BookSlab, touch_stream
from shm.layout cimport SHM_SYMBOL_BYTES, shm_certificate
from shm.ring cimport Publisher

from feeds.decoder import MessageKind
from feeds.errors import ChecksumError, DecodeError, FeedError
from shm.enums import BookReason, BookState


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
    CHECKSUM = 9
    LATE = 10


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

assert (STATE_SYNCING, STATE_LIVE, STATE_DESYNC) == (BookState.SYNCING, BookState.LIVE, BookState.DESYNC)
assert (REASON_START, REASON_GAP, REASON_CROSSED) == (BookReason.START, BookReason.GAP, BookReason.CROSSED)
assert REASON_PUBLISHER_RESTART == BookReason.PUBLISHER_RESTART
assert REASON_RESYNC_GRANTED == BookReason.RESYNC_GRANTED

MARK_EXPONENT = FEED_MARK_EXPONENT
LINES_MAX = FEED_LINES_MAX
TRADE_NOT_MARKET = FEED_FLAG_NOT_MARKET
feed_crc_init()


@cython.final
cdef class FeedCore(FeedPublishing):
    """Decoded state of one feed worker: private books, their certificates, trade totals.

    `rule` is the continuity rule (1: previous_sequence equals the proven one, 2: first_sequence is the
    proven one plus 1). `publishers` maps instrument priority to its ring. `epoch` is the publisher's
    incarnation, written into every certificate. `bells` says when subscribers are signaled while a batch of frames
    goes on; what is published outside a batch is signaled at once.
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
        self.bells = BellHold()
        self.instrument_id = -1
        self.error = ""
        self._instruments = <feed_instrument **>calloc(self._capacity, sizeof(feed_instrument *))
        if self._instruments == NULL:
            raise MemoryError("instrument table")
        if len(self._publishers) > BELLS_RINGS:
            raise FeedError(f"{len(self._publishers)} rings, a feed has at most {BELLS_RINGS}")
        for ring, (priority, publisher) in enumerate(self._publishers.items()):
            if not isinstance(publisher, Publisher):
                raise FeedError(f"publisher of priority {priority} is {type(publisher).__name__}, not Publisher")
            self._rings[ring] = <PyObject *>publisher

    def __dealloc__(self):
        cdef uint32_t i
        if self._instruments != NULL:
            for i in range(self._capacity):
                if self._instruments[i] != NULL:
                    feed_book_free(self._instruments[i].book)
                    feed_check_free(self._instruments[i].check)
                    free(self._instruments[i].merge)
                    free(self._instruments[i])
            free(self._instruments)
        free(self._symbols.slot)
        free(self._indexes.slot)

    @property
    def epoch(self):
        """Incarnation of this publisher."""
        return self._epoch

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
        if e.book == NULL or not feed_symbols_set(&self._symbols, text, <uint32_t>len(symbol), <uint32_t>number):
            feed_book_free(e.book)
            free(e)
            raise MemoryError("book")
        if self._decoder.has_checksum:
            e.check = feed_check_create()  # without one, no checksum holds
        if self.is_merging:
            e.merge = <feed_merge *>calloc(1, sizeof(feed_merge))
        e.ring = <uint32_t>list(self._publishers).index(instrument.priority)
        e.price_exponent = instrument.price_exponent
        e.quantity_exponent = instrument.quantity_exponent
        feed_ticker_init(&e.ticker, e.price_exponent)
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

    def free_symbol(self, instrument_id):
        """Gives an instrument's symbol free, so that another one may be added under it: from then on the frames are its.

        Raises FeedError for an instrument that is not here.
        """
        self._get(instrument_id)
        self._names[instrument_id] = f"{self._names[instrument_id]} (retired)"

    def add_index(self, instrument_id, symbol):
        """Says that the values of index `symbol` are those of this instrument; several may share one.

        Raises FeedError for an instrument that is not here, or a symbol of the wrong length.
        """
        cdef feed_instrument *e = self._get(instrument_id)
        cdef char text[SHM_SYMBOL_BYTES]
        cdef bytes name = symbol.encode()
        cdef int64_t head
        if not 0 < len(name) < SHM_SYMBOL_BYTES:
            raise FeedError(f"index {symbol!r} must be 1 to {SHM_SYMBOL_BYTES - 1} bytes")
        memset(text, 0, SHM_SYMBOL_BYTES)
        memcpy(text, PyBytes_AS_STRING(name), len(name))
        head = feed_symbols_find(&self._indexes, text, <uint32_t>len(name))
        if head >= 0:  # behind the first one, which stays
            e.next_index = self._instruments[head].next_index
            self._instruments[head].next_index = e
        elif not feed_symbols_add(&self._indexes, text, <uint32_t>len(name), e.head.certificate.instrument_id):
            raise MemoryError("index")

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
        cdef feed_instrument *e = NULL
        cdef feed_symbols *table
        cdef int64_t number
        cdef int result
        self._counts[C_FRAMES] += 1
        self.instrument_id = -1
        if self._decoder.decode(p, n, m) != 0:
            self.message_kind = m.kind
            return self._refuse(NULL, R_REJECTED)
        self.message_kind = m.kind
        if m.kind == FEED_CONTROL:
            self._counts[R_CONTROL] += 1
            return R_CONTROL
        self.first_sequence = m.first_sequence
        self.last_sequence = m.last_sequence
        self.previous_sequence = m.previous_sequence
        self.venue_utc_ns = m.venue_utc_ns
        self.is_snapshot = m.traits & FEED_TRAIT_SNAPSHOT
        self.is_unnumbered = (m.traits & FEED_TRAIT_UNNUMBERED) != 0
        if m.kind == FEED_LIQUIDATION:
            result = self._on_liquidations(frame_ns)
        else:
            table = &self._indexes if m.traits & FEED_TRAIT_INDEX else &self._symbols
            number = feed_symbols_find(table, m.symbol, m.symbol_bytes)
            if number < 0:
                self._counts[R_UNKNOWN_SYMBOL] += 1
                self.error = f"unknown symbol {m.symbol[:m.symbol_bytes].decode('utf-8', 'replace')!r}"
                return R_UNKNOWN_SYMBOL
            self.instrument_id = number
            e = self._instruments[number]
            if m.kind == FEED_DEPTH:
                result = self._on_depth(e, frame_ns)
            elif m.kind == FEED_TRADE:
                result = self._on_trades(e, frame_ns)
            elif m.kind == FEED_BBO:
                result = self._on_bbo(e, frame_ns)
            elif m.kind == FEED_TICKER:
                result = self._on_ticker(e, frame_ns)
            else:
                result = self._on_mark(e, frame_ns)
        if result == R_REJECTED or result == R_CHECKSUM:
            return self._refuse(e, result)
        self._counts[result] += 1
        return result

    cdef int _refuse(self, feed_instrument *e, int result) noexcept:
        self._counts[result] += 1
        name = self._names[e.head.certificate.instrument_id] if e != NULL else ""
        self.error = describe(&self._message, name)
        return result

    cdef void _advance(self, feed_instrument *e, int64_t frame_ns) noexcept nogil:
        e.head.certificate.last_sequence = self._message.last_sequence
        e.head.certificate.venue_utc_ns = self._message.venue_utc_ns
        e.head.certificate.data_ns = frame_ns

    cdef int _on_depth(self, feed_instrument *e, int64_t frame_ns) noexcept nogil:
        cdef feed_message *m = &self._message
        cdef shm_certificate *c = &e.head.certificate
        cdef int result
        if not feed_levels_scale(m, e.price_exponent, e.quantity_exponent):
            return R_REJECTED
        touch_stream(self._slab, c.stream, frame_ns)
        # An update taken out of the session's hands again (line < 0) was noted when it came.
        self.is_late = e.merge != NULL and (self.line < 0 or feed_merge_note(e.merge, <uint32_t>self.line, m))
        if c.state != STATE_LIVE:
            return R_DEPTH_PENDING
        if e.merge != NULL:
            result = self._place(e)
            if result != R_APPLIED:
                return result
        elif m.traits & FEED_TRAIT_SNAPSHOT:
            # Whole, so it proves itself; one from before the last update is of a line that lags.
            if m.venue_utc_ns < c.venue_utc_ns:
                return R_DUPLICATE
        elif m.traits & FEED_TRAIT_UNNUMBERED:
            if m.last_sequence < c.last_sequence or (m.last_sequence == c.last_sequence and m.checksum == e.checksum):
                return R_DUPLICATE
        elif not follows(self, e):
            return R_DUPLICATE if m.last_sequence <= c.last_sequence else R_GAP
        result = self._apply(e, frame_ns)
        if result != R_APPLIED:
            return result
        if feed_book_crossed(e.book):
            return R_CROSSED
        feed_book_refresh(e.book)
        c.publish_ns = stamp(self)
        store_top(self, e)
        publish_entry(self, e, RECORD_BOOK, frame_ns)
        self._counts[C_BOOKS] += 1
        return R_APPLIED

    cdef int _apply(self, feed_instrument *e, int64_t frame_ns) noexcept nogil:
        """Puts a scaled message into the private book: APPLIED, REJECTED (nothing changed) or CHECKSUM (disproved)."""
        cdef feed_message *m = &self._message
        cdef bint whole = m.kind != FEED_DEPTH or m.traits & FEED_TRAIT_SNAPSHOT
        if whole and feed_message_crossed(m):
            m.error.code = FEED_E_CROSSED
            return R_REJECTED
        if not feed_book_reserve(e.book, m) or (e.check != NULL and not feed_check_reserve(e.check, m)):
            return R_REJECTED
        if whole:
            feed_book_replace(e.book, m)
        else:
            feed_book_apply(e.book, m)
        if e.check != NULL:
            feed_check_note(e.check, m, whole, e.price_exponent, e.quantity_exponent)
        self._advance(e, frame_ns)
        if not m.traits & FEED_TRAIT_CHECKSUM:
            return R_APPLIED
        if e.check != NULL and not e.check.active and not m.traits & FEED_TRAIT_UNNUMBERED:
            return R_APPLIED  # the snapshot had no checksum: its texts are not known, the sequence proves
        self._counts[C_CHECKSUMS] += 1
        e.checksum = m.checksum
        if e.check != NULL and feed_check_holds(e.book, e.check, e.price_exponent, e.quantity_exponent, m.checksum):
            return R_APPLIED
        m.error.code = FEED_E_CHECKSUM
        m.error.index = -1
        m.error.offset = 0
        m.error.field = "checksum"
        return R_CHECKSUM

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
        if state != e.head.certificate.state and (state == STATE_SYNCING or state == STATE_DESYNC):
            if e.merge != NULL:
                feed_merge_forget(e.merge)
        e.head.certificate.state = state
        e.head.certificate.reason = reason
        if enters:
            e.head.certificate.live_id += 1
            feed_book_refresh(e.book)
        e.head.certificate.publish_ns = self.virtual_now_ns if self.virtual_now_ns else now_ns
        self._store(e)
        memset(&self._message, 0, sizeof(self._message))
        publish_entry(self, e, RECORD_STATUS, now_ns)
        if enters:
            publish_entry(self, e, RECORD_BOOK, e.head.certificate.data_ns)
        return state

    def load_snapshot(self, instrument_id, body, int64_t now_ns):
        """Replaces the private book by a snapshot body; returns its sequence. Nothing is published.

        Raises DecodeError when the body is malformed, does not fit or is crossed: the book is then as
        it was.
        """
        cdef feed_instrument *e = self._get(instrument_id)
        cdef bytes data = bytes(body)
        if self._decoder.decode_snapshot(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), &self._message) != 0:
            raise DecodeError(describe(&self._message, self._names[instrument_id]))
        self._take(e, now_ns)
        return self._message.last_sequence

    def apply_depth(self, instrument_id, frame, int64_t frame_ns):
        """Applies one depth frame, an update or a whole book, without asking for continuity; nothing is published
        until LIVE.

        Raises DecodeError when the frame is not a depth message of this instrument or is rejected: the book is
        then as it was. Raises ChecksumError when the book is not what the venue says: it is disproved.
        """
        cdef feed_instrument *e = self._get(instrument_id)
        cdef feed_message *m = &self._message
        cdef bytes data = bytes(frame)
        if self._decoder.decode(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), m) != 0:
            raise DecodeError(describe(m, self._names[instrument_id]))
        if m.kind != FEED_DEPTH or feed_symbols_find(&self._symbols, m.symbol, m.symbol_bytes) != instrument_id:
            raise DecodeError(f"{self._names[instrument_id]}: not a depth message of this instrument")
        self._take(e, frame_ns)

    cdef int _take(self, feed_instrument *e, int64_t frame_ns) except -1:
        cdef int result = R_REJECTED
        if feed_levels_scale(&self._message, e.price_exponent, e.quantity_exponent):
            result = self._apply(e, frame_ns)
        if result == R_APPLIED:
            return 0
        name = self._names[e.head.certificate.instrument_id]
        raise (ChecksumError if result == R_CHECKSUM else DecodeError)(describe(&self._message, name))

    def read_snapshot(self, instrument_id, body):
        """Reads a snapshot body without using it: (last_sequence, venue_utc_ns, bids, asks), levels as in `book`, in the
        venue's order.

        Raises DecodeError when the body is malformed or does not fit the instrument.
        """
        cdef feed_instrument *e = self._get(instrument_id)
        cdef feed_message *m = &self._message
        cdef bytes data = bytes(body)
        if (self._decoder.decode_snapshot(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), m) != 0
                or not feed_levels_scale(m, e.price_exponent, e.quantity_exponent)):
            raise DecodeError(describe(m, self._names[instrument_id]))
        sides = [
            [(m.levels[side][i].price, m.levels[side][i].quantity) for i in range(m.level_count[side])] for side in range(2)
        ]
        return m.last_sequence, m.venue_utc_ns, sides[0], sides[1]

    def set_audit(self, instrument_id, int64_t now_ns):
        """Notes in the certificate that the book was found equal to a snapshot."""
        cdef feed_instrument *e = self._get(instrument_id)
        e.head.certificate.audit_ns = now_ns
        self._store_head(e)

    def on_frames(self, list frames not None, int64_t frame_ns):
        """Takes frames one after the other in one C loop, as a websocket's listener does: the bench's like-for-like beside a
        floor in C.

        Returns how many were applied.
        """
        cdef bytes frame
        cdef int count = 0
        for frame in frames:
            if self.on_frame_ptr(PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame), frame_ns) == R_APPLIED:
                count += 1
        return count

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
            if self._apply(e, 0) != R_REJECTED:
                count += 1
        return count
