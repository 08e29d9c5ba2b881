"""Other ways from bytes to a book: each is given the same messages and says what one costs."""

from __future__ import annotations

import gc
import importlib.util
import time
from abc import ABC, abstractmethod
from importlib import import_module
from typing import Any, ClassVar

import orjson

from shm.units import format_units
from tools.bench.common import OURS
from tools.bench.decode.goals import IN_C
from tools.bench.decode.rig import CoreRig, Workload
from tools.bench.decode_floor import FloorBooks
from tools.venues.bench_shapes import SHAPES

FLOOR = "floor"


class Unable(RuntimeError):
    """This way has nothing to measure with such messages; the text says why."""


class Way(ABC):
    """One way to read depth messages, with books of its own if it keeps any.

    Args:
        workload: the messages.

    Raises:
        Unable: it has no such way for this venue.
    """

    name: ClassVar[str]
    how: ClassVar[str]
    modules: ClassVar[tuple[str, ...]] = ()
    package: ClassVar[str] = ""  # what to install

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.shape = SHAPES[workload.adapter.name]

    @classmethod
    def missing(cls) -> list[str]:
        """The modules that are not installed."""
        return [name for name in cls.modules if importlib.util.find_spec(name) is None]

    def begin(self) -> None:  # noqa: B027  a parser has nothing to begin with
        """Make the books what they begin with; not measured."""

    @abstractmethod
    def run(self) -> None:
        """Take every message once."""

    def best(self, _index: int) -> tuple[float, float] | None:
        """Best bid and ask of a book, to be compared with ours; None = this way keeps no book."""
        return None

    def measure(self) -> float:
        """One pass; ns per message. The garbage collector is off, as it is for all."""
        self.begin()
        was_on = gc.isenabled()
        gc.disable()
        try:
            began = time.perf_counter_ns()
            self.run()
            return (time.perf_counter_ns() - began) / len(self.workload.frames)
        finally:
            if was_on:
                gc.enable()
                gc.collect()


class Ours(Way):
    """The whole path."""

    name = OURS
    how = (
        "one call from Python each: decode, continuity, checksum where there is one, book, slab, ring record"
    )

    def __init__(self, workload: Workload) -> None:
        super().__init__(workload)
        self.rig = CoreRig(workload.adapter, workload.rows)

    def run(self) -> None:
        """See `measure`."""

    def measure(self) -> float:
        """One pass; every message must be applied."""
        return self.rig.run(self.workload)

    def best(self, index: int) -> tuple[float, float] | None:
        """Best of the private book."""
        bids, asks = self.rig.core.book(index)
        exponent = self.workload.rows[index].price_exponent
        best = [float(format_units(side[0][0], exponent)) if side else 0.0 for side in (bids, asks)]
        return best[0], best[1]


class OursInC(Ours):
    """The whole path without a call from Python: what a frame costs that a websocket brings."""

    name = IN_C
    how = "the same in one C loop, as the websocket's listener calls it; the floor is such a loop too"

    def measure(self) -> float:
        """One pass; every message must be applied."""
        return self.rig.run_whole_in_c(self.workload)


class BookAlone(Ours):
    """Our decoder and book without the rest."""

    name = "ringlane, decode and book only"
    how = "decoder with all its checks, checksum, book, in one C loop: no continuity, slab, ring, call"

    def measure(self) -> float:
        """One pass."""
        return self.rig.run_in_c(self.workload)


def has_checksum(frame: bytes, key: bytes) -> bool:
    """Whether a message carries a checksum that is not 0, which stands for none."""
    found = frame.find(key) if key else -1
    return found >= 0 and frame[found + len(key) : found + len(key) + 1] != b"0"


class Floor(Way):
    """See `tools.bench.decode_floor`."""

    name = FLOOR
    how = (
        "C scan, digits to integers, the same private book, its best, in one C loop; nothing checked, "
        "but the book's checksum where messages carry one, by the same code as ours"
    )

    def __init__(self, workload: Workload) -> None:
        super().__init__(workload)
        s = self.shape
        rows = [(r.price_exponent, r.quantity_exponent, r.tick_size) for r in workload.rows]
        key = s.checksum_key if any(has_checksum(frame, s.checksum_key) for frame in workload.frames) else b""
        self.books = FloorBooks(s.first_key, s.second_key, s.first_side, rows, key)

    def begin(self) -> None:
        """Load the whole books, and the updates that join them."""
        s = self.shape
        for index, start in enumerate(self.workload.starts):
            if start.first:
                self.books.load(index, start.body, b'"bids":[', b'"asks":[', 0)
                self.books.run([start.first], [index])
            else:
                self.books.load(index, start.body, s.first_key, s.second_key, s.first_side)

    def run(self) -> None:
        """All messages in one C loop."""
        self.books.run(self.workload.frames, self.workload.indexes)

    def best(self, index: int) -> tuple[float, float] | None:
        """Best of its book."""
        bids, asks = self.books.book(index)
        exponent = self.workload.rows[index].price_exponent
        best = [float(format_units(side[0][0], exponent)) if side else 0.0 for side in (bids, asks)]
        return best[0], best[1]


class Orjson(Way):
    """Parsing alone."""

    name = "orjson.loads"
    how = "parsing alone, no book"

    def run(self) -> None:
        """Parse each."""
        loads = orjson.loads
        for frame in self.workload.frames:
            loads(frame)


class Msgspec(Way):
    """Typed decoding alone."""

    name = "msgspec"
    how = "typed decode into Structs with (str, str) levels, no book"
    modules = ("msgspec",)
    package = "msgspec"

    def __init__(self, workload: Workload) -> None:
        super().__init__(workload)
        self.decode = import_module("msgspec").json.Decoder(self.shape.typed()).decode

    def run(self) -> None:
        """Decode each."""
        decode = self.decode
        for frame in self.workload.frames:
            decode(frame)


class Simdjson(Way):
    """Lazy parsing: no value is read."""

    name = "pysimdjson"
    how = "Parser.parse alone: lazy, nothing is read"
    modules = ("simdjson",)
    package = "pysimdjson"

    def run(self) -> None:
        """Parse each."""
        parse = import_module("simdjson").Parser().parse
        for frame in self.workload.frames:
            parse(frame)


class OrjsonDict(Way):
    """The usual book of a Python program."""

    name = "orjson + dict book"
    how = "orjson.loads, text of the price → text of the quantity in a dict per side, no best price"

    def __init__(self, workload: Workload) -> None:
        super().__init__(workload)
        self.books: list[tuple[Any, Any]] = []

    def make_side(self) -> Any:
        """An empty side."""
        return {}

    @staticmethod
    def change(side: Any, levels: list[list[str]]) -> None:
        """Set the levels of one side, 0 removes."""
        for level in levels:
            if float(level[1]):
                side[level[0]] = level[1]
            else:
                side.pop(level[0], None)

    def begin(self) -> None:
        """Load the whole books, and the updates that join them."""
        shape, change = self.shape, self.change
        self.books = [(self.make_side(), self.make_side()) for _ in self.workload.rows]
        for (bids, asks), start in zip(self.books, self.workload.starts, strict=True):
            whole = orjson.loads(start.body)
            body, keys = (
                (whole, ("bids", "asks")) if start.first else (shape.body(whole), (shape.bids, shape.asks))
            )
            change(bids, body[keys[0]])
            change(asks, body[keys[1]])
            if start.first:
                body = shape.body(orjson.loads(start.first))
                change(bids, body[shape.bids])
                change(asks, body[shape.asks])

    def run(self) -> None:
        """Parse and set each."""
        loads, body, change, books = orjson.loads, self.shape.body, self.change, self.books
        b, a = self.shape.bids, self.shape.asks
        for frame, index in zip(self.workload.frames, self.workload.indexes, strict=True):
            data = body(loads(frame))
            bids, asks = books[index]
            change(bids, data[b])
            change(asks, data[a])

    def best(self, index: int) -> tuple[float, float] | None:
        """Best of its book."""
        bids, asks = self.books[index]
        return max(map(float, bids), default=0.0), min(map(float, asks), default=0.0)


class OrjsonSorted(OrjsonDict):
    """The same with sorted sides."""

    name = "orjson + SortedDict book"
    how = "orjson.loads, float(price) → text of the quantity in a SortedDict per side, best bid and ask read"
    modules = ("sortedcontainers",)
    package = "sortedcontainers"

    def make_side(self) -> Any:
        """An empty side."""
        return import_module("sortedcontainers").SortedDict()

    @staticmethod
    def change(side: Any, levels: list[list[str]]) -> None:
        """Set the levels of one side, 0 removes."""
        for level in levels:
            if float(level[1]):
                side[float(level[0])] = level[1]
            else:
                side.pop(float(level[0]), None)

    def run(self) -> None:
        """Parse, set and read the best of each."""
        loads, body, change, books = orjson.loads, self.shape.body, self.change, self.books
        b, a = self.shape.bids, self.shape.asks
        for frame, index in zip(self.workload.frames, self.workload.indexes, strict=True):
            data = body(loads(frame))
            bids, asks = books[index]
            change(bids, data[b])
            change(asks, data[a])
            if bids and asks:
                bids.peekitem(-1)
                asks.peekitem(0)


class Hftbacktest(Way):
    """Its depth alone, from numbers that are already parsed."""

    name = "hftbacktest depth"
    how = "its backtest applies level changes to its hash-map depth; they are numbers already, no parsing"
    modules = ("hftbacktest",)
    package = "hftbacktest"

    def __init__(self, workload: Workload) -> None:
        super().__init__(workload)
        self.hft = import_module("hftbacktest")
        self.numpy = import_module("numpy")
        self.row = workload.rows[0]
        if len(workload.rows) != 1:
            raise Unable("a backtest of several instruments applies them in turn; measured with one only")
        events = self._events()
        self.data = self.numpy.array(events, dtype=self.hft.event_dtype)
        self.last_ns = len(workload.frames) * 1000
        self.backtest: Any = None

    def _events(self) -> list[tuple[Any, ...]]:
        hft, shape = self.hft, self.shape
        start = self.workload.starts[0]
        whole = orjson.loads(start.body)
        first = [(whole, "bids", "asks")] if start.first else [(shape.body(whole), shape.bids, shape.asks)]
        if start.first:
            first.append((shape.body(orjson.loads(start.first)), shape.bids, shape.asks))
        events: list[tuple[Any, ...]] = []

        def add(body: Any, bids: str, asks: str, at_ns: int) -> None:
            for side, key in ((hft.BUY_EVENT, bids), (hft.SELL_EVENT, asks)):
                kind = hft.LOCAL_EVENT | hft.DEPTH_EVENT | side
                events.extend(
                    (kind, at_ns, at_ns, float(price), float(quantity), 0, 0, 0.0)
                    for price, quantity, *_ in body[key]
                )

        for body, bids, asks in first:
            add(body, bids, asks, 1000)
        for number, frame in enumerate(self.workload.frames):
            add(shape.body(orjson.loads(frame)), shape.bids, shape.asks, 3000 + number * 1000)
        return events

    def begin(self) -> None:
        """A new backtest, at the first update."""
        row = self.row
        tick, lot = row.tick_size / 10**row.price_exponent, max(row.lot_size, 1) / 10**row.quantity_exponent
        asset = (
            self.hft.BacktestAsset()
            .data([self.data])
            .linear_asset(1.0)
            .constant_order_latency(1, 1)
            .risk_adverse_queue_model()
            .no_partial_fill_exchange()
            .trading_value_fee_model(0.0, 0.0)
            .tick_size(tick)
            .lot_size(lot)
        )
        self.backtest = self.hft.HashMapMarketDepthBacktest([asset])
        self.backtest.elapse(1)

    def run(self) -> None:
        """Let it read everything."""
        self.backtest.elapse(self.last_ns + 10_000)

    def best(self, _index: int) -> tuple[float, float] | None:
        """Best of its depth."""
        depth = self.backtest.depth(0)
        return float(depth.best_bid), float(depth.best_ask)


WAYS: tuple[type[Way], ...] = (Ours, OursInC, Orjson, Floor, BookAlone)
PLAIN_PEERS: tuple[type[Way], ...] = (Simdjson, Msgspec, OrjsonDict, OrjsonSorted, Hftbacktest)
