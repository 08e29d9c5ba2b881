"""OKX behind the generic adapter."""

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
    answers_of,
    maintenance,
    text_pairs,
    units_or_zero,
    unknown_symbol,
)
from feeds.continuity import ContinuityRule, SnapshotRule
from feeds.errors import VenueError
from feeds.venues.okx import protocol
from shm.enums import InstrumentKind, InstrumentStatus
from shm.errors import UnitsError
from shm.instruments import Instrument
from shm.units import decimals_of, parse_units, split_decimal

if TYPE_CHECKING:
    from feeds.decoder import Decoder

KINDS = {
    "SPOT": InstrumentKind.SPOT,
    "SWAP": InstrumentKind.PERPETUAL,
    "FUTURES": InstrumentKind.FUTURE,
    "OPTION": InstrumentKind.OPTION,
}
STATUS = {
    "live": InstrumentStatus.TRADING,
    "suspend": InstrumentStatus.HALTED,
    "preopen": InstrumentStatus.HALTED,
    "test": InstrumentStatus.HALTED,
    "expired": InstrumentStatus.DELISTED,
}


class Okx(VenueAdapter):
    """Streams, requests and instrument data of OKX.

    Continuity: "WS / Order book channel", "Sequence ID": a whole book comes first in the stream; then each
    update's prevSeqId is the seqId before. Where a checksum comes (recordings before 2026) it is verified.
    """

    name = protocol.NAME
    venue_id = protocol.VENUE_ID
    rule = ContinuityRule.PREVIOUS
    snapshot_rule = SnapshotRule.IN_STREAM
    websocket_url = protocol.WEBSOCKET_URL
    rest_url = protocol.REST_URL
    subscribe_per_second = protocol.SUBSCRIBE_PER_SECOND
    snapshot_weight_per_minute = protocol.RESUBSCRIBE_WEIGHT_PER_MINUTE
    snapshot_depths = (SnapshotDepth(protocol.BOOK_LEVELS, protocol.RESUBSCRIBE_WEIGHT),)
    rest_limit = protocol.REST_LIMIT
    used_weight_header = ""
    ping = protocol.PING
    ping_after_ns = protocol.PING_AFTER_NS
    connects_per_second = protocol.CONNECTS_PER_SECOND
    depth_streams = protocol.DEPTH_STREAMS
    depth_repeat_ns = protocol.DEPTH_REPEAT_NS

    def make_decoder(self) -> Decoder:
        """Return a new compiled decoder."""
        from feeds.venues.okx.decode import OkxDecoder

        return OkxDecoder()

    def configure(self, decoder: Decoder, settings: StreamSettings) -> Decoder:
        """Tell a decoder which channel makes the books, and whether tickers give the best bid and offer."""
        decoder.depth_stream = settings.depth_stream or protocol.DEPTH_STREAM
        decoder.with_ticker_bbo = not settings.with_bbo
        return decoder

    def connections(self, symbols: Sequence[str], settings: StreamSettings) -> list[ConnectionPlan]:
        """Plan connections of depth and best bid and offer, then those of all else.

        Raises:
            VenueError: an unknown depth channel, or more streams a connection than we send.
        """
        if not 0 < settings.streams_per_connection <= protocol.STREAMS_MAX:
            raise VenueError(
                f"{self.name}: streams_per_connection is {settings.streams_per_connection},"
                f" it must be 1 to {protocol.STREAMS_MAX}"
            )
        depth = settings.depth_stream or protocol.DEPTH_STREAM
        if depth not in protocol.DEPTH_STREAMS:
            known = ", ".join(protocol.DEPTH_STREAMS)
            raise VenueError(f"{self.name}: no depth stream {depth!r}; there are {known}")
        books = [depth] + ([protocol.BBO_STREAM] if settings.with_bbo else [])
        trade = settings.trade_stream or protocol.TRADE_STREAM
        trade_path = protocol.BUSINESS_PATH if trade in protocol.BUSINESS_STREAMS else protocol.PUBLIC_PATH
        plans = self._plans(
            [(s, [protocol.depth_arg(s, c) for c in books]) for s in symbols],
            settings,
            protocol.PUBLIC_PATH,
            carries_depth=True,
        )
        other = {s: self._marks(s) if settings.with_mark else [] for s in symbols}
        trades = {s: [protocol.depth_arg(s, trade)] for s in symbols}
        if trade_path == protocol.PUBLIC_PATH:
            other = {s: [*trades[s], *other[s]] for s in symbols}
        else:
            plans += self._plans(list(trades.items()), settings, trade_path)
        plans += self._plans([(s, a) for s, a in other.items() if a], settings, protocol.PUBLIC_PATH)
        common = self._common(symbols, settings)
        if common:
            plans.append(_plan(protocol.PUBLIC_PATH, tuple(symbols), common, carries_depth=False))
        return plans

    @staticmethod
    def _marks(symbol: str) -> list[dict[str, str]]:
        if not protocol.has_mark(symbol):
            return []
        base, quote, tail = protocol.split_symbol(symbol)
        args = [protocol.depth_arg(symbol, protocol.MARK_STREAM)]
        args.append(protocol.depth_arg(f"{base}-{quote}", protocol.INDEX_STREAM))
        if tail == "SWAP":
            args.append(protocol.depth_arg(symbol, protocol.FUNDING_STREAM))
        return args

    @staticmethod
    def _common(symbols: Sequence[str], settings: StreamSettings) -> list[dict[str, str]]:
        """Channels that are of a kind of instrument, or of the venue."""
        args = []
        if settings.with_liquidations:
            args += [
                {"channel": protocol.LIQUIDATION_STREAM, "instType": kind}
                for kind in protocol.instrument_types(symbols)
            ]
        if settings.with_status:
            args.append({"channel": protocol.STATUS_STREAM})
            args += [
                {"channel": protocol.INSTRUMENTS_STREAM, "instType": kind}
                for kind in protocol.INSTRUMENT_TYPES
            ]
        return args

    @staticmethod
    def _plans(
        args_of: list[tuple[str, list[dict[str, str]]]],
        settings: StreamSettings,
        path: str,
        *,
        carries_depth: bool = False,
    ) -> list[ConnectionPlan]:
        plans: list[ConnectionPlan] = []
        group: list[str] = []
        args: list[dict[str, str]] = []
        for symbol, wanted in args_of:
            new = [arg for arg in wanted if arg not in args]  # instruments share an index
            if args and len(args) + len(new) > settings.streams_per_connection:
                plans.append(_plan(path, tuple(group), args, carries_depth=carries_depth))
                group, args, new = [], [], wanted
            group.append(symbol)
            args += new
        if args:
            plans.append(_plan(path, tuple(group), args, carries_depth=carries_depth))
        return plans

    def resubscribe(self, symbol: str, settings: StreamSettings) -> tuple[bytes, ...]:
        """Return unsubscribe and subscribe of a symbol's depth channel: two of REQUESTS_PER_HOUR."""
        args = [protocol.depth_arg(symbol, settings.depth_stream or protocol.DEPTH_STREAM)]
        return (*protocol.messages("unsubscribe", args), *protocol.messages("subscribe", args))

    def ending(self, subscribe: bytes) -> bytes:
        """Return the unsubscribe of a subscribe."""
        return subscribe.replace(b'"subscribe"', b'"unsubscribe"', 1)

    def index_symbol(self, instrument: Instrument) -> str:
        """Return the index of a derivative: BASE-QUOTE."""
        base, quote, tail = protocol.split_symbol(instrument.symbol)
        return f"{base}-{quote}" if tail else ""

    def owns_connection(self, url: str) -> bool:
        """Say whether a URL's path is one of this venue's."""
        return urlsplit(url).path.startswith(protocol.PATHS)

    def snapshot_request(self, symbol: str, levels: int = 0) -> HttpRequest:
        """Return the request of an order book, for audits: no sequence of it joins the stream."""
        depth = self.choose_depth(1, levels)
        return HttpRequest("GET", f"{protocol.BOOK_PATH}?instId={symbol}&sz={depth.levels}", 1)

    def instruments_request(self) -> HttpRequest:
        """Return the request of the SWAP instruments; `instruments_requests` has all."""
        return self.instruments_requests()[0]

    def instruments_requests(self) -> list[HttpRequest]:
        """Return a request for each kind of instrument."""
        return [
            HttpRequest("GET", f"{protocol.INSTRUMENTS_PATH}?instType={kind}", 1)
            for kind in protocol.INSTRUMENT_TYPES
        ]

    def time_request(self) -> HttpRequest:
        """Return the server time request."""
        return HttpRequest("GET", protocol.TIME_PATH, 1)

    def read_time(self, body: bytes) -> ServerTime:
        """Read {"data": [{"ts": ms as text}]}."""
        try:
            return ServerTime(int(orjson.loads(body)["data"][0]["ts"]) * 1_000_000, 1_000_000)
        except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, ValueError) as error:
            raise VenueError(f"{self.name}: not the venue's time: {error!r}") from error

    def parse_instruments(self, body: bytes, symbols: Iterable[str] | None) -> list[Instrument]:
        """Read one or several instrument answers; see `VenueAdapter.parse_instruments`.

        Exponents are the decimals of tickSz and lotSz; quantities of derivatives are contracts.
        """
        rows = self._rows(body)
        if symbols is None:
            return [self._instrument(row) for row in rows.values() if row.get("instType") in KINDS]
        chosen = []
        for symbol in symbols:
            if symbol not in rows:
                raise unknown_symbol(self.name, symbol, rows)
            chosen.append(rows[symbol])
        return [self._instrument(row) for row in chosen]

    def _rows(self, body: bytes) -> dict[str, dict[str, Any]]:
        try:
            return {row["instId"]: row for answer in answers_of(body) for row in answer["data"]}
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise VenueError(
                f"{self.name}: instrument data is not an instruments answer: {error!r}"
            ) from error

    def listed_symbols(self, body: bytes) -> set[str]:
        """Return the instIds of instrument answers."""
        return set(self._rows(body))

    def _instrument(self, row: dict[str, Any]) -> Instrument:
        symbol = row["instId"]
        try:
            kind = KINDS[row["instType"]]
            base, quote, _ = protocol.split_symbol(symbol)
            price_exponent = decimals_of(row["tickSz"])
            quantity_exponent = max(decimals_of(row["lotSz"]), decimals_of(row["minSz"]))
            is_spot = kind is InstrumentKind.SPOT
            multiplier, multiplier_exponent = (1, 0) if is_spot else _contract(row)
            fees = protocol.SPOT_FEES_E8 if is_spot else protocol.DERIVATIVE_FEES_E8
            return Instrument(
                venue_id=self.venue_id,
                kind=kind,
                status=STATUS.get(row["state"], InstrumentStatus.HALTED),
                price_exponent=price_exponent,
                quantity_exponent=quantity_exponent,
                is_inverse=row.get("ctType") == "inverse",
                tick_size=parse_units(row["tickSz"], price_exponent, allow_scientific=True),
                lot_size=parse_units(row["lotSz"], quantity_exponent, allow_scientific=True),
                multiplier=multiplier,
                multiplier_exponent=multiplier_exponent,
                min_quantity_units=parse_units(row["minSz"], quantity_exponent, allow_scientific=True),
                max_quantity_units=units_or_zero(row.get("maxLmtSz", ""), quantity_exponent),
                maker_fee_e8=fees[0],
                taker_fee_e8=fees[1],
                symbol=symbol,
                canonical=protocol.canonical_name(symbol),
                base=row["baseCcy"] or base,
                quote=row["quoteCcy"] or quote,
                settle=row.get("settleCcy") or quote,
            )
        except (KeyError, TypeError, AttributeError, UnitsError) as error:
            raise VenueError(
                f"{self.name}: {symbol}: instrument data is not as documented: {error!r}"
            ) from error

    def plain_instrument(
        self, symbol: str, price_exponent: int, quantity_exponent: int, tick_size: int, lot_size: int
    ) -> Instrument:
        """Make a row from what a capture shows; its contract value is unknown and taken for 1."""
        base, quote, tail = protocol.split_symbol(symbol)
        kinds = {"": InstrumentKind.SPOT, "SWAP": InstrumentKind.PERPETUAL}
        kind = kinds.get(tail, InstrumentKind.FUTURE if tail.isdigit() else InstrumentKind.OPTION)
        fees = protocol.DERIVATIVE_FEES_E8 if tail else protocol.SPOT_FEES_E8
        return Instrument(
            venue_id=self.venue_id,
            kind=kind,
            price_exponent=price_exponent,
            quantity_exponent=quantity_exponent,
            is_inverse=bool(tail) and quote == "USD",
            tick_size=tick_size,
            lot_size=lot_size,
            min_quantity_units=lot_size,
            maker_fee_e8=fees[0],
            taker_fee_e8=fees[1],
            symbol=symbol,
            canonical=protocol.canonical_name(symbol),
            base=base,
            quote=quote,
            settle=base if quote == "USD" else quote,
        )

    def on_control(self, frame: bytes) -> ControlEvent:
        """Read "pong", answers to requests, notices, and channels that are no prices."""
        if frame == protocol.PONG:
            return ControlEvent(False, 0, 0, "")
        try:
            answer = orjson.loads(frame)
        except orjson.JSONDecodeError as error:
            return ControlEvent(True, 0, 0, f"not JSON: {error}")
        if not isinstance(answer, dict):
            return ControlEvent(True, 0, 0, f"not an object: {frame[:80]!r}")
        event, text = answer.get("event"), str(answer.get("msg", ""))
        digits, number = str(answer.get("code", "")), str(answer.get("id", ""))
        request_id = int(number) if number.isdecimal() else 0
        code = int(digits) if digits.isdecimal() else 0
        if event == "error":
            return ControlEvent(True, request_id, code, text)
        if (
            event == "notice"
        ):  # "Overview / WebSocket / Notification": a service upgrade closes the connection soon
            return ControlEvent(False, request_id, code, text, (Notice("status", "", text),))
        return ControlEvent(False, request_id, code, text, tuple(_notices(answer)))

    def is_snapshot(self, body: bytes) -> bool:
        """Say whether a recorded body is an answer of the REST order book."""
        return body.startswith(b'{"code"') and b'"bids"' in body

    def is_instruments(self, path: str) -> bool:
        """Say whether a request path is that of instruments."""
        return urlsplit(path).path == protocol.INSTRUMENTS_PATH

    def symbol_of_request(self, path: str) -> str:
        """Return the symbol of an order book request's query."""
        parts = urlsplit(path)
        return parse_qs(parts.query).get("instId", [""])[0] if parts.path == protocol.BOOK_PATH else ""

    def symbol_of_frame(self, frame: bytes) -> str:
        """Return the instId of a frame, found as text: good enough to name a capture's symbol."""
        _, _, rest = frame.partition(b'"instId":"')
        symbol, closed, _ = rest.partition(b'"')
        return symbol.decode("ascii", "replace") if closed else ""

    def written(self, payload: bytes) -> Iterator[Written]:
        """Yield price and quantity texts of books, trades and tickers."""
        try:
            message = orjson.loads(payload)
        except orjson.JSONDecodeError:
            return
        if not isinstance(message, dict) or not isinstance(message.get("data"), list):
            return
        arg = message.get("arg")
        symbol = arg.get("instId") if isinstance(arg, dict) else ""
        if not isinstance(symbol, str) or (isinstance(arg, dict) and not symbol):
            return
        if isinstance(arg, dict) and arg.get("channel") in (
            protocol.INDEX_STREAM,
            protocol.INSTRUMENTS_STREAM,
        ):
            return
        for row in message["data"]:
            if isinstance(row, dict):
                pairs = [*text_pairs(row.get("bids")), *text_pairs(row.get("asks"))]
                pairs += text_pairs([[row.get(p), row.get(q)] for p, q in PAIRS])
                if pairs:
                    yield Written(symbol, [pair[0] for pair in pairs], [pair[1] for pair in pairs])


# Price and size of a trade, and of both sides of a ticker.
PAIRS = (("px", "sz"), ("bidPx", "bidSz"), ("askPx", "askSz"))


def _contract(row: dict[str, Any]) -> tuple[int, int]:
    """Contract value times multiplier, as mantissa and exponent."""
    value, exponent = split_decimal(row["ctVal"], True)
    times, decimals = split_decimal(row.get("ctMult") or "1", True)
    return value * times, exponent + decimals


def _plan(
    path: str, group: tuple[str, ...], args: list[dict[str, str]], *, carries_depth: bool
) -> ConnectionPlan:
    streams = tuple(":".join(arg.values()) for arg in args)
    return ConnectionPlan(path, protocol.messages("subscribe", args), group, streams, carries_depth)


def _notices(answer: dict[str, Any]) -> Iterator[Notice]:
    arg, data = answer.get("arg"), answer.get("data")
    channel = arg.get("channel") if isinstance(arg, dict) else None
    for row in data if isinstance(data, list) else []:
        if not isinstance(row, dict):
            continue
        if channel == protocol.STATUS_STREAM:
            is_other = row.get("serviceType") in protocol.OTHER_SERVICES
            phases = {} if is_other else protocol.STATUS_PHASES
            yield maintenance(row, phases, ("state", "title", "begin", "end"))
        elif channel == protocol.INSTRUMENTS_STREAM:
            yield Notice("instrument", str(row.get("instId", "")), str(row.get("state", "")))
