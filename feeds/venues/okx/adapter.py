"""OKX behind the generic adapter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

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
from feeds.venues.okx import protocol
from feeds.venues.rows import Fields
from shm.enums import InstrumentKind, InstrumentStatus
from shm.instruments import Instrument

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


class Okx(JsonVenueAdapter):
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
    trade_streams = protocol.TRADE_STREAMS
    depth_repeat_ns = protocol.DEPTH_REPEAT_NS
    instruments_path = protocol.INSTRUMENTS_PATH
    instruments_answer = "instruments"
    symbol_key = "instId"
    kind_key = "instType"
    kinds = KINDS
    other_kinds = protocol.OTHER_TYPES
    status_keys = ("state",)
    statuses = STATUS
    time_path = protocol.TIME_PATH
    time_keys = ("data", 0, "ts")
    time_unit_ns = 1_000_000
    book_path = protocol.BOOK_PATH
    book_symbol = "instId"
    symbol_mark = b'"instId":"'

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
            VenueError: an unknown depth or trade channel, or more streams a connection than we send.
        """
        if not 0 < settings.streams_per_connection <= protocol.STREAMS_MAX:
            raise VenueError(
                f"{self.name}: streams_per_connection is {settings.streams_per_connection},"
                f" it must be 1 to {protocol.STREAMS_MAX}"
            )
        depth = self.depth_stream_of(settings)
        books = [depth] + ([protocol.BBO_STREAM] if settings.with_bbo else [])
        trade = self.trade_stream_of(settings)
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
        limit = settings.streams_per_connection
        return [
            _plan(path, tuple(group), args, carries_depth=carries_depth)
            for group, args in packed(args_of, limit)
        ]

    def resubscribe(self, symbol: str, settings: StreamSettings) -> tuple[bytes, ...]:
        """Return unsubscribe and subscribe of a symbol's depth channel: two of REQUESTS_PER_HOUR."""
        args = [protocol.depth_arg(symbol, settings.depth_stream or protocol.DEPTH_STREAM)]
        return (*protocol.messages("unsubscribe", args), *protocol.messages("subscribe", args))

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

    def read_rows(self, body: bytes) -> list[Any]:
        """Read {"data": [...]} of one or several answers of instruments."""
        answers = answers_of(body)
        for answer in answers:
            if str(answer.get("code", "0") if isinstance(answer, dict) else 0) != "0":
                raise VenueError(f"{self.name}: instruments: code {answer['code']}: {answer.get('msg', '')}")
        return [row for answer in answers for row in rows_of(answer["data"])]

    def read_row(self, symbol: str, row: Fields) -> Instrument:
        """Make an instrument of a row of instruments.

        Exponents are the decimals of tickSz and lotSz; quantities of derivatives are contracts.
        """
        kind = KINDS[row.text("instType")]
        base, quote, _ = protocol.split_symbol(symbol)
        price_exponent = row.decimals("tickSz")
        quantity_exponent = max(row.decimals("lotSz"), row.decimals("minSz"))
        is_spot = kind is InstrumentKind.SPOT
        multiplier, multiplier_exponent = (1, 0) if is_spot else _contract(row)
        fees = protocol.SPOT_FEES_E8 if is_spot else protocol.DERIVATIVE_FEES_E8
        return Instrument(
            venue_id=self.venue_id,
            kind=kind,
            status=self.status_of(row),
            price_exponent=price_exponent,
            quantity_exponent=quantity_exponent,
            is_inverse=row.optional("ctType") == "inverse",
            tick_size=row.step("tickSz", price_exponent),
            lot_size=row.step("lotSz", quantity_exponent),
            multiplier=multiplier,
            multiplier_exponent=multiplier_exponent,
            min_quantity_units=row.units("minSz", quantity_exponent),
            max_quantity_units=units_or_zero(row.optional("maxLmtSz"), quantity_exponent),
            maker_fee_e8=fees[0],
            taker_fee_e8=fees[1],
            symbol=symbol,
            canonical=protocol.canonical_name(symbol),
            base=row.text("baseCcy") or base,
            quote=row.text("quoteCcy") or quote,
            settle=row.optional("settleCcy") or quote,
        )

    def plain_terms(self, symbol: str) -> PlainTerms:
        """Read a symbol; of another one than SPOT the quote says what it is settled in."""
        base, quote, tail = protocol.split_symbol(symbol)
        kinds = {"": InstrumentKind.SPOT, "SWAP": InstrumentKind.PERPETUAL}
        kind = kinds.get(tail, InstrumentKind.FUTURE if tail.isdigit() else InstrumentKind.OPTION)
        fees_e8 = protocol.DERIVATIVE_FEES_E8 if tail else protocol.SPOT_FEES_E8
        settle = base if quote == "USD" else quote
        is_inverse = bool(tail) and quote == "USD"
        return PlainTerms(kind, protocol.canonical_name(symbol), base, quote, settle, fees_e8, is_inverse)

    def on_control(self, frame: bytes) -> ControlEvent:
        """Read "pong", or what is JSON."""
        return ControlEvent(False, 0, 0, "") if frame == protocol.PONG else super().on_control(frame)

    def read_control(self, answer: dict[str, Any]) -> ControlEvent:
        """Read answers to requests, notices, and channels that are no prices."""
        event, text = answer.get("event"), str(answer.get("msg", ""))
        digits, number = str(answer.get("code", "")), str(answer.get("id", ""))
        request_id = int(number) if number.isdecimal() else 0
        code = int(digits) if digits.isdecimal() else 0
        if event == "error":
            return ControlEvent(True, request_id, code, text)
        # "Overview / WebSocket / Notification": a service upgrade closes the connection soon.
        if event == "notice":
            return ControlEvent(False, request_id, code, text, (Notice("status", "", text),))
        return ControlEvent(False, request_id, code, text, tuple(_notices(answer)))

    def is_snapshot(self, body: bytes) -> bool:
        """Say whether a recorded body is an answer of the REST order book."""
        return body.startswith(b'{"code"') and b'"bids"' in body

    def read_levels(self, message: dict[str, Any]) -> Iterator[tuple[str, list[list[str]]]]:
        """Yield the levels of books, trades and tickers; an answer of the REST order book names no symbol."""
        rows, arg = message.get("data"), message.get("arg")
        if not isinstance(rows, list):
            return
        symbol = ""
        if isinstance(arg, dict):
            symbol = arg.get("instId", "")
            is_other = arg.get("channel") in (protocol.INDEX_STREAM, protocol.INSTRUMENTS_STREAM)
            if is_other or not isinstance(symbol, str) or not symbol:
                return
        for row in rows:
            levels = row_levels(row, ("bids", "asks"), PAIRS) if isinstance(row, dict) else []
            if levels:
                yield symbol, levels


# Price and size of a trade, and of both sides of a ticker.
PAIRS = (("px", "sz"), ("bidPx", "bidSz"), ("askPx", "askSz"))


def _contract(row: Fields) -> tuple[int, int]:
    """Contract value times multiplier, as mantissa and exponent."""
    value, exponent = row.decimal("ctVal")
    times, decimals = row.decimal("ctMult", "1")
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
