"""Recorded frames of Binance USD-M Futures: where things are in them and how its books follow from them."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import orjson

from tools.venues.protocol import VenueInstrument
from tools.venues.recording import CaptureCodec, Diff, Frame, Snapshot, unit_text

_WRAPPER = b'{"stream":"'
_DATA = b'","data":'
DEPTH_SPEEDS = ("depth@0ms", "depth@100ms", "depth", "depth@250ms", "depth@500ms")
QUOTES = ("USDT", "USDC", "BUSD", "BTC", "ETH")


class BinanceUsdmCodec(CaptureCodec):
    """Reads combined-stream frames and REST bodies of the venue."""

    time_keys = b"ET"

    def frame(self, payload: bytes, where: tuple[str, str] = ("", "")) -> Frame | None:  # noqa: ARG002
        """Return where the stream name and payload are, or None when the frame carries no stream."""
        if not payload.startswith(_WRAPPER):
            return None
        end = payload.find(b'"', len(_WRAPPER))
        if end < 0 or not payload.startswith(_DATA, end):
            return None
        # a truncated frame lost the end of its wrapper
        stop = len(payload) - payload.endswith(b"}")
        name = payload[len(_WRAPPER) : end].decode("ascii", "replace")
        return Frame(name, min(end + len(_DATA), stop), stop)

    def symbol_of(self, stream: str) -> str:
        """Return the symbol in a stream name; empty for streams of the whole venue."""
        return "" if stream.startswith("!") else stream.partition("@")[0].upper()

    def book_streams(self, symbol: str) -> Iterator[str]:
        """Yield the speeds of a depth stream."""
        for speed in DEPTH_SPEEDS:
            yield f"{symbol.lower()}@{speed}"

    def is_diff(self, stream: str) -> bool:
        """Return whether frames of this stream change a book (the partial books `@depth5` … do not)."""
        suffix = stream.partition("@")[2]
        return suffix == "depth" or suffix.startswith("depth@")

    def diff(self, payload: bytes) -> Diff:
        """Decode a frame of a book stream; ValueError when it is not one."""
        try:
            data = orjson.loads(payload)["data"]
            bids, asks = ([(str(price), str(quantity)) for price, quantity in data[side]] for side in "ba")
            return Diff(int(data["U"]), int(data["u"]), int(data["pu"]), bids, asks)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a depth frame: {error}") from None

    def http(self, path: str) -> str:
        """Return what the answer to a request is: `snapshot`, `instruments` or an empty string."""
        known = {"/fapi/v1/depth": "snapshot", "/fapi/v1/exchangeInfo": "instruments"}
        return known.get(urlsplit(path).path, "")

    def snapshot_symbol(self, path: str) -> str:
        """Return the symbol in the path of a snapshot request; empty when the path has none."""
        return parse_qs(urlsplit(path).query).get("symbol", [""])[0].upper()

    def snapshot(self, payload: bytes) -> Snapshot:
        """Decode a snapshot body; ValueError when it is not one."""
        data = orjson.loads(payload)
        try:
            return Snapshot(data["lastUpdateId"], data["bids"], data["asks"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"no field {error} in a depth snapshot") from None

    def encode_snapshot(self, symbol: str, snapshot: Snapshot, time_ms: int) -> bytes:  # noqa: ARG002
        """Encode a snapshot body as the venue does."""
        return orjson.dumps(
            {
                "lastUpdateId": snapshot.update_id,
                "E": time_ms,
                "T": time_ms,
                "bids": snapshot.bids,
                "asks": snapshot.asks,
            }
        )

    def prices(self, payload: bytes) -> Iterator[tuple[str, str]]:
        """Yield (price text, quantity text) of everything in a frame that has a price."""
        loaded = orjson.loads(payload)
        data = loaded.get("data", loaded)
        for side in ("b", "a", "bids", "asks"):
            levels = data.get(side)
            if isinstance(levels, list):
                yield from ((price, quantity) for price, quantity in levels)
        kind = data.get("e")
        if kind == "bookTicker":
            yield data["b"], data["B"]
            yield data["a"], data["A"]
        elif kind in ("trade", "aggTrade"):
            yield data["p"], data["q"]

    def trades(self, payload: bytes) -> Iterator[tuple[str, str, bool]]:
        """Yield price, quantity and whether the buyer came of a trade; the insurance fund's are none."""
        loaded = orjson.loads(payload)
        data = loaded.get("data", loaded)
        if data.get("e") in ("trade", "aggTrade") and data.get("X", "MARKET") == "MARKET":
            yield data["p"], data["q"], not data["m"]

    def instrument(self, symbol: str, price_decimals: int, quantity_decimals: int) -> VenueInstrument:
        """Make an instrument from what was seen of it."""
        base, quote = base_and_quote(symbol)
        tick, lot = unit_text(price_decimals), unit_text(quantity_decimals)
        return VenueInstrument(symbol, base, quote, price_decimals, quantity_decimals, tick, lot)

    def substitutes(self, stream: str) -> Iterator[str]:
        """Yield other speeds of a depth stream; the raw trades for aggregate trades and the reverse."""
        symbol, _, suffix = stream.partition("@")
        if self.is_diff(stream):
            yield from self.book_streams(symbol)
        elif suffix in ("trade", "aggTrade"):
            yield f"{symbol}@{'aggTrade' if suffix == 'trade' else 'trade'}"


def base_and_quote(symbol: str) -> tuple[str, str]:
    """Split a symbol into base and quote by the known quote currencies."""
    for quote in QUOTES:
        if symbol.endswith(quote) and symbol != quote:
            return symbol.removesuffix(quote), quote
    return symbol, "USDT"
