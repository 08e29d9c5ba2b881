"""What a frame of each venue says, and how to make it wrong: text in, text out, no state.

Frames are read by patterns, not by a JSON parser: what is not changed stays as it is, byte for byte.
"""

from __future__ import annotations

import random
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

import orjson

_LEVEL = re.compile(rb'\["([0-9.]+)","([0-9.]+)"')
_DIGIT = re.compile(rb"[1-9](?=[0.]*\Z)")
UNKNOWN = "NOSUCHCOIN"


@dataclass(frozen=True, slots=True)
class Seen:
    """Whose frame it is: symbol, kind of stream (one of faults.STREAM_KINDS), the venue's own name of it."""

    symbol: str
    kind: str
    name: str
    is_whole: bool = False


def split_frames(data: bytes) -> list[bytes]:
    """Return the payloads of whole, unmasked websocket frames that lie one behind the other."""
    found = []
    place = 0
    while place < len(data):
        size = data[place + 1]
        place += 2
        if size == 126:
            size = int.from_bytes(data[place : place + 2], "big")
            place += 2
        elif size == 127:
            size = int.from_bytes(data[place : place + 8], "big")
            place += 8
        found.append(data[place : place + size])
        place += size
    return found


def join_frames(payloads: list[bytes]) -> bytes:
    """Return payloads as text frames one behind the other."""
    parts = []
    for payload in payloads:
        size = len(payload)
        if size < 126:
            parts.append(bytes((0x81, size)))
        elif size < 65_536:
            parts.append(b"\x81\x7e" + size.to_bytes(2, "big"))
        else:
            parts.append(b"\x81\x7f" + size.to_bytes(8, "big"))
        parts.append(payload)
    return b"".join(parts)


class FrameReader(ABC):
    """One venue's frames."""

    symbol_field: ClassVar[re.Pattern[bytes]]
    time_fields: ClassVar[re.Pattern[bytes]]
    bids: ClassVar[re.Pattern[bytes]]
    level_tail = b""
    #: A whole book in the stream may begin with numbers of its own.
    has_stream_snapshots = True

    @abstractmethod
    def read(self, payload: bytes) -> Seen | None:
        """Say whose frame it is; None for answers to requests and all else that is no market data."""

    @abstractmethod
    def shift(self, payload: bytes, by: int, *, keep_previous: bool = False) -> bytes:
        """Add `by` to the sequences of a book's update; `keep_previous` leaves the link to the one before."""

    @abstractmethod
    def shift_body(self, body: bytes, by: int) -> bytes:
        """Add `by` to the sequence of a REST snapshot."""

    def notice(self, now_ms: int, end_ms: int, state: str) -> tuple[str, bytes] | None:  # noqa: ARG002
        """Return (stream, payload) that announces a maintenance; None where the venue has no such stream."""
        return None

    def truncate(self, payload: bytes, count: int) -> bytes:
        """Cut so many bytes of the end, but not all."""
        return payload[: max(1, len(payload) - count)]

    def corrupt(self, payload: bytes, field: str, chance: random.Random) -> bytes | None:
        """Change one digit of one level, so that all is still well-formed; None without a level."""
        group = 2 if field == "quantity" else 1
        places = [m for m in _LEVEL.finditer(payload) if m.group(2).strip(b"0.")]
        if not places:
            return None
        match = chance.choice(places)
        digit = _DIGIT.search(match.group(group))
        assert digit is not None, match.group()
        place = match.start(group) + digit.start()
        changed = b"%d" % (int(digit.group()) % 9 + 1)
        return payload[:place] + changed + payload[place + 1 :]

    def cross(self, payload: bytes) -> bytes | None:
        """Add a bid at twice some price of the frame; None when it holds no price."""
        level = _LEVEL.search(payload)
        side = self.bids.search(payload)
        if level is None or side is None:
            return None
        price = Decimal(level.group(1).decode()) * 2
        added = b'["%s","1"%s]' % (str(price).encode(), self.level_tail)
        comma = b"" if payload[side.end() : side.end() + 1] == b"]" else b","
        return payload[: side.end()] + added + comma + payload[side.end() :]

    def set_back(self, payload: bytes, ms: int) -> bytes:
        """Set every event time of the frame back."""
        return self.time_fields.sub(lambda m: m.group(1) + b"%d" % (int(m.group(2)) - ms), payload)

    def rename(self, payload: bytes, symbol: str) -> bytes:
        """Return the frame as one of a symbol that nobody knows."""
        old = symbol.encode()
        changed = payload.replace(b'"%s"' % old, b'"%s"' % UNKNOWN.encode())
        return changed.replace(b".%s" % old, b".%s" % UNKNOWN.encode())


class BinanceFrames(FrameReader):
    """Frames of Binance USD-M, bare or wrapped."""

    symbol_field = re.compile(rb'"s":"([^"]+)"')
    time_fields = re.compile(rb'("[ET]":)(\d{13})')
    bids = re.compile(rb'"b":\[')
    has_stream_snapshots = False
    _event = re.compile(rb'"e":"([^"]+)"')
    _sequences = re.compile(rb'("(?:U|u|pu)":)(\d+)')
    _numbers = re.compile(rb'("(?:U|u)":)(\d+)')
    _snapshot = re.compile(rb'("lastUpdateId":)(\d+)')
    _kinds: ClassVar[dict[bytes, str]] = {
        b"depthUpdate": "depth", b"bookTicker": "bbo", b"aggTrade": "trade", b"trade": "trade",
        b"markPriceUpdate": "mark", b"forceOrder": "liquidation", b"contractInfo": "status",
    }  # fmt: skip

    def read(self, payload: bytes) -> Seen | None:
        """Say whose frame it is."""
        event, symbol = self._event.search(payload), self.symbol_field.search(payload)
        if event is None or symbol is None:
            return None
        name = event.group(1)
        return Seen(symbol.group(1).decode(), self._kinds.get(name, "other"), name.decode())

    def shift(self, payload: bytes, by: int, *, keep_previous: bool = False) -> bytes:
        """Add `by` to U, u and pu."""
        pattern = self._numbers if keep_previous else self._sequences
        return pattern.sub(lambda m: m.group(1) + b"%d" % (int(m.group(2)) + by), payload)

    def shift_body(self, body: bytes, by: int) -> bytes:
        """Add `by` to lastUpdateId."""
        return self._snapshot.sub(lambda m: m.group(1) + b"%d" % (int(m.group(2)) + by), body, count=1)


class OkxFrames(FrameReader):
    """Frames of OKX."""

    symbol_field = re.compile(rb'"instId":"([^"]+)"')
    time_fields = re.compile(rb'("ts":")(\d{13})')
    bids = re.compile(rb'"bids":\[')
    level_tail = b',"0","1"'
    _channel = re.compile(rb'\A\{"arg":\{"channel":"([^"]+)"(?:,"instId":"([^"]+)")?')
    _number = re.compile(rb'("seqId":)(\d+)')
    _previous = re.compile(rb'("prevSeqId":)(\d+)')
    _checksum = re.compile(rb'("checksum":)(-?\d+)')
    _kinds: ClassVar[dict[bytes, str]] = {
        b"bbo-tbt": "bbo", b"trades": "trade", b"trades-all": "trade", b"mark-price": "mark",
        b"funding-rate": "mark", b"index-tickers": "mark", b"tickers": "ticker",
        b"liquidation-orders": "liquidation", b"status": "status", b"instruments": "status",
    }  # fmt: skip

    def read(self, payload: bytes) -> Seen | None:
        """Say whose frame it is."""
        match = self._channel.match(payload)
        if match is None:
            return None
        channel, symbol = match.group(1), (match.group(2) or b"").decode()
        kind = "depth" if channel.startswith(b"books") else self._kinds.get(channel, "other")
        return Seen(symbol, kind, channel.decode(), b'"action":"snapshot"' in payload[:200])

    def shift(self, payload: bytes, by: int, *, keep_previous: bool = False) -> bytes:
        """Add `by` to seqId and prevSeqId (but not to its -1)."""
        done = self._number.sub(lambda m: m.group(1) + b"%d" % (int(m.group(2)) + by), payload)
        if keep_previous:
            return done
        return self._previous.sub(lambda m: m.group(1) + b"%d" % (int(m.group(2)) + by), done)

    def shift_body(self, body: bytes, by: int) -> bytes:
        """Add `by` to seqId."""
        return self.shift(body, by)

    def falsify(self, payload: bytes) -> bytes | None:
        """Change the checksum; None when the frame has none."""
        match = self._checksum.search(payload)
        if match is None:
            return None
        return payload[: match.start(2)] + b"%d" % (int(match.group(2)) ^ 1) + payload[match.end(2) :]

    def notice(self, now_ms: int, end_ms: int, state: str) -> tuple[str, bytes]:
        """Return a message of the status channel ("Status / WS / Status channel")."""
        row = {
            "title": "Trading system upgrade", "state": state, "begin": str(now_ms), "href": "",
            "end": str(end_ms), "serviceType": "0", "system": "unified",
            "scheDesc": "", "maintType": "1", "env": "1", "preOpenBegin": "", "ts": str(now_ms),
        }  # fmt: skip
        return "status", orjson.dumps({"arg": {"channel": "status"}, "data": [row]})


class BybitFrames(FrameReader):
    """Frames of Bybit v5."""

    symbol_field = re.compile(rb'"s(?:ymbol)?":"([^"]+)"')
    time_fields = re.compile(rb'("c?ts":)(\d{13})')
    bids = re.compile(rb'"b":\[')
    _topic = re.compile(rb'\A\{"topic":"([^"]+)"')
    _number = re.compile(rb'("u":)(\d+)')
    _kinds: ClassVar[dict[str, str]] = {
        "publicTrade": "trade", "tickers": "ticker", "allLiquidation": "liquidation",
        "liquidation": "liquidation",
    }  # fmt: skip

    def read(self, payload: bytes) -> Seen | None:
        """Say whose frame it is; level 1 of the book is its best bid and offer."""
        match = self._topic.match(payload)
        if match is None:
            return None
        name, _, symbol = match.group(1).decode().rpartition(".")
        if name.startswith("orderbook."):
            kind = "bbo" if name == "orderbook.1" else "depth"
        elif name == "system":
            return Seen("", "status", "system.status")
        else:
            kind = self._kinds.get(name, "other")
        return Seen(symbol, kind, name, b'"type":"snapshot"' in payload[:200])

    def shift(self, payload: bytes, by: int, *, keep_previous: bool = False) -> bytes:  # noqa: ARG002
        """Add `by` to u."""
        return self._number.sub(lambda m: m.group(1) + b"%d" % (int(m.group(2)) + by), payload)

    def shift_body(self, body: bytes, by: int) -> bytes:
        """Add `by` to u."""
        return self.shift(body, by)

    def notice(self, now_ms: int, end_ms: int, state: str) -> tuple[str, bytes]:
        """Return a message of the topic system.status ("Websocket Stream / Public / System Status")."""
        row = {
            "id": "maintenance", "title": "System maintenance", "state": state, "begin": str(now_ms),
            "end": str(end_ms), "href": "", "serviceTypes": [2], "product": [1, 2],
            "uidSuffix": [], "maintainType": "1", "env": "1",
        }  # fmt: skip
        return "status/system.status", orjson.dumps({"topic": "system.status", "ts": now_ms, "data": [row]})


def frame_reader(venue: str) -> FrameReader:
    """Return the reader of a simulated venue's frames."""
    if venue == "binance_usdm":
        return BinanceFrames()
    return OkxFrames() if venue == "okx" else BybitFrames()
