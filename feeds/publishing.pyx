# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""From a decoded, known message to records on the rings: everything that needs no continuity.

The half of the core that only publishes: trades, best bid and offer, tickers, marks, liquidations, and how a book's
head and levels go to the slab; and how books are looked at. A message is scaled completely before its first record is
published. Of what several connections bring, the first arrival is published and the others are LATE.
"""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

from feeds.bells cimport BELLS_RINGS
from feeds.message cimport (
    FEED_FLAG_NOT_MARKET, FEED_LINES_MAX, FEED_MASK_BBO, FEED_MASK_MARK, FEED_MERGE_AHEAD, FEED_MERGE_LATE,
    FEED_MERGE_TAKE, FEED_TICK_FUNDING, FEED_TRAIT_INDEX, FEED_TRAIT_SNAPSHOT, FEED_TRAIT_UNNUMBERED,
    feed_book_bytes, feed_book_crossed, feed_item, feed_item_identity, feed_item_of, feed_item_scale,
    feed_marks_take, feed_merge, feed_merge_bbo_late, feed_merge_carries, feed_merge_place, feed_merge_restart,
    feed_merge_tick_late, feed_message, feed_mix, feed_recent_add, feed_record_bbo, feed_record_begin,
    feed_record_item, feed_record_mark, feed_side, feed_side_count, feed_side_read, feed_symbols_find, feed_ticker,
    feed_ticker_take, feed_totals_add, feed_value_scale,
)
from shm.book cimport touch_stream
from shm.layout cimport shm_certificate, shm_level, shm_market_record
from shm.ring cimport Publisher

from feeds.continuity import ContinuityRule
from feeds.errors import FeedError
from shm.enums import RecordKind

assert RULE_NEXT == ContinuityRule.NEXT
assert (RECORD_BOOK, RECORD_BBO, RECORD_TRADE, RECORD_STATUS, RECORD_MARK, RECORD_LIQUIDATION) == tuple(RecordKind)[:6]


cdef class FeedPublishing:
    """Base of the core: rings, slab, instruments and the message under way."""

    @property
    def frames(self):
        """Frames taken since the start."""
        return self._counts[C_FRAMES]

    cdef feed_instrument *_get(self, object instrument_id) except NULL:
        cdef int64_t number = instrument_id
        if number < 0 or number >= self._capacity or self._instruments[number] == NULL:
            raise FeedError(f"instrument {instrument_id} is not in this feed")
        return self._instruments[number]

    cdef int _place(self, feed_instrument *e) noexcept nogil:
        """Says where a depth message of several lines stands: APPLIED = it is the next one, else what it is."""
        cdef feed_message *m = &self._message
        cdef shm_certificate *c = &e.head.certificate
        cdef uint32_t line = <uint32_t>self.line if self.line >= 0 else FEED_LINES_MAX
        cdef int where
        if m.traits & FEED_TRAIT_UNNUMBERED:
            # The time orders; updates of the same moment are known apart by their checksum.
            if m.last_sequence < c.last_sequence or (m.traits & FEED_TRAIT_SNAPSHOT and m.last_sequence == c.last_sequence):
                return R_LATE if self.is_late else R_DUPLICATE
            if not feed_recent_add(&e.merge.recent, feed_mix(<uint64_t>m.last_sequence) ^ <uint32_t>m.checksum):
                return R_LATE
            if m.last_sequence == c.last_sequence and m.checksum == e.checksum:
                return R_LATE
            return R_APPLIED
        where = feed_merge_place(
            e.merge, line, m, c.last_sequence, c.venue_utc_ns, follows(self, e), self.allows_overlap, self.is_late
        )
        if where == FEED_MERGE_TAKE:
            return R_APPLIED
        return R_LATE if where == FEED_MERGE_LATE else R_GAP if where == FEED_MERGE_AHEAD else R_DUPLICATE

    def merge_lines(self):
        """Begins to expect the same streams over several lines: first arrival wins, what comes after is LATE."""
        cdef uint32_t i
        self.is_merging = True
        for i in range(self._capacity):
            if self._instruments[i] != NULL and self._instruments[i].merge == NULL:
                self._instruments[i].merge = <feed_merge *>calloc(1, sizeof(feed_merge))

    def restart_line(self, uint32_t stream, uint32_t line):
        """Forgets what a line of a stream brought: it has just been opened, or was lost."""
        cdef uint32_t i
        cdef feed_instrument *e
        for i in range(self._capacity if line < FEED_LINES_MAX else 0):
            e = self._instruments[i]
            if e != NULL and e.merge != NULL and e.head.certificate.stream == stream:
                feed_merge_restart(e.merge, line, e.head.certificate.last_sequence)

    def carried(self, instrument_id):
        """Newest depth sequence of each line that brings this book's updates in the book's numbers, 0 = it does not.

        Empty while lines are not merged.
        """
        cdef feed_instrument *e = self._get(instrument_id)
        cdef uint32_t i
        if e.merge == NULL:
            return ()
        return tuple([e.merge.seen[i] if feed_merge_carries(e.merge, i) else 0 for i in range(<uint32_t>FEED_LINES_MAX)])

    def lacking(self, uint32_t stream, uint32_t line):
        """How many books of a stream were updated since a line of it came up, but not by that line."""
        cdef uint32_t i, count = 0
        cdef feed_instrument *e
        for i in range(self._capacity if line < FEED_LINES_MAX else 0):
            e = self._instruments[i]
            if e == NULL or e.merge == NULL or e.head.certificate.stream != stream:
                continue
            if not feed_merge_carries(e.merge, line) and e.head.certificate.last_sequence != e.merge.base[line]:
                count += 1
        return count

    def set_parked(self, instrument_id, uint32_t count):
        """Says how many updates of a book wait for a hole to be filled: the session is told of each applied one then."""
        cdef feed_instrument *e = self._get(instrument_id)
        if e.merge != NULL:
            e.merge.parked = count

    cdef void _store(self, feed_instrument *e) noexcept nogil:
        e.head.bid_count = e.book.side[0].top_count
        e.head.ask_count = e.book.side[1].top_count
        self._slab.store_ptr(e.head.certificate.instrument_id, &e.head, e.book.side[0].top, e.book.side[1].top)

    cdef void _store_head(self, feed_instrument *e) noexcept nogil:
        if self._slab.store_head_ptr(e.head.certificate.instrument_id, &e.head) != 0:
            self._store(e)

    cdef void signal_rings(self, uint32_t rings) noexcept nogil:
        cdef int ring
        for ring in range(BELLS_RINGS):
            if rings >> ring & 1:
                (<Publisher>self._rings[ring]).signal()

    cdef int _on_trades(self, feed_instrument *e, int64_t frame_ns) noexcept nogil:
        cdef feed_message *m = &self._message
        cdef feed_item one
        cdef feed_item *items = m.items
        cdef uint32_t i, count = m.item_count
        cdef bint counted = False
        if count == 0:
            feed_item_of(m, &one)
            items = &one
            count = 1
        for i in range(count):
            if not feed_item_scale(m, &items[i], e.price_exponent, e.quantity_exponent):
                return R_REJECTED
        if e.merge != NULL:
            count = self._keep_new(e, items, count)
            if count == 0:
                return R_LATE
        for i in range(count):
            if not items[i].flags & FEED_FLAG_NOT_MARKET:
                feed_totals_add(&e.head.totals, items[i].side, items[i].price.mantissa, items[i].quantity.mantissa,
                                items[i].trade_id)
                counted = True
        if counted:
            # Totals first: who is lapped on the ring finds these trades in them.
            self._store_head(e)
        for i in range(count):
            self._emit_item(e, &items[i], RECORD_TRADE, frame_ns)
        self._counts[C_TRADES] += count
        return R_PUBLISHED

    cdef uint32_t _keep_new(self, feed_instrument *e, feed_item *items, uint32_t count) noexcept nogil:
        """Moves the items that no other line brought to the front; returns how many there are."""
        cdef uint32_t i, kept = 0
        for i in range(count):
            if feed_recent_add(&e.merge.recent, feed_item_identity(&items[i])):
                if kept != i:
                    items[kept] = items[i]
                kept += 1
        return kept

    cdef void _emit_item(self, feed_instrument *e, const feed_item *item, int kind, int64_t frame_ns) noexcept nogil:
        cdef shm_market_record record
        feed_record_begin(&record, &e.head.certificate, &self._message, <uint16_t>kind, frame_ns, stamp(self))
        feed_record_item(&record, item)
        emit(self, e, &record)

    cdef int _on_liquidations(self, int64_t frame_ns) noexcept nogil:
        """Publishes those of instruments that are here: the stream tells all of the venue's."""
        cdef feed_message *m = &self._message
        cdef feed_item *item
        cdef int64_t number
        cdef uint32_t i, turn, found = 0, fresh = 0
        for turn in range(2):
            for i in range(m.item_count):
                item = &m.items[i]
                number = feed_symbols_find(&self._symbols, item.symbol, item.symbol_bytes)
                if number < 0:
                    continue
                e = self._instruments[number]
                if turn == 0:
                    if not feed_item_scale(m, item, e.price_exponent, e.quantity_exponent):
                        return R_REJECTED
                    continue
                found += 1
                if e.merge != NULL and not feed_recent_add(&e.merge.recent, feed_item_identity(item)):
                    continue
                fresh += 1
                self._emit_item(e, item, RECORD_LIQUIDATION, frame_ns)
                self._counts[C_LIQUIDATIONS] += 1
        return R_LATE if found and not fresh else R_PUBLISHED

    cdef int _on_bbo(self, feed_instrument *e, int64_t frame_ns) noexcept nogil:
        cdef feed_message *m = &self._message
        cdef int64_t value[4]
        cdef int i
        for i in range(4):
            if not feed_value_scale(m, &m.value[i], e.quantity_exponent if i & 1 else e.price_exponent, &value[i]):
                return R_REJECTED
        # The top of book travels on the connection of the depth: both prove that it lives.
        touch_stream(self._slab, e.head.certificate.stream, frame_ns)
        if e.merge != NULL and feed_merge_bbo_late(e.merge, m, memcmp(e.ticker.value, value, sizeof(value)) == 0):
            return R_LATE
        memcpy(e.ticker.value, value, sizeof(value))
        e.ticker.seen |= FEED_MASK_BBO
        self._emit_bbo(e, value, frame_ns)
        return R_PUBLISHED

    cdef void _emit_bbo(self, feed_instrument *e, const int64_t *value, int64_t frame_ns) noexcept nogil:
        cdef shm_market_record record
        feed_record_begin(&record, &e.head.certificate, &self._message, RECORD_BBO, frame_ns, stamp(self))
        feed_record_bbo(&record, value)
        emit(self, e, &record)
        self._counts[C_BBOS] += 1

    cdef int _on_mark(self, feed_instrument *e, int64_t frame_ns) noexcept nogil:
        cdef feed_message *m = &self._message
        cdef feed_ticker taken = e.ticker
        if not feed_marks_take(&taken, m, &m.value[0], 7):
            return R_REJECTED
        taken.value[FEED_TICK_FUNDING] = m.next_funding_utc_ns
        if e.merge != NULL:
            if m.venue_utc_ns <= e.merge.mark_utc_ns:
                return R_LATE
            e.merge.mark_utc_ns = m.venue_utc_ns
        e.ticker = taken
        self._emit_mark(e, frame_ns)
        return R_PUBLISHED

    cdef void _emit_mark(self, feed_instrument *e, int64_t frame_ns) noexcept nogil:
        cdef shm_market_record record
        feed_record_begin(&record, &e.head.certificate, &self._message, RECORD_MARK, frame_ns, stamp(self))
        feed_record_mark(&record, &e.ticker)
        emit(self, e, &record)
        self._counts[C_MARKS] += 1

    cdef int _on_ticker(self, feed_instrument *e, int64_t frame_ns) noexcept nogil:
        """Merges what a ticker tells; an index is that of every instrument that follows it."""
        cdef feed_message *m = &self._message
        cdef bint is_index = m.traits & FEED_TRAIT_INDEX
        if e.merge != NULL and feed_merge_tick_late(e.merge, m):
            return R_LATE
        while e != NULL:
            if not feed_ticker_take(&e.ticker, m, e.price_exponent, e.quantity_exponent):
                return R_REJECTED
            if m.value_mask & FEED_MASK_BBO and e.ticker.seen & FEED_MASK_BBO == FEED_MASK_BBO:
                self._emit_bbo(e, e.ticker.value, frame_ns)
            if m.value_mask & FEED_MASK_MARK:
                self._emit_mark(e, frame_ns)
            e = e.next_index if is_index else NULL
        return R_PUBLISHED

    def is_crossed(self, instrument_id):
        """Whether the private book's best bid is at or above its best ask."""
        return bool(feed_book_crossed(self._get(instrument_id).book))

    def book(self, instrument_id, uint32_t limit=0):
        """Private book (bids, asks), best first, as (price_units, quantity_units) pairs; `limit` levels a side, 0 = all."""
        cdef feed_instrument *e = self._get(instrument_id)
        cdef uint32_t count
        cdef shm_level *levels
        sides = []
        for side in range(2):
            count = feed_side_count(&e.book.side[side])
            if limit and count > limit:
                count = limit
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
            "crossed": c[R_CROSSED], "recenters": moves, "checksum_errors": c[R_CHECKSUM], "checksums": c[C_CHECKSUMS],
            "liquidations": c[C_LIQUIDATIONS], "late": c[R_LATE],
        }
