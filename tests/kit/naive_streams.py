"""Frames of OKX and Bybit decoded a second time, with `json` and nothing of the compiled decoders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.kit.naive_decode import MS, Pairs, Refused, _decimal, _integer, _load, _object, _text

DEPTH, TRADE, BBO, CONTROL, TICKER, LIQUIDATION = 1, 2, 3, 5, 7, 8
SNAPSHOT, CHECKSUM, UNNUMBERED, PADDED, INDEX = 1, 2, 4, 8, 16

Number = tuple[int, int]
Level = tuple[int, int, int, int]
ITEMS_MAX = 4096


class Item(NamedTuple):
    symbol: str
    side: int
    price: Number
    quantity: Number
    utc_ns: int
    flags: int = 0


class Meaning(NamedTuple):
    """What both decoders must agree on."""

    kind: int
    symbol: str = ""
    sequences: tuple[int, int, int] = (0, 0, 0)
    utc_ns: int = 0
    traits: int = 0
    checksum: int = 0
    values: tuple[tuple[int, Number], ...] = ()  # place and number
    funding_ns: int = 0
    bids: tuple[Level, ...] = ()
    asks: tuple[Level, ...] = ()
    items: tuple[Item, ...] = ()


def _levels(value: Any, extra: int) -> tuple[Level, ...]:
    if not isinstance(value, list):
        raise Refused("no levels")
    found = []
    for one in value:
        if not isinstance(one, list) or not 2 <= len(one) <= 2 + extra:
            raise Refused("no level")
        price, quantity = _decimal(one[0]), _decimal(one[1])
        if price[0] == 0:
            raise Refused("price 0")
        found.append((*price, *quantity))
    return tuple(found)


def _digits(source: Pairs, key: str) -> int:
    text = _text(source, key)
    if not (text.isascii() and text.isdigit()) or int(text) >= 2**63:
        raise Refused(key)
    return int(text)


def _signed(source: Pairs, key: str) -> int:
    value = source.get(key)
    if type(value) is not int:
        raise Refused(key)
    return value


def _side(source: Pairs, key: str, names: tuple[str, str]) -> int:
    text = _text(source, key)
    if text not in names:
        raise Refused(key)
    return names.index(text) + 1


def _rows(value: Any) -> list[Pairs]:
    if not isinstance(value, list):
        raise Refused("no list")
    return [_object(row) for row in value]


def _ticks(row: Pairs, keys: dict[int, str]) -> tuple[tuple[int, Number], ...]:
    found = []
    for place, key in keys.items():
        if key in row:
            text = _text(row, key)
            found.append((place, _decimal(text, place == 6) if text else (0, 0)))
    return tuple(found)


# ---- OKX -----------------------------------------------------------------------------------------

DEPTH_CHANNELS = {"books", "books-l2-tbt", "books50-l2-tbt", "books5"}


def okx(frame: bytes) -> Meaning:
    """One frame; raises Refused."""
    if frame == b"pong":
        return Meaning(CONTROL)
    outer = _load(frame)
    if "data" not in outer or "arg" not in outer:
        if "event" in outer or "code" in outer:
            return Meaning(CONTROL)
        raise Refused("unrecognized")
    arg = _object(outer["arg"])
    channel = _text(arg, "channel")
    readers: dict[str, Callable[[Pairs, Pairs, str, list[Pairs]], Meaning]] = {
        **dict.fromkeys(DEPTH_CHANNELS, _okx_book),
        **dict.fromkeys(("trades", "trades-all"), _okx_trades),
        **dict.fromkeys(("tickers", "mark-price", "funding-rate", "index-tickers"), _okx_ticker),
        "bbo-tbt": _okx_bbo,
        "liquidation-orders": _okx_liquidations,
    }
    if channel not in readers:
        return Meaning(CONTROL)
    rows = _rows(outer["data"])
    if not rows:
        raise Refused("no data")
    if channel != "liquidation-orders":
        symbol = _text(arg, "instId")
        if any("instId" in row and row["instId"] != symbol for row in rows):
            raise Refused("two instruments")
        if not channel.startswith("trades") and len(rows) > 1:
            raise Refused("several")
    return readers[channel](outer, arg, channel, rows)


def _okx_book(outer: Pairs, arg: Pairs, channel: str, rows: list[Pairs]) -> Meaning:
    row = rows[0]
    utc_ns = _digits(row, "ts") * MS
    bids, asks = _levels(row.get("bids"), 2), _levels(row.get("asks"), 2)
    checksum = _signed(row, "checksum") if "checksum" in row else 0
    if not -(2**31) <= checksum < 2**31:
        raise Refused("checksum")
    traits = CHECKSUM if checksum else 0
    previous = 0
    if "seqId" not in row and (checksum or channel == "books5"):
        traits |= UNNUMBERED
        first, last = 0, utc_ns // MS
    else:
        first = last = _integer(row, "seqId")
        previous = _signed(row, "prevSeqId") if channel != "books5" else 0
    action = "snapshot" if channel == "books5" else _text(outer, "action")
    if action not in ("snapshot", "update") or (action == "update" and previous < 0):
        raise Refused("action")
    if action == "snapshot":
        traits, previous = traits | SNAPSHOT, 0
    return Meaning(
        DEPTH, arg["instId"], (first, last, previous), utc_ns, traits, checksum, bids=bids, asks=asks
    )


def _bbo(bids: tuple[Level, ...], asks: tuple[Level, ...]) -> tuple[tuple[int, Number], ...]:
    if len(bids) > 1 or len(asks) > 1:
        raise Refused("several levels")
    sides = [side[0] if side else (0, 0, 0, 0) for side in (bids, asks)]
    return tuple((2 * i + j, side[2 * j : 2 * j + 2]) for i, side in enumerate(sides) for j in range(2))  # type: ignore[misc]


def _changed(bids: tuple[Level, ...], asks: tuple[Level, ...]) -> tuple[tuple[int, Number], ...]:
    """What an update of one level tells: the level that stands, of sides that changed."""
    found: list[tuple[int, Number]] = []
    for place, side in ((0, bids), (2, asks)):
        if len(side) > 2:
            raise Refused("several levels")
        if side:
            best = next((level for level in reversed(side) if level[2]), (0, 0, 0, 0))
            found += [(place, best[:2]), (place + 1, best[2:])]
    return tuple(found)


def _okx_bbo(_: Pairs, arg: Pairs, __: str, rows: list[Pairs]) -> Meaning:
    row = rows[0]
    values = _bbo(_levels(row.get("bids"), 2), _levels(row.get("asks"), 2))
    last = _integer(row, "seqId") if "seqId" in row else 0
    return Meaning(BBO, arg["instId"], (0, last, 0), _digits(row, "ts") * MS, values=values)


def _okx_trades(_: Pairs, arg: Pairs, __: str, rows: list[Pairs]) -> Meaning:
    items, last = [], 0
    for row in rows:
        _digits(row, "tradeId")
        price, quantity = _decimal(row.get("px")), _decimal(row.get("sz"))
        if not price[0] or not quantity[0]:
            raise Refused("nothing")
        side = _side(row, "side", ("buy", "sell"))
        items.append(Item(arg["instId"], side, price, quantity, _digits(row, "ts") * MS))
        last = _integer(row, "seqId") if "seqId" in row else last
    return Meaning(TRADE, arg["instId"], (0, last, 0), items[-1].utc_ns, items=tuple(items))


def _okx_ticker(_: Pairs, arg: Pairs, channel: str, rows: list[Pairs]) -> Meaning:
    row = rows[0]
    keys = {0: "bidPx", 1: "bidSz", 2: "askPx", 3: "askSz", 4: "markPx", 5: "idxPx", 6: "fundingRate"}
    if channel == "index-tickers":
        keys = {place: keys[place] for place in (4, 5, 6)}
    funding = _digits(row, "fundingTime") * MS if "fundingTime" in row else 0
    return Meaning(
        TICKER,
        arg["instId"],
        (0, 0, 0),
        _digits(row, "ts") * MS,
        INDEX if channel == "index-tickers" else 0,
        values=_ticks(row, keys),
        funding_ns=funding,
    )


def _okx_liquidations(_: Pairs, __: Pairs, ___: str, rows: list[Pairs]) -> Meaning:
    items = []
    for row in rows:
        symbol = _text(row, "instId")
        for detail in _rows(row.get("details")):
            side = _side(detail, "side", ("buy", "sell"))
            price, quantity = _decimal(detail.get("bkPx")), _decimal(detail.get("sz"))
            items.append(Item(symbol, side, price, quantity, _digits(detail, "ts") * MS))
    return Meaning(LIQUIDATION, utc_ns=items[-1].utc_ns if items else 0, items=tuple(items))


# ---- Bybit ---------------------------------------------------------------------------------------


def bybit(frame: bytes) -> Meaning:
    """One frame; raises Refused."""
    outer = _load(frame)
    if "data" not in outer or "topic" not in outer:
        if outer.keys() & {"op", "success", "retCode"}:
            return Meaning(CONTROL)
        raise Refused("unrecognized")
    name, _, symbol = _text(outer, "topic").rpartition(".")
    if name.startswith("orderbook."):
        found = _bybit_book(outer, symbol, name)
    elif name == "publicTrade" or name == "allLiquidation":
        found = _bybit_items(outer, symbol, name)
    elif name == "tickers":
        row = _named(_object(outer["data"]), "symbol", symbol)
        keys = {
            0: "bid1Price",
            1: "bid1Size",
            2: "ask1Price",
            3: "ask1Size",
            4: "markPrice",
            5: "indexPrice",
            6: "fundingRate",
        }
        text = _text(row, "nextFundingTime") if "nextFundingTime" in row else ""
        funding = _digits(row, "nextFundingTime") * MS if text else 0
        found = Meaning(TICKER, symbol, values=_ticks(row, keys), funding_ns=funding)
    elif name == "liquidation":
        row = _named(_object(outer["data"]), "symbol", symbol)
        side = 3 - _side(row, "side", ("Buy", "Sell"))
        item = Item(
            symbol,
            side,
            _decimal(row.get("price")),
            _decimal(row.get("size")),
            _integer(row, "updatedTime") * MS,
        )
        found = Meaning(LIQUIDATION, symbol, items=(item,))
    else:
        return Meaning(CONTROL)
    return found._replace(utc_ns=_integer(outer, "ts") * MS)


def _named(row: Pairs, key: str, symbol: str) -> Pairs:
    if _text(row, key) != symbol:
        raise Refused("two instruments")
    return row


def _bybit_book(outer: Pairs, symbol: str, name: str) -> Meaning:
    row = _named(_object(outer["data"]), "s", symbol)
    update = _integer(row, "u")
    bids, asks = _levels(row.get("b"), 0), _levels(row.get("a"), 0)
    sequences = (update, update, 0)
    kind = _text(outer, "type")
    if name == "orderbook.1":
        if kind == "snapshot":
            return Meaning(BBO, symbol, sequences, values=_bbo(bids, asks))
        return Meaning(TICKER, symbol, sequences, values=_changed(bids, asks))
    if kind not in ("snapshot", "delta") and update != 1:
        raise Refused("type")
    traits = SNAPSHOT if kind == "snapshot" or update == 1 else 0
    return Meaning(DEPTH, symbol, sequences, traits=traits, bids=bids, asks=asks)


def _bybit_items(outer: Pairs, symbol: str, name: str) -> Meaning:
    items, last = [], 0
    for row in _rows(outer["data"]):
        _named(row, "s", symbol)
        price, quantity = _decimal(row.get("p")), _decimal(row.get("v"))
        side, utc_ns = _side(row, "S", ("Buy", "Sell")), _integer(row, "T") * MS
        if name == "allLiquidation":
            items.append(Item(symbol, 3 - side, price, quantity, utc_ns))
            continue
        if not price[0] or not quantity[0]:
            raise Refused("nothing")
        _text(row, "i")
        last = _integer(row, "seq") if "seq" in row else last
        items.append(Item(symbol, side, price, quantity, utc_ns, int(row.get("BT") is True)))
    kind = TRADE if name == "publicTrade" else LIQUIDATION
    return Meaning(kind, symbol, (0, last, 0), items=tuple(items))
