"""Binance USD-M Futures behind the generic adapter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from feeds.adapter import (
    ConnectionPlan,
    ControlEvent,
    HttpRequest,
    Notice,
    SnapshotDepth,
    StreamSettings,
)
from feeds.continuity import ContinuityRule, SnapshotRule
from feeds.errors import VenueError
from feeds.venues.base import JsonVenueAdapter, PlainTerms, packed, row_levels, rows_of
from feeds.venues.binance_usdm import protocol
from feeds.venues.rows import Fields, RowError
from shm.enums import InstrumentKind, InstrumentStatus
from shm.instruments import Instrument
from shm.units import EXPONENT_MAX

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
KINDS = {
    **dict.fromkeys(protocol.PERPETUAL_TYPES, InstrumentKind.PERPETUAL),
    **dict.fromkeys(protocol.FUTURE_TYPES, InstrumentKind.FUTURE),
}


class BinanceUsdm(JsonVenueAdapter):
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
    trade_streams = protocol.TRADE_STREAMS
    subscribe_verbs = (b'"SUBSCRIBE"', b'"UNSUBSCRIBE"')
    instruments_path = protocol.INSTRUMENTS_PATH
    instruments_answer = "exchangeInfo"
    symbol_key = "symbol"
    kind_key = "contractType"
    kinds = KINDS
    other_kinds = protocol.OTHER_TYPES
    status_keys = ("status", "contractStatus")
    statuses = STATUS
    time_path = protocol.TIME_PATH
    time_weight = protocol.TIME_WEIGHT
    time_keys = ("serverTime",)
    time_unit_ns = 1_000_000
    book_path = protocol.DEPTH_PATH
    book_symbol = "symbol"
    symbol_mark = b'"s":"'

    def make_decoder(self) -> Decoder:
        """Return a new compiled decoder."""
        from feeds.venues.binance_usdm.decode import BinanceUsdmDecoder

        return BinanceUsdmDecoder()

    def connections(self, symbols: Sequence[str], settings: StreamSettings) -> list[ConnectionPlan]:
        """Plan /public connections (depth, best bid and offer), then /market ones (trades, mark price).

        Raises:
            VenueError: an unknown depth or trade stream, or more streams a connection than the venue allows.
        """
        if not 0 < settings.streams_per_connection <= protocol.STREAMS_MAX:
            raise VenueError(
                f"{self.name}: streams_per_connection is {settings.streams_per_connection},"
                f" the venue allows 1 to {protocol.STREAMS_MAX}"
            )
        public = [self.depth_stream_of(settings)]
        public += [protocol.BBO_STREAM] if settings.with_bbo else []
        market = [self.trade_stream_of(settings)]
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
        names_of = [(symbol, [protocol.stream_name(symbol, one) for one in streams]) for symbol in symbols]
        for group, names in packed(names_of, settings.streams_per_connection):
            subscribe = protocol.subscribe_messages(names)
            yield ConnectionPlan(path, subscribe, tuple(group), tuple(names), carries_depth)

    def resubscribe(self, symbol: str, settings: StreamSettings) -> tuple[bytes, ...]:
        """Return UNSUBSCRIBE and SUBSCRIBE of a symbol's depth stream: it brings no snapshot."""
        begin = protocol.subscribe_messages(
            [protocol.stream_name(symbol, settings.depth_stream or protocol.DEPTH_STREAM)]
        )
        return (*map(self.ending, begin), *begin)

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

    def read_rows(self, body: bytes) -> list[Any]:
        """Read {"symbols": [...]} of exchangeInfo."""
        return rows_of(orjson.loads(body)["symbols"])

    def read_row(self, symbol: str, row: Fields) -> Instrument:
        """Make an instrument of a row of exchangeInfo.

        Exponents are the venue's pricePrecision and quantityPrecision, so that units print as the venue's own
        texts; larger where its tick or lot size needs more decimals.
        """
        kind = KINDS[row.text("contractType")]
        filters = row.named("filters", "filterType")
        for name in ("PRICE_FILTER", "LOT_SIZE"):
            if name not in filters:
                raise RowError(f"filters has no {name}")
        prices, lots = filters["PRICE_FILTER"], filters["LOT_SIZE"]
        price_exponent = max(row.whole("pricePrecision", 0, EXPONENT_MAX), prices.decimals("tickSize"))
        quantity_exponent = max(row.whole("quantityPrecision", 0, EXPONENT_MAX), lots.decimals("stepSize"))
        base, quote = row.text("baseAsset"), row.text("quoteAsset")
        expiry = "" if kind is InstrumentKind.PERPETUAL else symbol.partition("_")[2]
        least = filters.get("MIN_NOTIONAL")
        return Instrument(
            instrument_id=0,
            venue_id=self.venue_id,
            kind=kind,
            status=self.status_of(row),
            price_exponent=price_exponent,
            quantity_exponent=quantity_exponent,
            tick_size=prices.step("tickSize", price_exponent),
            lot_size=lots.step("stepSize", quantity_exponent),
            # The price is that of one contract, 1000SHIB included: price × quantity is the notional as it
            # stands.
            multiplier=1,
            multiplier_exponent=0,
            min_quantity_units=lots.units("minQty", quantity_exponent),
            max_quantity_units=lots.units("maxQty", quantity_exponent),
            min_notional_units=0 if least is None else least.units("notional", 8, "0"),
            maker_fee_e8=protocol.MAKER_FEE_E8,
            taker_fee_e8=protocol.TAKER_FEE_E8,
            symbol=symbol,
            canonical=protocol.canonical_name(base, quote, expiry),
            base=base,
            quote=quote,
            settle=row.text("marginAsset", quote),
        )

    def plain_terms(self, symbol: str) -> PlainTerms:
        """Read a symbol; base and quote by the known quote currencies."""
        base, quote, expiry = protocol.split_symbol(symbol)
        kind = InstrumentKind.FUTURE if expiry else InstrumentKind.PERPETUAL
        canonical = protocol.canonical_name(base, quote, expiry) if quote else symbol
        fees_e8 = (protocol.MAKER_FEE_E8, protocol.TAKER_FEE_E8)
        return PlainTerms(kind, canonical, base, quote, quote, fees_e8)

    def read_control(self, answer: dict[str, Any]) -> ControlEvent:
        """Read the answer to a SUBSCRIBE: {"result":null,"id":1}, or an error object with code and msg."""
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

    def read_levels(self, message: dict[str, Any]) -> Iterator[tuple[str, list[list[str]]]]:
        """Yield the levels of depth, trade, best-bid-and-offer frames and snapshots."""
        data = message.get("data", message)
        if not isinstance(data, dict):
            return
        is_snapshot = "lastUpdateId" in data
        fields = SNAPSHOT_LEVELS if is_snapshot else LEVELS.get(str(data.get("e")))
        symbol = "" if is_snapshot else data.get("s")
        if fields is not None and isinstance(symbol, str):
            yield symbol, row_levels(data, *fields)


# Of a kind of event: fields with lists of levels, then those of single prices and quantities.
SNAPSHOT_LEVELS: tuple[tuple[str, ...], tuple[tuple[str, str], ...]] = (("bids", "asks"), ())
LEVELS: dict[str, tuple[tuple[str, ...], tuple[tuple[str, str], ...]]] = {
    "depthUpdate": (("b", "a"), ()),
    "trade": ((), (("p", "q"),)),
    "aggTrade": ((), (("p", "q"),)),
    "bookTicker": ((), (("b", "B"), ("a", "A"))),
}


def _notices(answer: dict[str, Any]) -> Iterator[Notice]:
    """What "Contract Info Stream" says of an instrument, and the venue of itself before it goes down."""
    event = answer.get("data", answer)
    if not isinstance(event, dict):
        return
    if event.get("e") == "contractInfo":
        yield Notice("instrument", str(event.get("s", "")), str(event.get("cs", "")))
    elif event.get("e") == "serverShutdown":
        yield Notice("status", "", "serverShutdown")
