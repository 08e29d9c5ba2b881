"""What a venue must say about itself so that the generic session, transport and capture code can serve it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from feeds.continuity import ContinuityRule, SnapshotRule
from feeds.errors import VenueError
from feeds.transport.throttle import SECOND_NS, WindowBudget
from shm.errors import UnitsError
from shm.units import parse_units

if TYPE_CHECKING:
    from feeds.decoder import Decoder
    from feeds.venues.rows import InstrumentList
    from shm.instruments import Instrument


class HttpRequest(NamedTuple):
    """One public REST request: method, path with query, and its weight in the venue's rate limit."""

    method: str
    path: str
    weight: int


class ServerTime(NamedTuple):
    """A venue's clock as it told it, and how finely."""

    venue_utc_ns: int
    resolution_ns: int


class SnapshotDepth(NamedTuple):
    """How many levels a side a depth snapshot may have, and what its request weighs."""

    levels: int
    weight: int


#: How much of a minute's request weight two snapshots of every book may cost (`VenueAdapter.choose_depth`).
SNAPSHOT_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """Which streams are subscribed. Names are the venue's own."""

    depth_stream: str = ""  # empty = the adapter's default
    trade_stream: str = ""
    with_bbo: bool = True
    with_mark: bool = True
    with_liquidations: bool = False
    with_status: bool = False  # of the venue, and of its instruments
    streams_per_connection: int = 200


class ConnectionPlan(NamedTuple):
    """One websocket connection: where it goes, what is sent once it stands, whom it carries."""

    url_path: str
    subscribe: tuple[bytes, ...]
    symbols: tuple[str, ...]
    streams: tuple[str, ...]
    carries_depth: bool  # its number is the stream number of its symbols' books


class ControlEvent(NamedTuple):
    """A frame that is no market data: the answer to a subscription, or a venue's notice."""

    is_error: bool
    request_id: int
    code: int
    text: str
    notices: tuple[Notice, ...] = ()


class NoticePhase(Enum):
    """How far a maintenance of a venue has come, by the venue's own word."""

    SCHEDULED = "scheduled"
    STARTED = "started"
    ENDED = "ended"


class Notice(NamedTuple):
    """What a venue says about itself or an instrument, outside the stream of prices."""

    topic: str  # "status" (of the venue) or "instrument"
    symbol: str  # "" when it concerns the whole venue
    text: str  # the venue's own words: a state, a title, a time
    phase: NoticePhase | None = None  # of a maintenance
    end_utc_ns: int = 0  # when the venue says it ends, 0 = it does not say


class Written(NamedTuple):
    """Prices and quantities as texts, as one frame or body wrote them."""

    symbol: str  # empty when the body does not name its symbol
    prices: Sequence[str]
    quantities: Sequence[str]


class VenueAdapter(ABC):
    """Everything venue-specific outside decoding; stateless, so one object serves any number of sessions."""

    name: str
    venue_id: int
    rule: ContinuityRule
    snapshot_rule: SnapshotRule
    websocket_url: str
    rest_url: str
    subscribe_per_second: float  # how many subscribe messages a connection may send
    snapshot_weight_per_minute: int  # what snapshots for books may weigh: of requests, or of resubscriptions
    #: Request weight that one address may use within so many seconds, over all public REST requests.
    rest_limit: tuple[int, float]
    snapshot_depths: tuple[SnapshotDepth, ...]  # deepest first
    used_weight_header: str
    #: What is sent as text when a connection was quiet, and how long quiet is; b"" = the venue pings us.
    ping: bytes = b""
    ping_after_ns: int = 0
    # : New connections one address may make, lasting; and how long the venue lets one live (0 = no limit
    # told).
    connects_per_second: float = 1.0
    connection_life_ns: int = 0
    #: How many of them at once.
    connect_burst: int = 3
    #: Whether an update that begins before the proven sequence and ends behind it may be applied: what lines
    #: bring may be cut at other places.
    allows_overlap: bool = False
    # : The depth streams the venue documents that a book can be made of, by their own names; the default
    # first.
    depth_streams: tuple[str, ...] = ()
    #: The same of the streams of trades.
    trade_streams: tuple[str, ...] = ()
    #: Depth streams that repeat themselves when nothing changes → after how long; others stay silent.
    depth_repeat_ns: Mapping[str, int] = MappingProxyType({})

    @property
    def needs_snapshot_requests(self) -> bool:
        """Whether books need snapshots by request; else they come in the stream."""
        return self.snapshot_rule is not SnapshotRule.IN_STREAM

    def depth_stream_of(self, settings: StreamSettings) -> str:
        """Return the depth stream that is set, or the venue's first.

        Raises:
            VenueError: the venue has no such depth stream; the text lists those it has.
        """
        return self._known_stream("depth", settings.depth_stream, self.depth_streams)

    def trade_stream_of(self, settings: StreamSettings) -> str:
        """Return the trade stream that is set, or the venue's first.

        Raises:
            VenueError: the venue has no such trade stream; the text lists those it has.
        """
        return self._known_stream("trade", settings.trade_stream, self.trade_streams)

    def _known_stream(self, what: str, name: str, known: Sequence[str]) -> str:
        if name and name not in known:
            raise VenueError(f"{self.name}: no {what} stream {name!r}; there are {', '.join(known)}")
        return name or known[0]

    def choose_depth(self, symbols: int, levels: int = 0) -> SnapshotDepth:
        """Choose how deep snapshots are.

        By default the deepest with which every book can be fetched twice within a minute's request weight:
        at the start, and once more after a crash or a restart of the venue. Deeper levels of a book are then
        unknown until they change, but no book waits a minute for the budget.

        Args:
            symbols: how many books share the budget.
            levels: levels a side, one of `snapshot_depths`; 0 = by that rule.

        Raises:
            VenueError: the venue has no snapshots of that many levels; the text lists those it has.
        """
        if levels:
            found = next((depth for depth in self.snapshot_depths if depth.levels == levels), None)
            if found is None:
                known = ", ".join(str(depth.levels) for depth in reversed(self.snapshot_depths))
                raise VenueError(f"{self.name}: no depth snapshots of {levels} levels; there are {known}")
            return found
        limit = self.snapshot_weight_per_minute * SNAPSHOT_SHARE
        fitting = (depth for depth in self.snapshot_depths if 2 * symbols * depth.weight <= limit)
        return next(fitting, self.snapshot_depths[-1])

    def rest_budget(self) -> WindowBudget:
        """Return a new budget of an address's public REST requests."""
        limit, seconds = self.rest_limit
        return WindowBudget(limit, round(seconds * SECOND_NS))

    @property
    def rest_per_minute(self) -> int:
        """Request weight that one address may use in a minute."""
        limit, seconds = self.rest_limit
        return int(limit * 60 / seconds)

    @abstractmethod
    def make_decoder(self) -> Decoder:
        """Return a new decoder of this venue's frames."""

    @abstractmethod
    def connections(self, symbols: Sequence[str], settings: StreamSettings) -> list[ConnectionPlan]:
        """Plan the connections for these symbols, those that carry depth first."""

    def resubscribe(self, symbol: str, settings: StreamSettings) -> tuple[bytes, ...]:  # noqa: ARG002
        """Return the messages that end and begin a symbol's depth stream.

        Where the stream carries snapshots, one comes again; elsewhere `snapshot_request` serves, and this is
        for a stream that has fallen silent.
        """
        return ()

    @abstractmethod
    def ending(self, subscribe: bytes) -> bytes:
        """Return the message that ends what a subscribe message of a ConnectionPlan began."""

    def index_symbol(self, instrument: Instrument) -> str:  # noqa: ARG002
        """Return the symbol under which the venue publishes this instrument's index; "" = its own."""
        return ""

    def owns_connection(self, url: str) -> bool:  # noqa: ARG002
        """Say whether frames of a connection to this URL are of this venue."""
        return True

    def configure(self, decoder: Decoder, settings: StreamSettings) -> Decoder:
        """Tell a decoder which streams are subscribed; returns it."""
        decoder.depth_stream = settings.depth_stream
        return decoder

    @abstractmethod
    def snapshot_request(self, symbol: str, levels: int = 0) -> HttpRequest:
        """Return the request of a symbol's depth snapshot.

        Args:
            symbol: the venue's own.
            levels: levels a side, one of `snapshot_depths`; 0 = the deepest.

        Raises:
            VenueError: the venue has no snapshots of that many levels.
        """

    @abstractmethod
    def instruments_request(self) -> HttpRequest:
        """Return the request of the venue's instrument data."""

    def instruments_requests(self) -> list[HttpRequest]:
        """Return all requests of instrument data; `join_answers` puts their answers together."""
        return [self.instruments_request()]

    def next_page(self, request: HttpRequest, body: bytes) -> HttpRequest | None:  # noqa: ARG002
        """Return the request of what an answer leaves out, or None at the end.

        Raises:
            VenueError: the body is not what the venue documents.
        """
        return None

    @abstractmethod
    def time_request(self) -> HttpRequest:
        """Return the request of the venue's clock."""

    @abstractmethod
    def read_time(self, body: bytes) -> ServerTime:
        """Read the answer to `time_request`.

        Raises:
            VenueError: the body is not what the venue documents.
        """

    @abstractmethod
    def parse_instruments(self, body: bytes, symbols: Iterable[str] | None) -> list[Instrument]:
        """Read instrument data; instrument_id of each row is 0.

        Args:
            body: answer to `instruments_request`.
            symbols: the symbols wanted, in this order; None = all the venue trades (the rows of `read_list`).

        Raises:
            VenueError: the body is not what the venue documents, or a symbol is unknown (named, with close
            matches), or the row of one that is wanted is not as documented.
        """

    @abstractmethod
    def read_list(self, body: bytes) -> InstrumentList:
        """Read all of instrument data that is of a kind we trade; instrument_id of each row is 0.

        A row that is not as documented says nothing about the others: it is left out and named with its field
        and value. One of a status that is not documented is taken for halted, and named too.

        Raises:
            VenueError: the body is not what the venue documents, or no row of it is.
        """

    @abstractmethod
    def listed_symbols(self, body: bytes) -> set[str]:
        """Return the symbols that instrument data has rows of.

        Raises:
            VenueError: as `parse_instruments`.
        """

    @abstractmethod
    def on_control(self, frame: bytes) -> ControlEvent:
        """Read a frame that the core called CONTROL."""

    @abstractmethod
    def is_snapshot(self, body: bytes) -> bool:
        """Say whether a recorded body is a depth snapshot of this venue."""

    @abstractmethod
    def is_instruments(self, path: str) -> bool:
        """Say whether a recorded request path asked for instrument data."""

    @abstractmethod
    def symbol_of_request(self, path: str) -> str:
        """Return the symbol a recorded snapshot request named, or "" when it is none."""

    @abstractmethod
    def symbol_of_frame(self, frame: bytes) -> str:
        """Return the symbol of a recorded frame, or "" when it has none."""

    @abstractmethod
    def written(self, payload: bytes) -> Iterator[Written]:
        """Yield the price and quantity texts of one recorded frame or snapshot; none if it is not JSON."""

    @abstractmethod
    def plain_instrument(
        self, symbol: str, price_exponent: int, quantity_exponent: int, tick_size: int, lot_size: int
    ) -> Instrument:
        """Make an instrument row from a symbol and what was observed, without the venue's instrument data."""


def join_answers(bodies: Sequence[bytes]) -> bytes:
    """Put several answers of instrument data into one body for `VenueAdapter.parse_instruments`."""
    return bodies[0] if len(bodies) == 1 else b"[" + b",".join(bodies) + b"]"


def answers_of(body: bytes) -> list[Any]:
    """Read what `join_answers` made.

    Raises:
        orjson.JSONDecodeError: the body is not JSON.
    """
    content = orjson.loads(body)
    return content if isinstance(content, list) else [content]


def text_pairs(levels: object) -> list[list[str]]:
    """The (price, quantity) texts among recorded levels; what is none is left to the decoder to judge."""
    if not isinstance(levels, list):
        return []
    return [
        level[:2]
        for level in levels
        if isinstance(level, list) and len(level) >= 2 and all(isinstance(text, str) for text in level[:2])
    ]


def units_or_zero(text: str, exponent: int) -> int:
    """Units of a limit that may be absent, or larger or finer than units hold: then 0, no limit."""
    try:
        return parse_units(text, exponent, allow_scientific=True) if text else 0
    except UnitsError:
        return 0


def maintenance(row: Mapping[str, Any], phases: Mapping[str, NoticePhase], words: Sequence[str]) -> Notice:
    """Make the notice of a maintenance from a venue's row with `state` and `end` (ms as text or number).

    Args:
        row: as the venue sent it.
        phases: its names of states.
        words: fields that make the text.
    """
    text = " ".join(str(row.get(key, "")) for key in words).strip()
    end = str(row.get("end", ""))
    end_utc_ns = int(end) * 1_000_000 if end.isascii() and end.isdigit() else 0
    return Notice("status", "", text, phases.get(str(row.get("state", ""))), end_utc_ns)


def unknown_symbol(venue: str, symbol: str, known: Iterable[str]) -> VenueError:
    """Make the error for a symbol the venue does not have, naming close matches."""
    close = get_close_matches(symbol, list(known), n=3, cutoff=0.6)
    hint = f"; close matches: {', '.join(close)}" if close else ""
    return VenueError(f"{venue}: unknown symbol {symbol!r}{hint}")
