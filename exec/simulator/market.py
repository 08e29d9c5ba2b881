"""One instrument at the simulated venue: what is displayed, our orders, the positions of the accounts."""

from __future__ import annotations

from collections.abc import Sequence

from exec.fees import FeeSchedule
from exec.simulator.depth import Depth, Level
from exec.simulator.queue_position import RestingOrder
from shm.enums import OrderFlags, Reason, Side
from shm.instruments import Instrument

_BUY, _SELL = int(Side.BUY), int(Side.SELL)
_REDUCE_ONLY = int(OrderFlags.REDUCE_ONLY)


class Market:
    """One instrument at the simulated venue."""

    __slots__ = ("buys", "depth", "fees", "instrument", "positions", "sells")

    def __init__(self, instrument: Instrument, fees: FeeSchedule, visible_levels: int) -> None:
        self.instrument = instrument
        self.fees = fees
        self.depth = Depth(visible_levels)
        # Our resting orders, best price first, then in order of arrival.
        self.buys: list[RestingOrder] = []
        self.sells: list[RestingOrder] = []
        # Of each account, signed.
        self.positions: dict[int, int] = {}

    def own(self, side: int) -> list[RestingOrder]:
        """Our resting orders of a side."""
        return self.buys if side == _BUY else self.sells

    def off_grid(self, price: int, units: int) -> Reason:
        """Why such terms can not be: off the grid of prices or quantities, or not positive."""
        instrument = self.instrument
        off = units <= 0 or price <= 0 or price % instrument.tick_size or units % instrument.lot_size
        return Reason.VENUE_REJECTED if off else Reason.NONE

    def meets_own(self, side: int, limit: int, units: int, plan: Sequence[Level]) -> bool:
        """Whether the order would reach one of ours on the other side."""
        opposite = self.own(_SELL if side == _BUY else _BUY)
        if not opposite:
            return False
        price = opposite[0].price
        if limit and (price > limit if side == _BUY else price < limit):
            return False
        if sum(part for _, part in plan) < units:
            return True
        last = plan[-1][0]
        return last >= price if side == _BUY else last <= price

    def fillable(self, order: RestingOrder) -> int:
        """How much of an order may fill: its leaves, and no more than it reduces if it is reduce-only."""
        if not order.flags & _REDUCE_ONLY:
            return order.leaves
        position = self.positions.get(order.account, 0)
        return min(order.leaves, max(0, -position if order.side == _BUY else position))
