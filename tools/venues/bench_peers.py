"""Other projects' own ways from a venue's bytes to a book, for `ringlane bench decode --peers`.

Each uses the project's own decoder of the venue where it has one in Python, and its own book.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import orjson

from tools.bench.decode.rig import Workload
from tools.bench.decode.ways import Unable, Way


class Nautilus(Way):
    """NautilusTrader from Python: typed decode, OrderBookDeltas, OrderBook, best."""

    name = "NautilusTrader"
    how = "its adapter's typed decode (OKX: msgspec, as it has none), OrderBookDeltas, apply_deltas, best"
    modules = ("nautilus_trader", "msgspec")
    package = "nautilus_trader"

    def __init__(self, workload: Workload) -> None:
        super().__init__(workload)
        self.model = import_module("nautilus_trader.model")
        self.data = import_module("nautilus_trader.model.data")
        self.enums = import_module("nautilus_trader.model.enums")
        self.objects = import_module("nautilus_trader.model.objects")
        self.ids = [self.model.InstrumentId.from_str(f"{row.symbol}.BENCH") for row in workload.rows]
        self.to_deltas = self._decoder()
        self.books: list[Any] = []

    def _decoder(self) -> Callable[[bytes, int], Any]:
        json, ids, rows = import_module("msgspec").json, self.ids, self.workload.rows
        venue = self.workload.adapter.name
        if venue == "binance_usdm":
            schemas = import_module("nautilus_trader.adapters.binance.common.schemas.market")
            decode = json.Decoder(schemas.BinanceOrderBookMsg).decode
            return lambda frame, i: decode(frame).data.parse_to_order_book_deltas(ids[i], 1)
        if venue.startswith("bybit"):
            schemas = import_module("nautilus_trader.adapters.bybit.schemas.ws")
            decode = json.Decoder(schemas.BybitWsOrderbookDepthMsg).decode

            def parse(frame: bytes, i: int) -> Any:
                message, row = decode(frame), rows[i]
                return message.data.parse_to_deltas(
                    ids[i], row.price_exponent, row.quantity_exponent, message.ts * 1_000_000, 1,
                    message.type == "snapshot",
                )  # fmt: skip

            return parse
        decode = json.Decoder(self.shape.typed()).decode
        return lambda frame, i: self._deltas(i, decode(frame).data[0])

    def _deltas(self, index: int, body: Any) -> Any:
        """As its adapters in Python make them, from `bids` and `asks` of texts; None without any."""
        data, enums, price, quantity = self.data, self.enums, self.objects.Price, self.objects.Quantity
        instrument, row = self.ids[index], self.workload.rows[index]
        deltas = []
        for side, levels in ((enums.OrderSide.BUY, body.bids), (enums.OrderSide.SELL, body.asks)):
            for level in levels:
                size = quantity(float(level[1]), min(row.quantity_exponent, 16))
                order = data.BookOrder(side, price(float(level[0]), min(row.price_exponent, 16)), size, 0)
                action = enums.BookAction.UPDATE if size > 0 else enums.BookAction.DELETE
                deltas.append(data.OrderBookDelta(instrument, action, order, 0, 0, 1, 1))
        return data.OrderBookDeltas(instrument, deltas) if deltas else None

    def begin(self) -> None:
        """New books from the starts."""
        book = import_module("nautilus_trader.model.book").OrderBook
        self.books = [book(i, self.enums.BookType.L2_MBP) for i in self.ids]
        for index, start in enumerate(self.workload.starts):
            if start.first:
                whole = orjson.loads(start.body)
                body = SimpleNamespace(bids=whole["bids"], asks=whole["asks"])
                self.books[index].apply_deltas(self._deltas(index, body))
            self.books[index].apply_deltas(self.to_deltas(start.first or start.body, index))

    def run(self) -> None:
        """Decode, apply and read the best of each."""
        to_deltas, books = self.to_deltas, self.books
        for frame, index in zip(self.workload.frames, self.workload.indexes, strict=True):
            book = books[index]
            deltas = to_deltas(frame, index)
            if deltas is not None:
                book.apply_deltas(deltas)
            book.best_bid_price()
            book.best_ask_price()

    def best(self, index: int) -> tuple[float, float] | None:
        """Best of its book."""
        book = self.books[index]
        return float(book.best_bid_price() or 0), float(book.best_ask_price() or 0)


FEEDS = {
    "binance_usdm": ("cryptofeed.exchanges.binance_futures", "BinanceFutures"),
    "okx": ("cryptofeed.exchanges.okx", "OKX"),
    "bybit_linear": ("cryptofeed.exchanges.bybit", "Bybit"),
}


class Cryptofeed(Way):
    """cryptofeed: its message handler up to the user's callback."""

    name = "cryptofeed"
    how = (
        "its message handler: yapic.json, Decimal, order_book, callback; checksums not verified, top not read"
    )
    modules = ("cryptofeed", "order_book")
    package = "cryptofeed"
    reads_top = False

    def __init__(self, workload: Workload) -> None:
        super().__init__(workload)
        place = FEEDS.get(workload.adapter.name)
        if place is None:
            raise Unable("its handler takes spot symbols from a list that only the venue's REST can fill")
        symbols = import_module("cryptofeed.symbols").Symbols
        kind = getattr(import_module(place[0]), place[1])
        names = [row.symbol for row in workload.rows]
        # Its symbols come from the venue's REST; here each instrument bears the venue's own name.
        symbols.set(
            kind.id, {name: name for name in names}, {"instrument_type": dict.fromkeys(names, "perpetual")}
        )
        channel = import_module("cryptofeed.defines").L2_BOOK
        self.book = import_module("cryptofeed.types").OrderBook
        self.feed = kind(symbols=names, channels=[channel], callbacks={channel: self.on_book})
        self.connection = SimpleNamespace(address="wss://bench/linear", uuid="bench")
        self.texts = [frame.decode() for frame in workload.frames]
        self.calls = 0

    async def on_book(self, book: Any, _receipt_timestamp: float) -> None:
        """The user's callback."""
        self.calls += 1
        if self.reads_top:
            for side in (book.book.bids, book.book.asks):
                if len(side):
                    side.index(0)

    def take(self, text: str) -> None:
        """Give one message to the handler; it never waits."""
        try:
            self.feed.message_handler(text, self.connection, 1.0).send(None)
        except StopIteration:
            return
        raise Unable("its handler waits for something")

    def begin(self) -> None:
        """New books from the starts."""
        for row, start in zip(self.workload.rows, self.workload.starts, strict=True):
            if start.first:
                self._load(row.symbol, orjson.loads(start.body))
            self.take((start.first or start.body).decode())
        self.calls = 0

    def _load(self, symbol: str, body: Any) -> None:
        sides = [{Decimal(p): Decimal(q) for p, q in body[key]} for key in ("bids", "asks")]
        self.feed._l2_book[symbol] = self.book(self.feed.id, symbol, bids=sides[0], asks=sides[1])
        self.feed.last_update_id[symbol] = body["lastUpdateId"]

    def run(self) -> None:
        """Handle each."""
        take = self.take
        for text in self.texts:
            take(text)
        if self.calls != len(self.texts):
            raise Unable(f"its callback was called for {self.calls} of {len(self.texts)} messages")

    def best(self, index: int) -> tuple[float, float] | None:
        """Best of its book."""
        book = self.feed._l2_book[self.workload.rows[index].symbol].book
        return tuple(float(side.index(0)[0]) if len(side) else 0.0 for side in (book.bids, book.asks))  # type: ignore[return-value]


class CryptofeedTop(Cryptofeed):
    """The same with a callback that reads the top of book."""

    name = "cryptofeed, top read"
    how = "the same with a callback that reads the best bid and ask"
    reads_top = True


VENUE_PEERS: tuple[type[Way], ...] = (Nautilus, Cryptofeed, CryptofeedTop)


def order_instrument() -> Any:
    """A linear perpetual of NautilusTrader's test kit, for orders.

    Raises:
        ImportError: it is not installed.
    """
    return import_module("nautilus_trader.test_kit.providers").TestInstrumentProvider.btcusdt_perp_binance()
