"""Order type, time in force and post-only in one word, as OKX and Bybit have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from exec.errors import OrderError
from exec.order import Order
from shm.enums import OrderFlags, OrderType, TimeInForce

_POST_ONLY = int(OrderFlags.POST_ONLY)
_MARKET, _LIMIT = int(OrderType.MARKET), int(OrderType.LIMIT)


class TypeWords(NamedTuple):
    """A venue's words; `limits` by time in force."""

    market: str
    post_only: str
    limits: Mapping[int, str]


def type_word(order: Order, words: TypeWords) -> str:
    """Return a venue's word for what kind of order this is.

    Raises:
        OrderError: flags, type or time in force that the venue has no form for.
    """
    if order.order_type == _MARKET:
        if order.flags & _POST_ONLY:
            raise OrderError(f"{order!r}: flags: a market order can not be post-only")
        # Bybit's "Place Order": market orders are IOC whatever is said, so fill-or-kill would be another one.
        if order.time_in_force == TimeInForce.FOK:
            raise OrderError(f"{order!r}: time_in_force: a market order can not be fill-or-kill")
        return words.market
    if order.order_type != _LIMIT:
        raise OrderError(f"{order!r}: order_type {order.order_type} has no form at this venue")
    if order.flags & _POST_ONLY:
        if order.time_in_force != TimeInForce.GTC:
            raise OrderError(f"{order!r}: time_in_force: a post-only order is good till canceled")
        return words.post_only
    text = words.limits.get(order.time_in_force)
    if text is None:
        raise OrderError(f"{order!r}: time_in_force {order.time_in_force} has no form at this venue")
    return text
