"""The top levels of both sides as of the last book update, and what we already took of them."""

from __future__ import annotations

from collections.abc import Sequence

from shm.enums import Side

_BUY = int(Side.BUY)

Level = tuple[int, int]


class Depth:
    """Displayed levels of one instrument, best first, (price_units, quantity_units).

    Args:
        visible_levels: how many levels a side shows at most. A side with fewer shows everything: a price
            that is missing there holds nothing; beyond the last of a full side it is unknown.
    """

    __slots__ = ("asks", "bids", "is_known", "taken", "visible_levels")

    def __init__(self, visible_levels: int) -> None:
        self.visible_levels = visible_levels
        self.bids: Sequence[Level] = ()
        self.asks: Sequence[Level] = ()
        self.is_known = False
        # What our takers consumed since the last update, by (side, price); the market does not know of it.
        self.taken: dict[tuple[int, int], int] = {}

    def update(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Take over a book update; every displayed level can be taken anew.

        Levels equal to those already here are no update (the same book read twice): what was taken stays so.
        """
        if self.is_known and bids == self.bids and asks == self.asks:
            return
        self.bids = bids
        self.asks = asks
        self.is_known = True
        if self.taken:
            self.taken.clear()

    def side(self, side: int) -> Sequence[Level]:
        """Levels on that side: bids for BUY, asks for SELL."""
        return self.bids if side == _BUY else self.asks

    def displayed(self, side: int, price_units: int) -> int | None:
        """Quantity displayed at a price of a side; None when the price lies beyond what is visible."""
        if not self.is_known:
            return None
        levels = self.side(side)
        for price, quantity in levels:
            if price == price_units:
                return quantity
            if (price < price_units) if side == _BUY else (price > price_units):
                return 0
        return 0 if len(levels) < self.visible_levels else None

    def crosses(self, side: int, price_units: int) -> bool:
        """Whether an order of that side and price meets the best displayed opposite level."""
        opposite = self.asks if side == _BUY else self.bids
        if not opposite:
            return False
        return opposite[0][0] <= price_units if side == _BUY else opposite[0][0] >= price_units

    def walk(self, side: int, price_units: int, units: int) -> list[Level]:
        """Plan what an order of that side would take now: (price, quantity) per opposite level, best first.

        Args:
            side: of the order.
            price_units: its limit; 0 = any price.
            units: its quantity; the plan may be for less.
        """
        plan: list[Level] = []
        buys = side == _BUY
        other = int(Side.SELL) if buys else _BUY
        for price, quantity in self.asks if buys else self.bids:
            if price_units and (price > price_units if buys else price < price_units):
                break
            quantity -= self.taken.get((other, price), 0)
            if quantity <= 0:
                continue
            part = min(quantity, units)
            plan.append((price, part))
            units -= part
            if not units:
                break
        return plan

    def take(self, side: int, price_units: int, units: int) -> None:
        """Note that `units` of an opposite level were taken by an order of that side."""
        key = (int(Side.SELL) if side == _BUY else _BUY, price_units)
        self.taken[key] = self.taken.get(key, 0) + units
