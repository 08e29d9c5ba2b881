"""Leaving a venue: which requests cancel what rests there, and which orders make positions flat. No I/O.

Used by whoever acts instead of a gateway: the sentinel, and `ringlane halt` beside a dead engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from exec.order import Order
from exec.order_protocol import Directory, OpenOrderWord, OrderProtocol, PositionWord, Request
from shm.enums import OrderFlags, OrderType, Side, TimeInForce

_CLOSING_FLAGS = int(OrderFlags.REDUCE_ONLY | OrderFlags.FROM_SENTINEL)


class NoDirectory:
    """No instruments are known: the venue's own symbols must do."""

    def row(self, instrument_id: int) -> object:
        """Raise KeyError."""
        raise KeyError(instrument_id)

    def find(self, venue_id: int, symbol: str) -> None:
        """Find nothing."""


def blind_cancels(
    protocol: OrderProtocol, resting: Sequence[int], request_id: int, utc_ns: int
) -> list[Request]:
    """Requests that cancel what they can before the venue was asked what rests.

    Args:
        protocol: of the account.
        resting: instruments that are known to have orders.
        request_id: of the first request.
        utc_ns: wall clock, corrected by the venue's offset.
    """
    everything = list(protocol.mass_cancel((), request_id, utc_ns))
    if everything or not resting:
        return everything
    return list(protocol.mass_cancel(resting, request_id, utc_ns))


def cancels(
    protocol: OrderProtocol, rows: Sequence[OpenOrderWord], request_id: int, utc_ns: int
) -> list[Request]:
    """Requests that cancel orders the venue has named, whoever placed them.

    The fewest there are: all of the account, else all of an instrument, else by the venue's ids.
    """
    if not rows:
        return []
    known = sorted({row.instrument_id for row in rows if row.instrument_id >= 0})
    found = blind_cancels(protocol, known, request_id, utc_ns)
    if found and not protocol.mass_cancel((), request_id, utc_ns):
        rows = [row for row in rows if row.instrument_id < 0]
    elif found:
        return found
    return [*found, *protocol.cancel_foreign(rows, request_id + len(found), utc_ns)]


def closing_orders(
    positions: Sequence[PositionWord], directory: Directory, take_id: Callable[[], int]
) -> tuple[list[Order], list[PositionWord]]:
    """Market orders that make positions flat and can do nothing else (reduce-only).

    Args:
        positions: the venue's word.
        directory: the instruments.
        take_id: gives client order ids that nobody else uses.

    Returns:
        The orders, at most the instrument's largest order each, and the positions that no order can be made
        for: this run does not know their instrument.
    """
    orders: list[Order] = []
    unknown: list[PositionWord] = []
    for word in positions:
        if not word.position_units:
            continue
        try:
            row = directory.row(word.instrument_id)
        except KeyError:
            unknown.append(word)
            continue
        units = abs(word.position_units)
        if row.max_quantity_units:
            units = min(units, row.max_quantity_units)
        side = Side.SELL if word.position_units > 0 else Side.BUY
        order = Order(take_id(), word.instrument_id, int(side), 0, units)
        order.order_type, order.time_in_force = int(OrderType.MARKET), int(TimeInForce.IOC)
        order.flags = _CLOSING_FLAGS
        orders.append(order)
    return orders, unknown
