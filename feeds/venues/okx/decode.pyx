# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""OKX public frames straight from bytes to one `feed_message`.

Source: OKX API v5, "WS / Order book channel", "WS / Trades channel", "WS / All trades channel", "WS / Tickers channel",
"WS / Mark price channel", "WS / Index tickers channel", "WS / Funding rate channel", "WS / Liquidation orders channel",
"GET / Order book"; `seqId` of trades and the checksum that is 0 are those of recorded frames. A frame is {"arg": {"channel",
"instId"}, "action", "data": [...]}; keys may come in any order, those not listed here are checked as JSON and read over.
"""

from libc.stdint cimport INT64_MAX
from libc.string cimport memcmp, memset

from feeds.message cimport (
    FEED_BBO, FEED_CONTROL, FEED_DEPTH, FEED_E_ITEMS, FEED_E_LEVELS, FEED_E_MEMORY, FEED_E_MISSING,
    FEED_E_PRICE, FEED_E_RANGE, FEED_E_SEQUENCE, FEED_E_SYMBOL, FEED_E_TYPE, FEED_E_UNRECOGNIZED,
    FEED_ITEMS_MAX, FEED_LIQUIDATION, FEED_SNAPSHOT, FEED_S_ASKS, FEED_S_BIDS, FEED_S_DIGITS, FEED_S_INTEGER,
    FEED_S_SIGNED, FEED_S_STRING, FEED_TICKER, FEED_TICK_ASK, FEED_TICK_ASK_QUANTITY, FEED_TICK_BID,
    FEED_TICK_BID_QUANTITY, FEED_TICK_FUNDING, FEED_TICK_INDEX, FEED_TICK_MARK, FEED_TICK_RATE, FEED_TRADE,
    FEED_TRAIT_CHECKSUM, FEED_TRAIT_INDEX, FEED_TRAIT_PADDED, FEED_TRAIT_SNAPSHOT, FEED_TRAIT_UNNUMBERED,
    FEED_T_ARRAY, FEED_T_LEVELS, FEED_T_OBJECT, FEED_T_STRING, feed_begin, feed_decimal, feed_enter,
    feed_fail, feed_field, feed_has, feed_is_text, feed_items, feed_key_add, feed_leave, feed_message_reset,
    feed_next_object, feed_object_reset, feed_over_value, feed_resume, feed_scan_restart, feed_shape_learn,
    feed_shape_read, feed_slot, feed_values, feed_want, feed_want_decimal, feed_want_digits,
    feed_want_integer, feed_want_ms_text, feed_want_signed,
)

# The numbers of these keys stand in decode.pxd, in this order.
cdef tuple OUTER_KEYS = (b"arg", b"data", b"action", b"event", b"code")

cdef tuple ARG_KEYS = (b"channel", b"instId")

cdef tuple DATA_KEYS = (b"bids", b"asks", b"ts", b"checksum", b"seqId", b"prevSeqId", b"instId", b"tradeId", b"px", b"sz",
                        b"side", b"bidPx", b"bidSz", b"askPx", b"askSz", b"markPx", b"idxPx", b"fundingRate",
                        b"fundingTime", b"details")

cdef tuple DETAIL_KEYS = (b"bkPx", b"sz", b"side", b"ts")

cdef int64_t MS_MAX = INT64_MAX // 1000000


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
                good = self._as_last(out)
                if not good:
                    good = self._frame(out)
                    if good and out.kind == FEED_DEPTH:
                        self._learn(out)
        out.error = s.error
        return 0 if good else s.error.code

    cdef bint _as_last(self, feed_message *out) noexcept nogil:
        """Reads an update that is written as the last one was; False = it is not, and nothing is said about it."""
        cdef feed_scan *s = &self.scan
        cdef feed_values *v = &self.values
        cdef uint32_t has = self.shape.has
        cdef int64_t checksum = 0
        if self.shape.count == 0 or not feed_shape_read(&self.shape, s, self.scratch.levels, v):
            return False
        if has >> V_CHECKSUM & 1:
            checksum = v.number[V_CHECKSUM]
        if (v.number[V_TIME] > MS_MAX or checksum < CHECKSUM_MIN or checksum > CHECKSUM_MAX
                or (v.number[V_PREVIOUS] < 0 if has >> V_SEQUENCE & 1 else checksum == 0)):
            feed_scan_restart(s)  # what is wrong with it is found key by key
            return False
        out.symbol = v.text
        out.symbol_bytes = v.text_bytes
        out.venue_utc_ns = v.number[V_TIME] * 1000000
        self._set_levels(out, v.level_count)
        self._set_checksum(out, checksum)
        if has >> V_SEQUENCE & 1:
            out.first_sequence = out.last_sequence = v.number[V_SEQUENCE]
            out.previous_sequence = v.number[V_PREVIOUS]
        else:
            out.traits |= FEED_TRAIT_UNNUMBERED
            out.last_sequence = v.number[V_TIME]
        return True

    cdef void _learn(self, const feed_message *out) noexcept nogil:
        """Learns how an update is written. Not of one that names its instrument twice: the two would have to be compared."""
        cdef feed_object *o = &self.data
        cdef feed_slot slots[7]
        cdef uint32_t count = 4
        if self.channel != CH_DEPTH or out.traits & FEED_TRAIT_SNAPSHOT or feed_has(o, D_SYMBOL):
            return
        slots[0] = feed_slot(FEED_S_STRING, V_SYMBOL, &self.arg.field[A_SYMBOL])
        slots[1] = feed_slot(FEED_S_DIGITS, V_TIME, &o.field[D_TIME])
        slots[2] = feed_slot(FEED_S_BIDS, V_BIDS, &o.field[D_BIDS])
        slots[3] = feed_slot(FEED_S_ASKS, V_ASKS, &o.field[D_ASKS])
        if feed_has(o, D_CHECKSUM):
            slots[count] = feed_slot(FEED_S_SIGNED, V_CHECKSUM, &o.field[D_CHECKSUM])
            count += 1
        if feed_has(o, D_SEQUENCE):
            slots[count] = feed_slot(FEED_S_INTEGER, V_SEQUENCE, &o.field[D_SEQUENCE])
            slots[count + 1] = feed_slot(FEED_S_SIGNED, V_PREVIOUS, &o.field[D_PREVIOUS])
            count += 2
        feed_shape_learn(&self.shape, &self.scan, slots, count, LEVEL_EXTRA)

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
        self._set_levels(out, o.level_count)
        if feed_has(o, D_CHECKSUM):
            if not feed_want_signed(s, &self.data_map, o, D_CHECKSUM, &checksum):
                return False
            if checksum < CHECKSUM_MIN or checksum > CHECKSUM_MAX:
                feed_fail(s, FEED_E_RANGE, s.begin + o.field[D_CHECKSUM].offset, "checksum")
                return False
            self._set_checksum(out, checksum)
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

    cdef void _set_levels(self, feed_message *out, const uint32_t *count) noexcept nogil:
        out.kind = FEED_DEPTH
        out.levels[0] = self.scratch.levels[0]
        out.levels[1] = self.scratch.levels[1]
        out.level_count[0] = count[0]
        out.level_count[1] = count[1]
        out.level_field[0] = "bids"
        out.level_field[1] = "asks"
        if self.scan.padded:
            out.traits |= FEED_TRAIT_PADDED

    cdef void _set_checksum(self, feed_message *out, int64_t checksum) noexcept nogil:
        if checksum != 0:  # withdrawn since mid-2026: always 0
            out.traits |= FEED_TRAIT_CHECKSUM
            out.checksum = <int>checksum

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
