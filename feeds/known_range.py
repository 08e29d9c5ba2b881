"""Which prices of a book are known: those between the ends of the snapshot it was begun from.

A venue whose stream names only changed levels says nothing about a level beyond the snapshot until it
changes. So nothing beyond can be compared in an audit, and a market that moved there has a top nobody proved.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

Levels = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class KnownRange:
    """Worst prices, in price units, that the snapshot knew on each side; None = that side is whole."""

    bid: int | None = None
    ask: int | None = None
    is_shallow: bool = False  # the venue has deeper snapshots than this one

    @classmethod
    def of(cls, bids: Levels, asks: Levels, shallow: Collection[int] = ()) -> KnownRange:
        """The range of a snapshot, best levels first.

        Args:
            bids: as loaded.
            asks: the same.
            shallow: sizes of its snapshots but the deepest. A side with exactly so many levels was cut off;
                one with fewer was sent whole.
        """
        is_shallow = len(bids) in shallow or len(asks) in shallow
        return cls(bids[-1][0] if bids else None, asks[-1][0] if asks else None, is_shallow)

    def covers(self, bids: Levels, asks: Levels) -> bool:
        """Whether the best levels of a book lie within what is known; an empty side only if it is whole."""
        is_bid_known = self.bid is None or bool(bids and bids[0][0] >= self.bid)
        is_ask_known = self.ask is None or bool(asks and asks[0][0] <= self.ask)
        return is_bid_known and is_ask_known


WHOLE = KnownRange()
