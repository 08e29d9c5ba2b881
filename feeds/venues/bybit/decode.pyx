# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""Bybit v5 public frames straight from bytes to one `feed_message`; linear and spot alike.

Source: Bybit v5 docs, "Websocket Stream / Public / Orderbook", "Trade", "Ticker", "All Liquidation", "Liquidation" (which it
replaced), "Market / Get Orderbook". A frame is {"topic", "type", "ts", "data"}, its keys in another order for each product;
those not listed here are checked as JSON and read over.
"""

from libc.string cimport memcmp, memset

from feeds.message cimport (
    FEED_BBO, FEED_CONTROL, FEED_DEPTH, FEED_E_ITEMS, FEED_E_LEVELS, FEED_E_MEMORY, FEED_E_MISSING, FEED_E_PRICE,
    FEED_E_SYMBOL, FEED_E_TYPE, FEED_E_UNRECOGNIZED, FEED_FLAG_NOT_MARKET, FEED_ITEMS_MAX, FEED_LIQUIDATION, FEED_SNAPSHOT,
    FEED_T_LEVELS, FEED_T_OBJECT, FEED_T_STRING, FEED_T_TRUE, FEED_TICK_ASK, FEED_TICK_ASK_QUANTITY, FEED_TICK_BID,
    FEED_TICK_BID_QUANTITY, FEED_TICK_FUNDING, FEED_TICK_INDEX, FEED_TICK_MARK, FEED_TICK_RATE, FEED_TICKER, FEED_TRADE,
    FEED_TRAIT_SNAPSHOT, feed_begin, feed_decimal, feed_enter, feed_fail, feed_field, feed_has, feed_is_text, feed_items,
    feed_key_add, feed_leave, feed_message_reset, feed_next_object, feed_object_reset, feed_over_value, feed_read_frame,
    feed_read_object, feed_resume, feed_want, feed_want_decimal, feed_want_integer, feed_want_ms, feed_want_ms_text,
)

# Field numbers in the order of the keys below.
cdef enum:
    K_TOPIC = 1
    K_DATA
    K_TYPE
    K_TIME
    K_OP
    K_SUCCESS
    K_RESULT
    K_CODE
    K_ENGINE_TIME  # of the matching engine; not used, and known so that it is read over like the others

cdef tuple OUTER_KEYS = (b"topic", b"data", b"type", b"ts", b"op", b"success", b"result", b"retCode", b"cts")

cdef enum:
    D_BIDS = 1
    D_ASKS
    D_SYMBOL
    D_UPDATE
    D_CROSS
    D_TIME
    D_SIDE
    D_SIZE
    D_PRICE
    D_ID
    D_BLOCK
    D_NAME
    D_BID
    D_BID_SIZE
    D_ASK
    D_ASK_SIZE
    D_MARK
    D_INDEX
    D_RATE
    D_FUNDING_TIME
    D_OLD_SIDE
    D_OLD_SIZE
    D_OLD_PRICE
    D_OLD_TIME
    D_STAMP

cdef tuple DATA_KEYS = (b"b", b"a", b"s", b"u", b"seq", b"T", b"S", b"v", b"p", b"i", b"BT", b"symbol", b"bid1Price",
                        b"bid1Size", b"ask1Price", b"ask1Size", b"markPrice", b"indexPrice", b"fundingRate",
                        b"nextFundingTime", b"side", b"size", b"price", b"updatedTime", b"ts")

cdef enum:
    TOPIC_OTHER = 0
    TOPIC_DEPTH
    TOPIC_BBO
    TOPIC_TRADE
    TOPIC_TICKER
    TOPIC_LIQUIDATIONS
    TOPIC_OLD_LIQUIDATION


# The names must outlive every keymap that points to their bytes.
cdef void add_keys(feed_keymap *map, tuple names):
    cdef bytes name
    memset(map, 0, sizeof(feed_keymap))
    for name in names:
        feed_key_add(map, <const char *>name)


cdef inline bint begins(const char *p, uint32_t count, const char *text, uint32_t length) noexcept nogil:
    return count > length and memcmp(p, text, length) == 0


cdef class BybitDecoder(Decoder):
    """Decoder of the venue's public topics and of its REST order book."""

    def __cinit__(self):
        add_keys(&self.outer_map, OUTER_KEYS)
        add_keys(&self.data_map, DATA_KEYS)
        memset(&self.outer, 0, sizeof(feed_object))
        memset(&self.data, 0, sizeof(feed_object))
        self.outer_map.nested_field = K_RESULT
        self.data_map.level_field[0] = D_BIDS
        self.data_map.level_field[1] = D_ASKS

    cdef int decode(self, const char *p, Py_ssize_t n, feed_message *out) noexcept nogil:
        cdef feed_scan *s = &self.scan
        cdef bint good
        feed_message_reset(out)
        good = feed_begin(&self.scratch, s, p, n)
        if good:
            out.text = s.begin
            out.text_bytes = <uint32_t>n
            good = self._frame(out)
        out.error = s.error
        return 0 if good else s.error.code

    cdef bint _frame(self, feed_message *out) noexcept nogil:
        cdef feed_scan *s = &self.scan
        cdef feed_object *o = &self.outer
        cdef const char *q
        cdef const char *late = NULL
        cdef int stopped
        self.topic = TOPIC_OTHER
        feed_object_reset(o, NULL, NULL)
        feed_object_reset(&self.data, self.scratch.levels[0], self.scratch.levels[1])
        q = feed_enter(s, &self.outer_map, o, NULL, NULL, K_DATA, &stopped)
        if q != NULL and stopped:
            if feed_has(o, K_TOPIC):
                q = self._data(q, out)
            else:
                late = q  # what it means is said behind it
                q = feed_over_value(s, q)
            if q != NULL:
                q = feed_resume(s, q, &self.outer_map, o, NULL, NULL)
        if q == NULL or not feed_leave(s, q):
            return False
        if late != NULL and feed_has(o, K_TOPIC) and self._data(late, out) == NULL:
            return False
        if stopped and feed_has(o, K_TOPIC):
            return True if out.kind == FEED_CONTROL else self._finish(out)
        if feed_has(o, K_OP) or feed_has(o, K_SUCCESS) or feed_has(o, K_CODE):
            out.kind = FEED_CONTROL
            return True
        feed_fail(s, FEED_E_UNRECOGNIZED, s.begin, "message")
        return False

    cdef bint _find_topic(self, feed_message *out) noexcept nogil:
        """Splits <name>.<symbol>; the name of an order book holds its depth."""
        cdef feed_scan *s = &self.scan
        cdef const feed_field *f = &self.outer.field[K_TOPIC]
        cdef const char *name
        cdef uint32_t count
        if not feed_want(s, &self.outer_map, &self.outer, K_TOPIC, FEED_T_STRING):
            return False
        name = s.begin + f.offset
        count = f.bytes
        while count and name[count - 1] != 46:  # "."
            count -= 1
        self.topic = TOPIC_OTHER
        if count == 0:
            return True
        out.symbol = name + count
        out.symbol_bytes = f.bytes - count
        if begins(name, count, "orderbook.", 10):
            if count == 12 and name[10] == 49 and not (self.depth_bytes and not self.is_other_depth(name, count - 1)):
                self.topic = TOPIC_BBO  # one level: the best bid and offer, unless the books shall be made of it
            elif not self.is_other_depth(name, count - 1):
                self.topic = TOPIC_DEPTH
        elif count == 12 and memcmp(name, "publicTrade.", 12) == 0:
            self.topic = TOPIC_TRADE
        elif count == 8 and memcmp(name, "tickers.", 8) == 0:
            self.topic = TOPIC_TICKER
        elif count == 15 and memcmp(name, "allLiquidation.", 15) == 0:
            self.topic = TOPIC_LIQUIDATIONS
        elif count == 12 and memcmp(name, "liquidation.", 12) == 0:
            self.topic = TOPIC_OLD_LIQUIDATION
        return True

    cdef const char *_data(self, const char *p, feed_message *out) noexcept nogil:
        """Reads the value at `p` by what the topic says; returns the position behind it."""
        cdef feed_scan *s = &self.scan
        cdef bint good
        cdef int done = 0
        cdef int first = 1
        if not self._find_topic(out):
            return NULL
        if self.topic == TOPIC_OTHER:
            out.kind = FEED_CONTROL
            return feed_over_value(s, p)
        if self.topic == TOPIC_TRADE or self.topic == TOPIC_LIQUIDATIONS:
            out.kind = FEED_TRADE if self.topic == TOPIC_TRADE else FEED_LIQUIDATION
            while True:
                p = feed_next_object(s, p, first, &self.data_map, &self.data, 2, &done)
                if p == NULL or done:
                    return p
                if not self._item(out):
                    return NULL
                first = 0
        p = feed_read_object(s, p, &self.data_map, &self.data, NULL, NULL, 1)
        if p == NULL:
            return NULL
        if self.topic == TOPIC_DEPTH:
            good = self._depth(out)
        elif self.topic == TOPIC_BBO:
            good = self._depth(out)
            out.kind = FEED_BBO
        elif self.topic == TOPIC_TICKER:
            good = self._ticker(out)
        else:
            good = self._old_liquidation(out)
        return p if good else NULL

    cdef bint _finish(self, feed_message *out) noexcept nogil:
        """Takes what may stand behind the data: the time, and whether a book is whole."""
        cdef feed_scan *s = &self.scan
        cdef const feed_field *type = &self.outer.field[K_TYPE]
        if not feed_want_ms(s, &self.outer_map, &self.outer, K_TIME, &out.venue_utc_ns):
            return False
        if out.kind != FEED_DEPTH and out.kind != FEED_BBO:
            return True
        if not feed_want(s, &self.outer_map, &self.outer, K_TYPE, FEED_T_STRING):
            return False
        if out.kind == FEED_BBO:
            return self._bbo(out, feed_is_text(s, type, "snapshot"))
        # "u": 1 is the whole book after a restart of the service.
        if feed_is_text(s, type, "snapshot") or out.last_sequence == 1:
            out.traits |= FEED_TRAIT_SNAPSHOT
        elif not feed_is_text(s, type, "delta"):
            feed_fail(s, FEED_E_UNRECOGNIZED, s.begin + type.offset, "type")
            return False
        return True

    cdef bint _is_own(self, uint32_t number, const feed_message *out) noexcept nogil:
        cdef feed_scan *s = &self.scan
        cdef const feed_field *f = &self.data.field[number]
        if not feed_want(s, &self.data_map, &self.data, number, FEED_T_STRING):
            return False
        if f.bytes == out.symbol_bytes and memcmp(s.begin + f.offset, out.symbol, f.bytes) == 0:
            return True
        feed_fail(s, FEED_E_SYMBOL, s.begin + f.offset, "symbol")
        return False

    cdef bint _depth(self, feed_message *out) noexcept nogil:
        cdef feed_scan *s = &self.scan
        cdef feed_object *o = &self.data
        out.kind = FEED_DEPTH
        if not (self._is_own(D_SYMBOL, out)
                and feed_want_integer(s, &self.data_map, o, D_UPDATE, &out.last_sequence)
                and feed_want(s, &self.data_map, o, D_BIDS, FEED_T_LEVELS)
                and feed_want(s, &self.data_map, o, D_ASKS, FEED_T_LEVELS)):
            return False
        out.first_sequence = out.last_sequence
        out.levels[0] = self.scratch.levels[0]
        out.levels[1] = self.scratch.levels[1]
        out.level_count[0] = o.level_count[0]
        out.level_count[1] = o.level_count[1]
        out.level_field[0] = "b"
        out.level_field[1] = "a"
        return True

    cdef bint _bbo(self, feed_message *out, bint whole) noexcept nogil:
        """Takes the best of both sides; of an update (as recordings before 2024 hold) only of sides that changed."""
        cdef feed_scan *s = &self.scan
        cdef feed_object *o = &self.data
        cdef feed_decimal *value
        cdef uint32_t i
        cdef int side
        out.kind = FEED_BBO if whole else FEED_TICKER
        for side in range(2):
            if o.level_count[side] > (1 if whole else 2):
                feed_fail(s, FEED_E_LEVELS, s.begin + o.field[D_BIDS + side].offset, "b" if side == 0 else "a")
                return False
            value = &out.value[2 * side]
            memset(value, 0, 2 * sizeof(feed_decimal))
            value[0].field = value[1].field = "b" if side == 0 else "a"
            for i in range(o.level_count[side]):
                out.value_mask |= 3u << (2 * side)
                if whole or o.levels[side][i].quantity:
                    value[0].mantissa = o.levels[side][i].price
                    value[0].decimals = o.levels[side][i].price_decimals
                    value[1].mantissa = o.levels[side][i].quantity
                    value[1].decimals = o.levels[side][i].quantity_decimals
                    value[0].offset = value[1].offset = o.levels[side][i].offset
        if whole:
            out.value_count = 4
            out.value_mask = 0
        out.level_count[0] = out.level_count[1] = 0
        return True

    cdef feed_item *_new_item(self, feed_message *out) noexcept nogil:
        cdef feed_item *item
        out.items = feed_items(&self.scratch)
        if out.items == NULL or out.item_count == FEED_ITEMS_MAX:
            feed_fail(&self.scan, FEED_E_ITEMS if out.items != NULL else FEED_E_MEMORY, self.scan.begin, "data")
            return NULL
        item = &out.items[out.item_count]
        memset(item, 0, sizeof(feed_item))
        item.symbol = out.symbol
        item.symbol_bytes = out.symbol_bytes
        out.item_count += 1
        return item

    cdef bint _side(self, uint32_t number, feed_item *item) noexcept nogil:
        cdef feed_scan *s = &self.scan
        if not feed_want(s, &self.data_map, &self.data, number, FEED_T_STRING):
            return False
        if feed_is_text(s, &self.data.field[number], "Buy"):
            item.side = 1
        elif feed_is_text(s, &self.data.field[number], "Sell"):
            item.side = 2
        else:
            feed_fail(s, FEED_E_TYPE, s.begin + self.data.field[number].offset, "side")
            return False
        return True

    cdef int64_t _trade_id(self) noexcept nogil:
        """A number for the venue's id: the number it is, else 63 bits of a hash of its text (linear trades have UUIDs)."""
        cdef const feed_field *f = &self.data.field[D_ID]
        cdef const char *p = self.scan.begin + f.offset
        cdef uint64_t value = 0
        cdef uint64_t fold = 0xCBF29CE484222325ULL
        cdef bint digits = 0 < f.bytes <= 18
        cdef uint32_t i
        for i in range(f.bytes):
            digits = digits and 48 <= p[i] <= 57
            value = value * 10 + <uint64_t>(p[i] - 48)
            fold = (fold ^ <unsigned char>p[i]) * 0x100000001B3ULL
        if f.bytes == 19 and p[0] < 57:  # below 9 * 10^18: still a number of ours
            digits = True
            for i in range(19):
                digits = digits and 48 <= p[i] <= 57
        return <int64_t>(value if digits else fold >> 1)

    cdef bint _item(self, feed_message *out) noexcept nogil:
        """Takes a trade, or a liquidation, which says the side of the position that ended."""
        cdef feed_scan *s = &self.scan
        cdef feed_object *o = &self.data
        cdef feed_item *item = self._new_item(out)
        if item == NULL or not (
                self._is_own(D_SYMBOL, out)
                and feed_want_ms(s, &self.data_map, o, D_TIME, &item.venue_utc_ns)
                and feed_want_decimal(s, &self.data_map, o, D_PRICE, 0, &item.price)
                and feed_want_decimal(s, &self.data_map, o, D_SIZE, 0, &item.quantity)
                and self._side(D_SIDE, item)):
            return False
        if self.topic == TOPIC_LIQUIDATIONS:
            item.side = 3 - item.side
            return True
        if item.price.mantissa == 0 or item.quantity.mantissa == 0:
            feed_fail(s, FEED_E_PRICE, s.begin + (item.price.offset if item.price.mantissa == 0 else item.quantity.offset),
                      "p" if item.price.mantissa == 0 else "v")
            return False
        if not feed_want(s, &self.data_map, o, D_ID, FEED_T_STRING):
            return False
        item.trade_id = self._trade_id()
        if feed_has(o, D_BLOCK) and o.field[D_BLOCK].type == FEED_T_TRUE:
            item.flags = FEED_FLAG_NOT_MARKET  # a block trade is agreed on elsewhere: no one crossed the book
        if feed_has(o, D_CROSS):
            return feed_want_integer(s, &self.data_map, o, D_CROSS, &out.last_sequence)
        return True

    cdef bint _old_liquidation(self, feed_message *out) noexcept nogil:
        cdef feed_scan *s = &self.scan
        cdef feed_object *o = &self.data
        cdef feed_item *item = self._new_item(out)
        out.kind = FEED_LIQUIDATION
        if item == NULL or not (
                self._is_own(D_NAME, out)
                and feed_want_ms(s, &self.data_map, o, D_OLD_TIME, &item.venue_utc_ns)
                and feed_want_decimal(s, &self.data_map, o, D_OLD_PRICE, 0, &item.price)
                and feed_want_decimal(s, &self.data_map, o, D_OLD_SIZE, 0, &item.quantity)
                and self._side(D_OLD_SIDE, item)):
            return False
        item.side = 3 - item.side
        return True

    cdef bint _tick(self, feed_message *out, uint32_t place, uint32_t number) noexcept nogil:
        """Takes a value that may be absent; an empty text is a side, or a rate, that there is not: 0."""
        cdef feed_scan *s = &self.scan
        if not feed_has(&self.data, number):
            return True
        if not feed_want(s, &self.data_map, &self.data, number, FEED_T_STRING):
            return False
        out.value_mask |= 1u << place
        if self.data.field[number].bytes == 0:
            memset(&out.value[place], 0, sizeof(feed_decimal))
            return True
        return feed_want_decimal(s, &self.data_map, &self.data, number, place == FEED_TICK_RATE, &out.value[place])

    cdef bint _ticker(self, feed_message *out) noexcept nogil:
        cdef feed_scan *s = &self.scan
        out.kind = FEED_TICKER
        if not self._is_own(D_NAME, out):
            return False
        if self.with_ticker_bbo and not (
                self._tick(out, FEED_TICK_BID, D_BID) and self._tick(out, FEED_TICK_BID_QUANTITY, D_BID_SIZE)
                and self._tick(out, FEED_TICK_ASK, D_ASK) and self._tick(out, FEED_TICK_ASK_QUANTITY, D_ASK_SIZE)):
            return False
        if not (self._tick(out, FEED_TICK_MARK, D_MARK) and self._tick(out, FEED_TICK_INDEX, D_INDEX)
                and self._tick(out, FEED_TICK_RATE, D_RATE)):
            return False
        if not feed_has(&self.data, D_FUNDING_TIME):
            return True
        if not feed_want(s, &self.data_map, &self.data, D_FUNDING_TIME, FEED_T_STRING):
            return False
        if self.data.field[D_FUNDING_TIME].bytes != 0:
            if not feed_want_ms_text(s, &self.data_map, &self.data, D_FUNDING_TIME, &out.next_funding_utc_ns):
                return False
            out.value_mask |= 1u << FEED_TICK_FUNDING
        return True

    cdef int decode_snapshot(self, const char *p, Py_ssize_t n, feed_message *out) noexcept nogil:
        """Reads the answer of GET /v5/market/orderbook: {"retCode":0,"result":{"s","b","a","ts","u","seq"}}."""
        cdef feed_scan *s = &self.scan
        cdef feed_object *o = &self.data
        cdef bint good
        feed_message_reset(out)
        feed_object_reset(&self.outer, NULL, NULL)
        feed_object_reset(o, self.scratch.levels[0], self.scratch.levels[1])
        good = feed_begin(&self.scratch, s, p, n)
        if good:
            out.text = s.begin
            out.text_bytes = <uint32_t>n
            good = (feed_read_frame(s, &self.outer_map, &self.outer, &self.data_map, o)
                    and feed_want(s, &self.outer_map, &self.outer, K_RESULT, FEED_T_OBJECT)
                    and feed_want(s, &self.data_map, o, D_SYMBOL, FEED_T_STRING)
                    and feed_want_ms(s, &self.data_map, o, D_STAMP, &out.venue_utc_ns))
        if good:
            out.symbol = s.begin + o.field[D_SYMBOL].offset
            out.symbol_bytes = o.field[D_SYMBOL].bytes
            good = self._depth(out)
        if good:
            out.kind = FEED_SNAPSHOT
        out.error = s.error
        return 0 if good else s.error.code
