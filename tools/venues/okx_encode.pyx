# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True, freethreading_compatible=False
"""Payloads of OKX v5 public channels, written straight into bytes.

Shapes: OKX API v5, "WS / Order book channel", "WS / Trades channel", "WS / All trades channel", "WS / Tickers channel",
"WS / Mark price channel", "WS / Index tickers channel", "WS / Funding rate channel", "WS / Liquidation orders channel",
"GET / Order book"; order of members, numbers without zeros at their end and the checksum 0 as in frames recorded in 2026.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from tools.venues.encoding cimport (
    Encoder, put, put_decimal, put_number, put_short, put_short_price, put_text, put_unsigned, sim_instrument, sim_level,
    sim_stats, sim_trade, sim_view,
)

# The channels of levels, in the order of a market's views.
CHANNELS = ("books", "books5", "bbo-tbt", "books-l2-tbt", "books50-l2-tbt")

cdef enum:
    IS_SWAP = 1
    SWAP_SUFFIX = 5     # "-SWAP"
    CHECKED_LEVELS = 25
    FUNDING_PERIOD_MS = 28800000

cdef const char* CHANNEL[5]
CHANNEL[0], CHANNEL[1], CHANNEL[2] = b"books", b"books5", b"bbo-tbt"
CHANNEL[3], CHANNEL[4] = b"books-l2-tbt", b"books50-l2-tbt"

cdef uint32_t[256] CRC_TABLE


cdef void make_table() noexcept:
    cdef uint32_t value, i
    cdef int bit
    for i in range(256):
        value = i
        for bit in range(8):
            value = (value >> 1) ^ (<uint32_t> 0xEDB88320 if value & 1 else 0)
        CRC_TABLE[i] = value

make_table()


cdef uint32_t checksum_level(uint32_t crc, const sim_instrument* info, const sim_level* level, bint first) noexcept:
    cdef char text[64]
    cdef char* p = text
    cdef char* q = text
    if not first:
        p = put(p, b":")
    p = put_short(p, level.price_units, info.price_decimals)
    p = put(p, b":")
    p = put_short(p, level.quantity_units, info.quantity_decimals)
    while q < p:
        crc = (crc >> 8) ^ CRC_TABLE[(crc ^ <unsigned char> q[0]) & 255]
        q += 1
    return crc


cdef int64_t checksum(const sim_instrument* info, const sim_view* view) noexcept:
    # "Checksum": up to 25 bids and asks in turns, price:size joined by ":", CRC-32 as a signed number
    cdef uint32_t crc = 0xFFFFFFFF
    cdef int i
    cdef bint first = True
    for i in range(CHECKED_LEVELS):
        if i < view.bid_count:
            crc = checksum_level(crc, info, &view.bids[i], first)
            first = False
        if i < view.ask_count:
            crc = checksum_level(crc, info, &view.asks[i], first)
            first = False
    return <int> (crc ^ <uint32_t> 0xFFFFFFFF)


cdef char* put_levels(char* p, const char* key, const sim_instrument* info, const sim_level* levels, int count) noexcept:
    cdef int i
    p = put(p, key)
    for i in range(count):
        if i:
            p[0] = 44
            p += 1
        p = put_text(p, b'["', 2)
        p = put_short(p, levels[i].price_units, info.price_decimals)
        p = put_text(p, b'","', 3)
        p = put_short(p, levels[i].quantity_units, info.quantity_decimals)
        p = put_text(p, b'","0","', 7)
        p = put_unsigned(p, <uint64_t> levels[i].orders)
        p = put_text(p, b'"]', 2)
    p[0] = 93
    return p + 1


cdef char* put_arg(char* p, const char* channel, const char* symbol, int size) noexcept:
    p = put(p, b'{"arg":{"channel":"')
    p = put(p, channel)
    p = put(p, b'","instId":"')
    p = put_text(p, symbol, size)
    return put(p, b'"},')


cdef char* put_time(char* p, const char* key, int64_t now_ms) noexcept:
    p = put_number(p, key, <uint64_t> now_ms)
    p[0] = 34
    return p + 1


cdef char* put_member(char* p, const char* key, const char* text, int size) noexcept:
    p = put(p, key)
    p = put_text(p, text, size)
    p[0] = 34
    return p + 1


cdef class OkxEncoder(Encoder):
    """Payload writer of the simulated OKX venue.

    with_checksum: books carry their CRC-32, as until 2026; else the number 0.
    """

    def __init__(self, bint with_checksum=False):
        self.with_checksum = with_checksum

    cdef Py_ssize_t view(self, char* out, const sim_instrument* info, int64_t now_ms, int number, const sim_view* view,
                         bint is_whole, const sim_level* bids, int bid_count, const sim_level* asks,
                         int ask_count) noexcept:
        cdef char* p
        cdef int64_t proof
        if number < 0:
            p = put(out, b'{"code":"0","msg":"","data":[{')
        else:
            p = put_arg(out, CHANNEL[number], info.symbol, info.symbol_size)
            if not view.whole:
                p = put(p, b'"action":"snapshot",' if is_whole else b'"action":"update",')
            p = put(p, b'"data":[{')
        p = put_levels(p, b'"asks":[', info, asks, ask_count)
        p = put_levels(p, b',"bids":[', info, bids, bid_count)
        if number == 1:
            p = put_member(p, b',"instId":"', info.symbol, info.symbol_size)
        p = put_time(p, b',"ts":"', now_ms)
        if number >= 0 and not view.whole:
            proof = checksum(info, view) if self.with_checksum else 0
            p = put(p, b',"checksum":')
            p = put_decimal(p, proof, 0)
        p = put_number(p, b',"seqId":', view.sequence)
        if number >= 0 and not view.whole:
            if is_whole:
                p = put(p, b',"prevSeqId":-1')
            else:
                p = put_number(p, b',"prevSeqId":', view.previous)
        return put(p, b'}]}') - out

    cdef Py_ssize_t trades(self, char* out, const sim_instrument* info, int64_t now_ms, uint64_t sequence,
                           const sim_trade* trades, int count, bint each_fill) noexcept:
        cdef char* p = put_arg(out, b"trades-all" if each_fill else b"trades", info.symbol, info.symbol_size)
        p = put_member(p, b'"data":[{"instId":"', info.symbol, info.symbol_size)
        p = put_time(p, b',"tradeId":"', trades.trade_id)
        p = put_short_price(p, b',"px":"', trades.price_units, info.price_decimals)
        p = put_short_price(p, b',"sz":"', trades.quantity_units, info.quantity_decimals)
        p = put(p, b',"side":"sell"' if trades.buyer_is_maker else b',"side":"buy"')
        p = put_time(p, b',"ts":"', now_ms)
        if not each_fill:
            p = put_time(p, b',"count":"', trades.fills)
        p = put(p, b',"source":"0"')
        if not each_fill:
            p = put_number(p, b',"seqId":', sequence)
        return put(p, b'}]}') - out

    cdef Py_ssize_t statistics(self, char* out, const sim_instrument* info, int64_t now_ms, const sim_stats* stats,
                               const sim_stats* sent) noexcept:
        cdef char* p
        cdef int d = info.price_decimals
        cdef double volume
        if (sent != NULL and sent.sequence == stats.sequence and sent.volume_units == stats.volume_units
                and sent.best.bid.price_units == stats.best.bid.price_units):
            return 0
        # of derivatives in the base currency, of spot in the quote currency
        volume = <double> stats.volume_units * info.contract_value
        p = put_arg(out, b"tickers", info.symbol, info.symbol_size)
        p = put(p, b'"data":[{"instType":"SWAP"' if info.category == IS_SWAP else b'"data":[{"instType":"SPOT"')
        p = put_member(p, b',"instId":"', info.symbol, info.symbol_size)
        p = put_short_price(p, b',"last":"', stats.last_price, d)
        p = put_short_price(p, b',"lastSz":"', stats.last_quantity, info.quantity_decimals)
        p = put_short_price(p, b',"askPx":"', stats.best.ask.price_units, d)
        p = put_short_price(p, b',"askSz":"', stats.best.ask.quantity_units, info.quantity_decimals)
        p = put_short_price(p, b',"bidPx":"', stats.best.bid.price_units, d)
        p = put_short_price(p, b',"bidSz":"', stats.best.bid.quantity_units, info.quantity_decimals)
        p = put_short_price(p, b',"open24h":"', stats.open_price, d)
        p = put_short_price(p, b',"high24h":"', stats.high_price, d)
        p = put_short_price(p, b',"low24h":"', stats.low_price, d)
        p = put_short_price(p, b',"sodUtc0":"', stats.open_price, d)
        p = put_short_price(p, b',"sodUtc8":"', stats.open_price, d)
        p = put_short_price(p, b',"volCcy24h":"', <int64_t> volume, info.quantity_decimals)
        p = put_short_price(p, b',"vol24h":"', stats.volume_units, info.quantity_decimals)
        p = put_time(p, b',"ts":"', now_ms)
        return put(p, b'}]}') - out

    cdef Py_ssize_t mark_price(self, char* out, const sim_instrument* info, int64_t now_ms,
                               const sim_stats* stats) noexcept:
        cdef char* p
        if info.category != IS_SWAP:
            return 0
        p = put_arg(out, b"mark-price", info.symbol, info.symbol_size)
        p = put_member(p, b'"data":[{"instType":"SWAP","instId":"', info.symbol, info.symbol_size)
        p = put_short_price(p, b',"markPx":"', stats.mark_price, info.price_decimals)
        p = put_time(p, b',"ts":"', now_ms)
        return put(p, b'}]}') - out

    cdef Py_ssize_t index_price(self, char* out, const sim_instrument* info, int64_t now_ms,
                                const sim_stats* stats) noexcept:
        cdef int size = info.symbol_size - (SWAP_SUFFIX if info.category == IS_SWAP else 0)
        cdef int d = info.price_decimals
        cdef char* p = put_arg(out, b"index-tickers", info.symbol, size)
        p = put_member(p, b'"data":[{"instId":"', info.symbol, size)
        p = put_short_price(p, b',"idxPx":"', stats.index_price, d)
        p = put_short_price(p, b',"high24h":"', stats.high_price, d)
        p = put_short_price(p, b',"low24h":"', stats.low_price, d)
        p = put_short_price(p, b',"open24h":"', stats.open_price, d)
        p = put_short_price(p, b',"sodUtc0":"', stats.open_price, d)
        p = put_short_price(p, b',"sodUtc8":"', stats.open_price, d)
        p = put_time(p, b',"ts":"', now_ms)
        return put(p, b'}]}') - out

    cdef Py_ssize_t funding(self, char* out, const sim_instrument* info, int64_t now_ms,
                            const sim_stats* stats) noexcept:
        cdef char* p
        if info.category != IS_SWAP:
            return 0
        p = put_arg(out, b"funding-rate", info.symbol, info.symbol_size)
        p = put(p, b'"data":[{"formulaType":"withRate"')
        p = put_short_price(p, b',"fundingRate":"', stats.funding_e8, 8)
        p = put_time(p, b',"fundingTime":"', stats.next_funding_ms)
        p = put_member(p, b',"impactValue":"20000","instId":"', info.symbol, info.symbol_size)
        p = put(p, b',"instType":"SWAP","interestRate":"0.0001","maxFundingRate":"0.00375","method":"current_period"'
                   b',"minFundingRate":"-0.00375","nextFundingRate":""')
        p = put_time(p, b',"nextFundingTime":"', stats.next_funding_ms + FUNDING_PERIOD_MS)
        p = put_short_price(p, b',"premium":"0.00001","settFundingRate":"', stats.funding_e8, 8)
        p = put(p, b',"settState":"settled"')
        p = put_time(p, b',"ts":"', now_ms)
        return put(p, b'}]}') - out

    cdef Py_ssize_t liquidation(self, char* out, const sim_instrument* info, int64_t now_ms,
                                const sim_trade* trade) noexcept:
        cdef char* p = put(out, b'{"arg":{"channel":"liquidation-orders","instType":"SWAP"},"data":[{"details":[{"bkLoss":"0"')
        cdef int size = info.symbol_size - SWAP_SUFFIX
        p = put_short_price(p, b',"bkPx":"', trade.price_units, info.price_decimals)
        p = put(p, b',"ccy":"","posSide":"long","side":"sell"' if trade.buyer_is_maker
                else b',"ccy":"","posSide":"short","side":"buy"')
        p = put_short_price(p, b',"sz":"', trade.quantity_units, info.quantity_decimals)
        p = put_time(p, b',"ts":"', now_ms)
        p = put_member(p, b'}],"instFamily":"', info.symbol, size)
        p = put_member(p, b',"instId":"', info.symbol, info.symbol_size)
        p = put_member(p, b',"instType":"SWAP","uly":"', info.symbol, size)
        return put(p, b'}]}') - out
