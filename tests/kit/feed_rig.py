"""A feed without sockets or processes: core, slab, ring and session over plain memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from feeds.core import FeedCore
from feeds.session import FeedSession, SessionSettings
from feeds.venues import get_adapter
from shm.book import BookSlab
from shm.instruments import Instrument
from shm.ring import BroadcastRing, Publisher, Subscriber
from shm.units import format_units

SECOND = 1_000_000_000
SLOT = 128


class Rig:
    """One session of a venue with its own virtual clock and a list of the snapshots asked for."""

    def __init__(
        self,
        instruments: list[Instrument] | None = None,
        settings: SessionSettings | None = None,
        streams: dict[str, int] | None = None,
        **more: Any,
    ) -> None:
        self.adapter = get_adapter(more.pop("venue", "binance_usdm"))
        rows = instruments or [plain("BTCUSDT"), plain("ETHUSDT")]
        self.rows = [numbered(row, number) for number, row in enumerate(rows)]
        self.now_ns = 1000 * SECOND
        self.slab = BookSlab.create(
            bytearray(BookSlab.bytes_needed(8, len(rows) + 1, 4)), 8, len(rows) + 1, 4, 0
        )
        self.ring = BroadcastRing.create(
            memoryview(bytearray(BroadcastRing.bytes_needed(1024, SLOT))), 1024, SLOT
        )
        self.subscriber = Subscriber(self.ring)
        self.publisher = Publisher(self.ring, None)
        priorities = {row.priority for row in self.rows}
        self.core = FeedCore(
            self.adapter.make_decoder(),
            int(self.adapter.rule),
            self.slab,
            dict.fromkeys(priorities, self.publisher),
            1,
        )
        self.core.virtual_now_ns = self.now_ns
        for row in self.rows:
            self.core.add_instrument(row, (streams or {}).get(row.symbol, 0))
        self.requests: list[int] = []
        request: Callable[[int], None] = more.pop("request_snapshot", self.requests.append)
        self.session = FeedSession(
            self.adapter,
            self.core,
            self.rows,
            now_ns=lambda: self.now_ns,
            request_snapshot=request,
            settings=settings,
            **more,
        )

    def number(self, symbol: str) -> int:
        return next(row.instrument_id for row in self.rows if row.symbol == symbol)

    def frame(self, frame: bytes, connection: int = 0, after_ns: int = 1_000_000) -> int:
        self.now_ns += after_ns
        self.core.virtual_now_ns = self.now_ns
        return self.session.on_frame(frame, self.now_ns, connection)

    def snapshot(self, symbol: str, body: bytes) -> None:
        self.session.on_snapshot(self.number(symbol), body, self.now_ns)

    def timer(self, after_ns: int = 100_000_000) -> None:
        self.now_ns += after_ns
        self.core.virtual_now_ns = self.now_ns
        self.session.on_timer(self.now_ns)

    def state(self, symbol: str = "BTCUSDT") -> str:
        state = self.session.state(self.number(symbol))
        certificate = self.core.certificate(self.number(symbol))
        assert certificate is not None
        assert certificate.state == state, "slab and session disagree"
        return state.name

    def live(self, symbol: str = "BTCUSDT", at: int = 100) -> None:
        """Bring a book LIVE at sequence `at`."""
        self.frame(depth(symbol, at - 5, at, at - 6))
        self.snapshot(symbol, snapshot_body(at))
        assert self.state(symbol) == "LIVE"

    def result(self, symbol: str) -> dict[str, Any]:
        """A book in the form of `replay --books`."""
        row = next(r for r in self.rows if r.symbol == symbol)
        bids, asks = self.core.book(row.instrument_id)

        def texts(levels: list[tuple[int, int]]) -> list[list[str]]:
            return [
                [format_units(p, row.price_exponent), format_units(q, row.quantity_exponent)]
                for p, q in levels
            ]

        return {
            "venue": self.adapter.name,
            "symbol": symbol,
            "state": self.session.state(row.instrument_id).name,
            "last_sequence": self.core.proven_sequence(row.instrument_id),
            "bids": texts(bids),
            "asks": texts(asks),
        }


def plain(
    symbol: str, price_exponent: int = 2, quantity_exponent: int = 3, venue: str = "binance_usdm"
) -> Instrument:
    """An instrument row with ticks and lots of one unit."""
    return get_adapter(venue).plain_instrument(symbol, price_exponent, quantity_exponent, 1, 1)


def numbered(row: Instrument, number: int) -> Instrument:
    from dataclasses import replace

    return replace(row, instrument_id=number)


def depth(
    symbol: str,
    first: int,
    last: int,
    previous: int,
    bids: list[list[str]] | None = None,
    asks: list[list[str]] | None = None,
    event_ms: int = 1_700_000_000_000,
) -> bytes:
    """One depthUpdate frame in the combined-stream wrapper."""
    data = {
        "e": "depthUpdate", "E": event_ms, "T": event_ms, "s": symbol, "U": first, "u": last, "pu": previous,
        "b": [["100.00", "1.000"]] if bids is None else bids,
        "a": [["101.00", "1.000"]] if asks is None else asks,
    }  # fmt: skip
    return orjson.dumps({"stream": f"{symbol.lower()}@depth@100ms", "data": data})


def trade(
    symbol: str, number: int = 1, price: str = "100.50", quantity: str = "0.010", event_ms: int = 1
) -> bytes:
    data = {
        "e": "aggTrade", "E": event_ms, "a": number, "s": symbol, "p": price, "q": quantity, "f": number,
        "l": number, "T": event_ms, "m": False,
    }  # fmt: skip
    return orjson.dumps({"stream": f"{symbol.lower()}@aggTrade", "data": data})


def snapshot_body(
    sequence: int, bids: list[list[str]] | None = None, asks: list[list[str]] | None = None
) -> bytes:
    """A depth snapshot body."""
    return orjson.dumps(
        {
            "lastUpdateId": sequence,
            "E": 1,
            "T": 1,
            "bids": [["99.00", "2.000"]] if bids is None else bids,
            "asks": [["102.00", "2.000"]] if asks is None else asks,
        }
    )
