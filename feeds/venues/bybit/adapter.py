"""Bybit v5 behind the generic adapter: one class for each symbol namespace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote_plus, urlsplit

import orjson

from feeds.adapter import (
    ConnectionPlan,
    ControlEvent,
    HttpRequest,
    Notice,
    SnapshotDepth,
    StreamSettings,
    answers_of,
    maintenance,
    units_or_zero,
)
from feeds.continuity import ContinuityRule, SnapshotRule
from feeds.errors import VenueError
from feeds.venues.base import JsonVenueAdapter, PlainTerms, packed, row_levels, rows_of
from feeds.venues.bybit import protocol
from feeds.venues.rows import Fields
from shm.enums import InstrumentKind, InstrumentStatus
from shm.instruments import Instrument
from shm.units import EXPONENT_MAX

if TYPE_CHECKING:
    from feeds.decoder import Decoder

STATUS = {
    "Trading": InstrumentStatus.TRADING,
    "PreLaunch": InstrumentStatus.HALTED,
    "Delivering": InstrumentStatus.HALTED,
    "Closed": InstrumentStatus.DELISTED,
}
CONTRACTS = {"LinearPerpetual": InstrumentKind.PERPETUAL, "LinearFutures": InstrumentKind.FUTURE}
# Documented too ("Enums Definitions / contractType"), and nothing that we trade.
OTHER_CONTRACTS = frozenset({"InversePerpetual", "InverseFutures"})
DELIVERY_MS_MAX = 253_402_300_799_000  # the end of year 9999


class _Bybit(JsonVenueAdapter):
    """What both namespaces share.

    Continuity: "Websocket Stream / Public / Orderbook": a whole book comes first in the stream, then each
    update's u is the one before plus 1; whatever whole book comes later overwrites.
    """

    product: protocol.Product
    rule = ContinuityRule.NEXT
    snapshot_rule = SnapshotRule.IN_STREAM
    websocket_url = protocol.WEBSOCKET_URL
    rest_url = protocol.REST_URL
    subscribe_per_second = protocol.SUBSCRIBE_PER_SECOND
    snapshot_weight_per_minute = protocol.RESUBSCRIBE_WEIGHT_PER_MINUTE
    rest_limit = protocol.REST_LIMIT
    used_weight_header = ""
    ping = protocol.PING
    ping_after_ns = protocol.PING_AFTER_NS
    connects_per_second = protocol.CONNECTS_PER_SECOND
    connect_burst = protocol.CONNECT_BURST
    trade_streams = (protocol.TRADE_STREAM,)
    instruments_path = protocol.INSTRUMENTS_PATH
    instruments_answer = "instruments-info"
    symbol_key = "symbol"
    status_keys = ("status",)
    statuses = STATUS
    time_path = protocol.TIME_PATH
    time_keys = ("result", "timeNano")  # some answers are cut to milliseconds
    time_unit_ns = 1
    book_path = protocol.BOOK_PATH
    book_symbol = "symbol"
    symbol_mark = b'"topic":"'

    def make_decoder(self) -> Decoder:
        """Return a new compiled decoder."""
        from feeds.venues.bybit.decode import BybitDecoder

        return BybitDecoder()

    def configure(self, decoder: Decoder, settings: StreamSettings) -> Decoder:
        """Tell a decoder which topic makes the books, and whether tickers give the best bid and offer."""
        decoder.depth_stream = settings.depth_stream or self.product.depth_streams[0]
        decoder.with_ticker_bbo = not settings.with_bbo
        return decoder

    def connections(self, symbols: Sequence[str], settings: StreamSettings) -> list[ConnectionPlan]:
        """Plan connections of depth and best bid and offer, then those of all else.

        Raises:
            VenueError: an unknown depth or trade topic, or more topics a connection than the venue allows.
        """
        product = self.product
        depth = self.depth_stream_of(settings)
        if settings.streams_per_connection < 1:
            raise VenueError(f"{self.name}: streams_per_connection is {settings.streams_per_connection}")
        books = [depth]
        if settings.with_bbo and depth != protocol.BBO_STREAM:
            books.append(protocol.BBO_STREAM)
        other = [self.trade_stream_of(settings)]
        other += [protocol.TICKER_STREAM] if settings.with_mark else []
        if settings.with_liquidations and product is protocol.LINEAR:
            other.append(protocol.LIQUIDATION_STREAM)
        plans = [
            *self._plan(symbols, books, settings, carries_depth=True),
            *self._plan(symbols, other, settings, carries_depth=False),
        ]
        if settings.with_status:
            topics = (protocol.STATUS_TOPIC,)
            subscribe = protocol.messages("subscribe", topics, product.args_per_message)
            plans.append(ConnectionPlan(protocol.STATUS_PATH, subscribe, tuple(symbols), topics, False))
        return plans

    def _plan(
        self, symbols: Sequence[str], streams: list[str], settings: StreamSettings, *, carries_depth: bool
    ) -> Iterator[ConnectionPlan]:
        topics_of = [(symbol, [protocol.topic(stream, symbol) for stream in streams]) for symbol in symbols]
        for group, topics in packed(topics_of, settings.streams_per_connection, protocol.ARGS_CHARACTERS_MAX):
            yield self._connection(group, topics, carries_depth)

    def _connection(self, group: list[str], topics: list[str], carries_depth: bool) -> ConnectionPlan:
        subscribe = protocol.messages("subscribe", topics, self.product.args_per_message)
        return ConnectionPlan(self.product.path, subscribe, tuple(group), tuple(topics), carries_depth)

    def resubscribe(self, symbol: str, settings: StreamSettings) -> tuple[bytes, ...]:
        """Return unsubscribe and subscribe of a symbol's depth topic."""
        topics = [protocol.topic(settings.depth_stream or self.product.depth_streams[0], symbol)]
        return (*protocol.messages("unsubscribe", topics, 1), *protocol.messages("subscribe", topics, 1))

    def owns_connection(self, url: str) -> bool:
        """Say whether a URL's path is that of this product."""
        return urlsplit(url).path == self.product.path

    def snapshot_request(self, symbol: str, levels: int = 0) -> HttpRequest:
        """Return the request of an order book, for audits: the whole book in the stream is the proof."""
        depth = self.choose_depth(1, levels)
        query = f"category={self.product.category}&symbol={symbol}&limit={depth.levels}"
        return HttpRequest("GET", f"{protocol.BOOK_PATH}?{query}", 1)

    def instruments_request(self) -> HttpRequest:
        """Return the request of the first page of instruments; `next_page` has the others."""
        query = f"category={self.product.category}&limit=1000"
        return HttpRequest("GET", f"{protocol.INSTRUMENTS_PATH}?{query}", 1)

    def next_page(self, request: HttpRequest, body: bytes) -> HttpRequest | None:
        """Return the request of the page that nextPageCursor names, or None when it is empty or absent."""
        try:
            cursor = orjson.loads(body)["result"].get("nextPageCursor")
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise self.not_instruments(error) from error
        if not cursor:
            return None
        return HttpRequest(
            "GET", f"{self.instruments_request().path}&cursor={quote_plus(cursor)}", request.weight
        )

    def read_rows(self, body: bytes) -> list[Any]:
        """Read {"result": {"category": ..., "list": [...]}} of one or several pages of instruments-info."""
        answers = answers_of(body)
        for answer in answers:
            if isinstance(answer, dict) and answer.get("retCode", 0) != 0:
                code, text = answer["retCode"], answer.get("retMsg", "")
                raise VenueError(f"{self.name}: instruments-info: code {code}: {text}")
        results = [answer["result"] for answer in answers]
        own = [result for result in results if result["category"] == self.product.category]
        return [row for result in own for row in rows_of(result["list"])]

    def read_row(self, symbol: str, row: Fields) -> Instrument:
        """Make an instrument of a row of instruments-info.

        Exponents are the decimals that tick and lot size are written with, so that units print as the venue's
        own texts ("65114.20" at a tick of "0.10").
        """
        product = self.product
        is_spot = product is protocol.SPOT
        kind = InstrumentKind.SPOT if is_spot else CONTRACTS[row.text("contractType")]
        lots, prices = row.inner("lotSizeFilter"), row.inner("priceFilter")
        lot = "basePrecision" if is_spot else "qtyStep"
        scale = row.whole("priceScale", 0, EXPONENT_MAX, 0) if row.optional("priceScale") else 0
        price_exponent = max(_written(prices, "tickSize"), scale)
        quantity_exponent = _written(lots, lot)
        expiry = _expiry(symbol, row) if kind is InstrumentKind.FUTURE else ""
        base, quote = row.text("baseCoin"), row.text("quoteCoin")
        return Instrument(
            venue_id=self.venue_id,
            kind=kind,
            status=self.status_of(row),
            price_exponent=price_exponent,
            quantity_exponent=quantity_exponent,
            tick_size=prices.step("tickSize", price_exponent),
            lot_size=lots.step(lot, quantity_exponent),
            min_quantity_units=lots.units("minOrderQty", quantity_exponent),
            max_quantity_units=units_or_zero(
                lots.optional("maxLimitOrderQty" if is_spot else "maxOrderQty"), quantity_exponent
            ),
            min_notional_units=units_or_zero(
                lots.optional("minOrderAmt" if is_spot else "minNotionalValue"), 8
            ),
            maker_fee_e8=product.fees_e8[0],
            taker_fee_e8=product.fees_e8[1],
            symbol=symbol,
            canonical=protocol.canonical_name(product, base, quote, expiry),
            base=base,
            quote=quote,
            settle=row.text("settleCoin", quote),
        )

    def plain_terms(self, symbol: str) -> PlainTerms:
        """Read a symbol; base and quote by the known quote currencies."""
        base, quote = protocol.split_symbol(symbol)
        expiry = protocol.expiry_of(symbol)
        kind = InstrumentKind.FUTURE if expiry else InstrumentKind.PERPETUAL
        if self.product is protocol.SPOT:
            kind = InstrumentKind.SPOT
        canonical = protocol.canonical_name(self.product, base, quote, expiry) if quote else symbol
        return PlainTerms(kind, canonical, base, quote, quote, self.product.fees_e8)

    def read_control(self, answer: dict[str, Any]) -> ControlEvent:
        """Read the answer to a request or a ping, the venue's status, and topics that are no prices."""
        number = str(answer.get("req_id", ""))
        request_id = int(number) if number.isdecimal() else 0
        code, text = answer.get("retCode", 0), str(answer.get("ret_msg", answer.get("retMsg", "")))
        is_error = answer.get("success") is False or bool(code)
        return ControlEvent(
            is_error,
            request_id,
            code if isinstance(code, int) else 0,
            text,
            tuple(_notices(answer, self.product)),
        )

    def is_snapshot(self, body: bytes) -> bool:
        """Say whether a recorded body is an answer of the REST order book."""
        return body.startswith(b'{"retCode"') and b'"b":[' in body

    def is_instruments(self, path: str) -> bool:
        """Say whether a request path is that of this product's instruments."""
        return super().is_instruments(path) and self._is_own(path)

    def symbol_of_request(self, path: str) -> str:
        """Return the symbol of an order book request's query, if it is of this product."""
        return super().symbol_of_request(path) if self._is_own(path) else ""

    def _is_own(self, path: str) -> bool:
        return parse_qs(urlsplit(path).query).get("category", [""])[0] == self.product.category

    def symbol_of_frame(self, frame: bytes) -> str:
        """Return the last part of a frame's topic."""
        _, dot, symbol = super().symbol_of_frame(frame).rpartition(".")
        return symbol if dot else ""

    def read_levels(self, message: dict[str, Any]) -> Iterator[tuple[str, list[list[str]]]]:
        """Yield the levels of books, trades and tickers."""
        name, data = message.get("topic"), message.get("data")
        if not isinstance(name, str) or not name.startswith(("orderbook.", "publicTrade.", "tickers.")):
            return
        for row in data if isinstance(data, list) else [data]:
            if isinstance(row, dict):
                yield name.rpartition(".")[2], row_levels(row, ("b", "a"), PAIRS)


# Price and size of a trade, and of both sides of a ticker.
PAIRS = (("p", "v"), ("bid1Price", "bid1Size"), ("ask1Price", "ask1Size"))


def _expiry(symbol: str, row: Fields) -> str:
    delivery_ms = row.whole("deliveryTime", 0, DELIVERY_MS_MAX, 0)
    try:
        return protocol.expiry_of(symbol, delivery_ms)
    except ValueError as error:  # no time, and a symbol that names a day which is none
        raise row.wrong("deliveryTime", "and the symbol names no day either") from error


def _written(row: Fields, key: str) -> int:
    """Decimals a step is written with: "0.10" has two, as the venue's prices do."""
    text, needed = row.text(key), row.decimals(key)
    return max(len(text.partition(".")[2]) if "e" not in text.lower() else 0, needed)


def _notices(answer: dict[str, Any], product: protocol.Product) -> Iterator[Notice]:
    """What "System Status" says: title, state and times of a maintenance."""
    data = answer.get("data")
    if answer.get("topic") != protocol.STATUS_TOPIC or not isinstance(data, list):
        return
    for row in data:
        if isinstance(row, dict):
            products = row.get("product")
            is_other = bool(products) and isinstance(products, list) and product.status_number not in products
            phases = {} if is_other else protocol.STATUS_PHASES
            yield maintenance(row, phases, ("state", "title", "begin", "end"))


class BybitLinear(_Bybit):
    """USDT and USDC perpetuals and futures of Bybit v5."""

    product = protocol.LINEAR
    kind_key = "contractType"
    kinds = CONTRACTS
    other_kinds = OTHER_CONTRACTS
    name = protocol.LINEAR.name
    venue_id = protocol.LINEAR.venue_id
    snapshot_depths = (SnapshotDepth(protocol.LINEAR.book_levels, protocol.RESUBSCRIBE_WEIGHT),)
    depth_streams = protocol.LINEAR.depth_streams


class BybitSpot(_Bybit):
    """Spot pairs of Bybit v5."""

    product = protocol.SPOT
    name = protocol.SPOT.name
    venue_id = protocol.SPOT.venue_id
    snapshot_depths = (SnapshotDepth(protocol.SPOT.book_levels, protocol.RESUBSCRIBE_WEIGHT),)
    depth_streams = protocol.SPOT.depth_streams
