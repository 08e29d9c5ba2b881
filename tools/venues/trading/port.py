"""How the exchange core reaches the market: displayed books and public trades in, our doings out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from exec.simulator.depth import Level

#: (key, price_units, quantity_units, whether the buyer is the aggressor, what was displayed there before
#: without our orders or -1)
MarketTrade = tuple[str, int, int, bool, int]


@dataclass(frozen=True, slots=True)
class Levels:
    """A displayed book without our orders, best first, and a number that changes with it."""

    version: int
    bids: Sequence[Level]
    asks: Sequence[Level]


class MarketPort(ABC):
    """The public market of a simulated venue, as the exchange core uses it; keys are `Listing.key`."""

    @abstractmethod
    def watch(self, key: str, is_wanted: bool) -> None:
        """Keep public trades of an instrument for `trades` from now on, or no more."""

    @abstractmethod
    def trades(self) -> list[MarketTrade]:
        """Return the public trades of watched instruments since the last call, in order."""

    @abstractmethod
    def version(self, key: str) -> int:
        """Return a number that changes with the book."""

    @abstractmethod
    def levels(self, key: str, limit: int) -> Levels:
        """Return up to `limit` displayed levels a side, without our orders."""

    @abstractmethod
    def mid_units(self, key: str) -> int:
        """Return the middle of the best bid and ask; 0 while one is missing."""

    def take(self, key: str, is_buy: bool, price_units: int, units: int) -> None:  # noqa: B027
        """One of our orders took so much at a price: print the trade, and let it leave the book."""

    def show(self, key: str, is_bid: bool, price_units: int, units: int) -> None:  # noqa: B027
        """A resting order of ours came (units > 0) or went (< 0)."""

    def filled(self, key: str, is_bid: bool, price_units: int, units: int) -> None:  # noqa: B027
        """A resting order of ours was filled by what left the book already."""


class QuietPort(MarketPort):
    """Books and trades that somebody else sets: for tests, and a venue without a market yet."""

    def __init__(self) -> None:
        self.books: dict[str, Levels] = {}
        self.made: list[MarketTrade] = []
        self.taken: list[tuple[str, bool, int, int]] = []
        self.shown: dict[tuple[str, bool, int], int] = {}

    def set_book(self, key: str, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Display a book."""
        version = self.books[key].version + 1 if key in self.books else 1
        self.books[key] = Levels(version, bids, asks)

    def trade(self, key: str, price_units: int, units: int, is_buy: bool, before: int = -1) -> None:
        """Let somebody trade."""
        self.made.append((key, price_units, units, is_buy, before))

    def watch(self, key: str, is_wanted: bool) -> None:
        """Nothing to do: all is kept."""

    def trades(self) -> list[MarketTrade]:
        """Return the public trades since the last call."""
        found, self.made = self.made, []
        return found

    def version(self, key: str) -> int:
        """Return how often the book was set."""
        book = self.books.get(key)
        return book.version if book is not None else 0

    def levels(self, key: str, limit: int) -> Levels:
        """Return the book that was set."""
        book = self.books.get(key, Levels(0, (), ()))
        return Levels(book.version, book.bids[:limit], book.asks[:limit])

    def mid_units(self, key: str) -> int:
        """Return the middle of the book that was set."""
        book = self.books.get(key)
        return (book.bids[0][0] + book.asks[0][0]) // 2 if book and book.bids and book.asks else 0

    def take(self, key: str, is_buy: bool, price_units: int, units: int) -> None:
        """Note what was taken."""
        self.taken.append((key, is_buy, price_units, units))

    def show(self, key: str, is_bid: bool, price_units: int, units: int) -> None:
        """Note what stands in the book."""
        place = (key, is_bid, price_units)
        self.shown[place] = self.shown.get(place, 0) + units

    def filled(self, key: str, is_bid: bool, price_units: int, units: int) -> None:
        """Note what stands in the book no more."""
        self.show(key, is_bid, price_units, -units)
