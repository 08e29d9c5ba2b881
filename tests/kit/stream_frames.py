"""Frames of the venues whose snapshots come in the stream, made from texts; a checksum by `zlib`."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

Levels = Sequence[tuple[str, str]]
TIME_MS = 1_790_000_000_000


def signed(value: int) -> int:
    """The number whose 32 bits are those of `value`."""
    return value - (1 << 32) if value >= 1 << 31 else value


def okx_checksum(bids: Levels, asks: Levels) -> int:
    """CRC32 of the best 25 a side, best first, in turn."""
    parts: list[str] = []
    for i in range(25):
        for side in (bids, asks):
            if i < len(side):
                parts += side[i]
    return signed(zlib.crc32(":".join(parts).encode()))


def okx_book(
    symbol: str,
    sequence: int | None,
    previous: int | None,
    bids: Levels = (),
    asks: Levels = (),
    *,
    action: str = "update",
    checksum: int | None = 0,
    channel: str = "books",
    ms: int = TIME_MS,
) -> bytes:
    """One message of a books channel."""
    data: dict[str, Any] = {
        "asks": [[p, q, "0", "1"] for p, q in asks],
        "bids": [[p, q, "0", "2"] for p, q in bids],
        "ts": str(ms),
    }
    if checksum is not None:
        data["checksum"] = checksum
    if sequence is not None:
        data["seqId"] = sequence
    if previous is not None:
        data["prevSeqId"] = previous
    message: dict[str, Any] = {"arg": {"channel": channel, "instId": symbol}, "data": [data]}
    if action:
        message["action"] = action
    return orjson.dumps(message)


def okx(channel: str, data: Sequence[Mapping[str, Any]], **arg: str) -> bytes:
    """One message of any channel."""
    return orjson.dumps({"arg": {"channel": channel, **arg}, "data": list(data)})


def bybit_book(
    symbol: str,
    update: int,
    bids: Levels = (),
    asks: Levels = (),
    *,
    kind: str = "delta",
    levels: int = 200,
    ms: int = TIME_MS,
    cross: int = 7,
) -> bytes:
    """One message of an orderbook topic, keys in the order of spot."""
    data = {
        "s": symbol,
        "b": [list(x) for x in bids],
        "a": [list(x) for x in asks],
        "u": update,
        "seq": cross,
    }
    message = {"topic": f"orderbook.{levels}.{symbol}", "ts": ms, "type": kind, "data": data, "cts": ms - 4}
    return orjson.dumps(message)


def bybit(topic: str, data: Any, *, kind: str = "snapshot", ms: int = TIME_MS) -> bytes:
    """One message of any topic, keys in the order of linear."""
    return orjson.dumps({"topic": topic, "type": kind, "data": data, "cs": 1, "ts": ms})
