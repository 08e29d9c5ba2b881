"""The market of a source as the exchange core uses it."""

from __future__ import annotations

from collections.abc import Sequence

from tools.venues.capture_source import CaptureSource
from tools.venues.protocol import VenueInstrument, VenueProtocol
from tools.venues.recording import Level as LevelTexts
from tools.venues.synthetic_source import SyntheticSource
from tools.venues.trading.port import Levels, MarketPort, MarketTrade
from tools.venues.trading.terms import to_units


class SyntheticPort(MarketPort):
    """The synthetic market: our resting orders stand in its queues, what we take is gone and printed."""

    def __init__(self, source: SyntheticSource) -> None:
        self._market = source.market
        self._index = dict(source.indexes())
        self._keys = {index: key for key, index in self._index.items()}
        #: Whether frames were made that nobody was told to send yet.
        self.is_dirty = False

    def watch(self, key: str, is_wanted: bool) -> None:
        """Keep the trades of an instrument, or no more."""
        self._market.watch(self._index[key], is_wanted)

    def trades(self) -> list[MarketTrade]:
        """Return the trades of watched instruments since the last call."""
        found = self._market.tapped_trades()
        return [
            (self._keys[index], price, units, buys, before) for index, price, units, buys, before in found
        ]

    def version(self, key: str) -> int:
        """Return the number of the book's last change."""
        return self._market.update_id(self._index[key])

    def levels(self, key: str, limit: int) -> Levels:
        """Return the book without our orders."""
        index = self._index[key]
        bids, asks = self._market.levels(index, limit)
        return Levels(self._market.update_id(index), bids, asks)

    def mid_units(self, key: str) -> int:
        """Return the middle of best bid and ask."""
        _, _, bid, ask, _ = self._market.state(self._index[key])
        return (bid + ask) // 2

    def take(self, key: str, is_buy: bool, price_units: int, units: int) -> None:
        """Print our trade and let it leave the book."""
        self._market.take_from(self._index[key], is_buy, price_units, units)
        self.is_dirty = True

    def show(self, key: str, is_bid: bool, price_units: int, units: int) -> None:
        """Let an order of ours stand in the book, or leave it."""
        if self._market.show_in(self._index[key], is_bid, price_units, units):
            self.is_dirty = True

    def filled(self, key: str, is_bid: bool, price_units: int, units: int) -> None:  # noqa: ARG002
        """What left the book already was ours."""
        self._market.forget_shown(self._index[key], price_units, units)


class RecordedPort(MarketPort):
    """A capture as it is played: its books and trades meet our orders, and know nothing of them."""

    def __init__(self, source: CaptureSource, protocol: VenueProtocol) -> None:
        self._source = source
        self._codec = protocol.capture_codec()
        self._items: dict[str, VenueInstrument] = {item.key: item for item in source.instruments()}
        self._versions = dict.fromkeys(self._items, 0)
        self._books: dict[str, Levels] = {}
        self._watched: set[str] = set()
        self._trades: list[MarketTrade] = []
        # a capture may hold the same trades as single ones and as aggregates: one stream of them counts
        self._trade_streams: dict[str, str] = {}
        source.on_frame = self._on_frame

    def _on_frame(self, stream: str, frame: bytes) -> None:
        key = self._codec.symbol_of(stream)
        item = self._items.get(key)
        if item is None:
            return
        if stream == self._source.book_of(key)[0]:
            self._versions[key] += 1
        elif key in self._watched and self._trade_streams.get(key, stream) == stream:
            try:
                found = list(self._codec.trades(frame))
            except (ValueError, KeyError, TypeError):
                # it was sent as it was recorded; as a trade it says nothing
                return
            for price_text, quantity_text, is_buy in found:
                price, units = _units(item, price_text, quantity_text)
                self._trade_streams[key] = stream
                self._trades.append((key, price, units, is_buy, -1))

    def watch(self, key: str, is_wanted: bool) -> None:
        """Keep the trades of an instrument, or no more."""
        if is_wanted:
            self._watched.add(key)
        else:
            self._watched.discard(key)

    def trades(self) -> list[MarketTrade]:
        """Return the trades of watched instruments since the last call."""
        found, self._trades = self._trades, []
        return found

    def version(self, key: str) -> int:
        """Return how many frames of the book were played."""
        return self._versions[key]

    def levels(self, key: str, limit: int) -> Levels:
        """Return the recorded book; empty while it is not proven."""
        version = self._versions[key]
        known = self._books.get(key)
        if known is None or known.version != version:
            book = self._source.book_of(key)[1]
            item = self._items[key]
            bids = [] if book is None else _side(item, book.bids, is_bid=True)
            asks = [] if book is None else _side(item, book.asks, is_bid=False)
            known = self._books[key] = Levels(version, bids, asks)
        return Levels(version, known.bids[:limit], known.asks[:limit])

    def mid_units(self, key: str) -> int:
        """Return the middle of best bid and ask; 0 while one is missing."""
        book = self.levels(key, 1)
        return (book.bids[0][0] + book.asks[0][0]) // 2 if book.bids and book.asks else 0


def _units(item: VenueInstrument, price_text: str, quantity_text: str) -> tuple[int, int]:
    price, units = to_units(price_text, item.price_decimals), to_units(quantity_text, item.quantity_decimals)
    return price or 0, units or 0


def _side(item: VenueInstrument, levels: Sequence[LevelTexts], *, is_bid: bool) -> list[tuple[int, int]]:
    return sorted((_units(item, level[0], level[1]) for level in levels), reverse=is_bid)
