"""Bybit v5 behind the generic adapter: one class for each symbol namespace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote_plus, urlsplit

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
    answers_of,
    maintenance,
    text_pairs,
    units_or_zero,
    unknown_symbol,
)
from feeds.continuity import ContinuityRule, SnapshotRule
from feeds.errors import VenueError
from feeds.venues.bybit import protocol
from shm.enums import InstrumentKind, InstrumentStatus
from shm.errors import UnitsError
from shm.instruments import Instrument
from shm.units import decimals_of, parse_units

if TYPE_CHECKING:
    from feeds.decoder import Decoder

STATUS = {
    "Trading": InstrumentStatus.TRADING,
    "PreLaunch": InstrumentStatus.HALTED,
    "Delivering": InstrumentStatus.HALTED,
    "Closed": InstrumentStatus.DELISTED,
}
CONTRACTS = {"LinearPerpetual": InstrumentKind.PERPETUAL, "LinearFutures": InstrumentKind.FUTURE}


class _Bybit(VenueAdapter):
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
            VenueError: an unknown depth topic, or more topics a connection than the venue allows.
        """
        product = self.product
        depth = settings.depth_stream or product.depth_streams[0]
        if depth not in product.depth_streams:
            known = ", ".join(product.depth_streams)
            raise VenueError(f"{self.name}: no depth stream {depth!r}; there are {known}")
        if settings.streams_per_connection < 1:
            raise VenueError(f"{self.name}: streams_per_connection is {settings.streams_per_connection}")
        books = [depth]
        if settings.with_bbo and depth != protocol.BBO_STREAM:
            books.append(protocol.BBO_STREAM)
        other = [settings.trade_stream or protocol.TRADE_STREAM]
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
        group: list[str] = []
        topics: list[str] = []
        characters = 0
        for symbol in symbols:
            new = [protocol.topic(stream, symbol) for stream in streams]
            more = sum(len(name) + 3 for name in new)  # its quotes and comma
            is_full = len(topics) + len(new) > settings.streams_per_connection
            if group and (is_full or characters + more > protocol.ARGS_CHARACTERS_MAX):
                yield self._connection(group, topics, carries_depth)
                group, topics, characters = [], [], 0
            group.append(symbol)
            topics += new
            characters += more
        if group:
            yield self._connection(group, topics, carries_depth)

    def _connection(self, group: list[str], topics: list[str], carries_depth: bool) -> ConnectionPlan:
        subscribe = protocol.messages("subscribe", topics, self.product.args_per_message)
        return ConnectionPlan(self.product.path, subscribe, tuple(group), tuple(topics), carries_depth)

    def resubscribe(self, symbol: str, settings: StreamSettings) -> tuple[bytes, ...]:
        """Return unsubscribe and subscribe of a symbol's depth topic."""
        topics = [protocol.topic(settings.depth_stream or self.product.depth_streams[0], symbol)]
        return (*protocol.messages("unsubscribe", topics, 1), *protocol.messages("subscribe", topics, 1))

    def ending(self, subscribe: bytes) -> bytes:
        """Return the unsubscribe of a subscribe."""
        return subscribe.replace(b'"subscribe"', b'"unsubscribe"', 1)

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
            raise VenueError(
                f"{self.name}: instrument data is not an instruments-info answer: {error!r}"
            ) from error
        if not cursor:
            return None
        return HttpRequest(
            "GET", f"{self.instruments_request().path}&cursor={quote_plus(cursor)}", request.weight
        )

    def time_request(self) -> HttpRequest:
        """Return the server time request."""
        return HttpRequest("GET", protocol.TIME_PATH, 1)

    def read_time(self, body: bytes) -> ServerTime:
        """Read {"result": {"timeNano": ns as text}}; some answers are cut to milliseconds."""
        try:
            return ServerTime(int(orjson.loads(body)["result"]["timeNano"]), 1_000_000)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise VenueError(f"{self.name}: not the venue's time: {error!r}") from error

    def parse_instruments(self, body: bytes, symbols: Iterable[str] | None) -> list[Instrument]:
        """Read one or several pages of instruments-info; see `VenueAdapter.parse_instruments`.

        Exponents are the decimals that tick and lot size are written with, so that units print as the venue's
        own texts ("65114.20" at a tick of "0.10").
        """
        rows = self._rows(body)
        if symbols is None:
            wanted = [row for row in rows.values() if self._kind(row) is not None]
            return [self._instrument(row) for row in wanted]
        chosen = []
        for symbol in symbols:
            if symbol not in rows:
                raise unknown_symbol(self.name, symbol, rows)
            chosen.append(rows[symbol])
        return [self._instrument(row) for row in chosen]

    def _kind(self, row: dict[str, Any]) -> InstrumentKind | None:
        if self.product is protocol.SPOT:
            return InstrumentKind.SPOT
        return CONTRACTS.get(row.get("contractType", ""))

    def _rows(self, body: bytes) -> dict[str, dict[str, Any]]:
        try:
            results = [answer["result"] for answer in answers_of(body)]
            return {
                row["symbol"]: row
                for result in results
                if result["category"] == self.product.category
                for row in result["list"]
            }
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise VenueError(
                f"{self.name}: instrument data is not an instruments-info answer: {error!r}"
            ) from error

    def listed_symbols(self, body: bytes) -> set[str]:
        """Return the symbols of instruments-info."""
        return set(self._rows(body))

    def _instrument(self, row: dict[str, Any]) -> Instrument:
        symbol, product = row["symbol"], self.product
        try:
            kind = self._kind(row)
            if kind is None:
                raise VenueError(
                    f"{self.name}: {symbol}: contractType {row['contractType']!r} is not supported"
                )
            lots, tick = row["lotSizeFilter"], row["priceFilter"]["tickSize"]
            lot = lots["basePrecision" if product is protocol.SPOT else "qtyStep"]
            price_exponent = max(_written(tick), int(row.get("priceScale") or 0))
            quantity_exponent = _written(lot)
            delivery = row.get("deliveryTime", "0")
            expiry = protocol.expiry_of(symbol, int(delivery)) if kind is InstrumentKind.FUTURE else ""
            base, quote = row["baseCoin"], row["quoteCoin"]
            return Instrument(
                venue_id=self.venue_id,
                kind=kind,
                status=STATUS.get(row["status"], InstrumentStatus.HALTED),
                price_exponent=price_exponent,
                quantity_exponent=quantity_exponent,
                tick_size=parse_units(tick, price_exponent, allow_scientific=True),
                lot_size=parse_units(lot, quantity_exponent, allow_scientific=True),
                min_quantity_units=parse_units(lots["minOrderQty"], quantity_exponent, allow_scientific=True),
                max_quantity_units=units_or_zero(
                    lots.get("maxOrderQty" if kind is not InstrumentKind.SPOT else "maxLimitOrderQty", ""),
                    quantity_exponent,
                ),
                min_notional_units=units_or_zero(
                    lots.get("minOrderAmt" if kind is InstrumentKind.SPOT else "minNotionalValue", ""), 8
                ),
                maker_fee_e8=product.fees_e8[0],
                taker_fee_e8=product.fees_e8[1],
                symbol=symbol,
                canonical=protocol.canonical_name(product, base, quote, expiry),
                base=base,
                quote=quote,
                settle=row.get("settleCoin", quote),
            )
        except (KeyError, TypeError, ValueError, AttributeError, UnitsError) as error:
            raise VenueError(
                f"{self.name}: {symbol}: instrument data is not as documented: {error!r}"
            ) from error

    def plain_instrument(
        self, symbol: str, price_exponent: int, quantity_exponent: int, tick_size: int, lot_size: int
    ) -> Instrument:
        """Make a row from what a capture shows; base and quote by the known quote currencies."""
        base, quote = protocol.split_symbol(symbol)
        expiry = protocol.expiry_of(symbol)
        kind = InstrumentKind.FUTURE if expiry else InstrumentKind.PERPETUAL
        return Instrument(
            venue_id=self.venue_id,
            kind=InstrumentKind.SPOT if self.product is protocol.SPOT else kind,
            price_exponent=price_exponent,
            quantity_exponent=quantity_exponent,
            tick_size=tick_size,
            lot_size=lot_size,
            min_quantity_units=lot_size,
            maker_fee_e8=self.product.fees_e8[0],
            taker_fee_e8=self.product.fees_e8[1],
            symbol=symbol,
            canonical=protocol.canonical_name(self.product, base, quote, expiry) if quote else symbol,
            base=base,
            quote=quote,
            settle=quote,
        )

    def on_control(self, frame: bytes) -> ControlEvent:
        """Read the answer to a request or a ping, the venue's status, and topics that are no prices."""
        try:
            answer = orjson.loads(frame)
        except orjson.JSONDecodeError as error:
            return ControlEvent(True, 0, 0, f"not JSON: {error}")
        if not isinstance(answer, dict):
            return ControlEvent(True, 0, 0, f"not an object: {frame[:80]!r}")
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
        parts = urlsplit(path)
        category = parse_qs(parts.query).get("category", [""])[0]
        return parts.path == protocol.INSTRUMENTS_PATH and category == self.product.category

    def symbol_of_request(self, path: str) -> str:
        """Return the symbol of an order book request's query, if it is of this product."""
        parts = urlsplit(path)
        query = parse_qs(parts.query)
        is_own = parts.path == protocol.BOOK_PATH and query.get("category", [""])[0] == self.product.category
        return query.get("symbol", [""])[0] if is_own else ""

    def symbol_of_frame(self, frame: bytes) -> str:
        """Return the last part of a frame's topic, found as text: good enough to name a capture's symbol."""
        _, _, rest = frame.partition(b'"topic":"')
        name, closed, _ = rest.partition(b'"')
        return name.rpartition(b".")[2].decode("ascii", "replace") if closed and b"." in name else ""

    def written(self, payload: bytes) -> Iterator[Written]:
        """Yield price and quantity texts of books, trades and tickers."""
        try:
            message = orjson.loads(payload)
        except orjson.JSONDecodeError:
            return
        if not isinstance(message, dict):
            return
        name, data = message.get("topic"), message.get("data")
        if not isinstance(name, str) or not name.startswith(("orderbook.", "publicTrade.", "tickers.")):
            return
        symbol = name.rpartition(".")[2]
        for row in data if isinstance(data, list) else [data]:
            if isinstance(row, dict):
                pairs = [*text_pairs(row.get("b")), *text_pairs(row.get("a"))]
                pairs += text_pairs([[row.get(p), row.get(q)] for p, q in PAIRS])
                yield Written(symbol, [pair[0] for pair in pairs], [pair[1] for pair in pairs])


# Price and size of a trade, and of both sides of a ticker.
PAIRS = (("p", "v"), ("bid1Price", "bid1Size"), ("ask1Price", "ask1Size"))


def _written(text: str) -> int:
    """Decimals a step is written with: "0.10" has two, as the venue's prices do."""
    return max(len(text.partition(".")[2]) if "e" not in text.lower() else 0, decimals_of(text))


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
