"""The market-data protocol of Bybit v5 linear and spot, as a server; one process may speak for both.

Documents (Bybit API v5): "Websocket Stream / Connect" (requests, ping, limits), "Websocket Stream / Public",
"Market", "Rate Limit Rules", "Error Codes"; answers that the documents do not show follow frames of 2026.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import orjson

from tools.venues.bybit_encode import BybitEncoder
from tools.venues.bybit_instruments import LINEAR, SPOT, instrument_row, make_instruments
from tools.venues.bybit_recording import BybitCodec
from tools.venues.counting import WindowLimit
from tools.venues.fanout import Stream
from tools.venues.protocol import (
    CLOSED,
    CLOSING,
    PRELAUNCH,
    TRADING,
    HttpReply,
    HttpRequest,
    Limits,
    MarketRow,
    MarketSource,
    Route,
    Subscriber,
    VenueInstrument,
    VenueProtocol,
)
from tools.venues.recording import CaptureCodec
from tools.venues.synthetic import AGGREGATE_TRADE, LIQUIDATION, STATISTICS
from tools.venues.views import ViewMarket

# (levels, whole book each time, interval ms, ms until a quiet stream repeats), "Public / Orderbook":
# 1 each 10 ms, again after 3 s; 50 each 20 ms; 200 each 100 ms; 1000 each 200 ms.
DEPTHS = (1, 50, 200, 1000)
VIEWS = ((1, True, 10, 3000), (50, False, 20, 0), (200, False, 100, 0), (1000, False, 200, 0))
REST_VIEW = 3
#: What 1000 replaced in linear: only a recording has it.
RECORDED_DEPTH = 500
KINDS: tuple[tuple[int, str], ...] = ((AGGREGATE_TRADE, "publicTrade"), (STATISTICS, "tickers"))
LIQUIDATIONS = "allLiquidation"
RECORDED_KINDS = frozenset({"kline", "liquidation"})
STATUS_TOPIC = "system.status"
CATEGORIES = {"bybit": (LINEAR, SPOT), "bybit_linear": (LINEAR,), "bybit_spot": (SPOT,)}
PATHS = {"/v5/public/linear": LINEAR, "/v5/public/spot": SPOT, "/v5/public/misc/status": "status"}
SPOT_ARGS_MAX = 10
ARGS_CHARACTERS_MAX = 21_000
REST_PATHS = ("/v5/market/time", "/v5/market/instruments-info", "/v5/market/orderbook")
REST_LIMIT = (600, 5.0)
BOOK_LEVELS_MAX = {LINEAR: 500, SPOT: 200}
BOOK_LEVELS_DEFAULT = {LINEAR: 25, SPOT: 1}
PAGE_DEFAULT, PAGE_MAX = 500, 1000
STATES = {TRADING: "Trading", PRELAUNCH: "PreLaunch", CLOSING: "Delivering", CLOSED: "Closed"}


class Bybit(VenueProtocol):
    """Paths, requests and REST of Bybit v5 market data, for the categories of `name`."""

    def __init__(
        self,
        name: str = "bybit",
        limits: Limits | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.served = CATEGORIES[name]
        self.limits = limits or Limits(
            request_bytes=64 * 1024,
            requests_per_s=0,
            streams=0,
            ping_interval_s=0.0,
            pong_timeout_s=0.0,
            connection_s=86_400.0 * 30,
            idle_s=600.0,
            connects=(500, 300.0),
        )
        self.source: MarketSource
        self._rest = WindowLimit(*REST_LIMIT, now_s)

    # -- websocket

    def route(self, target: str) -> Route | HttpReply:
        """Return where a websocket URL path leads, or the HTTP reply that refuses the upgrade."""
        category = PATHS.get(urlsplit(target).path.rstrip("/"), "")
        if category == "status" or category in self.served:
            return Route(category, False)
        return HttpReply(404, b"404 page not found", content_type="text/plain")

    def refuse_connect(self) -> HttpReply:
        """Return the answer to one connection too many ("Rate Limit Rules": 403 for the address)."""
        return HttpReply(403, b"access too frequent", content_type="text/plain")

    def on_text(self, client: Subscriber, text: bytes) -> list[bytes]:
        """Answer ping, subscribe and unsubscribe."""
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError:
            return [self._answer(client, False, "Invalid JSON", None, "")]
        if not isinstance(request, dict):
            return [self._answer(client, False, "Params Error", None, "")]
        op, number, args = request.get("op"), request.get("req_id"), request.get("args")
        if op == "ping":
            return [self._answer(client, True, "pong", number, "ping")]
        if op not in ("subscribe", "unsubscribe"):
            return [self._answer(client, False, "error:request op not found", number, str(op))]
        if not isinstance(args, list) or not args or not all(isinstance(arg, str) for arg in args):
            return [self._answer(client, False, "Params Error", number, op)]
        reason = self._run(client, op, args)
        if reason:
            return [self._answer(client, False, reason, number, op)]
        return [self._answer(client, True, op if client.route.category == SPOT else "", number, op)]

    def _run(self, client: Subscriber, op: str, args: list[str]) -> str:
        category = client.route.category
        if category == SPOT and len(args) > SPOT_ARGS_MAX:
            return f"args size >{SPOT_ARGS_MAX}"
        names = [f"{category}/{topic}" for topic in args]
        if op == "unsubscribe":
            client.unsubscribe(names)
            return ""
        for topic, name in zip(args, names, strict=True):
            if name in client.subscriptions:
                return f"error:already subscribed,topic:{topic}"
            is_known = self.make_stream(name) is not None
            if is_known and self.source.resolve(name) is not None:
                continue
            is_gone = topic.startswith(f"orderbook.{RECORDED_DEPTH}.")
            return f"Invalid symbol :[{topic}]" if is_known and not is_gone else "error:handler not found"
        held = sum(len(name) - len(category) + 2 for name in client.subscriptions)
        if held + sum(len(topic) + 3 for topic in args) > ARGS_CHARACTERS_MAX:
            return f"error:args length of a connection is limited to {ARGS_CHARACTERS_MAX}"
        return client.subscribe(names) or ""

    @staticmethod
    def _answer(client: Subscriber, success: bool, message: str, number: object, op: str) -> bytes:
        # linear always names req_id, spot only one that was sent
        answer: dict[str, object] = {"success": success, "ret_msg": message, "conn_id": conn_id(client)}
        if client.route.category != SPOT or number is not None:
            answer["req_id"] = "" if number is None else number
        return orjson.dumps({**answer, "op": op})

    # -- REST

    def on_http(self, request: HttpRequest) -> HttpReply:
        """Answer one REST request."""
        if request.path not in REST_PATHS:
            return HttpReply(404, b"404 page not found", content_type="text/plain")
        if request.method != "GET":
            return HttpReply(405, b"", content_type="text/plain")
        if not self._rest.take():
            return self._reply(10006, "Too many visits. Exceeded the API Rate Limit.", {}, 403)
        query = dict(request.query)
        if request.path == "/v5/market/time":
            now_ms = self.source.clock_ms()
            return self._reply(
                0, "OK", {"timeSecond": str(now_ms // 1000), "timeNano": f"{now_ms * 1_000_000}"}
            )
        category = query.get("category", "")
        if category not in self.served:
            return self._reply(
                10001, "Illegal category" if category else "params error: category is empty", {}
            )
        if request.path == "/v5/market/instruments-info":
            return self._instruments(category, query)
        return self._book(category, query)

    def _reply(self, code: int, message: str, result: object, status: int = 200) -> HttpReply:
        body = {"retCode": code, "retMsg": message, "result": result, "retExtInfo": {}}
        return HttpReply(status, orjson.dumps({**body, "time": self.source.clock_ms()}))

    def _instruments(self, category: str, query: dict[str, str]) -> HttpReply:
        recorded = self.source.exchange_info(category)
        if recorded is not None:
            return HttpReply(200, recorded)
        items = [item for item in self.source.instruments() if item.category == category]
        if query.get("symbol"):
            items = [item for item in items if item.symbol == query["symbol"]]
            if not items:
                return self._reply(10001, "params error: symbol invalid", {})
        if query.get("status"):
            items = [item for item in items if STATES[self.source.state_of(item)] == query["status"]]
        if category == SPOT:
            return self._reply(0, "OK", {"category": category, "list": [self._row(item) for item in items]})
        text = query.get("limit", str(PAGE_DEFAULT))
        start = cursor_place(query.get("cursor", ""))
        if not text.isdigit() or not 1 <= int(text) <= PAGE_MAX or start is None:
            return self._reply(10001, "params error: limit or cursor invalid", {})
        page = items[start : start + int(text)]
        end = start + len(page)
        result = {"category": category, "list": [self._row(item) for item in page]}
        return self._reply(0, "OK", {**result, "nextPageCursor": cursor_at(end) if end < len(items) else ""})

    def _row(self, item: VenueInstrument) -> dict[str, object]:
        return instrument_row(item, STATES[self.source.state_of(item)], self.source.now_ms())

    def _book(self, category: str, query: dict[str, str]) -> HttpReply:
        key = f"{category}/{query.get('symbol', '')}"
        if key not in self.source.symbols:
            return self._reply(10001, "params error: symbol invalid", {})
        text = query.get("limit", str(BOOK_LEVELS_DEFAULT[category]))
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= BOOK_LEVELS_MAX[category]:
            return self._reply(10001, "params error: limit invalid", {})
        body = self.source.snapshot(key, int(text))
        if body is None:
            return self._reply(10016, "Server error.", {})
        return HttpReply(200, body)

    # -- streams and sources

    def make_stream(self, name: str) -> Stream | None:
        """Make a Stream for `category/topic`; None when the venue has no such topic."""
        category, _, topic = name.partition("/")
        if category == "status":
            return Stream(name, STATUS_TOPIC, b"") if topic == STATUS_TOPIC else None
        kind, _, rest = topic.partition(".")
        if kind == "orderbook":
            depth, _, rest = rest.partition(".")
            known = (*DEPTHS, RECORDED_DEPTH) if category == LINEAR else DEPTHS
            if depth.isdigit() and int(depth) in known and rest:
                return Stream(name, f"orderbook.{depth}", b"")
            return None
        is_known = kind in ("publicTrade", "tickers", *RECORDED_KINDS)
        is_known = is_known or (kind == LIQUIDATIONS and category == LINEAR)
        return Stream(name, kind, b"") if is_known and rest else None

    def categories(self, name: str) -> tuple[str, ...]:
        """Return the path a topic is served under."""
        return (name.partition("/")[0],)

    def symbol_of(self, name: str) -> str:
        """Return the key of the instrument in a stream name."""
        category, _, topic = name.partition("/")
        return f"{category}/{topic.rpartition('.')[2]}"

    def synthetic_streams(self, item: VenueInstrument) -> Iterator[tuple[int, str]]:
        """Yield (kind of tools.venues.synthetic, stream name) for one instrument."""
        for kind, topic in KINDS:
            yield kind, f"{item.category}/{topic}.{item.symbol}"
        if item.category == LINEAR:
            yield LIQUIDATION[0], f"{LINEAR}/{LIQUIDATIONS}.{item.symbol}"

    def view_streams(self, item: VenueInstrument) -> Iterator[tuple[int, str]]:
        """Yield (number of the view, stream name) of the order book topics."""
        for number, depth in enumerate(DEPTHS):
            yield number, f"{item.category}/orderbook.{depth}.{item.symbol}"

    def common_streams(self) -> Iterator[str]:
        """Yield the topic of the venue's status."""
        yield f"status/{STATUS_TOPIC}"

    def announce(self, item: VenueInstrument, state: str) -> Iterator[tuple[str, bytes]]:
        """Yield a system status message: listings are otherwise seen in instruments-info only."""
        now_ms = self.source.now_ms()
        row = {
            "id": f"{item.category}-{item.symbol}", "title": f"{item.symbol} {STATES[state]}",
            "state": "scheduled" if state in (PRELAUNCH, CLOSING) else "completed",
            "begin": str(now_ms), "end": str(now_ms), "href": "", "serviceTypes": [2], "product": [1, 2],
            "uidSuffix": [], "maintainType": "1", "env": "1",
        }  # fmt: skip
        yield f"status/{STATUS_TOPIC}", orjson.dumps({"topic": STATUS_TOPIC, "ts": now_ms, "data": [row]})

    def encoder(self) -> BybitEncoder:
        """Return the payload writer for synthetic markets."""
        return BybitEncoder()

    def market(self, rows: list[MarketRow], seed: int, rate_per_s: float, start_ms: int) -> ViewMarket:
        """Make a market that streams the best levels."""
        market = ViewMarket(rows, seed, self.encoder(), rate_per_s, start_ms)
        market.set_views(VIEWS, REST_VIEW, self.every_change)
        return market

    def synthetic_instruments(self, count: int, seed: int) -> list[tuple[VenueInstrument, int, float]]:
        """Return instruments of the served categories in turns, the known ones first."""
        return make_instruments(self.served, count, seed)

    def capture_codec(self) -> CaptureCodec:
        """Return the reader of this venue's recorded frames."""
        return BybitCodec(self.served)


def conn_id(client: Subscriber) -> str:
    """Return the connection's id, as answers name it."""
    return f"d8bu1olkndm7crnfs1e0-{client.number:05x}"


def cursor_at(place: int) -> str:
    """Return the cursor of the page that begins at a place."""
    return f"first%3D{place}%26last%3D{place}"


def cursor_place(cursor: str) -> int | None:
    """Return the place a cursor stands for, 0 for none; None when it is not one of ours."""
    if not cursor:
        return 0
    digits = cursor.partition("%3D")[2].partition("%26")[0]
    return int(digits) if digits.isdigit() and cursor == cursor_at(int(digits)) else None
