# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""OKX public frames straight from bytes to one `feed_message`.

Source: OKX API v5, "WS / Order book channel", "WS / Trades channel", "WS / All trades channel", "WS / Tickers channel",
"WS / Mark price channel", "WS / Index tickers channel", "WS / Funding rate channel", "WS / Liquidation orders channel",
"GET / Order book"; `seqId` of trades and the checksum that is 0 are those of recorded frames. A frame is {"arg": {"channel",
"instId"}, "action", "data": [...]}; keys may come in any order, those not listed here are checked as JSON and read over.
"""

from libc.string cimport memcmp, memset

from feeds.message cimport (
    FEED_BBO, FEED_CONTROL, FEED_DEPTH, FEED_E_ITEMS, FEED_E_LEVELS, FEED_E_MEMORY, FEED_E_MISSING, FEED_E_PRICE,
    FEED_E_RANGE, FEED_E_SEQUENCE, FEED_E_SYMBOL, FEED_E_TYPE, FEED_E_UNRECOGNIZED, FEED_ITEMS_MAX, FEED_LIQUIDATION,
    FEED_SNAPSHOT, FEED_T_ARRAY, FEED_T_LEVELS, FEED_T_OBJECT, FEED_T_STRING, FEED_TICK_ASK, FEED_TICK_ASK_QUANTITY,
    FEED_TICK_BID, FEED_TICK_BID_QUANTITY, FEED_TICK_FUNDING, FEED_TICK_INDEX, FEED_TICK_MARK, FEED_TICK_RATE, FEED_TICKER,
    FEED_TRADE, FEED_TRAIT_CHECKSUM, FEED_TRAIT_INDEX, FEED_TRAIT_PADDED, FEED_TRAIT_SNAPSHOT, FEED_TRAIT_UNNUMBERED,
    feed_begin, feed_decimal, feed_enter, feed_fail, feed_field, feed_has, feed_is_text, feed_items, feed_key_add,
    feed_leave, feed_message_reset, feed_next_object, feed_object_reset, feed_over_value, feed_resume, feed_want,
    feed_want_decimal, feed_want_digits, feed_want_integer, feed_want_ms_text, feed_want_signed,
)

# Field numbers in the order of the keys below.
cdef enum:
    K_ARG = 1
    K_DATA
    K_ACTION
    K_EVENT
    K_CODE

cdef tuple OUTER_KEYS = (b"arg", b"data", b"action", b"event", b"code")

cdef enum:
    A_CHANNEL = 1
    A_SYMBOL

cdef tuple ARG_KEYS = (b"channel", b"instId")

cdef enum:
    D_BIDS = 1
    D_ASKS
    D_TIME
    D_CHECKSUM
    D_SEQUENCE
    D_PREVIOUS
    D_SYMBOL
    D_TRADE_ID
    D_PRICE
    D_SIZE
    D_SIDE
    D_BID
    D_BID_SIZE
    D_ASK
    D_ASK_SIZE
    D_MARK
    D_INDEX
    D_RATE
    D_FUNDING_TIME
    D_DETAILS

cdef tuple DATA_KEYS = (b"bids", b"asks", b"ts", b"checksum", b"seqId", b"prevSeqId", b"instId", b"tradeId", b"px", b"sz",
                        b"side", b"bidPx", b"bidSz", b"askPx", b"askSz", b"markPx", b"idxPx", b"fundingRate",
                        b"fundingTime", b"details")

cdef enum:
    L_PRICE = 1
    L_SIZE
    L_SIDE
    L_TIME

cdef tuple DETAIL_KEYS = (b"bkPx", b"sz", b"side", b"ts")

cdef enum:
    CH_OTHER = 0
    CH_DEPTH  # whole books and updates
    CH_WHOLE  # whole books of a few levels only
    CH_BBO
    CH_TRADES
    CH_TICKER
    CH_INDEX
    CH_LIQUIDATIONS

cdef enum:
    LEVEL_EXTRA = 2  # behind price and quantity: a field that is always "0", and the number of orders


# The names must outlive every keymap that points to their bytes.
cdef void add_keys(feed_keymap *map, tuple names):
    cdef bytes name
    memset(map, 0, sizeof(feed_keymap))
    for name in names:
        feed_key_add(map, <const char *>name)


cdef class OkxDecoder(Decoder):
    """Decoder of the venue's public channels and of its REST order book."""

    def __cinit__(self):
        add_keys(&self.outer_map, OUTER_KEYS)
        add_keys(&self.arg_map, ARG_KEYS)
        add_keys(&self.data_map, DATA_KEYS)
        add_keys(&self.detail_map, DETAIL_KEYS)
        memset(&self.outer, 0, sizeof(feed_object))
        memset(&self.arg, 0, sizeof(feed_object))
        memset(&self.data, 0, sizeof(feed_object))
        memset(&self.detail, 0, sizeof(feed_object))
        self.outer_map.nested_field = K_ARG
        self.data_map.level_field[0] = D_BIDS
        self.data_map.level_field[1] = D_ASKS
        self.data_map.extra = LEVEL_EXTRA
        self.has_checksum = True

    cdef int decode(self, const char *p, Py_ssize_t n, feed_message *out) noexcept nogil:
        cdef feed_scan *s = &self.scan
        cdef bint good
        feed_message_reset(out)
        good = feed_begin(&self.scratch, s, p, n)
        if good:
            out.text = s.begin
            out.text_bytes = <uint32_t>n
            if n == 4 and memcmp(s.begin, "pong", 4) == 0:
                out.kind = FEED_CONTROL  # "Connect": the answer to the text "ping" is the text "pong"
            else:
                good = self._frame(out)
        out.error = s.error
        return 0 if good else s.error.code

    cdef bint _frame(self, feed_message *out) noexcept nogil:
        cdef feed_scan *s = &self.scan
        cdef feed_object *o = &self.outer
        cdef const char *q
        cdef const char *late = NULL
        cdef int stopped
        self.channel = CH_OTHER
        feed_object_reset(o, NULL, NULL)
        feed_object_reset(&self.arg, NULL, NULL)
        feed_object_reset(&self.data, self.scratch.levels[0], self.scratch.levels[1])
        q = feed_enter(s, &self.outer_map, o, &self.arg_map, &self.arg, K_DATA, &stopped)
        if q != NULL and stopped:
            if feed_has(o, K_ARG):
                q = self._data(q, out)
            else:
                late = q  # what it means is said behind it
                q = feed_over_value(s, q)
            if q != NULL:
                q = feed_resume(s, q, &self.outer_map, o, &self.arg_map, &self.arg)
        if q == NULL or not feed_leave(s, q):
            return False
        if late != NULL and feed_has(o, K_ARG) and self._data(late, out) == NULL:
            return False
        if stopped and feed_has(o, K_ARG):
            return self._finish_depth(out) if out.kind == FEED_DEPTH else True
        if feed_has(o, K_EVENT) or feed_has(o, K_CODE):
            out.kind = FEED_CONTROL
            return True
        feed_fail(s, FEED_E_UNRECOGNIZED, s.begin, "message")
        return False

    cdef int _find_channel(self) noexcept nogil:
        cdef feed_scan *s = &self.scan
        cdef const feed_field *f = &self.arg.field[A_CHANNEL]
        if feed_is_text(s, f, "books") or feed_is_text(s, f, "books-l2-tbt") or feed_is_text(s, f, "books50-l2-tbt"):
            return CH_OTHER if self.is_other_depth(s.begin + f.offset, f.bytes) else CH_DEPTH
        if feed_is_text(s, f, "trades") or feed_is_text(s, f, "trades-all"):
            return CH_TRADES
        if feed_is_text(s, f, "bbo-tbt"):
            return CH_BBO
        if feed_is_text(s, f, "books5"):
            return CH_OTHER if self.is_other_depth(s.begin + f.offset, f.bytes) else CH_WHOLE
        if feed_is_text(s, f, "tickers") or feed_is_text(s, f, "mark-price") or feed_is_text(s, f, "funding-rate"):
            return CH_TICKER
        if feed_is_text(s, f, "index-tickers"):
            return CH_INDEX
        return CH_LIQUIDATIONS if feed_is_text(s, f, "liquidation-orders") else CH_OTHER

    cdef const char *_data(self, const char *p, feed_message *out) noexcept nogil:
        """Reads the list at `p` by what the channel says; returns the position behind it."""
        cdef feed_scan *s = &self.scan
        cdef int done = 0
        cdef int first = 1
        if not (feed_want(s, &self.outer_map, &self.outer, K_ARG, FEED_T_OBJECT)
                and feed_want(s, &self.arg_map, &self.arg, A_CHANNEL, FEED_T_STRING)):
            return NULL
        self.channel = self._find_channel()
        if self.channel == CH_OTHER:
            out.kind = FEED_CONTROL
            return feed_over_value(s, p)
        if self.channel != CH_LIQUIDATIONS:
            if not feed_want(s, &self.arg_map, &self.arg, A_SYMBOL, FEED_T_STRING):
                return NULL
            out.symbol = s.begin + self.arg.field[A_SYMBOL].offset
            out.symbol_bytes = self.arg.field[A_SYMBOL].bytes
        while True:
            p = feed_next_object(s, p, first, &self.data_map, &self.data, 2, &done)
            if p == NULL:
                return NULL
            if done:
                break
            if first == 0 and self.channel != CH_TRADES and self.channel != CH_LIQUIDATIONS:
                return feed_fail(s, FEED_E_ITEMS, p, "data")
            if not self._element(out):
                return NULL
            first = 0
        if first:
            return feed_fail(s, FEED_E_MISSING, p, "data")
        return p

    cdef bint _element(self, feed_message *out) noexcept nogil:
        cdef feed_scan *s = &self.scan
        cdef const feed_field *f = &self.data.field[D_SYMBOL]
        if self.channel == CH_LIQUIDATIONS:
            return self._liquidations(out)
        if feed_has(&self.data, D_SYMBOL):
            if not feed_want(s, &self.data_map, &self.data, D_SYMBOL, FEED_T_STRING):
                return False
            if f.bytes != out.symbol_bytes or memcmp(s.begin + f.offset, out.symbol, f.bytes) != 0:
                feed_fail(s, FEED_E_SYMBOL, s.begin + f.offset, "instId")
                return False
        if not feed_want_ms_text(s, &self.data_map, &self.data, D_TIME, &out.venue_utc_ns):
            return False
        if self.channel == CH_DEPTH or self.channel == CH_WHOLE:
            return self._depth(out)
        if self.channel == CH_TRADES:
            return self._trade(out)
        if self.channel == CH_BBO:
            return self._bbo(out)
        return self._ticker(out)

    cdef bint _depth(self, feed_message *out) noexcept nogil:
        cdef feed_scan *s = &self.scan
        cdef feed_object *o = &self.data
        cdef int64_t checksum = 0
        out.kind = FEED_DEPTH
        if not (feed_want(s, &self.data_map, o, D_BIDS, FEED_T_LEVELS)
                and feed_want(s, &self.data_map, o, D_ASKS, FEED_T_LEVELS)):
            return False
        out.levels[0] = self.scratch.levels[0]
        out.levels[1] = self.scratch.levels[1]
        out.level_count[0] = o.level_count[0]
        out.level_count[1] = o.level_count[1]
        out.level_field[0] = "bids"
        out.level_field[1] = "asks"
        if s.padded:
            out.traits |= FEED_TRAIT_PADDED
        if feed_has(o, D_CHECKSUM):
            if not feed_want_signed(s, &self.data_map, o, D_CHECKSUM, &checksum):
                return False
            if checksum < -2147483648 or checksum > 2147483647:
                feed_fail(s, FEED_E_RANGE, s.begin + o.field[D_CHECKSUM].offset, "checksum")
                return False
            if checksum != 0:  # withdrawn since mid-2026: always 0
                out.traits |= FEED_TRAIT_CHECKSUM
                out.checksum = <int>checksum
        if not feed_has(o, D_SEQUENCE) and (checksum != 0 or self.channel == CH_WHOLE):
            # Recorded before there were sequences: the checksum, or being whole, proves, and the time orders.
            out.traits |= FEED_TRAIT_UNNUMBERED
            out.last_sequence = out.venue_utc_ns // 1000000
            return True
        if not feed_want_integer(s, &self.data_map, o, D_SEQUENCE, &out.last_sequence):
            return False
        out.first_sequence = out.last_sequence
        if self.channel == CH_WHOLE:
            return True
        return feed_want_signed(s, &self.data_map, o, D_PREVIOUS, &out.previous_sequence)

    cdef bint _finish_depth(self, feed_message *out) noexcept nogil:
        """Says whether the depth is a whole book, once the frame was read to its end."""
        cdef feed_scan *s = &self.scan
        cdef const feed_field *action = &self.outer.field[K_ACTION]
        if self.channel == CH_WHOLE:
            out.traits |= FEED_TRAIT_SNAPSHOT
            return True
        if not feed_want(s, &self.outer_map, &self.outer, K_ACTION, FEED_T_STRING):
            return False
        if feed_is_text(s, action, "snapshot"):
            out.traits |= FEED_TRAIT_SNAPSHOT
            out.previous_sequence = 0
            return True
        if not feed_is_text(s, action, "update"):
            feed_fail(s, FEED_E_UNRECOGNIZED, s.begin + action.offset, "action")
            return False
        if out.previous_sequence < 0:
            # -1 is a snapshot's: an update behind nothing proves nothing.
            feed_fail(s, FEED_E_SEQUENCE, s.begin + self.data.field[D_PREVIOUS].offset, "prevSeqId")
            return False
        return True

    cdef bint _bbo(self, feed_message *out) noexcept nogil:
        cdef feed_scan *s = &self.scan
        cdef feed_object *o = &self.data
        cdef feed_decimal *value
        cdef int side
        out.kind = FEED_BBO
        if not (feed_want(s, &self.data_map, o, D_BIDS, FEED_T_LEVELS)
                and feed_want(s, &self.data_map, o, D_ASKS, FEED_T_LEVELS)):
            return False
        if feed_has(o, D_SEQUENCE) and not feed_want_integer(s, &self.data_map, o, D_SEQUENCE, &out.last_sequence):
            return False
        for side in range(2):
            if o.level_count[side] > 1:
                feed_fail(s, FEED_E_LEVELS, s.begin + o.field[D_BIDS + side].offset, "bids" if side == 0 else "asks")
                return False
            value = &out.value[2 * side]
            memset(value, 0, 2 * sizeof(feed_decimal))
            value[0].field = value[1].field = "bids" if side == 0 else "asks"
            if o.level_count[side]:
                value[0].mantissa = o.levels[side].price
                value[0].decimals = o.levels[side].price_decimals
                value[1].mantissa = o.levels[side].quantity
                value[1].decimals = o.levels[side].quantity_decimals
                value[0].offset = value[1].offset = o.levels[side].offset
        out.value_count = 4
        return True

    cdef feed_item *_new_item(self, feed_message *out) noexcept nogil:
        cdef feed_item *item
        out.items = feed_items(&self.scratch)
        if out.items == NULL or out.item_count == FEED_ITEMS_MAX:
            feed_fail(&self.scan, FEED_E_ITEMS if out.items != NULL else FEED_E_MEMORY, self.scan.begin, "data")
            return NULL
        item = &out.items[out.item_count]
        memset(item, 0, sizeof(feed_item))
        out.item_count += 1
        return item

    cdef bint _side(self, const feed_keymap *map, const feed_object *o, uint32_t number, feed_item *item) noexcept nogil:
        cdef feed_scan *s = &self.scan
        if not feed_want(s, map, o, number, FEED_T_STRING):
            return False
        if feed_is_text(s, &o.field[number], "buy"):
            item.side = 1
        elif feed_is_text(s, &o.field[number], "sell"):
            item.side = 2
        else:
            feed_fail(s, FEED_E_TYPE, s.begin + o.field[number].offset, "side")
            return False
        return True

    cdef bint _trade(self, feed_message *out) noexcept nogil:
        cdef feed_scan *s = &self.scan
        cdef feed_object *o = &self.data
        cdef feed_item *item = self._new_item(out)
        out.kind = FEED_TRADE
        if item == NULL or not (
                feed_want_digits(s, &self.data_map, o, D_TRADE_ID, &item.trade_id)
                and feed_want_decimal(s, &self.data_map, o, D_PRICE, 0, &item.price)
                and feed_want_decimal(s, &self.data_map, o, D_SIZE, 0, &item.quantity)
                and self._side(&self.data_map, o, D_SIDE, item)):
            return False
        if item.price.mantissa == 0 or item.quantity.mantissa == 0:
            feed_fail(s, FEED_E_PRICE, s.begin + (item.price.offset if item.price.mantissa == 0 else item.quantity.offset),
                      "px" if item.price.mantissa == 0 else "sz")
            return False
        item.symbol = out.symbol
        item.symbol_bytes = out.symbol_bytes
        item.venue_utc_ns = out.venue_utc_ns
        if feed_has(o, D_SEQUENCE):
            return feed_want_integer(s, &self.data_map, o, D_SEQUENCE, &out.last_sequence)
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
        if self.channel == CH_INDEX:
            out.traits |= FEED_TRAIT_INDEX
        elif self.with_ticker_bbo and not (
                self._tick(out, FEED_TICK_BID, D_BID) and self._tick(out, FEED_TICK_BID_QUANTITY, D_BID_SIZE)
                and self._tick(out, FEED_TICK_ASK, D_ASK) and self._tick(out, FEED_TICK_ASK_QUANTITY, D_ASK_SIZE)):
            return False
        if not (self._tick(out, FEED_TICK_MARK, D_MARK) and self._tick(out, FEED_TICK_INDEX, D_INDEX)
                and self._tick(out, FEED_TICK_RATE, D_RATE)):
            return False
        if feed_has(&self.data, D_FUNDING_TIME):
            if not feed_want_ms_text(s, &self.data_map, &self.data, D_FUNDING_TIME, &out.next_funding_utc_ns):
                return False
            out.value_mask |= 1u << FEED_TICK_FUNDING
        return True

    cdef bint _liquidations(self, feed_message *out) noexcept nogil:
        cdef feed_scan *s = &self.scan
        cdef feed_object *o = &self.detail
        cdef feed_item *item
        cdef const char *p
        cdef int done = 0
        cdef int first = 1
        out.kind = FEED_LIQUIDATION
        if not (feed_want(s, &self.data_map, &self.data, D_SYMBOL, FEED_T_STRING)
                and feed_want(s, &self.data_map, &self.data, D_DETAILS, FEED_T_ARRAY)):
            return False
        p = s.begin + self.data.field[D_DETAILS].offset
        while True:
            p = feed_next_object(s, p, first, &self.detail_map, o, 4, &done)
            if p == NULL:
                return False
            if done:
                return True
            item = self._new_item(out)
            if item == NULL or not (
                    feed_want_decimal(s, &self.detail_map, o, L_PRICE, 0, &item.price)
                    and feed_want_decimal(s, &self.detail_map, o, L_SIZE, 0, &item.quantity)
                    and self._side(&self.detail_map, o, L_SIDE, item)
                    and feed_want_ms_text(s, &self.detail_map, o, L_TIME, &item.venue_utc_ns)):
                return False
            item.symbol = s.begin + self.data.field[D_SYMBOL].offset
            item.symbol_bytes = self.data.field[D_SYMBOL].bytes
            out.venue_utc_ns = item.venue_utc_ns
            first = 0

    cdef int decode_snapshot(self, const char *p, Py_ssize_t n, feed_message *out) noexcept nogil:
        """Reads the answer of GET /api/v5/market/books: {"code":"0","data":[{"asks","bids","ts","seqId"}]}."""
        cdef feed_scan *s = &self.scan
        cdef feed_object *o = &self.data
        cdef const char *q = NULL
        cdef int stopped = 0
        cdef int done = 0
        cdef bint good
        feed_message_reset(out)
        feed_object_reset(&self.outer, NULL, NULL)
        feed_object_reset(o, self.scratch.levels[0], self.scratch.levels[1])
        if feed_begin(&self.scratch, s, p, n):
            out.text = s.begin
            out.text_bytes = <uint32_t>n
            q = feed_enter(s, &self.outer_map, &self.outer, NULL, NULL, K_DATA, &stopped)
        if q != NULL and not stopped:
            q = feed_fail(s, FEED_E_MISSING, s.end, "data")
        if q != NULL:
            q = feed_next_object(s, q, 1, &self.data_map, o, 2, &done)
            if q != NULL and done:
                q = feed_fail(s, FEED_E_MISSING, q, "data")
        good = (q != NULL
                and feed_want_ms_text(s, &self.data_map, o, D_TIME, &out.venue_utc_ns)
                and feed_want(s, &self.data_map, o, D_BIDS, FEED_T_LEVELS)
                and feed_want(s, &self.data_map, o, D_ASKS, FEED_T_LEVELS)
                and (not feed_has(o, D_SEQUENCE)
                     or feed_want_integer(s, &self.data_map, o, D_SEQUENCE, &out.last_sequence)))
        if good:
            out.level_count[0] = o.level_count[0]
            out.level_count[1] = o.level_count[1]
            q = feed_next_object(s, q, 0, &self.data_map, o, 2, &done)
            if q != NULL and not done:
                q = feed_fail(s, FEED_E_ITEMS, q, "data")
            if q != NULL:
                q = feed_resume(s, q, &self.outer_map, &self.outer, NULL, NULL)
            good = q != NULL and feed_leave(s, q)
        if good:
            out.kind = FEED_SNAPSHOT
            out.levels[0] = self.scratch.levels[0]
            out.levels[1] = self.scratch.levels[1]
            out.level_field[0] = "bids"
            out.level_field[1] = "asks"
        out.error = s.error
        return 0 if good else s.error.code
