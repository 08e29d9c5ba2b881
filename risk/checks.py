"""Each check of the gate as one pure function: `Reason.NONE` or why not.

No check reads a clock, shared memory or another check's state; the gate passes plain integers in. Prices and
quantities are units, money is 10^-8 of the quote currency, a limit of 0 is off.
"""

from __future__ import annotations

from shm.enums import BookState, InstrumentStatus, OrderFlags, OrderType, Reason, Side, TimeInForce

_NONE = Reason.NONE
_BUY, _SELL = int(Side.BUY), int(Side.SELL)
_LIMIT, _MARKET = int(OrderType.LIMIT), int(OrderType.MARKET)
_GTC = int(TimeInForce.GTC)
_POST_ONLY = int(OrderFlags.POST_ONLY)
_TRADING = int(InstrumentStatus.TRADING)
_LIVE = int(BookState.LIVE)
_BPS = 10_000
UNITS_MAX = 2**62


def check_shape(
    side: int, order_type: int, time_in_force: int, flags: int, price_units: int, quantity_units: int
) -> Reason:
    """An order must make sense by itself, and leave room in 64 bits."""
    if side != _BUY and side != _SELL:
        return Reason.BAD_INTENT
    if not 0 < quantity_units < UNITS_MAX or not 0 <= price_units < UNITS_MAX:
        return Reason.BAD_INTENT
    if not _GTC <= time_in_force <= 3:
        return Reason.BAD_INTENT
    if order_type == _LIMIT:
        if price_units == 0:
            return Reason.BAD_INTENT
        return Reason.BAD_INTENT if flags & _POST_ONLY and time_in_force != _GTC else _NONE
    # A market order has no price and can not rest, so nothing that only a resting order can do.
    if order_type != _MARKET or price_units or flags & _POST_ONLY:
        return Reason.BAD_INTENT
    return _NONE


def check_generation(generation: int, in_force: int, newest: int) -> Reason:
    """A decision may be one config generation behind the gate's, and never ahead of the newest made."""
    if generation + 1 < in_force or generation > newest:
        return Reason.GENERATION
    return _NONE


def check_status(status: int) -> Reason:
    """Only an instrument in TRADING takes new orders."""
    return _NONE if status == _TRADING else Reason.INSTRUMENT_NOT_TRADING


def check_tick(price_units: int, tick_size: int) -> Reason:
    """A price stands on the tick grid (a market order's 0 does)."""
    return Reason.PRICE_TICK if price_units % tick_size else _NONE


def check_quantity(quantity_units: int, lot_size: int, minimum: int, maximum: int) -> Reason:
    """A quantity stands on the lot grid and within the instrument's bounds (0 = no bound)."""
    if quantity_units % lot_size:
        return Reason.QUANTITY_LOT
    if quantity_units < minimum:
        return Reason.QUANTITY_MIN
    if maximum and quantity_units > maximum:
        return Reason.QUANTITY_MAX
    return _NONE


def check_order_size(quantity_units: int, notional_e8: int, limit_units: int, limit_e8: int) -> Reason:
    """One order stays within the limits for one order."""
    if (limit_units and quantity_units > limit_units) or (limit_e8 and notional_e8 > limit_e8):
        return Reason.ORDER_SIZE
    return _NONE


def check_notional_min(notional_e8: int, minimum_e8: int) -> Reason:
    """An order is worth at least the instrument's minimum."""
    return Reason.NOTIONAL_MIN if notional_e8 < minimum_e8 else _NONE


def check_intent_age(now_ns: int, decide_ns: int, limit_ns: int) -> Reason:
    """A decision is recent; one from the future (another clock) is refused too."""
    return Reason.INTENT_OLD if not 0 <= now_ns - decide_ns <= limit_ns else _NONE


def check_superseded(now_ns: int, publish_ns: int, limit_ns: int) -> Reason:
    """The record that caused a decision, since followed by newer ones, is recent (0 = caused by none)."""
    return Reason.INTENT_OLD if publish_ns and now_ns - publish_ns > limit_ns else _NONE


def check_open_orders(open_orders: int, limit: int) -> Reason:
    """One more order still fits the instrument's count of open orders."""
    return Reason.OPEN_ORDERS if limit and open_orders >= limit else _NONE


def is_reducing(side: int, quantity_units: int, position_units: int, open_same_side_units: int) -> bool:
    """Say whether an order, after all open orders of its side filled, still only reduces the position."""
    if side == _BUY:
        return quantity_units + open_same_side_units <= -position_units
    return quantity_units + open_same_side_units <= position_units


def check_position(side_e8: int, limit_e8: int) -> Reason:
    """The worst case of the order's own side (position + open + this order) stays within the limit."""
    return Reason.POSITION if limit_e8 and side_e8 > limit_e8 else _NONE


def check_exposure(total_e8: int, before_e8: int, after_e8: int, limit_e8: int) -> Reason:
    """All instruments together stay within the limit; what raises nothing passes even above it."""
    if limit_e8 and after_e8 > before_e8 and total_e8 - before_e8 + after_e8 > limit_e8:
        return Reason.EXPOSURE
    return _NONE


def check_certificate(cited_epoch: int, cited_live_id: int, epoch: int, live_id: int, state: int) -> Reason:
    """The book is still the one that was cited: same publisher, same proof, LIVE."""
    if epoch != cited_epoch:
        return Reason.BOOK_EPOCH
    if live_id != cited_live_id:
        return Reason.BOOK_LIVE_ID
    if state != _LIVE:
        return Reason.BOOK_NOT_LIVE
    return _NONE


def check_freshness(
    now_ns: int, alive_ns: int, data_ns: int, max_silence_ns: int, max_data_age_ns: int
) -> Reason:
    """The carrying stream spoke recently, and (unless off) this book was updated recently."""
    if now_ns - alive_ns > max_silence_ns:
        return Reason.BOOK_SILENT
    if max_data_age_ns and now_ns - data_ns > max_data_age_ns:
        return Reason.BOOK_OLD
    return _NONE


def check_band(side: int, price_units: int, best_bid: int, best_ask: int, band_bps: int) -> Reason:
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
    if side == _BUY:
        reference = best_ask or best_bid
        outside = price_units * _BPS > reference * (_BPS + band_bps)
    else:
        reference = best_bid or best_ask
        outside = price_units * _BPS < reference * (_BPS - band_bps)
    return Reason.PRICE_BAND if outside or not reference else _NONE
