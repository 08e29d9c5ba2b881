"""The market-data protocol of Binance USD-M Futures, as a server.

Documents (developers.binance.com, USD-M Futures): "Important WebSocket Change Notice" (paths /public, /market
since 2026-04-23), "Live Subscribing/Unsubscribing to streams" (requests and their errors), "Connect" (limits,
pings), "Order Book", "Exchange Information", "Error Codes" (REST).
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from urllib.parse import unquote, urlsplit

import orjson

from tools.venues.binance_usdm_encode import BinanceUsdmEncoder
from tools.venues.binance_usdm_recording import BinanceUsdmCodec
from tools.venues.fanout import Stream
from tools.venues.protocol import (
    CLOSED,
    CLOSING,
    PRELAUNCH,
    TRADING,
    HttpReply,
    HttpRequest,
    Limits,
    MarketSource,
    Route,
    Subscriber,
    VenueInstrument,
    VenueProtocol,
)
from tools.venues.rate_windows import FixedWindow
from tools.venues.recording import CaptureCodec
from tools.venues.synthetic import (
    AGGREGATE_TRADE,
    DEPTH_REALTIME,
    DEPTH_SLOW,
    LIQUIDATION,
    MARK_FAST,
    MARK_SLOW,
    TICKER,
    TRADE,
)

# "Partial Book Depth Streams": levels and speeds, by suffix.
PARTIAL_SPEEDS_MS = {"": 250, "@500ms": 500, "@100ms": 100}
PARTIAL_SUFFIXES = {
    f"depth{levels}{speed}": (levels, interval_ms)
    for levels in (5, 10, 20)
    for speed, interval_ms in PARTIAL_SPEEDS_MS.items()
}
# stream suffix → (kind in statistics, path categories). The undocumented `trade` was seen under /public in
# 2026, other sources say /market: both are served. `depth@0ms` is the name of 2024's recordings.
STREAM_KINDS: dict[str, tuple[str, str]] = {
    "depth": ("depth", "public"),
    "depth@0ms": ("depth", "public"),
    "depth@100ms": ("depth", "public"),
    "depth@250ms": ("depth", "public"),
    "depth@500ms": ("depth", "public"),
    "bookTicker": ("bookTicker", "public"),
    "aggTrade": ("aggTrade", "market"),
    "trade": ("trade", "public|market"),
    "markPrice": ("markPrice", "market"),
    "markPrice@1s": ("markPrice", "market"),
    "forceOrder": ("forceOrder", "market"),
} | dict.fromkeys(PARTIAL_SUFFIXES, ("depth", "public"))
# venue-wide streams → kind in statistics: "All Market Liquidation Order Streams", "Contract Info Stream"
ALL_LIQUIDATIONS, CONTRACT_INFO = "!forceOrder@arr", "!contractInfo"
VENUE_STREAMS = {ALL_LIQUIDATIONS: "forceOrder", CONTRACT_INFO: "contractInfo"}
CONTRACT_STATES = {
    TRADING: "TRADING",
    PRELAUNCH: "PENDING_TRADING",
    CLOSING: "SETTLING",
    CLOSED: "CLOSE",
}
RECORDED_KIND = re.compile(r"(?:kline_\w+|ticker|miniTicker)\Z")
STREAM_NAME = re.compile(r"([a-z0-9_]{1,31})@([A-Za-z0-9_@]+)\Z")

SYNTHETIC_SUFFIXES: tuple[tuple[int, str], ...] = (
    (DEPTH_REALTIME, "depth@0ms"),
    (DEPTH_SLOW[0], "depth@100ms"),
    (DEPTH_SLOW[1], "depth"),
    (DEPTH_SLOW[1], "depth@250ms"),
    (DEPTH_SLOW[2], "depth@500ms"),
    (TICKER, "bookTicker"),
    (AGGREGATE_TRADE, "aggTrade"),
    (TRADE, "trade"),
    (LIQUIDATION[0], "forceOrder"),
    (MARK_SLOW, "markPrice"),
    (MARK_FAST, "markPrice@1s"),
)

METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
DEPTH_WEIGHTS = {5: 2, 10: 2, 20: 2, 50: 2, 100: 5, 500: 10, 1000: 20}
DEPTH_LIMIT_DEFAULT = 500
WEIGHT_LIMIT = 2400
ORDERS_10S, ORDERS_1M = 300, 1200
UINT64_MAX = 2**64 - 1

# (price decimals, quantity decimals, tick, lot, start price in ticks, mean order size in lots) of the two
# real symbols
KNOWN: dict[str, tuple[int, int, str, str, int, float]] = {
    "BTCUSDT": (2, 3, "0.10", "0.001", 618_000, 40.0),
    "ETHUSDT": (2, 3, "0.01", "0.001", 268_162, 900.0),
}
ALT_TICKS: tuple[tuple[int, str], ...] = (
    (2, "0.01"),
    (3, "0.001"),
    (4, "0.0001"),
    (5, "0.00001"),
    (7, "0.0000001"),
)
ALT_LOTS: tuple[tuple[int, str, float], ...] = ((0, "1", 300.0), (1, "0.1", 500.0), (2, "0.01", 800.0))


def error_frame(code: int, message: str, request_id: int | None) -> bytes:
    """Return the venue's websocket error reply; `id` only when the request had a usable one."""
    reply: dict[str, object] = {"error": {"code": code, "msg": message}}
    if request_id is not None:
        reply["id"] = request_id
    return orjson.dumps(reply)


def rest_error(status: int, code: int, message: str, headers: tuple[tuple[str, str], ...] = ()) -> HttpReply:
    """Return the venue's REST error body `{"code":…,"msg":…}`."""
    return HttpReply(status, orjson.dumps({"code": code, "msg": message}), headers)


class BinanceUsdm(VenueProtocol):
    """Paths, requests and REST of Binance USD-M Futures market data."""

    name = "binance_usdm"

    def __init__(self, limits: Limits | None = None, now_s: Callable[[], float] = time.time) -> None:
        self.limits = limits or Limits(
            request_bytes=64 * 1024,
            requests_per_s=10,
            streams=1024,
            ping_interval_s=180.0,
            pong_timeout_s=600.0,
            connection_s=86_400.0,
        )
        self.source: MarketSource
        self._now_s = now_s
        #: Request weight of the running minute, of one address; orders count against it too.
        self.weight = FixedWindow(WEIGHT_LIMIT, 60.0)
        self.order_limits = (ORDERS_10S, ORDERS_1M)

    def set_limits(self, factor: float) -> None:
        """Let the venue's limits hold so many times; 0: none does."""
        self.weight = FixedWindow(round(WEIGHT_LIMIT * factor), 60.0)
        self.order_limits = (round(ORDERS_10S * factor), round(ORDERS_1M * factor))

    # -- websocket
    # ---------------------------------------------------------------------------------------------------

    def route(self, target: str) -> Route | HttpReply:
        """Return where a websocket URL path leads, or the HTTP reply that refuses the upgrade."""
        url = urlsplit(target)
        parts = unquote(url.path).strip("/").split("/")
        category = ""
        if parts[0] in ("public", "market", "private"):
            category = parts.pop(0)
        if category == "private":
            return rest_error(404, -5000, "Path /private is not served here: this venue has market data only")
        mode = parts.pop(0) if parts else ""
        if mode == "ws":
            return Route(category, False, tuple(part for part in parts if part))
        if mode == "stream" and not parts:
            names = [
                v for k, _, v in (item.partition("=") for item in url.query.split("&")) if k == "streams"
            ]
            return Route(category, True, tuple(n for n in unquote("/".join(names)).split("/") if n))
        return rest_error(404, -5000, f"Path {url.path}, Method GET is invalid")

    def on_text(self, client: Subscriber, text: bytes) -> list[bytes]:
        """Answer one request of a websocket client."""
        return [self._on_request(client, text)]

    def _on_request(self, client: Subscriber, text: bytes) -> bytes:
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            return error_frame(
                3, f"Invalid JSON: {error.msg} at line {error.lineno} column {error.colno}", None
            )
        if not isinstance(request, dict):
            return error_frame(2, "Invalid request: expected an object", None)
        number = request.get("id")
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= UINT64_MAX:
            return error_frame(2, "Invalid request: request ID must be an unsigned integer", None)
        method = request.get("method")
        if method is None:
            return error_frame(2, "Invalid request: missing field `method`", number)
        if method not in METHODS:
            expected = ", ".join(f"`{name}`" for name in METHODS)
            return error_frame(
                2, f"Invalid request: unknown variant `{method}`, expected one of {expected}", number
            )
        unknown = sorted(request.keys() - {"id", "method", "params"})
        if unknown:
            return error_frame(2, f"Invalid request: unknown field `{unknown[0]}`", number)
        return self._run(client, method, request.get("params"), number)

    def _run(self, client: Subscriber, method: str, params: object, number: int) -> bytes:
        if method == "LIST_SUBSCRIPTIONS":
            if params:
                return error_frame(2, "Invalid request: too many parameters", number)
            return orjson.dumps({"result": list(client.subscriptions), "id": number})
        if method in ("SET_PROPERTY", "GET_PROPERTY"):
            return self._property(client, method, params, number)
        if not isinstance(params, list) or not params or not all(isinstance(name, str) for name in params):
            return error_frame(2, "Invalid request: params must be a list of stream names", number)
        if method == "SUBSCRIBE":
            reason = client.subscribe(params)
            if reason is not None:
                return error_frame(2, f"Invalid request: {reason}", number)
        else:
            client.unsubscribe(params)
        return orjson.dumps({"result": None, "id": number})

    @staticmethod
    def _property(client: Subscriber, method: str, params: object, number: int) -> bytes:
        if not isinstance(params, list) or not params or not isinstance(params[0], str):
            return error_frame(2, "Invalid request: property name must be a string", number)
        if len(params) > (2 if method == "SET_PROPERTY" else 1):
            return error_frame(2, "Invalid request: too many parameters", number)
        if params[0] != "combined":
            return error_frame(0, "Unknown property", number)
        if method == "GET_PROPERTY":
            return orjson.dumps({"result": client.outbox.combined, "id": number})
        if len(params) != 2 or not isinstance(params[1], bool):
            return error_frame(1, "Invalid value type: expected Boolean", number)
        client.outbox.set_combined(params[1])
        return orjson.dumps({"result": None, "id": number})

    # -- REST
    # --------------------------------------------------------------------------------------------------------

    def on_http(self, request: HttpRequest) -> HttpReply:
        """Answer one REST request."""
        if request.method != "GET":
            return rest_error(405, -5000, f"Path {request.path}, Method {request.method} is invalid")
        query = dict(request.query)
        weight = 1
        if request.path == "/fapi/v1/depth":
            checked = self._check_depth(query)
            if isinstance(checked, HttpReply):
                return checked
            weight = DEPTH_WEIGHTS[checked]
        elif request.path not in ("/fapi/v1/ping", "/fapi/v1/time", "/fapi/v1/exchangeInfo"):
            return rest_error(404, -5000, f"Path {request.path}, Method GET is invalid")
        now_s = self._now_s()
        is_within = self.weight.take(weight, now_s)
        headers: tuple[tuple[str, str], ...] = (("X-MBX-USED-WEIGHT-1M", str(self.weight.used)),)
        if not is_within:
            retry_s = self.weight.left_s(now_s)
            message = (
                f"Too many requests; current limit of IP is {WEIGHT_LIMIT} requests per minute. "
                "Please use the websocket for live updates to avoid polling the API."
            )
            return rest_error(429, -1003, message, (*headers, ("Retry-After", str(int(retry_s) + 1))))
        return self._answer(request.path, query, headers)

    def _check_depth(self, query: dict[str, str]) -> int | HttpReply:
        symbol = query.get("symbol", "")
        if not symbol:
            return rest_error(
                400, -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."
            )
        if symbol not in self.source.symbols:
            return rest_error(400, -1121, "Invalid symbol.")
        text = query.get("limit", str(DEPTH_LIMIT_DEFAULT))
        if not text.isascii() or not text.isdigit() or int(text) not in DEPTH_WEIGHTS:
            return rest_error(400, -4021, f"'{text}' is not valid depth limit.")
        return int(text)

    def _answer(self, path: str, query: dict[str, str], headers: tuple[tuple[str, str], ...]) -> HttpReply:
        if path == "/fapi/v1/ping":
            return HttpReply(200, b"{}", headers)
        if path == "/fapi/v1/time":
            return HttpReply(200, orjson.dumps({"serverTime": self.source.clock_ms()}), headers)
        if path == "/fapi/v1/exchangeInfo":
            return HttpReply(200, self.source.exchange_info() or self.build_exchange_info(), headers)
        body = self.source.snapshot(query["symbol"], int(query.get("limit", DEPTH_LIMIT_DEFAULT)))
        if body is None:
            return rest_error(
                503, -1001, "Internal error; unable to process your request. Please try again.", headers
            )
        return HttpReply(200, body, headers)

    def build_exchange_info(self) -> bytes:
        """Return "Exchange Information" for the instruments of the source."""
        return orjson.dumps(
            {
                "timezone": "UTC",
                "serverTime": self.source.clock_ms(),
                "futuresType": "U_MARGINED",
                "rateLimits": [
                    {
                        "rateLimitType": "REQUEST_WEIGHT",
                        "interval": "MINUTE",
                        "intervalNum": 1,
                        "limit": self.weight.limit or WEIGHT_LIMIT,
                    },
                    *self._order_limit_rows(),
                ],
                "exchangeFilters": [],
                "assets": [],
                "symbols": [
                    self._symbol_row(item, self.source.state_of(item)) for item in self.source.instruments()
                ],
            }
        )

    def _order_limit_rows(self) -> list[dict[str, object]]:
        return [
            {
                "rateLimitType": "ORDERS",
                "interval": interval,
                "intervalNum": count,
                "limit": limit or 1_000_000,
            }
            for (interval, count), limit in zip(
                (("SECOND", 10), ("MINUTE", 1)), self.order_limits, strict=True
            )
        ]

    @staticmethod
    def _symbol_row(item: VenueInstrument, state: str) -> dict[str, object]:
        lot = {"stepSize": item.lot_text, "minQty": item.lot_text, "maxQty": "10000000"}
        return {
            "symbol": item.symbol,
            "pair": item.symbol,
            "contractType": "PERPETUAL",
            "deliveryDate": 4133404800000,
            "onboardDate": 1569398400000,
            "status": CONTRACT_STATES[state],
            "baseAsset": item.base,
            "quoteAsset": item.quote,
            "marginAsset": item.quote,
            "pricePrecision": item.price_decimals,
            "quantityPrecision": item.quantity_decimals,
            "baseAssetPrecision": 8,
            "quotePrecision": 8,
            "underlyingType": "COIN",
            "filters": [
                {"filterType": "PRICE_FILTER", "minPrice": item.tick_text, "maxPrice": "100000000",
                 "tickSize": item.tick_text},
                {"filterType": "LOT_SIZE", **lot},
                {"filterType": "MARKET_LOT_SIZE", **lot},
                {"filterType": "MAX_NUM_ORDERS", "limit": 200},
                {"filterType": "MIN_NOTIONAL", "notional": "5"},
            ],
            "orderTypes": ["LIMIT", "MARKET"],
            "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
        }  # fmt: skip

    # -- streams and sources
    # -----------------------------------------------------------------------------------------

    def make_stream(self, name: str) -> Stream | None:
        """Make a Stream for a well-formed stream name; None when the venue has no such kind of stream."""
        if name in VENUE_STREAMS:
            return Stream(name, VENUE_STREAMS[name], b'{"stream":"%s","data":' % name.encode())
        match = STREAM_NAME.match(name)
        if match is None:
            return None
        suffix = match.group(2)
        kind = STREAM_KINDS.get(suffix, ("", ""))[0]
        if not kind:
            if not RECORDED_KIND.match(suffix):
                return None
            kind = suffix.partition("_")[0]
        return Stream(name, kind, b'{"stream":"%s","data":' % name.encode())

    def categories(self, name: str) -> tuple[str, ...]:
        """Return the path categories a well-formed stream name is served under."""
        if name in VENUE_STREAMS:
            return ("market",)
        return tuple(STREAM_KINDS.get(name.partition("@")[2], ("", "market"))[1].split("|"))

    def symbol_of(self, name: str) -> str:
        """Return the venue symbol in a well-formed stream name."""
        return name.partition("@")[0].upper()

    def synthetic_streams(self, item: VenueInstrument) -> Iterator[tuple[int, str]]:
        """Yield (kind of tools.venues.synthetic, stream name) for one instrument."""
        for kind, suffix in SYNTHETIC_SUFFIXES:
            yield kind, f"{item.symbol.lower()}@{suffix}"
        yield LIQUIDATION[1], ALL_LIQUIDATIONS

    def partial_streams(self, item: VenueInstrument) -> Iterator[tuple[str, int, int]]:
        """Yield the partial depth streams of one instrument."""
        for suffix, (levels, interval_ms) in PARTIAL_SUFFIXES.items():
            yield f"{item.symbol.lower()}@{suffix}", levels, interval_ms

    def partial_message(self, item: VenueInstrument, book: bytes, previous: int) -> bytes:
        """Write a partial depth message: a depth event whose sides are the whole best levels."""
        found = orjson.loads(book)
        last = found["lastUpdateId"]
        return orjson.dumps(
            {
                "e": "depthUpdate", "E": found["E"], "T": found["T"], "s": item.symbol,
                "U": previous + 1 if previous else last, "u": last, "pu": previous or last - 1,
                "b": found["bids"], "a": found["asks"],
            }
        )  # fmt: skip

    def common_streams(self) -> Iterator[str]:
        """Yield the stream that tells of listings and delistings."""
        yield CONTRACT_INFO

    def announce(self, item: VenueInstrument, state: str) -> Iterator[tuple[str, bytes]]:
        """Yield "Contract Info Stream" of an instrument's new state."""
        now_ms = self.source.now_ms()
        event = {
            "e": "contractInfo", "E": now_ms, "s": item.symbol, "ps": item.symbol, "ct": "PERPETUAL",
            "dt": 4133404800000, "ot": now_ms, "cs": CONTRACT_STATES[state],
        }  # fmt: skip
        yield CONTRACT_INFO, orjson.dumps(event)

    def encoder(self) -> BinanceUsdmEncoder:
        """Return the payload writer for synthetic markets."""
        return BinanceUsdmEncoder()

    def synthetic_instruments(self, count: int, seed: int) -> list[tuple[VenueInstrument, int, float]]:
        """Return BTCUSDT, ETHUSDT, then SYM000USDT … with ticks, lots and prices drawn from the seed."""
        rows: list[tuple[VenueInstrument, int, float]] = []
        for symbol, (price, quantity, tick, lot, start, mean) in list(KNOWN.items())[:count]:
            rows.append(
                (VenueInstrument(symbol, symbol[:3], "USDT", price, quantity, tick, lot), start, mean)
            )
        for index in range(count - len(rows)):
            draw = random.Random(f"{seed}/{index}")
            decimals, tick = draw.choice(ALT_TICKS)
            lot_decimals, lot, mean = draw.choice(ALT_LOTS)
            base = f"SYM{index:03d}"
            item = VenueInstrument(f"{base}USDT", base, "USDT", decimals, lot_decimals, tick, lot)
            rows.append((item, draw.randrange(8_000, 60_000), mean))
        return rows

    def capture_codec(self) -> CaptureCodec:
        """Return the reader of this venue's recorded frames."""
        return BinanceUsdmCodec()
