"""A feed core on private memory, and frames in the venue's shape made from integers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from feeds.core import FeedCore
from feeds.venues.binance_usdm.decode import BinanceUsdmDecoder
from shm.book import BookSlab
from shm.enums import BookReason, BookState
from shm.instruments import Instrument
from shm.records import MarketRecord
from shm.ring import BroadcastRing, Publisher, Subscriber

RECORD_BYTES = 128
DATA = Path(os.environ.get("RINGLANE_DATA", Path(__file__).resolve().parents[3] / "shared" / "market-data"))


def recorded(name: str) -> Path | None:
    """A recorded file, or None where the data is not at hand."""
    path = DATA / name
    return path if path.exists() else None


class FeedBench:
    """One core, its slab, one ring and a subscriber on it."""

    def __init__(
        self, *instruments: Instrument, depth: int = 32, capacity: int = 1024, rule: int = 1, epoch: int = 7
    ) -> None:
        self.slab = BookSlab.create(bytearray(BookSlab.bytes_needed(depth, 16, 2)), depth, 16, 2, 0)
        ring = BroadcastRing.create(
            bytearray(BroadcastRing.bytes_needed(capacity, RECORD_BYTES)), capacity, RECORD_BYTES
        )
        self.publishers = {2: Publisher(ring, None)}
        self.core = FeedCore(BinanceUsdmDecoder(), rule, self.slab, self.publishers, epoch)
        self.subscriber = Subscriber(ring)
        self._buffer = bytearray(RECORD_BYTES * 64)
        for one in instruments:
            self.core.add_instrument(one, 0)

    def poll(self) -> list[MarketRecord]:
        """All records published since the last call."""
        found = []
        while count := self.subscriber.poll_into(self._buffer, 64):
            for i in range(count):
                record = MarketRecord()
                record.load(bytes(self._buffer[i * RECORD_BYTES : (i + 1) * RECORD_BYTES]))
                found.append(record)
        return found

    def go_live(self, body: bytes, instrument_id: int = 1, now_ns: int = 1) -> None:
        """Loads a snapshot and declares the book proven."""
        self.core.load_snapshot(instrument_id, body, now_ns)
        self.core.set_state(instrument_id, BookState.LIVE, BookReason.PROVEN, now_ns)
        self.poll()


def instrument(
    number: int = 1, symbol: str = "BTCUSDT", *, price: int = 2, quantity: int = 3, tick: int = 10
) -> Instrument:
    """An instrument row with what the feed core reads of it."""
    return Instrument(
        instrument_id=number,
        venue_id=1,
        price_exponent=price,
        quantity_exponent=quantity,
        tick_size=tick,
        symbol=symbol,
    )


def text_of(units: int, exponent: int) -> str:
    """Units as the venue would write them."""
    return f"{Decimal(units).scaleb(-exponent):f}"


def levels_json(levels: Sequence[tuple[int, int]], price: int = 2, quantity: int = 3) -> str:
    return "[" + ",".join(f'["{text_of(p, price)}","{text_of(q, quantity)}"]' for p, q in levels) + "]"


def depth_frame(
    first: int,
    last: int,
    previous: int,
    bids: Sequence[tuple[int, int]] = (),
    asks: Sequence[tuple[int, int]] = (),
    symbol: str = "BTCUSDT",
) -> bytes:
    return (
        f'{{"stream":"{symbol.lower()}@depth@0ms","data":{{"e":"depthUpdate","E":1700000000000,"T":1699999999999,'
        f'"s":"{symbol}","U":{first},"u":{last},"pu":{previous},"b":{levels_json(bids)},"a":{levels_json(asks)}}}}}'
    ).encode()


def snapshot_body(
    sequence: int, bids: Sequence[tuple[int, int]] = (), asks: Sequence[tuple[int, int]] = ()
) -> bytes:
    return (
        f'{{"lastUpdateId":{sequence},"E":1700000000000,"T":1699999999999,"bids":{levels_json(bids)},'
        f'"asks":{levels_json(asks)}}}'
    ).encode()


def trade_frame(trade_id: int, price: str, quantity: str, maker: bool, execution: str = "MARKET") -> bytes:
    return (
        f'{{"e":"trade","E":1700000000000,"T":1699999999999,"s":"BTCUSDT","t":{trade_id},"p":"{price}",'
        f'"q":"{quantity}","X":"{execution}","m":{str(maker).lower()}}}'
    ).encode()
