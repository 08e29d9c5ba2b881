# cython: language_level=3, cdivision=True
"""Each check of the gate as one pure function: 0 (`Reason.NONE`) or the number of the `Reason` why not.

No check reads a clock, shared memory or another check's state; the gate passes plain integers in. Prices and
quantities are units, money is 10^-8 of the quote currency and any size (a Python integer), a limit of 0 is off.
"""

from libc.stdint cimport int64_t, uint64_t

cdef extern from *:
    ctypedef long long int128 "__int128"

from shm.enums import BookState, InstrumentStatus, OrderFlags, OrderType, Reason, Side, TimeInForce

cdef int _BUY = int(Side.BUY), _SELL = int(Side.SELL)
cdef int _LIMIT = int(OrderType.LIMIT), _MARKET = int(OrderType.MARKET)
cdef int _GTC = int(TimeInForce.GTC), _FOK = int(TimeInForce.FOK)
cdef int _POST_ONLY = int(OrderFlags.POST_ONLY)
cdef int _TRADING = int(InstrumentStatus.TRADING)
cdef int _LIVE = int(BookState.LIVE)
cdef int64_t _BPS = 10_000
cdef int64_t _UNITS_MAX = 1LL << 62
UNITS_MAX = 2**62

cdef int _BAD_INTENT = int(Reason.BAD_INTENT), _GENERATION = int(Reason.GENERATION)
cdef int _NOT_TRADING = int(Reason.INSTRUMENT_NOT_TRADING), _TICK = int(Reason.PRICE_TICK)
cdef int _LOT = int(Reason.QUANTITY_LOT), _MIN = int(Reason.QUANTITY_MIN), _MAX = int(Reason.QUANTITY_MAX)
cdef int _SIZE = int(Reason.ORDER_SIZE), _NOTIONAL_MIN = int(Reason.NOTIONAL_MIN)
cdef int _OLD = int(Reason.INTENT_OLD), _OPEN_ORDERS = int(Reason.OPEN_ORDERS)
cdef int _POSITION = int(Reason.POSITION), _EXPOSURE = int(Reason.EXPOSURE)
cdef int _BOOK_EPOCH = int(Reason.BOOK_EPOCH), _BOOK_LIVE_ID = int(Reason.BOOK_LIVE_ID)
cdef int _NOT_LIVE = int(Reason.BOOK_NOT_LIVE), _SILENT = int(Reason.BOOK_SILENT)
cdef int _BOOK_OLD = int(Reason.BOOK_OLD), _BAND = int(Reason.PRICE_BAND)


cpdef int check_shape(
    int side, int order_type, int time_in_force, int flags, int64_t price_units, int64_t quantity_units
) noexcept:
    """An order must make sense by itself, and leave room in 64 bits."""
    if side != _BUY and side != _SELL:
        return _BAD_INTENT
    if not 0 < quantity_units < _UNITS_MAX or not 0 <= price_units < _UNITS_MAX:
        return _BAD_INTENT
    if not _GTC <= time_in_force <= _FOK:
        return _BAD_INTENT
    if order_type == _LIMIT:
        if price_units == 0:
            return _BAD_INTENT
        return _BAD_INTENT if flags & _POST_ONLY and time_in_force != _GTC else 0
    # A market order has no price and can not rest, so nothing that only a resting order can do.
    if order_type != _MARKET or price_units or flags & _POST_ONLY:
        return _BAD_INTENT
    return 0


cpdef int check_generation(uint64_t generation, uint64_t in_force, uint64_t newest) noexcept:
    """A decision may be one config generation behind the gate's, and never ahead of the newest made."""
    if generation > newest or generation + 1 < in_force:
        return _GENERATION
    return 0


cpdef int check_status(int status) noexcept:
    """Only an instrument in TRADING takes new orders."""
    return 0 if status == _TRADING else _NOT_TRADING


cpdef int check_tick(int64_t price_units, int64_t tick_size) noexcept:
    """A price stands on the tick grid (a market order's 0 does)."""
    return _TICK if price_units % tick_size else 0


cpdef int check_quantity(int64_t quantity_units, int64_t lot_size, int64_t minimum, int64_t maximum) noexcept:
    """A quantity stands on the lot grid and within the instrument's bounds (0 = no bound)."""
    if quantity_units % lot_size:
        return _LOT
    if quantity_units < minimum:
        return _MIN
    if maximum and quantity_units > maximum:
        return _MAX
    return 0


cpdef int check_order_size(
    int64_t quantity_units, object notional_e8, int64_t limit_units, object limit_e8
) except -1:
    """One order stays within the limits for one order."""
    if (limit_units and quantity_units > limit_units) or (limit_e8 and notional_e8 > limit_e8):
        return _SIZE
    return 0


cpdef int check_notional_min(object notional_e8, int64_t minimum_e8) except -1:
    """An order is worth at least the instrument's minimum."""
    return _NOTIONAL_MIN if notional_e8 < minimum_e8 else 0


cpdef int check_intent_age(int64_t now_ns, int64_t decide_ns, int64_t limit_ns) noexcept:
    """A decision is recent; one from the future (another clock) is refused too."""
    # A damaged stamp may be any number: the difference wraps instead of overflowing.
    cdef int64_t age_ns = <int64_t>(<uint64_t>now_ns - <uint64_t>decide_ns)
    return 0 if 0 <= age_ns <= limit_ns else _OLD


cpdef int check_superseded(int64_t now_ns, int64_t publish_ns, int64_t limit_ns) noexcept:
    """The record that caused a decision, since followed by newer ones, is recent (0 = caused by none)."""
    return _OLD if publish_ns and (publish_ns < 0 or now_ns - publish_ns > limit_ns) else 0


cpdef int check_open_orders(int64_t open_orders, int64_t limit) noexcept:
    """One more order still fits the instrument's count of open orders."""
    return _OPEN_ORDERS if limit and open_orders >= limit else 0


cpdef bint is_reducing(
    int side, object quantity_units, object position_units, object open_same_side_units
) except -1:
    """Say whether an order, after all open orders of its side filled, still only reduces the position."""
    if side == _BUY:
        return quantity_units + open_same_side_units <= -position_units
    return quantity_units + open_same_side_units <= position_units


cpdef int check_position(object side_e8, object limit_e8) except -1:
    """The worst case of the order's own side (position + open + this order) stays within the limit."""
    return _POSITION if limit_e8 and side_e8 > limit_e8 else 0


cpdef int check_exposure(object total_e8, object before_e8, object after_e8, object limit_e8) except -1:
    """All instruments together stay within the limit; what raises nothing passes even above it."""
    if limit_e8 and after_e8 > before_e8 and total_e8 - before_e8 + after_e8 > limit_e8:
        return _EXPOSURE
    return 0


cpdef int check_certificate(
    int64_t cited_epoch, int64_t cited_live_id, int64_t epoch, int64_t live_id, int state
) noexcept:
    """The book is still the one that was cited: same publisher, same proof, LIVE."""
    if epoch != cited_epoch:
        return _BOOK_EPOCH
    if live_id != cited_live_id:
        return _BOOK_LIVE_ID
    if state != _LIVE:
        return _NOT_LIVE
    return 0


cpdef int check_freshness(
    int64_t now_ns, int64_t alive_ns, int64_t data_ns, int64_t max_silence_ns, int64_t max_data_age_ns
) noexcept:
    """The carrying stream spoke recently, and (unless off) this book was updated recently."""
    if now_ns - alive_ns > max_silence_ns:
        return _SILENT
    if max_data_age_ns and now_ns - data_ns > max_data_age_ns:
        return _BOOK_OLD
    return 0


cpdef int check_band(
    int side, int64_t price_units, int64_t best_bid, int64_t best_ask, int64_t band_bps
) noexcept:
    """A limit price is not further through the opposite best than the band.

    Only the costly direction is bounded: a buy far above the market or a sell far below it gives money
    away, a deep resting order does not. Without an opposite side the own best serves; without both: refused.

    Args:
        side: `Side.BUY` or `Side.SELL`.
        price_units: the order's limit price.
        best_bid: best displayed bid price, 0 = none.
        best_ask: best displayed ask price, 0 = none.
        band_bps: the limit, 1 to 9999.
    """
    cdef int64_t reference
    cdef bint outside
    if side == _BUY:
        reference = best_ask or best_bid
        outside = <int128>price_units * _BPS > <int128>reference * (_BPS + band_bps)
    else:
        reference = best_bid or best_ask
        outside = <int128>price_units * _BPS < <int128>reference * (_BPS - band_bps)
    return _BAND if outside or not reference else 0
