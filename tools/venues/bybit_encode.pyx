# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True, freethreading_compatible=False
"""Payloads of Bybit v5 public topics of linear and spot, written straight into bytes.

Shapes: Bybit API v5, "Websocket Stream / Public / Orderbook", "Trade", "Ticker", "All Liquidation", "Get Orderbook"; order of
members (linear: topic, type, ts; spot: topic, ts, type) and numbers (linear as wide as tick and step, spot without zeros at
their end) as in frames recorded in 2026.
"""
from libc.stdint cimport int64_t, uint64_t

from tools.venues.encoding cimport (
    Encoder, put, put_decimal, put_number, put_short, put_text, put_unsigned, sim_instrument, sim_level, sim_stats, sim_trade,
    sim_view,
)

cdef enum:
    IS_LINEAR = 1


cdef char* put_units(char* p, const sim_instrument* info, int64_t units, int decimals) noexcept:
    return put_decimal(p, units, decimals) if info.category == IS_LINEAR else put_short(p, units, decimals)


cdef char* put_quoted(char* p, const char* key, const sim_instrument* info, int64_t units, int decimals) noexcept:
    p = put(p, key)
    p = put_units(p, info, units, decimals)
    p[0] = 34
    return p + 1


cdef char* put_levels(char* p, const char* key, const sim_instrument* info, const sim_level* levels, int count) noexcept:
    cdef int i
    p = put(p, key)
    for i in range(count):
        if i:
            p[0] = 44
            p += 1
        p = put_text(p, b'["', 2)
        p = put_units(p, info, levels[i].price_units, info.price_decimals)
        p = put_text(p, b'","', 3)
        if levels[i].quantity_units == 0:
            p = put_text(p, b'0', 1)
        else:
            p = put_units(p, info, levels[i].quantity_units, info.quantity_decimals)
        p = put_text(p, b'"]', 2)
    p[0] = 93
    return p + 1


cdef char* put_topic(char* p, const char* name, const sim_instrument* info) noexcept:
    p = put(p, b'{"topic":"')
    p = put(p, name)
    p = put_text(p, info.symbol, info.symbol_size)
    p[0] = 34
    return p + 1


cdef char* put_head(char* p, const char* name, const sim_instrument* info, int64_t now_ms, bint is_whole) noexcept:
    p = put_topic(p, name, info)
    if info.category == IS_LINEAR:
        p = put(p, b',"type":"snapshot"' if is_whole else b',"type":"delta"')
        return put_number(p, b',"ts":', <uint64_t> now_ms)
    p = put_number(p, b',"ts":', <uint64_t> now_ms)
    return put(p, b',"type":"snapshot"' if is_whole else b',"type":"delta"')


cdef char* put_symbol(char* p, const char* key, const sim_instrument* info) noexcept:
    p = put(p, key)
    p = put_text(p, info.symbol, info.symbol_size)
    p[0] = 34
    return p + 1


cdef char* put_uuid(char* p, uint64_t number) noexcept:
    # an id of the shape of linear trades, the same for the same number
    cdef uint64_t half[2]
    cdef uint64_t z
    cdef int i
    cdef int digit
    for i in range(2):
        number += <uint64_t> 0x9E3779B97F4A7C15
        z = number
        z = (z ^ (z >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9
        z = (z ^ (z >> 27)) * <uint64_t> 0x94D049BB133111EB
        half[i] = z ^ (z >> 31)
    for i in range(32):
        if i == 8 or i == 12 or i == 16 or i == 20:
            p[0] = 45
            p += 1
        digit = <int> (half[i // 16] >> (60 - 4 * (i % 16))) & 15
        if i == 12:
            digit = 5
        p[0] = <char> (48 + digit if digit < 10 else 87 + digit)
        p += 1
    return p


# Names of the views, in the order of a market's views: linear and spot have the same numbers.
cdef const char* TOPIC[4]
TOPIC[0], TOPIC[1], TOPIC[2], TOPIC[3] = b"orderbook.1.", b"orderbook.50.", b"orderbook.200.", b"orderbook.1000."


cdef class BybitEncoder(Encoder):
    """Payload writer of the simulated Bybit venue, for linear (category 1) and spot (category 0)."""

    cdef bint joins_trades(self) noexcept:
        return True

    cdef Py_ssize_t view(self, char* out, const sim_instrument* info, int64_t now_ms, int number, const sim_view* view,
                         bint is_whole, const sim_level* bids, int bid_count, const sim_level* asks,
                         int ask_count) noexcept:
        cdef char* p
        if number < 0:
            p = put_symbol(out, b'{"retCode":0,"retMsg":"OK","result":{"s":"', info)
            p = put_levels(p, b',"b":[', info, bids, bid_count)
            p = put_levels(p, b',"a":[', info, asks, ask_count)
            p = put_number(p, b',"ts":', <uint64_t> now_ms)
            p = put_number(p, b',"u":', view.update)
            p = put_number(p, b',"seq":', view.sequence)
            p = put_number(p, b',"cts":', <uint64_t> now_ms)
            p = put_number(p, b'},"retExtInfo":{},"time":', <uint64_t> now_ms)
            return put(p, b'}') - out
        p = put_head(out, TOPIC[number], info, now_ms, is_whole)
        p = put_symbol(p, b',"data":{"s":"', info)
        p = put_levels(p, b',"b":[', info, bids, bid_count)
        p = put_levels(p, b',"a":[', info, asks, ask_count)
        p = put_number(p, b',"u":', view.update)
        p = put_number(p, b',"seq":', view.sequence)
        p = put_number(p, b'},"cts":', <uint64_t> now_ms)
        return put(p, b'}') - out

    cdef Py_ssize_t trades(self, char* out, const sim_instrument* info, int64_t now_ms, uint64_t sequence,
                           const sim_trade* trades, int count, bint each_fill) noexcept:
        cdef char* p = put_head(out, b"publicTrade.", info, now_ms, True)
        cdef int i
        p = put(p, b',"data":[')
        for i in range(count):
            if i:
                p = put(p, b',')
            p = self.put_trade(p, info, now_ms, sequence, &trades[i], i)
        return put(p, b']}') - out

    cdef char* put_trade(self, char* p, const sim_instrument* info, int64_t now_ms, uint64_t sequence,
                         const sim_trade* trade, int place) noexcept:
        cdef bint sells = trade.buyer_is_maker
        if info.category == IS_LINEAR:
            p = put_number(p, b'{"T":', <uint64_t> now_ms)
            p = put_symbol(p, b',"s":"', info)
            p = put(p, b',"S":"Sell"' if sells else b',"S":"Buy"')
            p = put_quoted(p, b',"v":"', info, trade.quantity_units, info.quantity_decimals)
            p = put_quoted(p, b',"p":"', info, trade.price_units, info.price_decimals)
            if place:
                p = put(p, b',"L":"MinusTick"' if sells else b',"L":"PlusTick"')
            else:
                p = put(p, b',"L":"ZeroMinusTick"' if sells else b',"L":"ZeroPlusTick"')
            p = put(p, b',"i":"')
            p = put_uuid(p, <uint64_t> trade.trade_id * 1000003 + <uint64_t> info.symbol[0])
            p = put(p, b'","BT":false,"RPI":false,"seq":')
            p = put_unsigned(p, sequence)
            return put(p, b'}')
        p = put_number(p, b'{"i":"22900000', <uint64_t> (10_000_000_000 + trade.trade_id))
        p = put_number(p, b'","T":', <uint64_t> now_ms)
        p = put_quoted(p, b',"p":"', info, trade.price_units, info.price_decimals)
        p = put_quoted(p, b',"v":"', info, trade.quantity_units, info.quantity_decimals)
        p = put(p, b',"S":"Sell"' if sells else b',"S":"Buy"')
        p = put_number(p, b',"seq":', sequence)
        p = put_symbol(p, b',"s":"', info)
        return put(p, b',"BT":false,"RPI":false}')

    cdef Py_ssize_t statistics(self, char* out, const sim_instrument* info, int64_t now_ms, const sim_stats* stats,
                               const sim_stats* sent) noexcept:
        cdef char* p
        cdef char* begin
        cdef bint full = sent == NULL
        if info.category != IS_LINEAR:
            if not full and sent.sequence == stats.sequence and sent.volume_units == stats.volume_units:
                return 0
            return self.put_spot(out, info, now_ms, stats) - out
        p = put_topic(out, b"tickers.", info)
        p = put(p, b',"type":"snapshot"' if full else b',"type":"delta"')
        p = put_symbol(p, b',"data":{"symbol":"', info)
        begin = p
        p = self.put_changed(p, info, stats, sent)
        if p == begin:
            return 0
        p = put_number(p, b'},"cs":', stats.sequence)
        p = put_number(p, b',"ts":', <uint64_t> now_ms)
        return put(p, b'}') - out

    cdef char* put_changed(self, char* p, const sim_instrument* info, const sim_stats* stats,
                           const sim_stats* sent) noexcept:
        # all members, or those that changed since `sent`
        cdef bint full = sent == NULL
        cdef int d = info.price_decimals
        cdef int q = info.quantity_decimals
        if full or sent.last_price != stats.last_price:
            p = put(p, b',"tickDirection":"PlusTick"' if stats.is_buy else b',"tickDirection":"MinusTick"')
            if full:
                p = put(p, b',"price24hPcnt":"0.001624"')
            p = put_quoted(p, b',"lastPrice":"', info, stats.last_price, d)
        if full:
            p = put_quoted(p, b',"prevPrice24h":"', info, stats.open_price, d)
        if full or sent.high_price != stats.high_price:
            p = put_quoted(p, b',"highPrice24h":"', info, stats.high_price, d)
        if full or sent.low_price != stats.low_price:
            p = put_quoted(p, b',"lowPrice24h":"', info, stats.low_price, d)
        if full:
            p = put_quoted(p, b',"prevPrice1h":"', info, stats.open_price, d)
        if full or sent.mark_price != stats.mark_price:
            p = put_quoted(p, b',"markPrice":"', info, stats.mark_price, d)
        if full or sent.index_price != stats.index_price:
            p = put_quoted(p, b',"indexPrice":"', info, stats.index_price, d)
        if full:
            p = put_quoted(p, b',"openInterest":"', info, stats.open_interest, q)
        if full or sent.volume_units != stats.volume_units:
            p = put_quoted(p, b',"turnover24h":"', info, turnover_e4(info, stats), 4)
            p = put_quoted(p, b',"volume24h":"', info, stats.volume_units, q)
        if full:
            p = put(p, b',"fundingIntervalHour":"8","fundingCap":"0.005"')
            p = put_number(p, b',"nextFundingTime":"', <uint64_t> stats.next_funding_ms)
            p = put(p, b'"')
        if full or sent.funding_e8 != stats.funding_e8:
            p = put(p, b',"fundingRate":"')
            p = put_short(p, stats.funding_e8, 8)
            p = put(p, b'"')
        if (full or sent.best.bid.price_units != stats.best.bid.price_units
                or sent.best.bid.quantity_units != stats.best.bid.quantity_units):
            p = put_quoted(p, b',"bid1Price":"', info, stats.best.bid.price_units, d)
            p = put_quoted(p, b',"bid1Size":"', info, stats.best.bid.quantity_units, q)
        if (full or sent.best.ask.price_units != stats.best.ask.price_units
                or sent.best.ask.quantity_units != stats.best.ask.quantity_units):
            p = put_quoted(p, b',"ask1Price":"', info, stats.best.ask.price_units, d)
            p = put_quoted(p, b',"ask1Size":"', info, stats.best.ask.quantity_units, q)
        if full:
            p = put(p, b',"preOpenPrice":"","preQty":"","curPreListingPhase":""')
        return p

    cdef char* put_spot(self, char* out, const sim_instrument* info, int64_t now_ms, const sim_stats* stats) noexcept:
        cdef int d = info.price_decimals
        cdef char* p = put_head(out, b"tickers.", info, now_ms, True)
        p = put_number(p, b',"cs":', stats.sequence)
        p = put_symbol(p, b',"data":{"symbol":"', info)
        p = put_quoted(p, b',"lastPrice":"', info, stats.last_price, d)
        p = put_quoted(p, b',"highPrice24h":"', info, stats.high_price, d)
        p = put_quoted(p, b',"lowPrice24h":"', info, stats.low_price, d)
        p = put_quoted(p, b',"prevPrice24h":"', info, stats.open_price, d)
        p = put_quoted(p, b',"volume24h":"', info, stats.volume_units, info.quantity_decimals)
        p = put_quoted(p, b',"turnover24h":"', info, turnover_e4(info, stats), 4)
        p = put(p, b',"price24hPcnt":"0.0015"')
        p = put_quoted(p, b',"usdIndexPrice":"', info, stats.index_price, d)
        return put(p, b'}}')

    cdef Py_ssize_t liquidation(self, char* out, const sim_instrument* info, int64_t now_ms,
                                const sim_trade* trade) noexcept:
        # "All Liquidation": S is the side of the position, Buy when a long one was ended
        cdef char* p = put_head(out, b"allLiquidation.", info, now_ms, True)
        p = put_number(p, b',"data":[{"T":', <uint64_t> now_ms)
        p = put_symbol(p, b',"s":"', info)
        p = put(p, b',"S":"Buy"' if trade.buyer_is_maker else b',"S":"Sell"')
        p = put_quoted(p, b',"v":"', info, trade.quantity_units, info.quantity_decimals)
        p = put_quoted(p, b',"p":"', info, trade.price_units, info.price_decimals)
        return put(p, b'}]}') - out


cdef int64_t turnover_e4(const sim_instrument* info, const sim_stats* stats) noexcept:
    return <int64_t> (stats.turnover * 1e4 * info.contract_value)
