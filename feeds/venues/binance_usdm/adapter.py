"""Binance USD-M Futures behind the generic adapter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import orjson

from feeds.adapter import (
    ConnectionPlan,
    ControlEvent,
    HttpRequest,
    Notice,
    ServerTime,
    SnapshotDepth,
    StreamSettings,
    VenueAdapter,
    Written,
    text_pairs,
    unknown_symbol,
)
from feeds.continuity import ContinuityRule, SnapshotRule
from feeds.errors import VenueError
from feeds.venues.binance_usdm import protocol
from shm.enums import InstrumentKind, InstrumentStatus
from shm.errors import UnitsError
from shm.instruments import Instrument
from shm.units import decimals_of, parse_units

if TYPE_CHECKING:
    from feeds.decoder import Decoder

STATUS = {
    "TRADING": InstrumentStatus.TRADING,
    "PENDING_TRADING": InstrumentStatus.HALTED,
    "BREAK": InstrumentStatus.HALTED,
    "PRE_DELIVERING": InstrumentStatus.HALTED,
    "PRE_SETTLE": InstrumentStatus.HALTED,
    "SETTLING": InstrumentStatus.HALTED,
    "DELIVERING": InstrumentStatus.HALTED,
    "DELIVERED": InstrumentStatus.DELISTED,
    "CLOSE": InstrumentStatus.DELISTED,
}


class BinanceUsdm(VenueAdapter):
    """Streams, requests and instrument data of Binance USD-M Futures.

    Continuity: "How to manage a local order book correctly" (USD-M): drop u < lastUpdateId, the first applied
    diff has U <= lastUpdateId <= u, then each pu is the previous u.
    """

    name = protocol.NAME
    venue_id = protocol.VENUE_ID
    rule = ContinuityRule.PREVIOUS
    snapshot_rule = SnapshotRule.INSIDE
    websocket_url = protocol.WEBSOCKET_URL
    rest_url = protocol.REST_URL
    subscribe_per_second = protocol.SUBSCRIBE_PER_SECOND
    snapshot_weight_per_minute = protocol.WEIGHT_PER_MINUTE
    snapshot_depths = tuple(SnapshotDepth(*row) for row in protocol.DEPTH_WEIGHTS)
    rest_limit = protocol.REST_LIMIT
    used_weight_header = protocol.USED_WEIGHT_HEADER
    connects_per_second = protocol.CONNECTS_PER_SECOND
    connect_burst = protocol.CONNECT_BURST
    # Levels are absolute, and an update holds all changes since the one it follows: "How to manage a local
    # order book correctly" lets the first one on a snapshot begin before it.
    allows_overlap = True
    connection_life_ns = protocol.CONNECTION_LIFE_NS
    depth_streams = protocol.DEPTH_STREAMS

    def make_decoder(self) -> Decoder:
        """Return a new compiled decoder."""
        from feeds.venues.binance_usdm.decode import BinanceUsdmDecoder

        return BinanceUsdmDecoder()

    def connections(self, symbols: Sequence[str], settings: StreamSettings) -> list[ConnectionPlan]:
        """Plan /public connections (depth, best bid and offer), then /market ones (trades, mark price).

        Raises:
            VenueError: more streams a connection than the venue allows.
        """
        if not 0 < settings.streams_per_connection <= protocol.STREAMS_MAX:
            raise VenueError(
                f"{self.name}: streams_per_connection is {settings.streams_per_connection},"
                f" the venue allows 1 to {protocol.STREAMS_MAX}"
            )
        public = [settings.depth_stream or protocol.DEPTH_STREAM]
        public += [protocol.BBO_STREAM] if settings.with_bbo else []
        market = [settings.trade_stream or protocol.TRADE_STREAM]
        market += [protocol.MARK_STREAM] if settings.with_mark else []
        market += [protocol.LIQUIDATION_STREAM] if settings.with_liquidations else []
        plans = [
            *self._plan(symbols, public, settings, protocol.PUBLIC_PATH, carries_depth=True),
            *self._plan(symbols, market, settings, protocol.MARKET_PATH, carries_depth=False),
        ]
        if settings.with_status:
            names = (protocol.CONTRACT_INFO_STREAM,)
            subscribe = protocol.subscribe_messages(names)
            plans.append(ConnectionPlan(protocol.MARKET_PATH, subscribe, tuple(symbols), names, False))
        return plans

    def _plan(
        self,
        symbols: Sequence[str],
        streams: list[str],
        settings: StreamSettings,
        path: str,
        *,
        carries_depth: bool,
    ) -> Iterator[ConnectionPlan]:
        # All streams of a symbol stay on one connection: its order among them is the venue's own.
        size = max(settings.streams_per_connection // len(streams), 1)
        for start in range(0, len(symbols), size):
            group = tuple(symbols[start : start + size])
            names = tuple(protocol.stream_name(symbol, stream) for symbol in group for stream in streams)
            yield ConnectionPlan(path, protocol.subscribe_messages(names), group, names, carries_depth)

    def resubscribe(self, symbol: str, settings: StreamSettings) -> tuple[bytes, ...]:
        """Return UNSUBSCRIBE and SUBSCRIBE of a symbol's depth stream: it brings no snapshot."""
        begin = protocol.subscribe_messages(
            [protocol.stream_name(symbol, settings.depth_stream or protocol.DEPTH_STREAM)]
        )
        return (*map(self.ending, begin), *begin)

    def ending(self, subscribe: bytes) -> bytes:
        """Return the UNSUBSCRIBE of a SUBSCRIBE."""
        return subscribe.replace(b'"SUBSCRIBE"', b'"UNSUBSCRIBE"', 1)

    def owns_connection(self, url: str) -> bool:
        """Say whether a URL is one of this venue's: combined streams, or one named in the path."""
        path = urlsplit(url).path
        return path.endswith("/stream") or path == "/ws" or "@" in path

    def snapshot_request(self, symbol: str, levels: int = 0) -> HttpRequest:
        """Return the request of a depth snapshot, by default of the deepest the venue gives."""
        depth = self.choose_depth(1, levels)
        return HttpRequest("GET", protocol.depth_path(symbol, depth.levels), depth.weight)

    def instruments_request(self) -> HttpRequest:
        """Return the exchangeInfo request."""
        return HttpRequest("GET", protocol.INSTRUMENTS_PATH, protocol.INSTRUMENTS_WEIGHT)

    def time_request(self) -> HttpRequest:
        """Return the server time request."""
        return HttpRequest("GET", protocol.TIME_PATH, protocol.TIME_WEIGHT)

    def read_time(self, body: bytes) -> ServerTime:
        """Read {"serverTime": ms}."""
        try:
            return ServerTime(int(orjson.loads(body)["serverTime"]) * 1_000_000, 1_000_000)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise VenueError(f"{self.name}: not the venue's time: {error!r}") from error

    def parse_instruments(self, body: bytes, symbols: Iterable[str] | None) -> list[Instrument]:
        """Read exchangeInfo; see `VenueAdapter.parse_instruments`.

        Exponents are the venue's pricePrecision and quantityPrecision, so that units print as the venue's own
        texts; larger where its tick or lot size needs more decimals.
        """
        rows = self._rows(body)
        if symbols is None:
            known = protocol.PERPETUAL_TYPES | protocol.FUTURE_TYPES
            chosen = [row for row in rows.values() if row.get("contractType") in known]
        else:
            chosen = []
            for symbol in symbols:
                if symbol not in rows:
                    raise unknown_symbol(self.name, symbol, rows)
                chosen.append(rows[symbol])
        return [self._instrument(row) for row in chosen]

    def _rows(self, body: bytes) -> dict[str, dict[str, Any]]:
        try:
            return {row["symbol"]: row for row in orjson.loads(body)["symbols"]}
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise VenueError(
                f"{self.name}: instrument data is not an exchangeInfo answer: {error!r}"
            ) from error

    def listed_symbols(self, body: bytes) -> set[str]:
        """Return the symbols of exchangeInfo."""
        return set(self._rows(body))

    def _instrument(self, row: dict[str, Any]) -> Instrument:
        symbol = row["symbol"]
        try:
            contract = row["contractType"]
            if contract not in protocol.PERPETUAL_TYPES | protocol.FUTURE_TYPES:
                raise VenueError(f"{self.name}: {symbol}: contractType {contract!r} is not supported")
            is_perpetual = contract in protocol.PERPETUAL_TYPES
            filters = {entry["filterType"]: entry for entry in row["filters"]}
            tick, lot = filters["PRICE_FILTER"]["tickSize"], filters["LOT_SIZE"]["stepSize"]
            price_exponent = max(row["pricePrecision"], decimals_of(tick))
            quantity_exponent = max(row["quantityPrecision"], decimals_of(lot))
            base, quote = row["baseAsset"], row["quoteAsset"]
            expiry = "" if is_perpetual else symbol.partition("_")[2]
            return Instrument(
                instrument_id=0,
                venue_id=self.venue_id,
                kind=InstrumentKind.PERPETUAL if is_perpetual else InstrumentKind.FUTURE,
                status=STATUS.get(row.get("status", row.get("contractStatus", "")), InstrumentStatus.HALTED),
                price_exponent=price_exponent,
                quantity_exponent=quantity_exponent,
                tick_size=parse_units(tick, price_exponent),
                lot_size=parse_units(lot, quantity_exponent),
                # The price is that of one contract, 1000SHIB included: price × quantity is the notional as it
                # stands.
                multiplier=1,
                multiplier_exponent=0,
                min_quantity_units=parse_units(filters["LOT_SIZE"]["minQty"], quantity_exponent),
                max_quantity_units=parse_units(filters["LOT_SIZE"]["maxQty"], quantity_exponent),
                min_notional_units=parse_units(filters.get("MIN_NOTIONAL", {}).get("notional", "0"), 8),
                maker_fee_e8=protocol.MAKER_FEE_E8,
                taker_fee_e8=protocol.TAKER_FEE_E8,
                symbol=symbol,
                canonical=protocol.canonical_name(base, quote, expiry),
                base=base,
                quote=quote,
                settle=row.get("marginAsset", quote),
            )
        except (KeyError, TypeError, AttributeError, UnitsError) as error:
            raise VenueError(
                f"{self.name}: {symbol}: instrument data is not as documented: {error!r}"
            ) from error

    def plain_instrument(
        self, symbol: str, price_exponent: int, quantity_exponent: int, tick_size: int, lot_size: int
    ) -> Instrument:
        """Make a row from what a capture shows; base and quote by the known quote currencies."""
        base, quote, expiry = protocol.split_symbol(symbol)
        return Instrument(
            instrument_id=0,
            venue_id=self.venue_id,
            kind=InstrumentKind.FUTURE if expiry else InstrumentKind.PERPETUAL,
            status=InstrumentStatus.TRADING,
            price_exponent=price_exponent,
            quantity_exponent=quantity_exponent,
            tick_size=tick_size,
            lot_size=lot_size,
            multiplier=1,
            multiplier_exponent=0,
            min_quantity_units=lot_size,
            max_quantity_units=0,
            min_notional_units=0,
            maker_fee_e8=protocol.MAKER_FEE_E8,
            taker_fee_e8=protocol.TAKER_FEE_E8,
            symbol=symbol,
            canonical=protocol.canonical_name(base, quote, expiry) if quote else symbol,
            base=base,
            quote=quote,
            settle=quote,
        )

    def on_control(self, frame: bytes) -> ControlEvent:
        """Read the answer to a SUBSCRIBE: {"result":null,"id":1}, or an error object with code and msg."""
        try:
            answer = orjson.loads(frame)
        except orjson.JSONDecodeError as error:
            return ControlEvent(True, 0, 0, f"not JSON: {error}")
        if not isinstance(answer, dict):
            return ControlEvent(True, 0, 0, f"not an object: {frame[:80]!r}")
        notices = tuple(_notices(answer))
        if notices:
            return ControlEvent(False, 0, 0, "", notices)
        request_id = answer.get("id")
        number = request_id if isinstance(request_id, int) else 0
        nested = answer.get("error")
        problem = nested if isinstance(nested, dict) else answer
        if "code" in problem or "msg" in problem or nested is not None:
            code = problem.get("code")
            return ControlEvent(
                True, number, code if isinstance(code, int) else 0, str(problem.get("msg", problem))
            )
        return ControlEvent(False, number, 0, "")

    def is_snapshot(self, body: bytes) -> bool:
        """Say whether a recorded body is a depth snapshot: it begins with its update id."""
        return body.startswith(b'{"lastUpdateId"')

    def is_instruments(self, path: str) -> bool:
        """Say whether a request path is exchangeInfo."""
        return urlsplit(path).path == protocol.INSTRUMENTS_PATH

    def symbol_of_request(self, path: str) -> str:
        """Return the symbol of a depth request's query."""
        parts = urlsplit(path)
        return parse_qs(parts.query).get("symbol", [""])[0] if parts.path == protocol.DEPTH_PATH else ""

    def symbol_of_frame(self, frame: bytes) -> str:
        """Return the symbol field of a frame, found as text: good enough to name a capture's symbol."""
        _, _, rest = frame.partition(b'"s":"')
        symbol, closed, _ = rest.partition(b'"')
        return symbol.decode("ascii", "replace") if closed else ""

    def written(self, payload: bytes) -> Iterator[Written]:
        """Yield price and quantity texts of depth, trade, best-bid-and-offer frames and snapshots."""
        try:
            message = orjson.loads(payload)
        except orjson.JSONDecodeError:
            return
        if not isinstance(message, dict):
            return
        data = message.get("data", message)
        if not isinstance(data, dict):
            return
        symbol, kind = data.get("s"), data.get("e")
        if "lastUpdateId" in data:
            levels, symbol = [*text_pairs(data.get("bids")), *text_pairs(data.get("asks"))], ""
        elif kind == "depthUpdate":
            levels = [*text_pairs(data.get("b")), *text_pairs(data.get("a"))]
        elif kind in ("trade", "aggTrade"):
            levels = text_pairs([[data.get("p"), data.get("q")]])
        elif kind == "bookTicker":
            levels = text_pairs([[data.get("b"), data.get("B")], [data.get("a"), data.get("A")]])
        else:
            return
        if not isinstance(symbol, str):
            return
        yield Written(symbol, [pair[0] for pair in levels], [pair[1] for pair in levels])


def _notices(answer: dict[str, Any]) -> Iterator[Notice]:
    """What "Contract Info Stream" says of an instrument, and the venue of itself before it goes down."""
    event = answer.get("data", answer)
    if not isinstance(event, dict):
        return
    if event.get("e") == "contractInfo":
        yield Notice("instrument", str(event.get("s", "")), str(event.get("cs", "")))
    elif event.get("e") == "serverShutdown":
        yield Notice("status", "", "serverShutdown")
