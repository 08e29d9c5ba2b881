"""Recorded frames of Bybit v5: where things are in them and how its books follow from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import parse_qs, urlsplit

import orjson

from tools.venues.bybit_instruments import LINEAR, SPOT
from tools.venues.protocol import VenueInstrument
from tools.venues.recording import CaptureCodec, Diff, Frame, Snapshot, unit_text
from tools.venues.text_times import TextTimes

TIMES = TextTimes("ts", ("ts", "cts", "T"))
TOPIC = b'"topic":"'
# "topic" is the first member, or the second behind "type": the whole frame need not be searched
TOPIC_WITHIN = 40
DEPTHS = (1000, 500, 200, 50)
QUOTES = ("USDT", "USDC", "USDE", "EUR", "BTC", "ETH")


class BybitCodec(CaptureCodec):
    """Reads frames and REST bodies of the venue; the address of a connection says which category it is.

    served: the categories that are played; frames of a connection without an address are of the first.
    """

    has_whole_books = True

    def __init__(self, served: Sequence[str]) -> None:
        self._served = tuple(served)
        self._categories: dict[tuple[str, str], str] = {}

    def on_connect(self, where: tuple[str, str], url: str) -> None:
        """Learn the category of a connection."""
        self._categories[where] = urlsplit(url).path.rpartition("/")[2]

    def frame(self, payload: bytes, where: tuple[str, str] = ("", "")) -> Frame | None:
        """Return the stream `category/topic` of a data frame; None for answers and other categories."""
        category = self._categories.get(where, self._served[0])
        at = payload.find(TOPIC, 0, TOPIC_WITHIN)
        if at < 0 or category not in self._served:
            return None
        topic = payload[at + len(TOPIC) : at + len(TOPIC) + 80].partition(b'"')[0]
        return Frame(f"{category}/{topic.decode('ascii', 'replace')}", 0, len(payload))

    def symbol_of(self, stream: str) -> str:
        """Return the key of the instrument in a stream name."""
        category, _, topic = stream.partition("/")
        return f"{category}/{topic.rpartition('.')[2]}"

    def book_streams(self, symbol: str) -> Iterator[str]:
        """Yield the topics of an instrument's book that send changes."""
        category, _, name = symbol.partition("/")
        for depth in DEPTHS:
            yield f"{category}/orderbook.{depth}.{name}"

    def diff(self, payload: bytes) -> Diff:
        """Decode a frame of a book topic; ValueError when it is not one."""
        try:
            message = orjson.loads(payload)
            data, last = message["data"], int(message["data"]["u"])
            whole = message["type"] == "snapshot" or last == 1
            extra = {"seq": data["seq"]}
            return Diff(last, last, last - 1, data["b"], data["a"], whole, extra)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not an orderbook frame: {error}") from None

    def http(self, path: str) -> str:
        """Return what the answer to a request is: `instruments` or an empty string."""
        return "instruments" if urlsplit(path).path == "/v5/market/instruments-info" else ""

    def category_of(self, path: str) -> str:
        """Return the category of a request."""
        return parse_qs(urlsplit(path).query).get("category", [""])[0]

    def snapshot_symbol(self, path: str) -> str:
        """Return the key of the instrument in a request."""
        query = parse_qs(urlsplit(path).query)
        return f"{query.get('category', [''])[0]}/{query.get('symbol', [''])[0]}"

    def snapshot(self, payload: bytes) -> Snapshot:
        """Decode a REST book; ValueError when it is not one."""
        try:
            data = orjson.loads(payload)["result"]
            return Snapshot(data["u"], data["b"], data["a"], {"seq": data["seq"]})
        except (KeyError, TypeError) as error:
            raise ValueError(f"no field {error} in an order book") from None

    def encode_snapshot(self, symbol: str, snapshot: Snapshot, time_ms: int) -> bytes:
        """Encode a REST book as the venue does."""
        result = {
            "s": symbol.partition("/")[2], "b": snapshot.bids, "a": snapshot.asks, "ts": time_ms,
            "u": snapshot.update_id, "seq": snapshot.extra.get("seq", 0), "cts": time_ms,
        }  # fmt: skip
        return orjson.dumps(
            {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": time_ms}
        )

    def welcome(self, stream: str, snapshot: Snapshot, time_ms: int) -> bytes | None:
        """Encode the whole book with which a topic begins, its members in the order of the category."""
        category, _, topic = stream.partition("/")
        when: dict[str, object] = {"type": "snapshot", "ts": time_ms}
        if category == SPOT:
            when = {"ts": time_ms, "type": "snapshot"}
        data = {
            "s": topic.rpartition(".")[2], "b": snapshot.bids, "a": snapshot.asks, "u": snapshot.update_id,
            "seq": snapshot.extra.get("seq", 0),
        }  # fmt: skip
        return orjson.dumps({"topic": topic, **when, "data": data, "cts": time_ms})

    def remember(self, stream: str, held: bytes | None, payload: bytes) -> bytes | None:
        """Return the last frame of orderbook.1, and a ticker with what its deltas changed."""
        topic = stream.partition("/")[2]
        if topic.startswith("orderbook.1."):
            return payload
        if not topic.startswith("tickers."):
            return None
        message = orjson.loads(payload)
        if message["type"] != "delta":
            return payload
        if held is None:
            return None
        whole = orjson.loads(held)
        data = whole["data"] | message["data"]
        return orjson.dumps(whole | message | {"type": "snapshot", "data": data})

    def prices(self, payload: bytes) -> Iterator[tuple[str, str]]:
        """Yield (price text, quantity text) of everything in a frame that has a price."""
        message = orjson.loads(payload)
        if message["topic"].startswith("kline"):
            return
        data = message["data"]
        for row in data if isinstance(data, list) else (data,):
            for side in ("b", "a"):
                yield from ((level[0], level[1]) for level in row.get(side, ()))
            for price, quantity in (("p", "v"), ("bid1Price", "bid1Size"), ("ask1Price", "ask1Size")):
                if row.get(price) and row.get(quantity):
                    yield row[price], row[quantity]

    def trades(self, payload: bytes) -> Iterator[tuple[str, str, bool]]:
        """Yield price, quantity and whether the buyer came of each trade."""
        message = orjson.loads(payload)
        for row in message["data"] if message["topic"].startswith("publicTrade") else ():
            yield row["p"], row["v"], row["S"] == "Buy"

    def instrument(self, symbol: str, price_decimals: int, quantity_decimals: int) -> VenueInstrument:
        """Make an instrument from what was seen of it."""
        category, _, name = symbol.partition("/")
        quote = next((one for one in QUOTES if name.endswith(one) and name != one), "USDT")
        tick, lot = unit_text(price_decimals), unit_text(quantity_decimals)
        return VenueInstrument(
            name, name.removesuffix(quote), quote, price_decimals, quantity_decimals, tick, lot, category,
            int(category == LINEAR), quote, is_keyed=True,
        )  # fmt: skip

    def event_ms(self, payload: bytes, start: int) -> int:  # noqa: ARG002
        """Return the frame's time."""
        return TIMES.event_ms(payload)

    def shift(self, payload: bytes, start: int, delta_ms: int) -> bytes | None:  # noqa: ARG002
        """Return the frame with its times moved in place."""
        return TIMES.shift(payload, delta_ms)
