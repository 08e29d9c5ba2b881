"""What `ringlane bench` must know of each venue's depth messages: recordings, keys, types for decoders."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording that the benches measure with, where it is at hand.

    Args:
        label: short name in tables and metrics.
        pattern: of the file below the folder of recordings.
        one_line: take the frames of its first connection only; the others carry the same stream.
        rewrite: makes what turns its frames, in their order, into those of another time; None = as recorded.
        told: what that does, in words.
    """

    label: str
    pattern: str
    one_line: bool = False
    rewrite: Callable[[], Callable[[bytes], bytes]] | None = None
    told: str = ""


@dataclass(frozen=True, slots=True)
class DepthShape:
    """A venue's depth messages, as the ways beside ours read them.

    Args:
        venue: adapter name.
        recordings: real frames of it.
        first_key, second_key: bytes right before the levels of the first side and of the other one;
            `first_side` 0 = bids come first.
        body: the object that holds the levels in a decoded message.
        bids, asks: their keys in it.
        stream: name of the depth stream that a simulated venue of this name serves, for one instrument.
        fastest: the depth stream of its adapter that a simulated venue sends every change of.
        checksum_key: bytes right before the checksum of the book, b"" = the venue has none.
        typed: makes the type of a message for msgspec's typed decoder; its `data` has `bids` and `asks`.
    """

    venue: str
    recordings: tuple[Recording, ...]
    first_key: bytes
    second_key: bytes
    first_side: int
    body: Callable[[Any], Any]
    bids: str
    asks: str
    stream: Callable[[str], str]
    fastest: str
    typed: Callable[[], Any]
    checksum_key: bytes = b""


def _data(message: Any) -> Any:
    return message["data"]


def _first_data(message: Any) -> Any:
    return message["data"][0]


def _struct(name: str, fields: list[Any], rename: dict[str, str] | None = None) -> Any:
    return import_module("msgspec").defstruct(name, fields, rename=rename, gc=False)


#: Texts of one level: price and quantity, and what more a venue says.
PAIRS = list[tuple[str, str]]
QUARTETS = list[tuple[str, str, str, str]]


def _typed_binance() -> Any:
    fields = [
        ("E", int), ("T", int), ("s", str), ("U", int), ("u", int), ("pu", int),
        ("bids", PAIRS), ("asks", PAIRS),
    ]  # fmt: skip
    data = _struct("BinanceDepth", fields, {"bids": "b", "asks": "a"})
    return _struct("BinanceMessage", [("stream", str), ("data", data)])


def _typed_okx() -> Any:
    fields = [
        ("asks", QUARTETS),
        ("bids", QUARTETS),
        ("ts", str),
        ("checksum", int, 0),
        ("seqId", int, 0),
        ("prevSeqId", int, 0),
    ]
    argument = _struct("OkxArgument", [("channel", str), ("instId", str)])
    data = _struct("OkxDepth", fields)
    return _struct("OkxMessage", [("arg", argument), ("action", str), ("data", tuple[data])])  # type: ignore[valid-type]


def _typed_bybit() -> Any:
    fields = [("s", str), ("bids", PAIRS), ("asks", PAIRS), ("u", int), ("seq", int)]
    data = _struct("BybitDepth", fields, {"bids": "b", "asks": "a"})
    return _struct("BybitMessage", [("topic", str), ("ts", int), ("type", str), ("data", data), ("cts", int)])


def _bybit(venue: str, recordings: tuple[Recording, ...]) -> DepthShape:
    category = venue.partition("_")[2]
    return DepthShape(
        venue, recordings, b'"b":[', b'"a":[', 0, _data, "b", "a",
        lambda symbol: f"{category}/orderbook.200.{symbol}", "orderbook.200", _typed_bybit,
    )  # fmt: skip


def _numbered_okx() -> Callable[[bytes], bytes]:
    """Books with sequence numbers instead of checksums, as the venue sends them since 2026."""
    instrument, checksum = re.compile(rb'"instId":"([^"]+)"'), re.compile(rb'"checksum":-?\d+')
    last: dict[bytes, int] = {}

    def rewrite(frame: bytes) -> bytes:
        found = instrument.search(frame)
        if found is None or b'"action":"' not in frame:
            return frame
        previous = -1 if b'"action":"snapshot"' in frame else last.get(found[1], 0)
        last[found[1]] = number = max(previous, 0) + 7
        return checksum.sub(b'"checksum":0,"seqId":%d,"prevSeqId":%d' % (number, previous), frame)

    return rewrite


_NO_CHECKSUMS = "checksums replaced by sequence numbers, as since 2026"
_BYBIT_FILE = "*/bybit_v5_2026*.gz"

SHAPES: dict[str, DepthShape] = {
    shape.venue: shape
    for shape in (
        DepthShape(
            "binance_usdm",
            (Recording("btc", "*/usdm_btcusdt_2024*.gz"), Recording("eth", "*/usdm_ethusdt_2024*.gz")),
            b'"b":[', b'"a":[', 0, _data, "b", "a",
            lambda symbol: f"{symbol.lower()}@depth@0ms", "depth@0ms", _typed_binance,
        ),
        DepthShape(
            "okx",
            (
                Recording("2022", "*/okx_v5_2022*.gz"),
                Recording("2021", "*/okx_v5_2021*.gz", one_line=True),
                Recording("2022/26", "*/okx_v5_2022*.gz", False, _numbered_okx, _NO_CHECKSUMS),
            ),
            b'"asks":[', b'"bids":[', 1, _first_data, "bids", "asks",
            lambda symbol: f"books:{symbol}", "books", _typed_okx, b'"checksum":',
        ),
        _bybit("bybit_linear", (Recording("2026", _BYBIT_FILE),)),
        _bybit("bybit_spot", (Recording("2026", _BYBIT_FILE),)),
    )
}  # fmt: skip
