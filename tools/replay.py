"""Replay as a library: captures through the same feed, rings, strategy, gate, OMS and paper session.

Virtual time is the captures' receive time. The same captures, settings and one seed give one history, so the
digest over all intents and fills, stamps included, is the same every time. Captures of several venues are
merged by receive time; the connections of each are lines of one stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from actors.journals import DigestJournal
from actors.market_data import MarketData
from actors.order_gateway import OrderGateway
from actors.roles import make_actor, role_class
from actors.runtime.host import Host
from actors.runtime.segments import Sizes
from actors.runtime.spec import ActorSpec, FeedRef, WorkerSpec
from actors.runtime.virtual import VirtualWorld
from feeds.adapter import VenueAdapter
from feeds.capture import CaptureLine, capture_instruments, capture_venues, read_capture
from feeds.capture_blocks import recording_of
from feeds.errors import CaptureError
from feeds.routing import CaptureRouter, Route
from feeds.settings import SECOND_NS, Gap
from feeds.venues import ADAPTERS, get_adapter, get_adapters
from shm.enums import BookState
from shm.instruments import Instrument
from shm.units import format_units

FEED_SLOT, TRADE_SLOT = 1, 2
PRIORITY = 1
E8 = 8
#: A capture has the pauses its recorder had; they say nothing about this run.
SESSION = {"silence_ns": 0, "reconnect_silence_ns": 0, "clock_jump_ns": 0, "snapshot_timeout_ns": 0,
           "rejections_kept": 100}  # fmt: skip
#: Longer pauses between lines (captures of different days, a damaged stamp) are leapt over: timers due in
#: them run once, late.
PAUSE_NS = 600 * SECOND_NS
KEPT = 1000


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """What to replay.

    Args:
        venue: an adapter, a family, or several of both; "" or none = what the captures themselves say.
        files: captures, merged by receive time.
        instruments_file: instrument data of the only venue; None = from the capture, or by a first pass.
        seed: of every actor's random numbers.
        strategy: role of the strategy, "" = none: only the books.
        settings: the strategy's own settings.
        gateway: settings of the gateway (fees, queue model, latencies, limits).
    """

    venue: str | tuple[str, ...]
    files: tuple[Path, ...]
    instruments_file: Path | None = None
    seed: int = 1
    strategy: str = "market_maker"
    settings: dict[str, Any] = field(default_factory=dict)
    gateway: dict[str, Any] = field(default_factory=dict)


class Rejected(NamedTuple):
    """A frame or snapshot that the feed refused, with its place in the capture."""

    file: str
    line: int
    recv_ns: int
    error: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {time_text(self.recv_ns)}: {self.error}"


@dataclass(slots=True)
class VenueResult:
    """What came of one venue's frames."""

    lines: int = 0
    snapshots: int = 0
    feed: dict[str, int] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    unknown_symbols: dict[str, int] = field(default_factory=dict)
    connections: list[dict[str, int]] = field(default_factory=list)  # frames, and how many were first or late


@dataclass(slots=True)
class ReplayResult:
    """What came of it; money in 10^-8 of the settlement currency, summed over instruments.

    Of damaged lines and rejections the first `KEPT` are kept; `damaged_lines` and `rejected` count all.
    """

    lines: int = 0
    snapshots: int = 0
    other_lines: int = 0
    damaged_lines: int = 0
    damage: list[str] = field(default_factory=list)
    pauses: int = 0
    first_ns: int = 0
    last_ns: int = 0
    feed: dict[str, int] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    rejections: list[Rejected] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    unknown_symbols: dict[str, int] = field(default_factory=dict)
    unknown_snapshots: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    positions: list[dict[str, Any]] = field(default_factory=list)
    realized_e8: int = 0
    unrealized_e8: int = 0
    fees_e8: int = 0
    digest: str = ""
    books: list[dict[str, Any]] = field(default_factory=list)
    venues: dict[str, VenueResult] = field(default_factory=dict)
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)  # the newest of each name

    @property
    def rejected(self) -> int:
        """How many frames and snapshots the feed refused."""
        return self.feed.get("rejected", 0) if self.feed else 0

    @property
    def pnl_e8(self) -> int:
        """Realized and unrealized PnL less fees."""
        return self.realized_e8 + self.unrealized_e8 - self.fees_e8


class Replay:
    """One replay.

    Args:
        settings: what to replay.

    Raises:
        VenueError, CaptureError: an unknown venue, or a capture or instruments file that can not be used
            (`run` too). Damaged lines in a usable capture are counted and kept in the result.
        RoleError, SettingsError: an unknown strategy, or settings that do not fit it.
    """

    def __init__(self, settings: ReplaySettings) -> None:
        self.settings = settings
        self.adapters, self._files_of = _find_venues(settings)
        OrderGateway.check_settings(settings.gateway)
        if settings.strategy:
            role_class(settings.strategy).check_settings(settings.settings)
        self.rows: list[Instrument] = []
        self._symbols: list[list[str]] = []
        for adapter, files in zip(self.adapters, self._files_of, strict=True):
            # Damage is noted by `run`, which reads the same lines again.
            found = capture_instruments(files, adapter, settings.instruments_file, on_damage=lambda _: None)
            self.rows += [replace(row, slab=FEED_SLOT, priority=PRIORITY) for row in found]
            self._symbols.append([row.symbol for row in found])
        self._router_of: dict[str, tuple[list[int], CaptureRouter]] = {}
        self._recorders: dict[tuple[int, ...], CaptureRouter] = {}
        self._notes: dict[str, dict[str, Any]] = {}
        self._world: VirtualWorld

    def run(self, *, with_books: bool = False) -> ReplayResult:
        """Feed every line; the books are in the result only if asked for."""
        result = ReplayResult()

        def on_damage(error: CaptureError) -> None:
            result.damaged_lines += 1
            if len(result.damage) < KEPT:
                result.damage.append(str(error))

        only = self.adapters[0] if len(self.adapters) == 1 else None
        lines = read_capture(self.settings.files, only, on_damage)
        first = next(lines, None)
        if first is None:
            return result
        result.first_ns = result.last_ns = first.recv_ns
        world = self._make_world(first.recv_ns)
        try:
            feeds = self._feeds(world)
            result.venues = {adapter.name: VenueResult() for adapter in self.adapters}
            self._take(world, feeds, first, result)
            for line in lines:
                self._take(world, feeds, line, result)
            world.settle()
            self._read_feeds(feeds, result)
            if with_books:
                result.books = [book for feed in feeds for book in self._books(feed)]
            self._read_trading(world, result)
        finally:
            world.close()
        return result

    # ---- the world ------------------------------------------------------------------------------

    def _specs(self) -> list[WorkerSpec]:
        settings = self.settings
        feeds = [
            ActorSpec(number, "market_data", "feed" if number == 1 else f"feed-{adapter.name}", {
                "venue": adapter.name, "adapter": adapter.name, "symbols": symbols, "priority": PRIORITY,
                "session": SESSION})
            for number, (adapter, symbols) in enumerate(zip(self.adapters, self._symbols, strict=True), 1)
        ]  # fmt: skip
        gateway = ActorSpec(len(feeds) + 1, "order_gateway", "gateway", settings.gateway)
        common: dict[str, Any] = {
            "epoch": 1,
            "seed": settings.seed,
            "feeds": [FeedRef(FEED_SLOT, [PRIORITY])],
            "gateways": [TRADE_SLOT],
            "strategies": [TRADE_SLOT],
            "instrument_capacity": max(16, len(self.rows)),
        }
        trading = [gateway]
        if settings.strategy:
            trading.append(
                ActorSpec(len(feeds) + 2, settings.strategy, settings.strategy, dict(settings.settings))
            )
        return [
            WorkerSpec(FEED_SLOT, "feed", "feed", actors=feeds, **common),
            WorkerSpec(TRADE_SLOT, "trade", "trade", actors=trading, **common),
        ]

    def _make_world(self, start_ns: int) -> VirtualWorld:
        sizes = Sizes(instruments=max(16, len(self.rows)))
        world = VirtualWorld(
            self._specs(), make_actor, start_ns=start_ns, sizes=sizes, notify=self._on_message
        )
        table = world.hosts[0].instruments
        for row in self.rows:
            table.add(row)
        world.start()
        return world

    def _on_message(self, message: dict[str, Any]) -> None:
        if message["op"] == "note":
            self._notes[message["name"]] = message["data"]

    @staticmethod
    def _feeds(world: VirtualWorld) -> list[MarketData]:
        actors = [binding.actor for binding in world.host(FEED_SLOT).bindings]
        return [actor for actor in actors if isinstance(actor, MarketData)]

    def _route(self, line: CaptureLine) -> Route | None:
        """Whose a line is: a file is asked about the venues that are in it.

        Files of recorders are asked together: connections go on from file to file, or stand at once.
        """
        known = self._router_of.get(line.file)
        if known is None:
            mine = [i for i, files in enumerate(self._files_of) if line.file in map(str, files)]
            is_part = line.kind == "capture" and bool(recording_of(line.payload))
            router = self._recorders.get(tuple(mine)) if is_part else None
            router = router or CaptureRouter([self.adapters[i] for i in mine])
            if is_part:
                self._recorders[tuple(mine)] = router
            known = self._router_of[line.file] = (mine, router)
        route = known[1].route(line)
        return None if route is None else route._replace(venue=known[0][route.venue])

    def _take(
        self, world: VirtualWorld, feeds: list[MarketData], line: CaptureLine, result: ReplayResult
    ) -> None:
        if line.recv_ns - world.clock.virtual_ns > PAUSE_NS:
            result.pauses += 1
            world.clock.virtual_ns = line.recv_ns - SECOND_NS
        world.advance(line.recv_ns)
        result.last_ns = max(result.last_ns, line.recv_ns)
        route = self._route(line)
        if route is not None and route.is_over:
            feeds[route.venue].end_connection(route.connection)
        if route is None or line.kind not in ("ws", "http"):
            result.other_lines += 1
            world.settle()
            return
        feed, adapter = feeds[route.venue], self.adapters[route.venue]
        venue = result.venues[adapter.name]
        symbol = adapter.symbol_of_request(line.path) if line.kind == "http" else ""
        if line.kind == "ws":
            venue.lines += 1
            result.lines += 1
            feed.inject(line.payload, world.clock.virtual_ns, route.connection)
        elif not symbol:
            result.other_lines += 1
        elif feed.inject_snapshot(symbol, line.payload):
            venue.snapshots += 1
            result.snapshots += 1
        else:
            result.unknown_snapshots[symbol] = result.unknown_snapshots.get(symbol, 0) + 1
        for rejection in feed.session.take_rejections():
            if len(result.rejections) < KEPT:
                result.rejections.append(Rejected(line.file, line.line, line.recv_ns, rejection.error))
        world.settle()

    # ---- results --------------------------------------------------------------------------------

    def _read_feeds(self, feeds: list[MarketData], result: ReplayResult) -> None:
        is_one = len(feeds) == 1
        for feed in feeds:
            name, session = feed.adapter.name, feed.session
            found = result.venues[name]
            found.feed = {**feed.core.statistics(), **session.statistics()}
            found.gaps = list(session.gaps)
            found.unknown_symbols = dict(session.unknown_symbols)
            found.states = {symbol: state.name for symbol, state in sorted(session.states().items())}
            found.connections = [
                {"frames": line.frames, "won": line.won, "late": line.late} for line in session.line_counts()
            ]
            for key, count in found.feed.items():
                result.feed[key] = result.feed.get(key, 0) + count
            result.gaps += found.gaps
            for symbol, count in found.unknown_symbols.items():
                result.unknown_symbols[symbol] = result.unknown_symbols.get(symbol, 0) + count
            # One symbol may be traded at several venues.
            named = found.states if is_one else {f"{name}:{s}": state for s, state in found.states.items()}
            result.states.update(named)

    def _books(self, feed: MarketData) -> list[dict[str, Any]]:
        rows = [row for row in feed.context.instruments if row.venue_id == feed.adapter.venue_id]
        return [self._book(feed, row) for row in rows]

    def _book(self, feed: MarketData, row: Instrument) -> dict[str, Any]:
        bids, asks = feed.core.book(row.instrument_id)
        return {
            "venue": feed.adapter.name,
            "symbol": row.symbol,
            "state": BookState(feed.session.state(row.instrument_id)).name,
            "last_sequence": feed.core.proven_sequence(row.instrument_id),
            "bids": _texts(bids, row),
            "asks": _texts(asks, row),
        }

    def _read_trading(self, world: VirtualWorld, result: ReplayResult) -> None:
        trade: Host = world.host(TRADE_SLOT)
        gateway = trade.bindings[0].actor
        assert isinstance(gateway, OrderGateway)
        assert isinstance(gateway.journal, DigestJournal)
        names = {adapter.venue_id: adapter.name for adapter in self.adapters}
        for row in gateway.context.instruments:
            position = gateway.exposures.row(row.instrument_id)
            unrealized = position.position.unrealized_e8(position.mark_price_units)
            result.realized_e8 += position.position.realized_e8
            result.unrealized_e8 += unrealized
            result.fees_e8 += position.position.fees_e8
            if position.position.fills:
                result.positions.append(_position(names[row.venue_id], row, position.position, unrealized))
        world.stop()
        result.counters = trade.metrics.counters()
        result.faults = [fault.text for fault in trade.metrics.faults()]
        result.digest = gateway.journal.digest
        result.notes = dict(self._notes)


def _find_venues(settings: ReplaySettings) -> tuple[list[VenueAdapter], list[list[Path]]]:
    """The venues to replay, and the captures that hold frames of each."""
    names = (settings.venue,) if isinstance(settings.venue, str) else settings.venue
    asked = [name for name in names if name]
    if len(asked) == 1 and len(adapters := get_adapters(asked[0])) == 1:
        return adapters, [list(settings.files)]
    wanted = list(dict.fromkeys(adapter.name for name in asked for adapter in get_adapters(name)))
    files_of: dict[str, list[Path]] = {name: [] for name in wanted}
    for file in settings.files:
        held = capture_venues([file])
        for name in held:
            if not wanted or name in wanted:
                files_of.setdefault(name, []).append(file)
        if not any(name in files_of for name in held):
            among = ", ".join(wanted) or ", ".join(sorted(ADAPTERS))
            raise CaptureError(
                file, 0, f"no market data of {among} in the capture; say whose it is with --venue"
            )
    found = {name: files for name, files in files_of.items() if files}
    if settings.instruments_file is not None and len(found) > 1:
        raise CaptureError(settings.instruments_file, 0, "instrument data can be given for one venue only")
    return [get_adapter(name) for name in found], list(found.values())


def time_text(utc_ns: int) -> str:
    """A wall clock time as ISO 8601 in UTC with all nine digits."""
    seconds, rest = divmod(utc_ns, SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def _texts(levels: Sequence[tuple[int, int]], row: Instrument) -> list[list[str]]:
    return [
        [format_units(price, row.price_exponent), format_units(quantity, row.quantity_exponent)]
        for price, quantity in levels
    ]


def _position(venue: str, row: Instrument, position: Any, unrealized_e8: int) -> dict[str, Any]:
    return {
        "venue": venue,
        "symbol": row.symbol,
        "quantity": format_units(position.quantity_units, row.quantity_exponent),
        "fills": position.fills,
        "realized": format_units(position.realized_e8, E8),
        "unrealized": format_units(unrealized_e8, E8),
        "fees": format_units(position.fees_e8, E8),
    }
