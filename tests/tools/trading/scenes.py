"""Simulated venues with a session of ours over its protocol, on a virtual clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from shm.enums import InstrumentKind
from shm.instruments import Instrument
from tests.tools.trading.pair_kit import MS, UTC0, Pair
from tools.venues import bybit_instruments, okx_instruments
from tools.venues.okx import rest_answer
from tools.venues.protocol import HttpReply, HttpRequest, VenueInstrument
from tools.venues.rate_windows import FixedWindow
from tools.venues.trading.binance_usdm import BinanceTrading
from tools.venues.trading.bybit import BybitTrading
from tools.venues.trading.okx import OkxTrading
from tools.venues.trading.terms import Listing

OKX_ITEMS = [item for item, _, _ in okx_instruments.make_instruments(2, 1)]  # BTC-USDT-SWAP, BTC-USDT
BYBIT_ITEMS = [item for item, _, _ in bybit_instruments.make_instruments(("linear", "spot"), 2, 1)]
BYBIT_VENUES = {"linear": 3, "spot": 4}
#: A derivative and a spot pair, by the session's ids.
DERIVATIVE, SPOT = 0, 1
OKX_BID, OKX_ASK = 618_000, 618_001  # 61,800.0 / 61,800.1
BYBIT_BID, BYBIT_ASK = 6_180_000, 6_180_010  # 61,800.00 / 61,800.10
BYBIT_SPOT_BID, BYBIT_SPOT_ASK = 618_000, 618_001


def _listed(
    items: list[VenueInstrument], taker_fee_e8: int, venue_ids: Mapping[str, int]
) -> tuple[list[Listing], list[Instrument]]:
    """Listings of a venue and the rows that the session knows them by."""
    listings = [Listing(number, item, 20_000, taker_fee_e8, 0) for number, item in enumerate(items)]
    rows = [
        replace(
            one.instrument,
            venue_id=venue_ids[one.category],
            base=one.item.base,
            quote=one.item.quote,
            settle=one.settle,
            kind=InstrumentKind.SPOT if one.is_spot else InstrumentKind.PERPETUAL,
        )
        for one in listings
    ]
    return listings, rows


def make_okx(factor: float = 0.0, **options: Any) -> Pair:
    """A pair at OKX with books of a swap and of spot."""
    listings, rows = _listed(OKX_ITEMS, 50_000, {item.category: 2 for item in OKX_ITEMS})
    codes = [okx_instruments.instrument_row(item, "live", 0) for item in OKX_ITEMS]

    def market(asked: HttpRequest) -> HttpReply | None:
        if asked.path == "/api/v5/public/instruments":
            kind = dict(asked.query)["instType"]
            return rest_answer([row for row in codes if row["instType"] == kind])
        if asked.path == "/api/v5/public/time":
            return rest_answer([{"ts": str((UTC0 + made.now_ns) // MS)}])
        return None

    made = Pair("okx", OkxTrading(factor), listings, rows, market_http=market, **options)
    made.book("BTC-USDT-SWAP", OKX_BID, OKX_ASK, 1000)
    made.book("BTC-USDT", OKX_BID, OKX_ASK, 10**9)
    return made


def make_bybit(factor: float = 0.0, **options: Any) -> Pair:
    """A pair at Bybit with books of linear and of spot."""
    listings, rows = _listed(BYBIT_ITEMS, 55_000, BYBIT_VENUES)

    def market(asked: HttpRequest) -> HttpReply | None:
        if asked.path != "/v5/market/time":
            return None
        result = {"timeNano": str(UTC0 + made.now_ns)}
        return HttpReply(200, json.dumps({"retCode": 0, "retMsg": "OK", "result": result}).encode())

    made = Pair("bybit", BybitTrading(factor), listings, rows, market_http=market, **options)
    bids = [(BYBIT_BID - 10 * i, 1000) for i in range(20)]
    made.port.set_book("linear/BTCUSDT", bids, [(BYBIT_ASK + 10 * i, 1000) for i in range(20)])
    made.book("spot/BTCUSDT", BYBIT_SPOT_BID, BYBIT_SPOT_ASK, 10**9)
    return made


def make_binance(**options: Any) -> Pair:
    """A pair at Binance USD-M with the book of one contract; no limit holds."""
    item = VenueInstrument("BTCUSDT", "BTC", "USDT", 1, 3, "0.1", "0.001")
    listings, rows = _listed([item], 50_000, {item.category: 1})

    def market(asked: HttpRequest) -> HttpReply | None:
        if asked.path != "/fapi/v1/time":
            return None
        return HttpReply(200, json.dumps({"serverTime": (UTC0 + made.now_ns) // MS}).encode())

    trading = BinanceTrading(FixedWindow(0, 60.0), 0.0)
    options = {"symbols": ["BTCUSDT"], **options}
    made = Pair("binance_usdm", trading, listings, rows, market_http=market, **options)
    made.book("BTCUSDT", OKX_BID, OKX_ASK, 1000)
    return made


class Scene(NamedTuple):
    """A venue and what its derivative's book shows: twenty levels of 1,000 a side.

    Attributes:
        step: between two levels.
        fills_path: of the request for fills.
        question_path: of the request that decides on an order nobody answered for; "" = any.
        access_codes: of which one is in the refusal of a wrong secret.
    """

    make: Callable[..., Pair]
    key: str
    bid: int
    ask: int
    step: int
    fills_path: str
    question_path: str
    access_codes: tuple[str, ...]


SCENES = {
    "okx": Scene(
        make_okx,
        "BTC-USDT-SWAP",
        OKX_BID,
        OKX_ASK,
        1,
        "/api/v5/trade/fills",
        "",
        ("50113", "60007"),
    ),
    "bybit": Scene(
        make_bybit,
        "linear/BTCUSDT",
        BYBIT_BID,
        BYBIT_ASK,
        10,
        "/v5/execution/list",
        "/v5/order/history",
        ("10004",),
    ),
}
#: And the one that has futures only.
ALL_SCENES = SCENES | {
    "binance_usdm": Scene(
        make_binance, "BTCUSDT", OKX_BID, OKX_ASK, 1, "/fapi/v1/userTrades", "", ("-1022", "-2014")
    ),
}
