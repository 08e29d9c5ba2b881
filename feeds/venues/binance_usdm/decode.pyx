# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""Binance USD-M Futures market-data frames straight from bytes to one `feed_message`.

Source: Binance USD-M docs, "Diff. Book Depth Streams", "Individual Symbol Book Ticker Streams",
"Aggregate Trade Streams", "Mark Price Stream", "Partial Book Depth Streams", "Liquidation Order Streams", "Order Book" (REST); the `trade` stream is not in
those pages, its fields are those of recorded frames. Keys not listed here are checked as JSON and
read over; keys may come in any order; a frame is raw or wrapped as {"stream": …, "data": {…}}.
"""

from libc.string cimport memcmp, memset

from feeds.message cimport (
    FEED_BBO, FEED_CONTROL, FEED_DEPTH, FEED_E_MEMORY, FEED_E_PRICE, FEED_E_SEQUENCE, FEED_E_TYPE, FEED_E_UNRECOGNIZED,
    FEED_FLAG_NOT_MARKET, FEED_LIQUIDATION, FEED_MARK, FEED_SNAPSHOT, FEED_T_FALSE, FEED_T_LEVELS, FEED_T_OBJECT,
    FEED_T_STRING, FEED_T_TRUE, FEED_TRADE, FEED_TRAIT_SNAPSHOT, feed_begin, feed_fail, feed_field, feed_has, feed_is_text, feed_item, feed_items, feed_key_add,
    feed_message_reset, feed_object_reset, feed_read_frame, feed_read_object, feed_want, feed_want_decimal, feed_want_integer, feed_want_ms,
)

# Field numbers in the order of EVENT_KEYS; the outer object has the same and the wrapper's after them.
cdef enum:
    K_EVENT = 1
    K_EVENT_TIME
    K_SYMBOL
    K_FIRST
    K_LAST
    K_PREVIOUS
    K_B
    K_A
    K_BID_QUANTITY
    K_ASK_QUANTITY
    K_PRICE
    K_QUANTITY
    K_TRADE_ID
    K_MAKER
    K_EXECUTION
    K_INDEX
    K_RATE
    K_TIME
    K_ORDER
    K_STREAM
    K_DATA
    K_RESULT
    K_ERROR
    K_CODE
    K_ID

# "T" is the next funding time of a mark price, the transaction time elsewhere.
cdef tuple EVENT_KEYS = (b"e", b"E", b"s", b"U", b"u", b"pu", b"b", b"a", b"B", b"A", b"p", b"q", b"t", b"m", b"X",
                         b"i", b"r", b"T", b"o")
cdef tuple WRAPPER_KEYS = (b"stream", b"data", b"result", b"error", b"code", b"id")

cdef enum:
    S_SEQUENCE = 1
    S_EVENT_TIME
    S_BIDS
    S_ASKS

cdef enum:
    O_SYMBOL = 1
    O_SIDE
    O_PRICE
    O_QUANTITY
    O_TIME

cdef tuple ORDER_KEYS = (b"s", b"S", b"p", b"q", b"T")
cdef tuple SNAPSHOT_KEYS = (b"lastUpdateId", b"E", b"bids", b"asks")

# The names must outlive every keymap that points to their bytes.
cdef void add_keys(feed_keymap *map, tuple names):
    cdef bytes name
    for name in names:
        feed_key_add(map, <const char *>name)


cdef inline bint is_text(const feed_scan *s, const feed_field *f, const char *text, uint32_t count) noexcept nogil:
    return f.bytes == count and memcmp(s.begin + f.offset, text, count) == 0


cdef inline void refuse(feed_scan *s, int code, const feed_field *f, const char *name) noexcept nogil:
    feed_fail(s, code, s.begin + f.offset, name)


cdef class BinanceUsdmDecoder(Decoder):
    """Decoder of the venue's public streams and of its REST depth snapshot."""

    def __cinit__(self):
        memset(&self.outer_map, 0, sizeof(feed_keymap))
        memset(&self.inner_map, 0, sizeof(feed_keymap))
        memset(&self.snapshot_map, 0, sizeof(feed_keymap))
        memset(&self.outer, 0, sizeof(feed_object))
        memset(&self.inner, 0, sizeof(feed_object))
        add_keys(&self.inner_map, EVENT_KEYS)
        add_keys(&self.outer_map, EVENT_KEYS)
        add_keys(&self.outer_map, WRAPPER_KEYS)
        add_keys(&self.snapshot_map, SNAPSHOT_KEYS)
        memset(&self.order_map, 0, sizeof(feed_keymap))
        memset(&self.order, 0, sizeof(feed_object))
        add_keys(&self.order_map, ORDER_KEYS)
        self.inner_map.level_field[0] = self.outer_map.level_field[0] = K_B
        self.inner_map.level_field[1] = self.outer_map.level_field[1] = K_A
        self.outer_map.nested_field = K_DATA
        self.snapshot_map.level_field[0] = S_BIDS
        self.snapshot_map.level_field[1] = S_ASKS

    cdef int decode(self, const char *p, Py_ssize_t n, feed_message *out) noexcept nogil:
        cdef feed_scan *s = &self.scan
        cdef feed_object *o = &self.outer
        cdef bint good = False
        feed_message_reset(out)
        if feed_begin(&self.scratch, s, p, n):
            out.text = s.begin
            out.text_bytes = <uint32_t>n
            feed_object_reset(o, self.scratch.levels[0], self.scratch.levels[1])
            feed_object_reset(&self.inner, self.scratch.levels[0], self.scratch.levels[1])
            good = feed_read_frame(s, &self.outer_map, o, &self.inner_map, &self.inner)
        if good:
            if feed_has(o, K_DATA):
                if feed_has(o, K_EVENT) or feed_has(o, K_B) or feed_has(o, K_A):
                    # Levels beside the event would stand in the place of its own.
                    feed_fail(s, FEED_E_UNRECOGNIZED, s.begin, "data")
                    good = False
                else:
                    good = (feed_want(s, &self.outer_map, o, K_STREAM, FEED_T_STRING)
                            and feed_want(s, &self.outer_map, o, K_DATA, FEED_T_OBJECT)
                            and self._event(&self.inner_map, &self.inner, out))
                    if good and out.kind == FEED_DEPTH:
                        self._judge_stream(out)
            elif feed_has(o, K_EVENT):
                good = self._event(&self.outer_map, o, out)
            elif feed_has(o, K_RESULT) or feed_has(o, K_ERROR) or feed_has(o, K_CODE):
                out.kind = FEED_CONTROL
            else:
                feed_fail(s, FEED_E_UNRECOGNIZED, s.begin, "message")
                good = False
        out.error = s.error
        return 0 if good else s.error.code

    cdef void _judge_stream(self, feed_message *out) noexcept nogil:
        """A partial depth stream, depth5, depth10, depth20, is a whole book of so many levels each time: only its name says so."""
        cdef const feed_field *f = &self.outer.field[K_STREAM]
        cdef const char *name = self.scan.begin + f.offset
        cdef uint32_t at = 0
        while at < f.bytes and name[at] != 64:  # "@"
            at += 1
        if at + 1 >= f.bytes:
            return
        if self.is_other_depth(name + at + 1, f.bytes - at - 1):
            out.kind = FEED_CONTROL
        elif f.bytes - at > 6 and memcmp(name + at, "@depth", 6) == 0 and 48 <= name[at + 6] <= 57:
            out.traits |= FEED_TRAIT_SNAPSHOT

    cdef bint _liquidation(self, const feed_keymap *map, feed_object *o, feed_message *out) noexcept nogil:
        cdef feed_scan *s = &self.scan
        cdef feed_item *item = feed_items(&self.scratch)
        out.kind = FEED_LIQUIDATION
        if item == NULL:
            feed_fail(s, FEED_E_MEMORY, s.begin, "o")
            return False
        memset(item, 0, sizeof(feed_item))
        feed_object_reset(&self.order, NULL, NULL)
        if not (feed_want_ms(s, map, o, K_EVENT_TIME, &out.venue_utc_ns)
                and feed_want(s, map, o, K_ORDER, FEED_T_OBJECT)
                and feed_read_object(s, s.begin + o.field[K_ORDER].offset, &self.order_map, &self.order, NULL, NULL, 2) != NULL
                and feed_want(s, &self.order_map, &self.order, O_SYMBOL, FEED_T_STRING)
                and feed_want(s, &self.order_map, &self.order, O_SIDE, FEED_T_STRING)
                and feed_want_decimal(s, &self.order_map, &self.order, O_PRICE, 0, &item.price)
                and feed_want_decimal(s, &self.order_map, &self.order, O_QUANTITY, 0, &item.quantity)
                and feed_want_ms(s, &self.order_map, &self.order, O_TIME, &item.venue_utc_ns)):
            return False
        if feed_is_text(s, &self.order.field[O_SIDE], "BUY"):
            item.side = 1
        elif feed_is_text(s, &self.order.field[O_SIDE], "SELL"):
            item.side = 2
        else:
            refuse(s, FEED_E_TYPE, &self.order.field[O_SIDE], "S")
            return False
        item.symbol = s.begin + self.order.field[O_SYMBOL].offset
        item.symbol_bytes = self.order.field[O_SYMBOL].bytes
        out.items = item
        out.item_count = 1
        return True

    cdef bint _event(self, const feed_keymap *map, feed_object *o, feed_message *out) noexcept nogil:
        cdef feed_scan *s = &self.scan
        cdef const feed_field *event = &o.field[K_EVENT]
        if not feed_want(s, map, o, K_EVENT, FEED_T_STRING):
            return False
        if is_text(s, event, "depthUpdate", 11):
            out.kind = FEED_DEPTH
        elif is_text(s, event, "bookTicker", 10):
            out.kind = FEED_BBO
        elif is_text(s, event, "trade", 5) or is_text(s, event, "aggTrade", 8):
            out.kind = FEED_TRADE
        elif is_text(s, event, "markPriceUpdate", 15):
            out.kind = FEED_MARK
        elif is_text(s, event, "forceOrder", 10):
            return self._liquidation(map, o, out)
        else:
            out.kind = FEED_CONTROL
            return True
        if not (feed_want(s, map, o, K_SYMBOL, FEED_T_STRING)
                and feed_want_ms(s, map, o, K_EVENT_TIME, &out.venue_utc_ns)):
            return False
        out.symbol = s.begin + o.field[K_SYMBOL].offset
        out.symbol_bytes = o.field[K_SYMBOL].bytes
        if out.kind == FEED_DEPTH:
            return self._depth(map, o, out)
        if out.kind == FEED_BBO:
            return self._bbo(map, o, out)
        if out.kind == FEED_TRADE:
            return self._trade(map, o, out, event.bytes == 8)
        return self._mark(map, o, out)

    cdef bint _depth(self, const feed_keymap *map, feed_object *o, feed_message *out) noexcept nogil:
        cdef feed_scan *s = &self.scan
        if not (feed_want_integer(s, map, o, K_FIRST, &out.first_sequence)
                and feed_want_integer(s, map, o, K_LAST, &out.last_sequence)
                and feed_want_integer(s, map, o, K_PREVIOUS, &out.previous_sequence)
                and feed_want(s, map, o, K_B, FEED_T_LEVELS)
                and feed_want(s, map, o, K_A, FEED_T_LEVELS)):
            return False
        if out.first_sequence > out.last_sequence:
            refuse(s, FEED_E_SEQUENCE, &o.field[K_FIRST], "U")
            return False
        out.levels[0] = self.scratch.levels[0]
        out.levels[1] = self.scratch.levels[1]
        out.level_count[0] = o.level_count[0]
        out.level_count[1] = o.level_count[1]
        out.level_field[0] = "b"
        out.level_field[1] = "a"
        return True

    cdef bint _trade(self, const feed_keymap *map, feed_object *o, feed_message *out, bint aggregate) noexcept nogil:
        cdef feed_scan *s = &self.scan
        if not (feed_want_integer(s, map, o, K_A if aggregate else K_TRADE_ID, &out.trade_id)
                and feed_want_decimal(s, map, o, K_PRICE, 0, &out.value[0])
                and feed_want_decimal(s, map, o, K_QUANTITY, 0, &out.value[1])):
            return False
        if not (feed_has(o, K_MAKER) and o.field[K_MAKER].type == FEED_T_FALSE):
            if not feed_want(s, map, o, K_MAKER, FEED_T_TRUE):
                return False
        # m: the buyer was the maker, so the seller crossed.
        out.side = 2 if o.field[K_MAKER].type == FEED_T_TRUE else 1
        out.value_count = 2
        if feed_has(o, K_EXECUTION):
            if not feed_want(s, map, o, K_EXECUTION, FEED_T_STRING):
                return False
            if not is_text(s, &o.field[K_EXECUTION], "MARKET", 6):
                # INSURANCE_FUND, ADL, NA …: no one crossed the book; price and quantity may be 0.
                out.flags = FEED_FLAG_NOT_MARKET
                return True
        if out.value[0].mantissa == 0:
            refuse(s, FEED_E_PRICE, &o.field[K_PRICE], "p")
            return False
        if out.value[1].mantissa == 0:
            refuse(s, FEED_E_PRICE, &o.field[K_QUANTITY], "q")
            return False
        return True

    cdef bint _bbo(self, const feed_keymap *map, feed_object *o, feed_message *out) noexcept nogil:
        cdef feed_scan *s = &self.scan
        cdef int side
        if not (feed_want_integer(s, map, o, K_LAST, &out.last_sequence)
                and feed_want_decimal(s, map, o, K_B, 0, &out.value[0])
                and feed_want_decimal(s, map, o, K_BID_QUANTITY, 0, &out.value[1])
                and feed_want_decimal(s, map, o, K_A, 0, &out.value[2])
                and feed_want_decimal(s, map, o, K_ASK_QUANTITY, 0, &out.value[3])):
            return False
        out.value_count = 4
        for side in range(2):
            # An empty side is told as price 0 with quantity 0; a price without one is no price.
            if out.value[2 * side].mantissa == 0 and out.value[2 * side + 1].mantissa != 0:
                feed_fail(s, FEED_E_PRICE, s.begin + out.value[2 * side].offset, out.value[2 * side].field)
                return False
        return True

    cdef bint _mark(self, const feed_keymap *map, feed_object *o, feed_message *out) noexcept nogil:
        cdef feed_scan *s = &self.scan
        if not (feed_want_decimal(s, map, o, K_PRICE, 0, &out.value[0])
                and feed_want_decimal(s, map, o, K_INDEX, 0, &out.value[1])
                and feed_want(s, map, o, K_RATE, FEED_T_STRING)
                and feed_want_ms(s, map, o, K_TIME, &out.next_funding_utc_ns)):
            return False
        out.value_count = 3
        if o.field[K_RATE].bytes == 0:
            # Contracts with a delivery date have no funding: the venue sends an empty string.
            out.value[2].mantissa = 0
            out.value[2].decimals = 0
            out.value[2].offset = o.field[K_RATE].offset
            out.value[2].field = "r"
            return True
        return feed_want_decimal(s, map, o, K_RATE, 1, &out.value[2])

    cdef int decode_snapshot(self, const char *p, Py_ssize_t n, feed_message *out) noexcept nogil:
        cdef feed_scan *s = &self.scan
        cdef feed_object *o = &self.outer
        cdef bint good = False
        feed_message_reset(out)
        if feed_begin(&self.scratch, s, p, n):
            out.text = s.begin
            out.text_bytes = <uint32_t>n
            feed_object_reset(o, self.scratch.levels[0], self.scratch.levels[1])
            good = (feed_read_frame(s, &self.snapshot_map, o, NULL, NULL)
                    and feed_want_integer(s, &self.snapshot_map, o, S_SEQUENCE, &out.last_sequence)
                    and feed_want(s, &self.snapshot_map, o, S_BIDS, FEED_T_LEVELS)
                    and feed_want(s, &self.snapshot_map, o, S_ASKS, FEED_T_LEVELS))
            if good and feed_has(o, S_EVENT_TIME):
                good = feed_want_ms(s, &self.snapshot_map, o, S_EVENT_TIME, &out.venue_utc_ns)
        if good:
            out.kind = FEED_SNAPSHOT
            out.levels[0] = self.scratch.levels[0]
            out.levels[1] = self.scratch.levels[1]
            out.level_count[0] = o.level_count[0]
            out.level_count[1] = o.level_count[1]
            out.level_field[0] = "bids"
            out.level_field[1] = "asks"
        out.error = s.error
        return 0 if good else s.error.code
