"""A recorded market as a list of events: what both simulators are fed, and the book at any moment of it."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import gcd
from pathlib import Path
from typing import NamedTuple

from feeds.capture import CaptureLine, capture_instruments, read_capture
from feeds.venues import get_adapter
from shm.enums import Side
from shm.instruments import Instrument
from shm.units import parse_units
from tools.venues.recording import CaptureCodec, Diff, Snapshot
from tools.venues.run import VenueSettings, make_protocol

BUY, SELL = int(Side.BUY), int(Side.SELL)
SIDES = (BUY, SELL)
#: Levels a side shows, as the engine's slabs do.
VISIBLE = 32

Level = tuple[int, int]
Change = tuple[int, int, int]


class Event(NamedTuple):
    """What happened at a moment: a public trade, or changes of the book.

    Args:
        at_ns: receive time, made strictly increasing.
        changes: (side, price, quantity) in the order they stand in the message; empty = a trade.
        price, quantity, aggressor: of a trade.
    """

    at_ns: int
    changes: tuple[Change, ...] = ()
    price: int = 0
    quantity: int = 0
    aggressor: int = 0


@dataclass(slots=True)
class History:
    """What stood at each price of a side when, and its best and its last visible price after each event."""

    at_price: dict[int, tuple[list[int], list[int]]] = field(default_factory=dict)
    best: list[int] = field(default_factory=list)
    last_visible: list[int] = field(default_factory=list)

    def note(self, index: int, price: int, quantity: int) -> None:
        """Let a quantity stand at a price from an event on."""
        indexes, quantities = self.at_price.setdefault(price, ([], []))
        if indexes and indexes[-1] == index:
            quantities[-1] = quantity
        else:
            indexes.append(index)
            quantities.append(quantity)

    def quantity(self, index: int, price: int) -> int:
        """What stands at a price after an event."""
        indexes, quantities = self.at_price.get(price, ((), ()))
        place = bisect_right(indexes, index)
        return quantities[place - 1] if place else 0


@dataclass(slots=True)
class Market:
    """One instrument of a recording.

    Args:
        instrument: its terms; tick and lot are the greatest steps that all prices and quantities fit.
        source: the file's name.
        events: in order of time; the first is the whole book.
        books: the visible levels after each book event, (bids, asks); None behind a trade.
        histories: of bids and asks, by side.
    """

    instrument: Instrument
    source: str
    events: list[Event]
    books: list[tuple[tuple[Level, ...], tuple[Level, ...]] | None] = field(default_factory=list)
    histories: dict[int, History] = field(default_factory=dict)

    def index_at(self, at_ns: int) -> int:
        """The last event at or before a time; -1 = none."""
        return bisect_right(self.events, at_ns, key=lambda event: event.at_ns) - 1

    def levels_to(self, index: int, side: int, limit: int) -> Iterator[Level]:
        """Levels of a side after an event, best first, up to and including a price."""
        history, tick = self.histories[side], self.instrument.tick_size
        step = -tick if side == BUY else tick
        best = history.best[index]
        if best:
            for price in range(best, limit + (1 if step > 0 else -1), step):
                quantity = history.quantity(index, price)
                if quantity:
                    yield price, quantity


def read_market(path: Path, venue: str) -> Market:
    """Read a recording of one instrument: book changes behind a snapshot, and public trades.

    Args:
        path: the recording.
        venue: name of the adapter whose frames they are.

    Raises:
        ValueError: there is no proven book, or no trade in it.
        FeedError: it can not be read.
    """
    adapter = get_adapter(venue)
    row = capture_instruments(path, adapter)[0]
    reader = _Reader(make_protocol(VenueSettings(venue)).capture_codec(), row)
    lines = list(read_capture(path, adapter))
    for line in lines:
        reader.learn(line)
    events = [event for line in lines if (event := reader.event(line)) is not None]
    if not any(event.aggressor for event in events) or not events[0].changes:
        raise ValueError(f"{path} holds no proven book of {row.symbol} with trades behind it")
    prices = gcd(*(price for event in events for _, price, _ in event.changes))
    lots = gcd(*(units for event in events for _, _, units in event.changes))
    market = Market(replace(row, instrument_id=0, tick_size=prices, lot_size=lots), path.name, events)
    remember(market)
    return market


class _Reader:
    """Turns lines into events; `learn` all lines first."""

    def __init__(self, codec: CaptureCodec, row: Instrument) -> None:
        self._codec = codec
        self._symbol = row.symbol
        self._snapshots: list[Snapshot] = []
        self._book_stream = self._trade_stream = ""
        self._last = -1
        self._last_ns = 0
        self._price = lru_cache(maxsize=None)(lambda text: parse_units(text, row.price_exponent))
        self._units = lru_cache(maxsize=None)(lambda text: parse_units(text, row.quantity_exponent))

    def learn(self, line: CaptureLine) -> None:
        """Note snapshots, and the streams that carry book and trades."""
        codec = self._codec
        if line.kind == "http" and codec.http(line.path) == "snapshot":
            if codec.snapshot_symbol(line.path) == self._symbol:
                self._snapshots.append(codec.snapshot(line.payload))
        elif line.kind == "ws" and (frame := codec.frame(line.payload)) is not None:
            if codec.symbol_of(frame.stream) != self._symbol:
                return
            if codec.is_diff(frame.stream):
                self._book_stream = self._book_stream or frame.stream
            elif not self._trade_stream and any(codec.trades(line.payload)):
                self._trade_stream = frame.stream

    def event(self, line: CaptureLine) -> Event | None:
        """What a line says, once the book is proven."""
        frame = self._codec.frame(line.payload) if line.kind == "ws" else None
        if frame is None:
            return None
        at_ns = max(line.recv_ns, self._last_ns + 1)
        event: Event | None = None
        if frame.stream == self._book_stream:
            changes = self._changes(self._codec.diff(line.payload))
            event = Event(at_ns, changes) if changes else None
        elif frame.stream == self._trade_stream and self._last >= 0:
            for price, quantity, is_buy in self._codec.trades(line.payload):
                aggressor = BUY if is_buy else SELL
                event = Event(at_ns, (), self._price(price), self._units(quantity), aggressor)
        if event is not None:
            self._last_ns = at_ns
        return event

    def _changes(self, diff: Diff) -> tuple[Change, ...]:
        """Changes of the book by a message; the first is the snapshot with the message that joins it."""
        sides = ((BUY, diff.bids), (SELL, diff.asks))
        found = {(side, self._price(lv[0])): self._units(lv[1]) for side, levels in sides for lv in levels}
        if diff.whole or (self._last >= 0 and diff.previous == self._last):
            self._last = diff.last
        elif self._last >= 0:
            raise ValueError("the recording has a gap in its book")
        else:
            snapshot = next((s for s in self._snapshots if diff.first <= s.update_id <= diff.last), None)
            if snapshot is None:
                return ()
            self._last = diff.last
            whole = ((BUY, snapshot.bids), (SELL, snapshot.asks))
            first = {
                (side, self._price(lv[0])): self._units(lv[1]) for side, levels in whole for lv in levels
            }
            found = {key: units for key, units in (first | found).items() if units}
        return tuple((side, price, units) for (side, price), units in found.items())


def remember(market: Market) -> None:
    """Write down histories and visible levels."""
    sides: dict[int, dict[int, int]] = {BUY: {}, SELL: {}}
    # Prices as sort keys, best first: bids negative.
    orders: dict[int, list[int]] = {BUY: [], SELL: []}
    histories = market.histories = {BUY: History(), SELL: History()}
    for index, event in enumerate(market.events):
        for side, price, units in event.changes:
            _change(sides[side], orders[side], -price if side == BUY else price, units)
            histories[side].note(index, price, units)
        for side in SIDES:
            keys, history = orders[side], histories[side]
            history.best.append(abs(keys[0]) if keys else 0)
            history.last_visible.append(abs(keys[VISIBLE - 1]) if len(keys) >= VISIBLE else 0)
        if event.changes:
            bids, asks = (_top(sides[side], orders[side]) for side in SIDES)
            market.books.append((bids, asks))
        else:
            market.books.append(None)


def _change(quantities: dict[int, int], keys: list[int], key: int, units: int) -> None:
    if units:
        if key not in quantities:
            insort(keys, key)
        quantities[key] = units
    elif quantities.pop(key, 0):
        del keys[bisect_right(keys, key) - 1]


def _top(quantities: dict[int, int], keys: Sequence[int]) -> tuple[Level, ...]:
    return tuple((abs(key), quantities[key]) for key in keys[:VISIBLE])
