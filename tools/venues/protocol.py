"""What a venue's protocol and a market source must offer to the generic server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tools.venues.encoding import Encoder
from tools.venues.fanout import Outbox, Stream

if TYPE_CHECKING:
    from tools.venues.recording import CaptureCodec
    from tools.venues.synthetic import Market

#: (symbol, price decimals, quantity decimals, tick units, lot units, start price in ticks, mean order in
#: lots, category, contract value) of one instrument, as a market takes them
MarketRow = tuple[str, int, int, int, int, int, float, int, float]

#: REST paths that are not the venue's: its own books, for tests.
CONTROL_PATH = "/sim/"
#: What an instrument goes through at run time.
TRADING, PRELAUNCH, CLOSING, CLOSED = "trading", "prelaunch", "closing", "closed"


@dataclass(frozen=True, slots=True)
class VenueInstrument:
    """An instrument as the venue's reference data describes it; tick and lot as the venue's own text.

    category: the venue's own kind (SWAP, linear …), `number` the same for its encoder; contract_value: the
    venue's text of what one unit of quantity is worth in `value_currency` ("": quantities are of the base);
    is_keyed: its symbol alone does not tell it.
    """

    symbol: str
    base: str
    quote: str
    price_decimals: int
    quantity_decimals: int
    tick_text: str
    lot_text: str
    category: str = ""
    number: int = 0
    settle: str = ""
    contract_value: str = ""
    value_currency: str = ""
    is_keyed: bool = False

    @property
    def key(self) -> str:
        """What tells it from every other instrument of the venue: `category/symbol` where symbols repeat."""
        return f"{self.category}/{self.symbol}" if self.is_keyed else self.symbol


@dataclass(frozen=True, slots=True)
class Route:
    """Where a websocket upgrade leads: path category, payload form, and the streams named in the URL.

    is_trading: it is for order entry or a private stream; `note`: what else its path says.
    """

    category: str
    combined: bool
    streams: tuple[str, ...] = ()
    is_trading: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One parsed REST request; header names in lower case, query in the order sent, target as it came."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    target: str = ""


@dataclass(frozen=True, slots=True)
class HttpReply:
    """One REST reply; the body is JSON unless `content_type` says otherwise.

    Status 0: none at all, the connection ends without a word.
    """

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json;charset=UTF-8"


#: Answers a REST request, at once or later.
Handler = Callable[[HttpRequest], HttpReply | Awaitable[HttpReply]]


async def settled(reply: HttpReply | Awaitable[HttpReply]) -> HttpReply:
    """Return a reply, waiting for it if it comes later."""
    return reply if isinstance(reply, HttpReply) else await reply


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one websocket connection, as the venue documents them; 0: there is no such limit.

    idle_s: cut after so long without a message of the client, or, with `idle_counts_sent`, of either side;
    connects: so many connections in so many seconds for one address.
    """

    request_bytes: int
    requests_per_s: int
    streams: int
    ping_interval_s: float
    pong_timeout_s: float
    connection_s: float
    idle_s: float = 0.0
    idle_counts_sent: bool = False
    idle_code: int = 1001
    idle_reason: str = "no message in time"
    connects: tuple[int, float] = (0, 0.0)


class Subscriber(ABC):
    """The face of a websocket client that a protocol may use to answer its requests."""

    outbox: Outbox
    route: Route
    subscriptions: dict[str, Stream | None]
    number: int
    notes: dict[str, object]

    @abstractmethod
    def subscribe(self, names: list[str]) -> str | None:
        """Subscribe to all names or to none; the reason in the second case."""

    @abstractmethod
    def unsubscribe(self, names: list[str]) -> None:
        """Drop the named subscriptions; unknown names are ignored."""

    @abstractmethod
    def say(self, frame: bytes) -> None:
        """Send a text frame soon, together with others of this moment."""

    @abstractmethod
    def abort(self) -> None:
        """End the connection without a word."""

    @abstractmethod
    def close(self, code: int, reason: str) -> None:
        """Send a close frame with the reason, then end the connection."""


class MarketSource(ABC):
    """Where the market comes from: a capture or a synthetic market.

    `symbols` are keys of instruments (the venue's own symbols where those are unique); `streams` maps every
    stream name that carries data to its Stream.
    """

    symbols: tuple[str, ...]
    streams: dict[str, Stream]

    @abstractmethod
    def resolve(self, name: str) -> Stream | None:
        """Return the stream of that name, also one that stays silent; None when the venue has no such."""

    @abstractmethod
    def snapshot(self, symbol: str, limit: int) -> bytes | None:
        """Return the body of an order book snapshot of a known symbol; None while no state is provable."""

    @abstractmethod
    def exchange_info(self, category: str = "") -> bytes | None:
        """Return recorded reference data, or None when it has to be built from `instruments`."""

    def welcome(self, name: str) -> bytes | None:  # noqa: B027
        """Return what a client that subscribed to a stream gets first, on venues that begin so; else None."""

    def state_of(self, item: VenueInstrument) -> str:  # noqa: ARG002
        """Return what the instrument is going through: TRADING, PRELAUNCH, CLOSING or CLOSED."""
        return TRADING

    @abstractmethod
    def instruments(self) -> list[VenueInstrument]:
        """Return the instruments of this market."""

    @abstractmethod
    def now_ms(self) -> int:
        """Return the time of the newest event in milliseconds since 1970."""

    def clock_ms(self) -> int:
        """Return what the venue's clock shows, as who asks for its time is told."""
        return self.now_ms()

    @abstractmethod
    async def play(self, flush: Flush) -> None:
        """Publish the market until it ends; called once, when it is time to start."""

    @abstractmethod
    def statistics(self) -> dict[str, object]:
        """Return this source's own numbers for the final statistics."""


class Flush(ABC):
    """What a source may ask of the server."""

    @abstractmethod
    def send(self) -> None:
        """Write what the streams queued to the clients' sockets."""

    @abstractmethod
    async def wait_writable(self) -> None:
        """Wait until no client with subscriptions is behind in reading."""

    @abstractmethod
    async def restart(self, reason: str) -> None:
        """Close all connections as a maintenance restart does and wait until clients subscribed again."""


class VenueProtocol(ABC):
    """One venue's market-data protocol: paths, requests, REST and payload shapes."""

    name: str
    limits: Limits
    source: MarketSource
    every_change = False
    with_checksum = False

    @abstractmethod
    def route(self, target: str) -> Route | HttpReply:
        """Return where a websocket URL path leads, or the HTTP reply that refuses the upgrade."""

    @abstractmethod
    def on_text(self, client: Subscriber, text: bytes) -> list[bytes]:
        """Answer one message of a websocket client with any number of frames."""

    @abstractmethod
    def on_http(self, request: HttpRequest) -> HttpReply:
        """Answer one REST request."""

    @abstractmethod
    def make_stream(self, name: str) -> Stream | None:
        """Make a Stream for a well-formed stream name; None when the venue has no such kind of stream."""

    @abstractmethod
    def categories(self, name: str) -> tuple[str, ...]:
        """Return the path categories a well-formed stream name is served under."""

    @abstractmethod
    def symbol_of(self, name: str) -> str:
        """Return the key of the instrument in a well-formed stream name."""

    @abstractmethod
    def synthetic_streams(self, item: VenueInstrument) -> Iterator[tuple[int, str]]:
        """Yield (kind of tools.venues.synthetic, stream name) for one instrument; names may be shared."""

    def view_streams(self, item: VenueInstrument) -> Iterator[tuple[int, str]]:  # noqa: ARG002
        """Yield (number of the view, stream name) for one instrument, where streams carry the best levels."""
        yield from ()

    def partial_streams(self, item: VenueInstrument) -> Iterator[tuple[str, int, int]]:  # noqa: ARG002
        """Yield (stream name, levels, interval in ms) where a venue of diffs says best levels whole too."""
        yield from ()

    def partial_message(self, item: VenueInstrument, book: bytes, previous: int) -> bytes:  # noqa: ARG002
        """Write a message of such a stream: from a REST book, and the update that the one before was of.

        Raises:
            ValueError: this venue has no such streams.
        """
        raise ValueError(f"{item.key}: this venue has no streams of best levels beside its diffs")

    def common_streams(self) -> Iterator[str]:
        """Yield names of streams that say what happens to instruments and the venue."""
        yield from ()

    def first_message(self, name: str) -> bytes | None:  # noqa: B027
        """Return what a subscriber of a common stream gets first, if anything."""

    def announce(self, item: VenueInstrument, state: str) -> Iterator[tuple[str, bytes]]:  # noqa: ARG002
        """Yield (common stream, payload) that tell clients of a new state of an instrument."""
        yield from ()

    def refuse_connect(self) -> HttpReply:
        """Return the answer to one connection too many."""
        return HttpReply(429, b"too many connections", content_type="text/plain")

    def market(self, rows: list[MarketRow], seed: int, rate_per_s: float, start_ms: int) -> Market:
        """Make the synthetic market; whole-book diffs unless a venue streams something else."""
        from tools.venues.synthetic import Market

        return Market(rows, seed, self.encoder(), rate_per_s, start_ms)

    @abstractmethod
    def encoder(self) -> Encoder:
        """Return the payload writer for synthetic markets."""

    @abstractmethod
    def synthetic_instruments(self, count: int, seed: int) -> list[tuple[VenueInstrument, int, float]]:
        """Return `count` instruments with their start price in ticks and mean order size in lots."""

    @abstractmethod
    def capture_codec(self) -> CaptureCodec:
        """Return the reader of this venue's recorded frames."""
