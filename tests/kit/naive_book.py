"""The private book as anyone would write it: one dict per side, sorted when read."""

from __future__ import annotations

from collections.abc import Iterable

Levels = Iterable[tuple[int, int]]


class NaiveBook:
    """Absolute quantities per price; 0 removes."""

    def __init__(self) -> None:
        self.sides: tuple[dict[int, int], dict[int, int]] = ({}, {})

    def replace(self, bids: Levels, asks: Levels) -> None:
        for side in self.sides:
            side.clear()
        self.apply(bids, asks)

    def apply(self, bids: Levels, asks: Levels) -> None:
        for side, levels in zip(self.sides, (bids, asks), strict=True):
            for price, quantity in levels:
                if quantity:
                    side[price] = quantity
                else:
                    side.pop(price, None)

    def bids(self) -> list[tuple[int, int]]:
        return sorted(self.sides[0].items(), reverse=True)

    def asks(self) -> list[tuple[int, int]]:
        return sorted(self.sides[1].items())

    def is_crossed(self) -> bool:
        return bool(self.sides[0] and self.sides[1]) and max(self.sides[0]) >= min(self.sides[1])
