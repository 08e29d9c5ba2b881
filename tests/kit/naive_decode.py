"""The venue's frames decoded a second time, with `json` and nothing shared with the compiled decoder."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

DECIMAL = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)
KINDS = {"depthUpdate": 1, "trade": 2, "aggTrade": 2, "bookTicker": 3, "markPriceUpdate": 4}
CONTROL, SNAPSHOT = 5, 6
MS = 1_000_000


class Refused(Exception):
    """The frame is not a message."""


class Pairs(dict[str, Any]):
    """An object that remembers whether a key stood in it twice."""

    is_doubled = False


class Decoded(NamedTuple):
    """What both decoders must agree on; decimals are (digits as an integer, count of decimals)."""

    kind: int
    symbol: str = ""
    sequences: tuple[int, int, int] = (0, 0, 0)
    venue_utc_ns: int = 0
    trade_id: int = 0
    side: int = 0
    flags: int = 0
    next_funding_utc_ns: int = 0
    values: tuple[tuple[int, int], ...] = ()
    bids: tuple[tuple[int, int, int, int], ...] = ()
    asks: tuple[tuple[int, int, int, int], ...] = ()


def _pairs(items: list[tuple[str, Any]]) -> Pairs:
    pairs = Pairs(items)
    pairs.is_doubled = len(pairs) != len(items)
    return pairs


def _no_constant(name: str) -> Any:
    raise Refused(name)


def _load(frame: bytes) -> Pairs:
    try:
        value = json.loads(frame.decode("utf-8"), object_pairs_hook=_pairs, parse_constant=_no_constant)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise Refused(str(error)) from error
    return _object(value)


def _object(value: Any) -> Pairs:
    if not isinstance(value, Pairs) or value.is_doubled:
        raise Refused("no plain object")
    return value


def _integer(source: Pairs, key: str) -> int:
    value = source.get(key)
    if type(value) is not int or value < 0:
        raise Refused(key)
    return value


def _text(source: Pairs, key: str) -> str:
    value = source.get(key)
    if type(value) is not str:
        raise Refused(key)
    return value


def _decimal(text: Any, sign: bool = False) -> tuple[int, int]:
    if type(text) is not str:
        raise Refused("no string")
    minus = sign and text.startswith("-")
    if not DECIMAL.fullmatch(text[minus:]):
        raise Refused(text)
    whole, _, fraction = text[minus:].partition(".")
    digits = int(whole + fraction)
    return (-digits if minus else digits), len(fraction)


def _levels(value: Any) -> tuple[tuple[int, int, int, int], ...]:
    if not isinstance(value, list):
        raise Refused("no levels")
    found = []
    for one in value:
        if not isinstance(one, list) or len(one) != 2:
            raise Refused("no level")
        price, quantity = _decimal(one[0]), _decimal(one[1])
        if price[0] == 0:
            raise Refused("price 0")
        found.append((*price, *quantity))
    return tuple(found)


def decode(frame: bytes) -> Decoded:
    """One frame; raises Refused."""
    outer = _load(frame)
    event = outer
    if "data" in outer:
        if "e" in outer:
            raise Refused("two messages")
        _text(outer, "stream")
        event = _object(outer["data"])
    elif "e" not in outer:
        if outer.keys() & {"result", "error", "code"}:
            return Decoded(CONTROL)
        raise Refused("unrecognized")
    name = _text(event, "e")
    if name not in KINDS:
        return Decoded(CONTROL)
    base = Decoded(KINDS[name], _text(event, "s"), venue_utc_ns=_integer(event, "E") * MS)
    return {1: _depth, 2: _trade, 3: _bbo, 4: _mark}[base.kind](event, base)


def _depth(event: Pairs, base: Decoded) -> Decoded:
    first, last, previous = (_integer(event, k) for k in ("U", "u", "pu"))
    if first > last:
        raise Refused("U > u")
    return base._replace(
        sequences=(first, last, previous), bids=_levels(event.get("b")), asks=_levels(event.get("a"))
    )


def _trade(event: Pairs, base: Decoded) -> Decoded:
    trade_id = _integer(event, "a" if event["e"] == "aggTrade" else "t")
    values = (_decimal(event.get("p")), _decimal(event.get("q")))
    maker = event.get("m")
    if not isinstance(maker, bool):
        raise Refused("m")
    is_market = "X" not in event or _text(event, "X") == "MARKET"
    if is_market and not (values[0][0] and values[1][0]):
        raise Refused("a market trade of nothing")
    return base._replace(
        trade_id=trade_id, values=values, side=2 if maker else 1, flags=0 if is_market else 1
    )


def _bbo(event: Pairs, base: Decoded) -> Decoded:
    values = tuple(_decimal(event.get(k)) for k in ("b", "B", "a", "A"))
    if any(values[i][0] == 0 and values[i + 1][0] for i in (0, 2)):
        raise Refused("quantity without a price")
    return base._replace(sequences=(0, _integer(event, "u"), 0), values=values)


def _mark(event: Pairs, base: Decoded) -> Decoded:
    rate = _text(event, "r")
    values = (_decimal(event.get("p")), _decimal(event.get("i")), _decimal(rate, True) if rate else (0, 0))
    return base._replace(values=values, next_funding_utc_ns=_integer(event, "T") * MS)


def decode_snapshot(body: bytes) -> Decoded:
    """One depth snapshot body; raises Refused."""
    outer = _load(body)
    utc = _integer(outer, "E") * MS if "E" in outer else 0
    return Decoded(
        SNAPSHOT,
        sequences=(0, _integer(outer, "lastUpdateId"), 0),
        venue_utc_ns=utc,
        bids=_levels(outer.get("bids")),
        asks=_levels(outer.get("asks")),
    )


def same_decimal(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two (digits, decimals) pairs are the same number."""
    return one[0] * int(10 ** other[1]) == other[0] * int(10 ** one[1])
