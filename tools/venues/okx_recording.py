"""Recorded frames of OKX: where things are in them and how its books follow from them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import orjson

from tools.venues.okx_instruments import SPOT, SWAP
from tools.venues.protocol import VenueInstrument
from tools.venues.recording import CaptureCodec, Diff, Frame, Snapshot, unit_text
from tools.venues.text_times import TextTimes

TIMES = TextTimes("ts", ("ts",))
ARG = b'{"arg":{"channel":"'
DEPTH_CHANNELS = ("books", "books-l2-tbt", "books50-l2-tbt")
WHOLE_CHANNELS = frozenset({"books5", "bbo-tbt", "tickers", "mark-price", "index-tickers", "funding-rate"})
CHECKED_LEVELS = 25


class OkxCodec(CaptureCodec):
    """Reads frames and REST bodies of the venue, of 2021 (checksums, no sequence) to 2026 (the reverse)."""

    has_whole_books = True

    def frame(self, payload: bytes, where: tuple[str, str] = ("", "")) -> Frame | None:  # noqa: ARG002
        """Return the stream `channel:instId` of a data frame; None for answers."""
        if not payload.startswith(ARG):
            return None
        channel, _, rest = payload[len(ARG) : len(ARG) + 120].partition(b'"')
        name = channel.decode("ascii", "replace")
        if rest.startswith((b',"instId":"', b',"instType":"')):
            name += ":" + rest.split(b'"', 4)[3].decode("ascii", "replace")
        return Frame(name, 0, len(payload))

    def symbol_of(self, stream: str) -> str:
        """Return the instId of a channel of an instrument."""
        channel, _, symbol = stream.partition(":")
        return "" if channel in ("index-tickers", "instruments", "liquidation-orders", "status") else symbol

    def book_streams(self, symbol: str) -> Iterator[str]:
        """Yield the channels of an instrument's book that send changes."""
        for channel in DEPTH_CHANNELS:
            yield f"{channel}:{symbol}"

    def diff(self, payload: bytes) -> Diff:
        """Decode a frame of a book channel; ValueError when it is not one."""
        try:
            message = orjson.loads(payload)
            data = message["data"][0]
            extra = {key: data[key] for key in ("ts", "checksum", "seqId") if key in data}
            whole = message["action"] == "snapshot"
            last, previous = data.get("seqId", 0), data.get("prevSeqId", 0)
            return Diff(last, last, previous, data["bids"], data["asks"], whole, extra)
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"not a book frame: {error}") from None

    def http(self, path: str) -> str:
        """Return what the answer to a request is: `instruments` or an empty string."""
        # the REST book has no place in the stream's sequence: the stream's own book is the proof
        return "instruments" if urlsplit(path).path == "/api/v5/public/instruments" else ""

    def category_of(self, path: str) -> str:
        """Return the instType of a request."""
        return parse_qs(urlsplit(path).query).get("instType", [""])[0]

    def snapshot_symbol(self, path: str) -> str:
        """Return the instId of a request."""
        return parse_qs(urlsplit(path).query).get("instId", [""])[0]

    def snapshot(self, payload: bytes) -> Snapshot:
        """Decode a REST book; ValueError when it is not one."""
        try:
            data = orjson.loads(payload)["data"][0]
            return Snapshot(data.get("seqId", 0), data["bids"], data["asks"])
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"no field {error} in an order book") from None

    def encode_snapshot(self, symbol: str, snapshot: Snapshot, time_ms: int) -> bytes:  # noqa: ARG002
        """Encode a REST book as the venue does."""
        data = {"asks": snapshot.asks, "bids": snapshot.bids, "ts": str(time_ms)}
        if "seqId" in snapshot.extra:
            data["seqId"] = snapshot.extra["seqId"]  # type: ignore[assignment]
        return orjson.dumps({"code": "0", "msg": "", "data": [data]})

    def welcome(self, stream: str, snapshot: Snapshot, time_ms: int) -> bytes | None:
        """Encode the whole book with which a channel begins, with a checksum where the recording has one."""
        channel, _, symbol = stream.partition(":")
        data: dict[str, object] = {"asks": snapshot.asks, "bids": snapshot.bids, "ts": str(time_ms)}
        if "checksum" in snapshot.extra:
            data["checksum"] = checksum(snapshot) if snapshot.extra["checksum"] else 0
        if "seqId" in snapshot.extra:
            data |= {"seqId": snapshot.update_id, "prevSeqId": -1}
        return orjson.dumps(
            {"arg": {"channel": channel, "instId": symbol}, "action": "snapshot", "data": [data]}
        )

    def remember(self, stream: str, held: bytes | None, payload: bytes) -> bytes | None:  # noqa: ARG002
        """Return the last frame of a channel whose frames say everything."""
        return payload if stream.partition(":")[0] in WHOLE_CHANNELS else None

    def prices(self, payload: bytes) -> Iterator[tuple[str, str]]:
        """Yield (price text, quantity text) of everything in a frame that has a price."""
        for row in orjson.loads(payload)["data"]:
            for side in ("bids", "asks"):
                yield from ((level[0], level[1]) for level in row.get(side, ()))
            for price, quantity in (("px", "sz"), ("bidPx", "bidSz"), ("askPx", "askSz")):
                if row.get(price):
                    yield row[price], row[quantity]

    def trades(self, payload: bytes) -> Iterator[tuple[str, str, bool]]:
        """Yield price, quantity and whether the buyer came of each trade."""
        for row in orjson.loads(payload)["data"]:
            if row.get("tradeId") and row.get("side"):
                yield row["px"], row["sz"], row["side"] == "buy"

    def instrument(self, symbol: str, price_decimals: int, quantity_decimals: int) -> VenueInstrument:
        """Make an instrument from what was seen of it; its contract value is unknown and taken for 1."""
        base, _, rest = symbol.partition("-")
        quote, _, tail = rest.partition("-")
        kind = "" if tail not in ("", "SWAP") else SWAP if tail else SPOT
        contract = ("1", base) if tail else ("", "")
        tick, lot = unit_text(price_decimals), unit_text(quantity_decimals)
        settle = (base if quote == "USD" else quote) if tail else ""
        return VenueInstrument(
            symbol, base, quote, price_decimals, quantity_decimals, tick, lot, kind or "OPTION",
            int(kind == SWAP), settle, *contract,
        )  # fmt: skip

    def event_ms(self, payload: bytes, start: int) -> int:  # noqa: ARG002
        """Return the frame's time."""
        return TIMES.event_ms(payload)

    def shift(self, payload: bytes, start: int, delta_ms: int) -> bytes | None:  # noqa: ARG002
        """Return the frame with its times moved in place."""
        return TIMES.shift(payload, delta_ms)


def checksum(snapshot: Snapshot) -> int:
    """Return the venue's checksum of a book: "Order book channel", "Checksum", over the texts as they are."""
    parts: list[str] = []
    for place in range(CHECKED_LEVELS):
        for side in (snapshot.bids, snapshot.asks):
            if place < len(side):
                parts += side[place][:2]
    number = zlib.crc32(":".join(parts).encode())
    return number - (1 << 32) if number >= 1 << 31 else number
