"""The market-data protocol of OKX, as a server.

Documents (OKX API v5): "Overview / WebSocket" (requests, errors, ping, limits), "Order Book Trading /
Market Data", "Public Data", "Status"; error codes of "Error Code / WebSocket / Public" and "… / REST API".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import orjson

from tools.venues.counting import WindowLimit
from tools.venues.fanout import Stream
from tools.venues.okx_encode import CHANNELS, OkxEncoder
from tools.venues.okx_instruments import SPOT, SWAP, instrument_row, make_instruments
from tools.venues.okx_recording import OkxCodec
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
from tools.venues.synthetic import AGGREGATE_TRADE, FUNDING, INDEX, LIQUIDATION, MARK_SLOW, STATISTICS, TRADE
from tools.venues.views import ViewMarket

# (levels, whole book each time, interval ms, ms until a quiet stream repeats) of CHANNELS, "WS / Order book
# channel": books 400 levels each 100 ms, an empty update after 60 s; books5 each 100 ms; others each 10 ms.
VIEWS = (
    (400, False, 100, 60_000),
    (5, True, 100, 0),
    (1, True, 10, 0),
    (400, False, 10, 60_000),
    (50, False, 10, 60_000),
)
INSTRUMENT_CHANNELS: tuple[tuple[int, str], ...] = (
    (AGGREGATE_TRADE, "trades"),
    (TRADE, "trades-all"),
    (STATISTICS, "tickers"),
)
SWAP_CHANNELS: tuple[tuple[int, str], ...] = ((MARK_SLOW, "mark-price"), (FUNDING, "funding-rate"))
TYPE_CHANNELS = ("liquidation-orders", "instruments")
STATUS = "status"
INDEX_CHANNEL = "index-tickers"
KNOWN_CHANNELS = {*CHANNELS, *TYPE_CHANNELS, STATUS, INDEX_CHANNEL}
KNOWN_CHANNELS |= {name for _, name in (*INSTRUMENT_CHANNELS, *SWAP_CHANNELS)}
PATHS = {"/ws/v5/public": "public", "/ws/v5/business": "business"}
BUSINESS_CHANNELS = frozenset({"trades-all"})
SUBSCRIPTIONS_PER_HOUR = 480

# path → (requests, seconds), as each endpoint's "Rate Limit" says
REST_LIMITS: dict[str, tuple[int, float]] = {
    "/api/v5/public/instruments": (20, 2.0),
    "/api/v5/public/time": (10, 2.0),
    "/api/v5/market/books": (40, 2.0),
    "/api/v5/market/books-full": (10, 2.0),
    "/api/v5/system/status": (1, 5.0),
}
BOOK_LEVELS_MAX = 400
FULL_LEVELS_MAX = 5000
STATES = {TRADING: "live", PRELAUNCH: "preopen", CLOSING: "live", CLOSED: "expired"}


def rest_error(status: int, code: int, message: str) -> HttpReply:
    """Return the venue's REST error body."""
    return HttpReply(status, orjson.dumps({"code": str(code), "msg": message, "data": []}))


def rest_answer(data: list[Any]) -> HttpReply:
    """Return a good answer."""
    return HttpReply(200, orjson.dumps({"code": "0", "data": data, "msg": ""}))


class Okx(VenueProtocol):
    """Paths, requests and REST of OKX market data."""

    name = "okx"

    def __init__(self, limits: Limits | None = None, now_s: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits or Limits(
            request_bytes=64 * 1024,
            requests_per_s=0,
            streams=0,
            ping_interval_s=0.0,
            pong_timeout_s=0.0,
            connection_s=86_400.0 * 30,
            idle_s=30.0,
            idle_counts_sent=True,
            idle_code=4004,
            idle_reason="No data received in 30s.",
            connects=(3, 1.0),
        )
        self.source: MarketSource
        self._now_s = now_s
        self._rest = {path: WindowLimit(*limit, now_s) for path, limit in REST_LIMITS.items()}

    # -- websocket

    def route(self, target: str) -> Route | HttpReply:
        """Return where a websocket URL path leads, or the HTTP reply that refuses the upgrade."""
        path = urlsplit(target).path.rstrip("/")
        if path in PATHS:
            return Route(PATHS[path], False)
        return HttpReply(404, b"Not Found", content_type="text/plain")

    def on_text(self, client: Subscriber, text: bytes) -> list[bytes]:
        """Answer the text "ping", or subscribe and unsubscribe: one event for each argument."""
        if text == b"ping":
            return [b"pong"]
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError:
            return [self._error(client, None, 60012, f"Invalid request: {text.decode(errors='replace')}")]
        is_object = isinstance(request, dict)
        op = request.get("op") if is_object else None
        args = request.get("args") if is_object else None
        if op not in ("subscribe", "unsubscribe") or not isinstance(args, list) or not args:
            return [self._error(client, None, 60012, f"Invalid request: {text.decode(errors='replace')}")]
        number = request.get("id")
        if not self._may_request(client):
            return [self._error(client, number, 60014, "Requests too frequent")]
        return [self._run(client, op, arg, number) for arg in args]

    def _may_request(self, client: Subscriber) -> bool:
        limit = client.notes.setdefault("limit", WindowLimit(SUBSCRIPTIONS_PER_HOUR, 3600.0, self._now_s))
        assert isinstance(limit, WindowLimit), limit
        return limit.take()

    def _run(self, client: Subscriber, op: str, arg: object, number: object) -> bytes:
        name = stream_name(arg)
        if name is None:
            return self._error(client, number, 60012, f"Invalid request: {orjson.dumps(arg).decode()}")
        assert isinstance(arg, dict)
        if op == "unsubscribe":
            client.unsubscribe([name])
        else:
            reason = client.subscribe([name])
            if reason is not None:
                shown = ",".join(f"{key}:{value}" for key, value in arg.items())
                return self._error(
                    client, number, 60018,
                    f"Wrong URL or {shown} doesn't exist. Please use the correct URL, channel and parameters"
                    " referring to API document.",
                )  # fmt: skip
        answer: dict[str, object] = {"event": op, "arg": arg, "connId": conn_id(client)}
        return orjson.dumps({"id": number, **answer} if number is not None else answer)

    @staticmethod
    def _error(client: Subscriber, number: object, code: int, message: str) -> bytes:
        answer: dict[str, object] = {
            "event": "error", "msg": message, "code": str(code), "connId": conn_id(client)
        }  # fmt: skip
        return orjson.dumps({"id": number, **answer} if number is not None else answer)

    # -- REST

    def on_http(self, request: HttpRequest) -> HttpReply:
        """Answer one REST request."""
        limit = self._rest.get(request.path)
        if limit is None:
            return rest_error(404, 50404, f"Invalid request path {request.path}")
        if request.method != "GET":
            return rest_error(405, 50115, "Invalid request method.")
        if not limit.take():
            return rest_error(429, 50011, "Too Many Requests")
        query = dict(request.query)
        if request.path == "/api/v5/public/time":
            return rest_answer([{"ts": str(self.source.clock_ms())}])
        if request.path == "/api/v5/public/instruments":
            return self._instruments(query)
        if request.path == "/api/v5/system/status":
            return rest_answer([])
        return self._book(request.path, query)

    def _instruments(self, query: dict[str, str]) -> HttpReply:
        kind = query.get("instType", "")
        if not kind:
            return rest_error(400, 50014, "Parameter instType can not be empty.")
        if kind not in (SPOT, SWAP, "MARGIN", "FUTURES", "OPTION"):
            return rest_error(400, 51000, "Parameter instType error")
        recorded = self.source.exchange_info(kind)
        if recorded is not None:
            return HttpReply(200, recorded)
        rows = [self._row(item) for item in self.source.instruments() if item.category == kind]
        wanted = query.get("instId")
        if wanted is not None:
            rows = [row for row in rows if row["instId"] == wanted]
            if not rows:
                return rest_error(
                    200, 51001, "Instrument ID, Instrument ID code, or Spread ID doesn't exist."
                )
        return rest_answer(rows)

    def _row(self, item: VenueInstrument) -> dict[str, object]:
        return instrument_row(item, STATES[self.source.state_of(item)], self.source.now_ms())

    def _book(self, path: str, query: dict[str, str]) -> HttpReply:
        symbol, text = query.get("instId", ""), query.get("sz", "1")
        if not symbol:
            return rest_error(400, 50014, "Parameter instId can not be empty.")
        if symbol not in self.source.symbols:
            return rest_error(200, 51001, "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")
        most = FULL_LEVELS_MAX if path.endswith("-full") else BOOK_LEVELS_MAX
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
            return rest_error(400, 51000, "Parameter sz error")
        body = self.source.snapshot(symbol, int(text))
        if body is None:
            return rest_error(503, 50001, "Service temporarily unavailable. Try again later.")
        if path.endswith("-full"):
            answer = orjson.loads(body)
            for side in ("asks", "bids"):
                answer["data"][0][side] = [[p, q, n] for p, q, _, n in answer["data"][0][side]]
            body = orjson.dumps(answer)
        return HttpReply(200, body)

    # -- streams and sources

    def make_stream(self, name: str) -> Stream | None:
        """Make a Stream for a well-formed stream name; None when the venue has no such channel."""
        channel = name.partition(":")[0]
        return Stream(name, channel, b"") if channel in KNOWN_CHANNELS else None

    def categories(self, name: str) -> tuple[str, ...]:
        """Return the path a channel is served under."""
        return ("business",) if name.partition(":")[0] in BUSINESS_CHANNELS else ("public",)

    def symbol_of(self, name: str) -> str:
        """Return the instId in a stream name."""
        return name.partition(":")[2]

    def synthetic_streams(self, item: VenueInstrument) -> Iterator[tuple[int, str]]:
        """Yield (kind of tools.venues.synthetic, stream name) for one instrument."""
        for kind, channel in INSTRUMENT_CHANNELS:
            yield kind, f"{channel}:{item.symbol}"
        if item.category == SWAP:
            for kind, channel in SWAP_CHANNELS:
                yield kind, f"{channel}:{item.symbol}"
            yield INDEX, f"{INDEX_CHANNEL}:{item.symbol.removesuffix('-SWAP')}"
            yield LIQUIDATION[0], f"liquidation-orders:{SWAP}"

    def view_streams(self, item: VenueInstrument) -> Iterator[tuple[int, str]]:
        """Yield (number of the view, stream name) of the order book channels."""
        for number, channel in enumerate(CHANNELS):
            yield number, f"{channel}:{item.symbol}"

    def common_streams(self) -> Iterator[str]:
        """Yield the channels of instruments and of the venue's status."""
        yield STATUS
        for kind in (SPOT, SWAP):
            yield f"instruments:{kind}"
            yield f"liquidation-orders:{kind}"

    def first_message(self, name: str) -> bytes | None:
        """Return the list of instruments ("WS / Instruments channel": all of them after the subscription)."""
        channel, _, kind = name.partition(":")
        if channel != "instruments":
            return None
        rows = [self._row(item) for item in self.source.instruments() if item.category == kind]
        return orjson.dumps({"arg": {"channel": channel, "instType": kind}, "data": rows})

    def announce(self, item: VenueInstrument, state: str) -> Iterator[tuple[str, bytes]]:  # noqa: ARG002
        """Yield the instruments channel's message of a new state."""
        arg = {"channel": "instruments", "instType": item.category}
        yield f"instruments:{item.category}", orjson.dumps({"arg": arg, "data": [self._row(item)]})

    def encoder(self) -> OkxEncoder:
        """Return the payload writer for synthetic markets."""
        return OkxEncoder(self.with_checksum)

    def market(self, rows: list[MarketRow], seed: int, rate_per_s: float, start_ms: int) -> ViewMarket:
        """Make a market that streams the best levels."""
        market = ViewMarket(rows, seed, self.encoder(), rate_per_s, start_ms)
        market.set_views(VIEWS, 0, self.every_change)
        return market

    def synthetic_instruments(self, count: int, seed: int) -> list[tuple[VenueInstrument, int, float]]:
        """Return perpetuals and spot pairs in turns, the known ones first."""
        return make_instruments(count, seed)

    def capture_codec(self) -> CaptureCodec:
        """Return the reader of this venue's recorded frames."""
        return OkxCodec()


def conn_id(client: Subscriber) -> str:
    """Return the connection's id, as answers name it."""
    return f"{0xA4D30000 + client.number:08x}"


def stream_name(arg: object) -> str | None:
    """Return our name of the stream an argument asks for; None when it is not well-formed."""
    if not isinstance(arg, dict) or not isinstance(arg.get("channel"), str):
        return None
    channel = arg["channel"]
    if channel == STATUS:
        return STATUS
    what = arg.get("instType" if channel in TYPE_CHANNELS else "instId")
    return f"{channel}:{what}" if isinstance(what, str) and what else None
