"""The market data actor: one venue's feed in one worker.

Live it opens the websocket connections and asks the reference actor for snapshots through rings; on the
virtual clock frames are injected and nothing is opened. Either way the same session and compiled core run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from actors.errors import ActorError, SettingsError
from actors.feed_ports import FeedPorts, SnapshotAnswer, raise_error
from actors.runtime.actor import Actor
from actors.runtime.context import Context
from actors.runtime.settings import read_settings
from feeds.adapter import StreamSettings
from feeds.core import FeedCore
from feeds.resync import snapshot_budget
from feeds.session import FeedSession
from feeds.settings import SessionSettings
from feeds.transport.tls import client_context
from feeds.transport.websocket import FeedConnection
from feeds.venues import get_adapter

#: Counters kept in step with the core's and the session's own counts at each heartbeat.
CORE_COUNTERS = {
    "frames": "feed.frames",
    "books": "feed.books",
    "trades": "feed.trades",
    "bbos": "feed.bbos",
    "marks": "feed.marks",
    "rejected": "feed.rejected",
    "duplicates": "feed.duplicates",
    "unknown_symbols": "feed.unknown_symbols",
    "crossed": "feed.crossed",
}
SESSION_COUNTERS = {
    "gaps": "feed.gaps",
    "resyncs": "feed.resyncs",
    "rewinds": "feed.rewinds",
    "bad_levels": "feed.bad_levels",
    "silences": "feed.silences",
    "disconnects": "feed.disconnects",
    "snapshot_requests": "feed.snapshot_requests",
    "snapshot_failures": "feed.snapshot_failures",
    "control_errors": "feed.control_errors",
}


FAULT_REFUSED = 3000
TOLD_MAX = 20
FRAME_SHOWN = 40


@dataclass(frozen=True, slots=True)
class MarketDataSettings:
    """Settings of the role `market_data`.

    Args:
        venue: its name in the configuration.
        adapter: adapter name.
        symbols: what to subscribe to; each needs a row in the instrument table.
        websocket_url: base address; "" = the adapter's own.
        priority: of its rings (the instrument rows say the same).
        depth_stream, trade_stream: the venue's own names, None = the adapter's default.
        with_bbo, with_mark: whether these streams are subscribed too.
        ca_file: PEM file of a private authority.
        snapshot_levels: depth of snapshots, as the reference actor is told; the budget follows from it.
        session: options of `feeds.session.SessionSettings`.
    """

    venue: str
    adapter: str
    symbols: list[str]
    websocket_url: str = ""
    priority: int = 2
    depth_stream: str | None = None
    trade_stream: str | None = None
    with_bbo: bool = True
    with_mark: bool = True
    ca_file: str | None = None
    snapshot_levels: int = 0
    session: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.symbols:
            raise SettingsError("market_data: setting 'symbols' is empty")


class MarketData(Actor):
    """The actor; see the module."""

    role: ClassVar[str] = "market_data"
    is_critical: ClassVar[bool] = True

    def __init__(self, context: Context, settings: Mapping[str, Any]) -> None:
        super().__init__(context, settings)
        self.config = read_settings(MarketDataSettings, settings, self.role)
        self.adapter = get_adapter(self.config.adapter)
        self.core: FeedCore
        self.session: FeedSession
        self.connections: list[FeedConnection] = []
        #: Called with an instrument id when a snapshot is wanted; replaced on the virtual clock.
        self.request_snapshot: Callable[[int], None] = self._ask_reference
        self._counters = {
            **{key: context.counter(name) for key, name in CORE_COUNTERS.items()},
            **{key: context.counter(name) for key, name in SESSION_COUNTERS.items()},
        }
        # A restarted worker goes on counting where its predecessor died.
        self._base = {key: counter.value for key, counter in self._counters.items()}
        self._told: set[str] = set()
        self._unknown_told = 0
        self._refused = context.counter("feed.requests_refused")

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Raise SettingsError for what MarketDataSettings does not allow."""
        read_settings(MarketDataSettings, settings, cls.role)
        read_settings(SessionSettings, settings.get("session", {}), "market_data.session")

    # ---- start and stop -------------------------------------------------------------------------

    def on_attach(self) -> None:
        """Build core and session over this worker's slab and rings."""
        context = self.context
        host = context.host
        self._ports = host.share("feed_ports", lambda: FeedPorts(host))
        self.core = FeedCore(
            self.adapter.make_decoder(),
            int(self.adapter.rule),
            host.slab(host.spec.slot),
            self._ports.publishers,
            host.spec.incarnation,
        )
        rows = []
        for symbol in self.config.symbols:
            row = context.instruments.by_symbol(self.adapter.venue_id, symbol)
            if row is None:
                raise ActorError(
                    f"market_data: {symbol} of {self.config.venue} is not in the instrument table"
                )
            rows.append(row)
        streams = StreamSettings(
            depth_stream=self.config.depth_stream or "",
            trade_stream=self.config.trade_stream or "",
            with_bbo=self.config.with_bbo,
            with_mark=self.config.with_mark,
        )
        self._plans = self.adapter.connections(self.config.symbols, streams)
        base = self._ports.take_streams(len(self._plans))
        self._first_stream = base
        stream_of = {
            symbol: base + number
            for number, plan in enumerate(self._plans)
            if plan.carries_depth
            for symbol in plan.symbols
        }
        for row in rows:
            self.core.add_instrument(row, stream_of[row.symbol])
        self.session = FeedSession(
            self.adapter,
            self.core,
            rows,
            now_ns=context.now_ns,
            request_snapshot=lambda instrument_id: self.request_snapshot(instrument_id),
            settings=self._session_settings(),
            request_reconnect=self._reconnect,
            utc_ns=None if context.is_virtual else context.utc_ns,
        )
        self._ports.on_blob(self.adapter.venue_id, self._on_blob)

    def _session_settings(self) -> SessionSettings:
        config, adapter = self.config, self.adapter
        depth = adapter.choose_depth(len(config.symbols), config.snapshot_levels)
        tokens, per_second = snapshot_budget(adapter.snapshot_weight_per_minute, depth.weight)
        budget = {"resync_tokens": tokens, "resync_per_second": per_second}
        return read_settings(SessionSettings, {**budget, **config.session}, "market_data.session")

    def on_start(self, *_: Any) -> None:
        """Open the connections; books prove themselves as frames and snapshots come."""
        context = self.context
        if context.is_virtual:
            return
        url = self.config.websocket_url or self.adapter.websocket_url
        tls = client_context(self.config.ca_file) if url.startswith("wss") else None
        for number, plan in enumerate(self._plans, self._first_stream):
            connection = FeedConnection(
                url.rstrip("/") + plan.url_path,
                self.session,
                number,
                subscribe=plan.subscribe,
                random=context.random.random,
                ssl_context=tls,
                subscribe_per_second=self.adapter.subscribe_per_second,
            )
            self.connections.append(connection)
            context.host.scheduler.spawn(connection.run(), lambda: None, self._broken)

    def on_stop(self) -> None:
        """Close the connections; books become STALE for whoever still reads them."""
        for connection in self.connections:
            connection.close()
        self._publish_counts()

    def _broken(self, error: Exception) -> None:
        self.context.host.guard(self.context.actor_id, "connection", raise_error, error)

    def _reconnect(self, connection: int) -> None:
        if self.connections:
            self.connections[connection - self._first_stream].reset("silent for too long")

    # ---- running --------------------------------------------------------------------------------

    def on_heartbeat(self, now_ns: int) -> None:
        """Let the session do what is due, and publish the counts."""
        self._follow_clock()
        self.session.on_timer(now_ns)
        self._publish_counts()
        if not self.context.is_virtual:  # a replay lists them with their place in the capture
            self._tell_refused()

    def inject(self, frame: bytes, frame_ns: int, connection: int = 0) -> int:
        """Take a frame that came from no socket (replay, simulation); returns the core's FrameResult."""
        self._follow_clock()
        return self.session.on_frame(frame, frame_ns, self._first_stream + connection)

    def inject_snapshot(self, symbol: str, body: bytes) -> bool:
        """Take a snapshot body that came from no request; False if the symbol is not ours."""
        row = self.context.instruments.by_symbol(self.adapter.venue_id, symbol)
        if row is None or symbol not in self.config.symbols:
            return False
        self._follow_clock()
        self.session.on_snapshot(row.instrument_id, body, self.context.now_ns())
        return True

    def _follow_clock(self) -> None:
        if self.context.is_virtual:
            self.core.virtual_now_ns = self.context.now_ns()

    def _tell_refused(self) -> None:
        """Keep what the session refused in the worker's fault log, where a run's report finds it."""
        session, name = self.session, self.config.venue
        for rejection in session.take_rejections():
            start = f"; it began {bytes(rejection.frame[:FRAME_SHOWN])!r}" if rejection.frame else ""
            self._tell(f"{name}: refused: {rejection.error}{start}")
        while session.control_errors:
            self._tell(f"{name}: the venue said: {session.control_errors.popleft()}")
        if len(session.unknown_symbols) > self._unknown_told:
            for symbol in list(session.unknown_symbols)[self._unknown_told :]:
                self._tell(f"{name}: frames of an unknown symbol: {symbol}")
            self._unknown_told = len(session.unknown_symbols)

    def _tell(self, text: str) -> None:
        # Texts differ without end; the log is small and shared with other faults. The counters count all.
        if text not in self._told and len(self._told) >= TOLD_MAX:
            text = f"{self.config.venue}: more was refused (see the counters)"
        self._told.add(text)
        self.context.host.metrics.fault(FAULT_REFUSED, text, self.context.utc_ns())

    def _publish_counts(self) -> None:
        counts = self.core.statistics()
        for key in CORE_COUNTERS:
            self._counters[key].set(self._base[key] + counts[key])
        found = self.session.statistics()
        for key in SESSION_COUNTERS:
            self._counters[key].set(self._base[key] + found[key])

    # ---- snapshots ------------------------------------------------------------------------------

    def _ask_reference(self, instrument_id: int) -> None:
        if not self._ports.request(instrument_id, self.adapter.venue_id):
            self._refused.inc(1)  # the session asks again when its request times out

    def _on_blob(self, answer: SnapshotAnswer) -> None:
        now_ns = self.context.now_ns()
        if 200 <= answer.status < 300:
            self.session.on_snapshot(answer.instrument_id, answer.body, now_ns)
        else:
            text = answer.body[:200].decode("utf-8", "replace")
            error = f"status {answer.status}: {text}" if answer.status else text
            self.session.on_snapshot_failed(answer.instrument_id, error, now_ns)
