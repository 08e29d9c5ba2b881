"""Where a resting order stands in the queue of its price, and how market data moves it at the least.

Source: hftbacktest's published `RiskAdverseQueueModel` (hftbacktest/src/backtest/models/queue.rs,
docs/order_fill.rst "RiskAverseQueueModel"): a new order stands behind all that is displayed at its price;
trades at the price are the only thing that advances it; a decrease of the displayed quantity happens behind
us, except that no more can be ahead than is displayed: ahead = min(ahead, displayed).

Ours in addition: integers; several of our own orders at one price share the trade in order of arrival; an
order beyond the visible depth has an unknown (infinite) queue ahead until its price becomes visible.
"""

from __future__ import annotations

from collections.abc import Sequence

from shm.enums import Side

_BUY = int(Side.BUY)


class RestingOrder:
    """One order at the simulated venue. `ahead` = market quantity in front, None = unknown."""

    __slots__ = (
        "account",
        "ahead",
        "client_order_id",
        "fills",
        "flags",
        "instrument_id",
        "leaves",
        "order_type",
        "price",
        "rank",
        "reason",
        "self_trade",
        "shown",
        "side",
        "time_in_force",
        "traded",
        "units",
        "venue_order_id",
        "whole_units",
    )

    def __init__(self, client_order_id: int, instrument_id: int, side: int, price: int, units: int) -> None:
        self.client_order_id = client_order_id
        self.instrument_id = instrument_id
        self.side = side
        self.price = price
        self.units = self.leaves = units
        self.ahead: int | None = None
        self.rank: tuple[int, int] = (0, 0)
        self.order_type = self.time_in_force = 1
        self.flags = 0
        self.venue_order_id = 0
        self.reason = 0
        # Whose it is, and what happens when it would meet another one of that account (`meeting.SelfTrade`).
        self.account = 0
        self.self_trade = 0
        # For `queue_model`: displayed at the last update, traded since, quantity units of a coin or contract.
        self.shown: int | None = None
        self.traded = 0
        self.whole_units = 1
        # (trade id, price, units, liquidity, fee): answers to queries repeat them.
        self.fills: list[tuple[int, int, int, int, int]] = []

    def set_rank(self, arrival: int) -> None:
        """Price-time priority: smaller goes first."""
        self.rank = (-self.price if self.side == _BUY else self.price, arrival)


def join(displayed: int | None) -> int | None:
    """Queue ahead of an order that arrives now: everything displayed, unknown when that is."""
    return displayed


def shrink(ahead: int | None, displayed: int | None) -> int | None:
    """Queue ahead after a book update.

    An unknown queue becomes all that is displayed once the price is visible; a known one never exceeds what
    is displayed, and stays (an upper bound still holds) while the price is out of sight.
    """
    if displayed is None:
        return ahead
    if ahead is None:
        return displayed
    return min(ahead, displayed)


def advance(orders: Sequence[RestingOrder], traded: int) -> list[int]:
    """Advance our orders at one price by a trade of `traded` there; returns what each of them fills.

    The trade eats through market quantity ahead of the first, then the first, then what stands between it
    and the second, and so on: order i fills min(leaves, traded - ahead_i - fills before it), and its queue
    shrinks by what of the trade reached the market in front of it.

    Args:
        orders: in order of arrival; their `ahead` is changed, their `leaves` is not.
        traded: traded quantity, positive.
    """
    fills: list[int] = []
    before = 0
    for order in orders:
        if order.ahead is None:
            fills.append(0)
            continue
        reaches = traded - before
        part = min(order.leaves, max(0, reaches - order.ahead))
        order.ahead = max(0, order.ahead - reaches)
        fills.append(part)
        before += part
    return fills
