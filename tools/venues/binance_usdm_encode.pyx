# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True, freethreading_compatible=False
"""Payloads of Binance USD-M Futures market streams, written straight into bytes.

Shapes: "Diff. Book Depth Streams", "Individual Symbol Book Ticker Streams", "Aggregate Trade Streams", "Mark Price
Stream", "Order Book" of the venue's USD-M documents; `trade` is undocumented there and follows recordings of 2024.
"""
from libc.stdint cimport int64_t, uint64_t

from tools.venues.encoding cimport (
    Encoder, put, put_decimal, put_number, put_price, put_text, put_unsigned, sim_best, sim_instrument, sim_level, sim_trade,
)

cdef enum:
    FUNDING_MS = 28800000
    MARK_DECIMALS = 8


cdef char* put_levels(char* p, const sim_instrument* info, const sim_level* levels, int count) noexcept:
    cdef int i
    p[0] = 91
    p += 1
    for i in range(count):
        if i:
            p[0] = 44
            p += 1
        p = put_text(p, b'["', 2)
        p = put_decimal(p, levels[i].price_units, info.price_decimals)
        p = put_text(p, b'","', 3)
        p = put_decimal(p, levels[i].quantity_units, info.quantity_decimals)
        p = put_text(p, b'"]', 2)
    p[0] = 93
    return p + 1


cdef char* put_head(char* p, const sim_instrument* info, const char* kind, int64_t now_ms, bint with_time) noexcept:
    p = put(p, b'{"e":"')
    p = put(p, kind)
    p = put(p, b'","E":')
    p = put_unsigned(p, <uint64_t> now_ms)
    if with_time:
        p = put(p, b',"T":')
        p = put_unsigned(p, <uint64_t> now_ms)
    p = put(p, b',"s":"')
    p = put_text(p, info.symbol, info.symbol_size)
    p[0] = 34
    return p + 1


cdef class BinanceUsdmEncoder(Encoder):
    """Payload writer of the simulated Binance USD-M venue."""

    cdef Py_ssize_t depth(self, char* out, const sim_instrument* info, int64_t now_ms, uint64_t first, uint64_t last,
                          uint64_t previous, const sim_level* bids, int bid_count, const sim_level* asks,
                          int ask_count) noexcept:
        cdef char* p = put_head(out, info, b"depthUpdate", now_ms, True)
        p = put_number(p, b',"U":', first)
        p = put_number(p, b',"u":', last)
        p = put_number(p, b',"pu":', previous)
        p = put(p, b',"b":')
        p = put_levels(p, info, bids, bid_count)
        p = put(p, b',"a":')
        p = put_levels(p, info, asks, ask_count)
        p[0] = 125
        return p + 1 - out

    cdef Py_ssize_t ticker(self, char* out, const sim_instrument* info, int64_t now_ms, uint64_t update_id,
                           const sim_best* best) noexcept:
        cdef char* p = put(out, b'{"e":"bookTicker","u":')
        p = put_unsigned(p, update_id)
        p = put(p, b',"s":"')
        p = put_text(p, info.symbol, info.symbol_size)
        p = put_price(p, b'","b":"', best.bid.price_units, info.price_decimals)
        p = put_price(p, b',"B":"', best.bid.quantity_units, info.quantity_decimals)
        p = put_price(p, b',"a":"', best.ask.price_units, info.price_decimals)
        p = put_price(p, b',"A":"', best.ask.quantity_units, info.quantity_decimals)
        p = put_number(p, b',"T":', <uint64_t> now_ms)
        p = put_number(p, b',"E":', <uint64_t> now_ms)
        p[0] = 125
        return p + 1 - out

    cdef Py_ssize_t aggregate_trade(self, char* out, const sim_instrument* info, int64_t now_ms,
                                    const sim_trade* trade) noexcept:
        cdef char* p = put(out, b'{"e":"aggTrade","E":')
        p = put_unsigned(p, <uint64_t> now_ms)
        p = put_number(p, b',"a":', <uint64_t> trade.aggregate_id)
        p = put(p, b',"s":"')
        p = put_text(p, info.symbol, info.symbol_size)
        p = put_price(p, b'","p":"', trade.price_units, info.price_decimals)
        p = put_price(p, b',"q":"', trade.quantity_units, info.quantity_decimals)
        p = put_number(p, b',"f":', <uint64_t> (trade.trade_id - trade.fills + 1))
        p = put_number(p, b',"l":', <uint64_t> trade.trade_id)
        p = put_number(p, b',"T":', <uint64_t> now_ms)
        p = put(p, b',"m":true}' if trade.buyer_is_maker else b',"m":false}')
        return p - out

    cdef Py_ssize_t trade(self, char* out, const sim_instrument* info, int64_t now_ms, const sim_trade* trade) noexcept:
        cdef char* p = put_head(out, info, b"trade", now_ms, True)
        p = put_number(p, b',"t":', <uint64_t> trade.trade_id)
        p = put_price(p, b',"p":"', trade.price_units, info.price_decimals)
        p = put_price(p, b',"q":"', trade.quantity_units, info.quantity_decimals)
        p = put(p, b',"X":"MARKET","m":true}' if trade.buyer_is_maker else b',"X":"MARKET","m":false}')
        return p - out

    cdef Py_ssize_t mark(self, char* out, const sim_instrument* info, int64_t now_ms, int64_t mid_units_x2) noexcept:
        cdef char* p = put_head(out, info, b"markPriceUpdate", now_ms, False)
        cdef int64_t mark = mid_units_x2
        cdef int decimals = info.price_decimals
        cdef int i
        # half of the sum, exactly: one decimal more carries the .5
        mark *= 5
        decimals += 1
        for i in range(decimals, MARK_DECIMALS):
            mark *= 10
            decimals += 1
        p = put_price(p, b',"p":"', mark, decimals)
        p = put_price(p, b',"i":"', mark, decimals)
        p = put_price(p, b',"P":"', mark, decimals)
        p = put(p, b',"r":"0.00010000","T":')
        p = put_unsigned(p, <uint64_t> ((now_ms // FUNDING_MS + 1) * FUNDING_MS))
        p[0] = 125
        return p + 1 - out

    cdef Py_ssize_t liquidation(self, char* out, const sim_instrument* info, int64_t now_ms,
                                const sim_trade* trade) noexcept:
        # "Liquidation Order Streams": S is the side of the order
        cdef char* p = put_number(out, b'{"e":"forceOrder","E":', <uint64_t> now_ms)
        p = put(p, b',"o":{"s":"')
        p = put_text(p, info.symbol, info.symbol_size)
        p = put(p, b'","S":"SELL","o":"LIMIT","f":"IOC"' if trade.buyer_is_maker
                else b'","S":"BUY","o":"LIMIT","f":"IOC"')
        p = put_price(p, b',"q":"', trade.quantity_units, info.quantity_decimals)
        p = put_price(p, b',"p":"', trade.price_units, info.price_decimals)
        p = put_price(p, b',"ap":"', trade.price_units, info.price_decimals)
        p = put(p, b',"X":"FILLED"')
        p = put_price(p, b',"l":"', trade.quantity_units, info.quantity_decimals)
        p = put_price(p, b',"z":"', trade.quantity_units, info.quantity_decimals)
        p = put_number(p, b',"T":', <uint64_t> now_ms)
        return put(p, b'}}') - out

    cdef Py_ssize_t snapshot(self, char* out, const sim_instrument* info, int64_t now_ms, uint64_t update_id,
                             const sim_level* bids, int bid_count, const sim_level* asks, int ask_count) noexcept:
        cdef char* p = put(out, b'{"lastUpdateId":')
        p = put_unsigned(p, update_id)
        p = put_number(p, b',"E":', <uint64_t> now_ms)
        p = put_number(p, b',"T":', <uint64_t> now_ms)
        p = put(p, b',"bids":')
        p = put_levels(p, info, bids, bid_count)
        p = put(p, b',"asks":')
        p = put_levels(p, info, asks, ask_count)
        p[0] = 125
        return p + 1 - out
