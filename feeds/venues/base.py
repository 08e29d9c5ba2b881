"""What the venues' adapters have in common: JSON answers read by tables, frames that name a symbol as text.

A venue's adapter fills in the tables and says how one row, one frame and one notice of its own is read.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qs, urlsplit

import orjson

from feeds.adapter import (
    ControlEvent,
    HttpRequest,
    ServerTime,
    VenueAdapter,
    Written,
    text_pairs,
    unknown_symbol,
)
from feeds.errors import VenueError
from feeds.venues.rows import Fields, InstrumentList, Oddity, OddRow, RowError, shown
from shm.enums import InstrumentKind, InstrumentStatus
from shm.errors import InstrumentError
from shm.instruments import Instrument, check_instrument

Item = TypeVar("Item")


class PlainTerms(NamedTuple):
    """What a symbol alone says about its instrument."""

    kind: InstrumentKind
    canonical: str
    base: str
    quote: str
    settle: str
    fees_e8: tuple[int, int]  # maker, taker
    is_inverse: bool = False


class JsonVenueAdapter(VenueAdapter):
    """An adapter of a venue that speaks JSON over HTTP and websocket; stateless."""

    #: The verbs of a subscribe message and of the one that ends it, as they stand in the message.
    subscribe_verbs: tuple[bytes, bytes] = (b'"subscribe"', b'"unsubscribe"')
    instruments_path: str
    #: What the venue calls an answer of instrument data; errors say it.
    instruments_answer: str
    #: The field of a row that is its symbol; the one that is its kind ("" = all are of one), our kinds by its
    #: values, and the values that the venue documents and we do not trade; those that may hold its status.
    symbol_key: str
    kind_key: str = ""
    kinds: Mapping[str, InstrumentKind] = MappingProxyType({})
    other_kinds: frozenset[str] = frozenset()
    status_keys: tuple[str, ...]
    statuses: Mapping[str, InstrumentStatus]
    time_path: str
    time_weight: int = 1
    #: Where the time stands in its answer, and the unit it is told in.
    time_keys: tuple[str | int, ...]
    time_unit_ns: int
    book_path: str
    #: The parameter of an order book request that names its symbol.
    book_symbol: str
    #: What stands before the symbol in a frame.
    symbol_mark: bytes

    def ending(self, subscribe: bytes) -> bytes:
        """Return the message that ends what a subscribe message began: the same with the other verb."""
        return subscribe.replace(*self.subscribe_verbs, 1)

    def time_request(self) -> HttpRequest:
        """Return the server time request."""
        return HttpRequest("GET", self.time_path, self.time_weight)

    def read_time(self, body: bytes) -> ServerTime:
        """Read the server time at `time_keys`, a number or its text; it is taken for good to 1 ms."""
        try:
            found = orjson.loads(body)
            for key in self.time_keys:
                found = found[key]
            return ServerTime(int(found) * self.time_unit_ns, 1_000_000)
        except (orjson.JSONDecodeError, LookupError, TypeError, ValueError) as error:
            raise VenueError(f"{self.name}: not the venue's time: {error!r}") from error

    def parse_instruments(self, body: bytes, symbols: Iterable[str] | None) -> list[Instrument]:
        """Read instrument data; see `VenueAdapter.parse_instruments`, and `read_row` for what a row says."""
        if symbols is None:
            return self.read_list(body).rows
        listed, _ = self._listed(body)
        chosen = []
        for symbol in symbols:
            if symbol not in listed:
                raise unknown_symbol(self.name, symbol, listed)
            chosen.append(self._instrument(symbol, listed[symbol]))
        return chosen

    def listed_symbols(self, body: bytes) -> set[str]:
        """Return the symbols that instrument data has rows of."""
        return set(self._listed(body)[0])

    def read_list(self, body: bytes) -> InstrumentList:
        """Read all rows of instrument data; see `VenueAdapter.read_list`."""
        listed, odd = self._listed(body)
        found = InstrumentList([], odd)
        for symbol, rows in listed.items():
            if self.kind_key and all(self._kind(row) in self.other_kinds for row in rows):
                continue
            try:
                found.rows.append(self._instrument(symbol, rows))
            except VenueError as error:
                is_unknown = self._kind(rows[0]) is not None and not self.is_known_kind(rows[0])
                oddity = Oddity.KIND if is_unknown and len(rows) == 1 else Oddity.UNREADABLE
                odd.append(OddRow(symbol, str(error), oddity))
                continue
            key, status = self._status(Fields(rows[0]))
            if status not in self.statuses:
                text = f"{self.name}: {symbol}: {key} {shown(status)} is not documented: taken for halted"
                odd.append(OddRow(symbol, text, Oddity.STATUS))
        unreadable = [one.text for one in odd if one.oddity is Oddity.UNREADABLE]
        if unreadable and not found.rows:  # what differs in every row is no row's fault
            more = f" (and {len(unreadable) - 1} more rows)" if len(unreadable) > 1 else ""
            raise VenueError(f"{unreadable[0]}{more}")
        return found

    def _listed(self, body: bytes) -> tuple[dict[str, list[dict[str, Any]]], list[OddRow]]:
        """The rows of each symbol, more than one where they differ, and those that do not say theirs."""
        try:
            rows = self.read_rows(body)
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise self.not_instruments(error) from error
        listed: dict[str, list[dict[str, Any]]] = {}
        odd: list[OddRow] = []
        for index, row in enumerate(rows):
            symbol = row.get(self.symbol_key) if isinstance(row, dict) else None
            if not isinstance(symbol, str) or not symbol:
                text = f"{self.name}: row {index} of instrument data has no {self.symbol_key}: {shown(row)}"
                odd.append(OddRow("", text, Oddity.UNREADABLE))
            elif row not in (known := listed.setdefault(symbol, [])):  # pages may overlap
                known.append(row)
        return listed, odd

    def not_instruments(self, error: Exception) -> VenueError:
        """Make the error for a body that is not the venue's instrument data."""
        return VenueError(
            f"{self.name}: instrument data is not an {self.instruments_answer} answer: {error!r}"
        )

    def _instrument(self, symbol: str, rows: Sequence[dict[str, Any]]) -> Instrument:
        try:
            if len(rows) > 1:
                raise RowError(f"it is listed {len(rows)} times, each time otherwise")
            fields = Fields(rows[0])
            if not self.is_known_kind(rows[0]):
                kind = shown(fields.text(self.kind_key))
                raise VenueError(f"{self.name}: {symbol}: {self.kind_key} {kind} is not supported")
            instrument = self.read_row(symbol, fields)
            check_instrument(instrument)
        except (RowError, InstrumentError) as error:
            raise VenueError(
                f"{self.name}: {symbol}: instrument data is not as documented: {error}"
            ) from error
        return instrument

    def _kind(self, row: dict[str, Any]) -> str | None:
        kind = row.get(self.kind_key)
        return kind if isinstance(kind, str) else None

    def is_known_kind(self, row: dict[str, Any]) -> bool:
        """Say whether a row is of a kind of instrument that we trade."""
        return not self.kind_key or self._kind(row) in self.kinds

    def _status(self, row: Fields) -> tuple[str, str]:
        key = next((key for key in self.status_keys if key in row), self.status_keys[0])
        return key, row.text(key)

    def status_of(self, row: Fields) -> InstrumentStatus:
        """Return the status of a row; one that is not documented is taken for halted: no order goes there.

        Raises:
            RowError: it is missing, or no text.
        """
        return self.statuses.get(self._status(row)[1], InstrumentStatus.HALTED)

    @abstractmethod
    def read_rows(self, body: bytes) -> list[Any]:
        """Return the rows of instrument data as they stand.

        Raises:
            orjson.JSONDecodeError: the body is not JSON.
            KeyError: something documented is missing. TypeError: something is of another type.
            VenueError: the venue says that it is an error.
        """

    @abstractmethod
    def read_row(self, symbol: str, row: Fields) -> Instrument:
        """Make an instrument of a row of a kind that we trade.

        Raises:
            RowError: something is missing, or not what the venue documents.
        """

    def plain_instrument(
        self, symbol: str, price_exponent: int, quantity_exponent: int, tick_size: int, lot_size: int
    ) -> Instrument:
        """Make a row from what a capture shows; what a contract is worth is unknown and taken for 1."""
        terms = self.plain_terms(symbol)
        return Instrument(
            venue_id=self.venue_id,
            kind=terms.kind,
            price_exponent=price_exponent,
            quantity_exponent=quantity_exponent,
            is_inverse=terms.is_inverse,
            tick_size=tick_size,
            lot_size=lot_size,
            min_quantity_units=lot_size,
            maker_fee_e8=terms.fees_e8[0],
            taker_fee_e8=terms.fees_e8[1],
            symbol=symbol,
            canonical=terms.canonical,
            base=terms.base,
            quote=terms.quote,
            settle=terms.settle,
        )

    @abstractmethod
    def plain_terms(self, symbol: str) -> PlainTerms:
        """Return what the symbol alone says, by the venue's way to write symbols."""

    def is_instruments(self, path: str) -> bool:
        """Say whether a request path is that of instruments."""
        return urlsplit(path).path == self.instruments_path

    def symbol_of_request(self, path: str) -> str:
        """Return the symbol of an order book request's query."""
        parts = urlsplit(path)
        return parse_qs(parts.query).get(self.book_symbol, [""])[0] if parts.path == self.book_path else ""

    def symbol_of_frame(self, frame: bytes) -> str:
        """Return what stands behind `symbol_mark`, found as text: good enough to name a capture's symbol."""
        _, _, rest = frame.partition(self.symbol_mark)
        symbol, closed, _ = rest.partition(b'"')
        return symbol.decode("ascii", "replace") if closed else ""

    def on_control(self, frame: bytes) -> ControlEvent:
        """Read a frame that is no market data; what is no JSON object is an error of the venue's."""
        try:
            answer = orjson.loads(frame)
        except orjson.JSONDecodeError as error:
            return ControlEvent(True, 0, 0, f"not JSON: {error}")
        if not isinstance(answer, dict):
            return ControlEvent(True, 0, 0, f"not an object: {frame[:80]!r}")
        return self.read_control(answer)

    @abstractmethod
    def read_control(self, answer: dict[str, Any]) -> ControlEvent:
        """Read the answer to a request, or a venue's notice."""

    def written(self, payload: bytes) -> Iterator[Written]:
        """Yield price and quantity texts of what a frame or a snapshot shows; see `read_levels`."""
        try:
            message = orjson.loads(payload)
        except orjson.JSONDecodeError:
            return
        if isinstance(message, dict):
            for symbol, levels in self.read_levels(message):
                yield Written(symbol, [level[0] for level in levels], [level[1] for level in levels])

    @abstractmethod
    def read_levels(self, message: dict[str, Any]) -> Iterator[tuple[str, list[list[str]]]]:
        """Yield symbol ("" when it is not named) and (price, quantity) texts of books, trades and tickers."""


def row_levels(
    row: dict[str, Any], sides: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> list[list[str]]:
    """The (price, quantity) texts of a row: of its lists of levels, then of single fields.

    Args:
        row: as the venue sent it.
        sides: fields with lists of levels.
        pairs: fields of a price and of its quantity.
    """
    found = [level for side in sides for level in text_pairs(row.get(side))]
    return found + text_pairs([[row.get(price), row.get(quantity)] for price, quantity in pairs])


def packed(
    streams_of: Iterable[tuple[str, Sequence[Item]]], limit: int, characters: int = 0
) -> Iterator[tuple[list[str], list[Item]]]:
    """Put the streams of symbols on connections, as many as fit; those of one symbol stay together.

    So the order among a symbol's streams is the venue's own. A stream that several symbols share is on a
    connection once.

    Args:
        streams_of: symbol and its streams.
        limit: streams a connection; a symbol with more has one of its own.
        characters: of all the streams of a connection as they stand in a request, 0 = no limit.

    Yields:
        Symbols and streams of each connection.
    """
    group: list[str] = []
    streams: list[Item] = []
    length = 0
    for symbol, wanted in streams_of:
        new = [stream for stream in wanted if stream not in streams]
        is_long = bool(characters) and length + _length(new) > characters
        is_full = is_long or len(streams) + len(new) > limit
        if group and is_full:
            yield group, streams
            group, streams, length, new = [], [], 0, list(wanted)
        group.append(symbol)
        streams += new
        length += _length(new)
    if group:
        yield group, streams


def _length(streams: Sequence[object]) -> int:
    """Characters of these streams in a request: each has its quotes and a comma."""
    return sum(len(str(stream)) + 3 for stream in streams)


def batches(items: Sequence[Item], size: int) -> list[list[Item]]:
    """Cut into lists of at most `size`."""
    return [list(items[i : i + size]) for i in range(0, len(items), size)]


def op_messages(op: str, args: Sequence[Any], size: int) -> tuple[bytes, ...]:
    """Return the requests {"op": op, "args": [...]} for these arguments, at most `size` in each."""
    return tuple(orjson.dumps({"op": op, "args": batch}) for batch in batches(args, size))


def rows_of(value: object) -> list[Any]:
    """Return what should be a list of rows; TypeError if it is none."""
    if not isinstance(value, list):
        raise TypeError(f"{shown(value)} is not a list")
    return value


def split_pair(pair: str, quotes: Iterable[str]) -> tuple[str, str]:
    """Split a pair written as one word by the known quote currencies; (pair, "") when it ends in none."""
    for quote in quotes:
        if pair.endswith(quote) and len(pair) > len(quote):
            return pair.removesuffix(quote), quote
    return pair, ""
