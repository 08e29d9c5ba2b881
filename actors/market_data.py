"""The market data actor: one venue's feed in one worker.

Live it opens the websocket connections and asks the reference actor for snapshots through rings; on the
virtual clock frames are injected and nothing is opened. Either way the same session and compiled core run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from actors.errors import ActorError, SettingsError
from actors.feed_care import AuditSettings, FeedCare, find_row, read_quiet, read_validation
from actors.feed_counters import CARE_COUNTERS, CORE_COUNTERS, LINE_COUNTERS, SESSION_COUNTERS
from actors.feed_groups import FeedGroups
from actors.feed_lines import FeedLines, connections_needed
from actors.feed_ports import FeedPorts, SnapshotAnswer, raise_error
from actors.runtime.actor import Actor
from actors.runtime.context import Context
from actors.runtime.settings import read_settings
from actors.runtime.spec import OPERATOR_COMMANDS
from feeds.adapter import StreamSettings
from feeds.core import LINES_MAX, FeedCore
from feeds.decoder import Decoder
from feeds.names import fits, is_pattern
from feeds.quiet import QuietSettings
from feeds.resync import snapshot_budget
from feeds.session import FeedSession
from feeds.settings import SECOND_NS, SessionSettings
from feeds.transport.tls import client_context
from feeds.venues import get_adapter
from shm.enums import InstrumentStatus
from shm.instruments import Instrument

#: Groups of streams beyond those of the start, for instruments that patterns bring later.
SPARE_GROUPS = 4
FAULT_REFUSED = 3000
# Heartbeats between two publications of the counts while no frame comes.
QUIET_BEATS = 10
TOLD_MAX = 20
FRAME_SHOWN = 40


@dataclass(frozen=True, slots=True)
class MarketDataSettings:
    """Settings of the role `market_data`.

    Args:
        venue: its name in the configuration.
        adapter: adapter name.
        symbols: what to subscribe to, by symbol or canonical name, which needs a row in the instrument table,
            or by pattern, which also means what is listed later.
        websocket_url: base address; "" = the adapter's own.
        priority: of its rings (the instrument rows say the same).
        depth_stream, trade_stream: the venue's own names, None = the adapter's default.
        with_bbo, with_mark: whether these streams are subscribed too.
        with_liquidations, with_status: the same of liquidations, and of what the venue says of itself.
        connections: lines of each group of streams, merged by sequence; 2 = a cut of one costs nothing.
        rotate_s: a line is replaced after at most so long; 0 = as the venue's limit asks.
        connects_per_second: connection attempts; 0 = the venue's limit.
        ca_file: PEM file of a private authority.
        snapshot_levels: depth of snapshots, as the reference actor is told; the budget follows from it.
        session: options of `feeds.session.SessionSettings`.
        validation: limits and severities of the rules (`actors.feed_care.read_validation`).
        audit: options of `actors.feed_care.AuditSettings`.
        quiet: how long single books may be quiet (`actors.feed_care.read_quiet`).
        rates: names of the shared rate limits that count its connections, by purpose ("connects").
        instruments_max: how many instruments patterns may bring.
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
    with_liquidations: bool = False
    with_status: bool = False
    connections: int = 1
    rotate_s: float = 0.0
    connects_per_second: float = 0.0
    ca_file: str | None = None
    snapshot_levels: int = 0
    session: dict[str, Any] = field(default_factory=dict)
    validation: dict[str, Any] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)
    quiet: dict[str, Any] = field(default_factory=dict)
    rates: dict[str, str] = field(default_factory=dict)
    instruments_max: int = 0

    def __post_init__(self) -> None:
        if not self.symbols:
            raise SettingsError("market_data: setting 'symbols' is empty")
        if not 1 <= self.connections < LINES_MAX:
            raise SettingsError(f"market_data: 'connections' is {self.connections}, not 1 to {LINES_MAX - 1}")
        if self.rotate_s < 0 or self.connects_per_second < 0:
            raise SettingsError("market_data: 'rotate_s' and 'connects_per_second' must not be negative")

    @property
    def streams(self) -> StreamSettings:
        """What the adapter is told."""
        return StreamSettings(
            depth_stream=self.depth_stream or "",
            trade_stream=self.trade_stream or "",
            with_bbo=self.with_bbo,
            with_mark=self.with_mark,
            with_liquidations=self.with_liquidations,
            with_status=self.with_status,
        )


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
        self.lines: FeedLines | None = None  # on the virtual clock nothing is opened
        #: Called with an instrument id when a snapshot is wanted; replaced on the virtual clock.
        self.request_snapshot: Callable[[int], None] = self._ask_reference
        self._counters = {
            **{key: context.counter(name) for key, name in CORE_COUNTERS.items()},
            **{key: context.counter(name) for key, name in SESSION_COUNTERS.items()},
            **{key: context.counter(name) for key, name in LINE_COUNTERS.items()},
            **{key: context.counter(name) for key, name in CARE_COUNTERS.items()},
        }
        # A restarted worker goes on counting where its predecessor died.
        self._base = {key: counter.value for key, counter in self._counters.items()}
        self._base["quarantined"] = 0  # how many there are now
        self._told: set[str] = set()
        self._unknown_told = 0
        self._frames = -1
        self._beats = 0
        self._refused = context.counter("feed.requests_refused")
        self._closed = context.counter(f"venue.closed.{self.config.venue}")  # 1 = it says that it is

    @classmethod
    def check_settings(cls, settings: Mapping[str, Any]) -> None:
        """Raise SettingsError for what MarketDataSettings does not allow."""
        read_settings(MarketDataSettings, settings, cls.role)
        read_settings(SessionSettings, settings.get("session", {}), "market_data.session")
        read_settings(AuditSettings, settings.get("audit", {}), "market_data.audit")
        read_validation(settings.get("validation", {}))
        read_quiet(settings.get("quiet", {}), 0, lambda name: name)

    # ---- start and stop -------------------------------------------------------------------------

    def on_attach(self) -> None:
        """Build core and session over this worker's slab and rings."""
        context = self.context
        host = context.host
        self._ports = host.share("feed_ports", lambda: FeedPorts(host))
        self.core = FeedCore(
            self._make_decoder(),
            int(self.adapter.rule),
            host.slab(host.spec.slot),
            self._ports.publishers,
            host.spec.incarnation,
        )
        self.core.bells.age_ns_max = host.spec.bell_age_ns
        rows = self._find_rows()
        self._symbols = frozenset(row.symbol for row in rows)
        self._plans = self.adapter.connections([row.symbol for row in rows], self.config.streams)
        spare = SPARE_GROUPS if any(map(is_pattern, self.config.symbols)) else 0
        base = self._ports.take_streams(len(self._plans) + spare)
        self._first_stream = base
        self.groups = FeedGroups(self.adapter, self.config.streams, self._plans, base, spare)
        needed = connections_needed(len(self._plans) + spare, self.config.connections)
        self._numbers = range(base, base + needed)
        # Recorded connections may be cut otherwise than our plans: there they are lines of one stream.
        stream_of = {
            symbol: base + (0 if context.is_virtual else number)
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
            request_resubscribe=None if context.is_virtual else self._resubscribe,
            utc_ns=None if context.is_virtual else context.utc_ns,
        )
        self._ports.on_blob(self.adapter.venue_id, self._on_blob)
        host.share(OPERATOR_COMMANDS, list).append(self._operate)
        for message in host.spec.operator:  # what its predecessor was told, before there is any frame
            self._operate(message)
        self.care: FeedCare | None = None  # on the virtual clock there is nobody to ask
        if not context.is_virtual:
            self.care = FeedCare(
                self.session,
                context.instruments,
                rows,
                read_settings(AuditSettings, self.config.audit, "market_data.audit"),
                lambda number, levels: self._ports.request(number, self.adapter.venue_id, levels),
                lambda: self._ports.request_listing(self.adapter.venue_id),
                follow=lambda row: row.slab == host.spec.slot and fits(row, self.config.symbols),
                begin=self._begin,
                end=self._end,
                tell=self._announce,
            )

    def _find_rows(self) -> list[Instrument]:
        """The rows that the settings name; of patterns those that trade now, others are taken up later."""
        context, venue_id = self.context, self.adapter.venue_id
        exact = [name for name in self.config.symbols if not is_pattern(name)]
        patterns = [name for name in self.config.symbols if is_pattern(name)]
        rows = {}
        for symbol in exact:
            row = find_row(context.instruments, venue_id, symbol)
            if row is None:
                raise ActorError(
                    f"market_data: {symbol} of {self.config.venue} is not in the instrument table"
                )
            rows[row.instrument_id] = row
        for row in context.instruments if patterns else ():
            is_ours = row.venue_id == venue_id and row.status == InstrumentStatus.TRADING
            if is_ours and fits(row, patterns):
                rows.setdefault(row.instrument_id, row)
        if not rows:
            raise ActorError(f"market_data: nothing that {self.config.venue} trades is like {patterns}")
        return list(rows.values())

    def _begin(self, row: Instrument, stream: int | None) -> int:
        """Subscribe to an instrument that came while the feed runs; returns the stream of its book."""
        if self.lines is None:
            raise ActorError("the feed has no connections yet")
        self._symbols |= {row.symbol}
        return self.lines.add_symbol(row.symbol, stream)

    def _end(self, row: Instrument) -> None:
        if self.lines is not None:
            self.lines.remove_symbol(row.symbol)

    def _announce(self, text: str) -> None:
        """Say what came or went where an operator and a run's report find it."""
        self._tell(f"{self.config.venue}: {text}")
        self.context.host.notify({"op": "listing", "text": f"{self.config.venue}: {text}"})

    def _make_decoder(self) -> Decoder:
        decoder, streams = self.adapter.make_decoder(), self.config.streams
        # A capture may hold another stream than the default one.
        is_told = streams.depth_stream or not self.context.is_virtual
        return self.adapter.configure(decoder, streams) if is_told else decoder

    def _session_settings(self) -> SessionSettings:
        config, adapter = self.config, self.adapter
        books = max(len(self._symbols), config.instruments_max)
        depth = adapter.choose_depth(books, config.snapshot_levels)
        tokens, per_second = snapshot_budget(adapter.snapshot_weight_per_minute, depth.weight)
        life_ns = self._life_ns
        budget = {
            "resync_tokens": tokens,
            "resync_per_second": per_second,
            "connections": max(self._numbers.stop, self._first_stream + LINES_MAX),
            # A line that is replaced is one of two for a moment.
            "merges": not self.context.is_virtual and (config.connections > 1 or life_ns > 0),
        }
        budget["validation"] = read_validation(config.validation)
        if self.context.is_virtual:  # a capture has nobody to ask, and its silences are what was recorded
            budget["quiet"] = QuietSettings(least_ns=0)
        else:
            depth_stream = config.depth_stream or next(iter(adapter.depth_streams), "")
            repeat_ns = adapter.depth_repeat_ns.get(depth_stream, 0)
            budget["quiet"] = read_quiet(config.quiet, repeat_ns, self._symbol_of)
        return read_settings(SessionSettings, {**budget, **config.session}, "market_data.session")

    def _symbol_of(self, name: str) -> str:
        row = find_row(self.context.instruments, self.adapter.venue_id, name)
        return name if row is None else row.symbol

    def on_start(self, *_: Any) -> None:
        """Open the connections; books prove themselves as frames and snapshots come."""
        context = self.context
        if context.is_virtual:
            return
        url = self.config.websocket_url or self.adapter.websocket_url
        tls = client_context(self.config.ca_file) if url.startswith("wss") else None
        self.lines = FeedLines(
            context,
            self.session,
            self.adapter,
            self.groups,
            self._numbers,
            url=url,
            lines=self.config.connections,
            life_ns=self._life_ns,
            per_second=self.config.connects_per_second or self.adapter.connects_per_second,
            rates=self.config.rates,
            ssl_context=tls,
            on_broken=self._broken,
        )
        self.lines.open()

    def on_stop(self) -> None:
        """Close the connections; books become STALE for whoever still reads them."""
        if self.lines is not None:
            self.lines.close()
        self._publish_counts()

    def _broken(self, error: Exception) -> None:
        self.context.host.guard(self.context.actor_id, "connection", raise_error, error)

    def _reconnect(self, connection: int) -> None:
        if self.lines is not None:
            self.lines.reset(connection, "silent for too long")

    def _resubscribe(self, instrument_id: int) -> None:
        """Ask for a book's stream anew on all its lines; where none stands, the next one begins with it."""
        certificate = self.core.certificate(instrument_id)
        if self.lines is None or certificate is None:
            return
        symbol = self.context.instruments.get(instrument_id).symbol
        self.lines.resubscribe(certificate.stream, self.adapter.resubscribe(symbol, self.config.streams))

    @property
    def _life_ns(self) -> int:
        rotate_ns = round(self.config.rotate_s * SECOND_NS)
        return rotate_ns or self.adapter.connection_life_ns

    # ---- running --------------------------------------------------------------------------------

    def on_heartbeat(self, now_ns: int) -> None:
        """Let the session do what is due, and publish the counts."""
        self._follow_clock()
        self.session.on_timer(now_ns)
        if self.care is not None:
            self.care.on_timer(now_ns)
        if self.lines is not None:
            self.lines.on_timer(now_ns)
        frames = self.core.frames
        self._beats += 1
        # In a silence little changes, and counting over all instruments is most of what an idle feed does.
        if frames != self._frames or self._beats % QUIET_BEATS == 0:
            self._frames = frames
            self._publish_counts()
        if not self.context.is_virtual:  # a replay lists them with their place in the capture
            self._tell_refused()

    def inject(self, frame: bytes, frame_ns: int, connection: int = 0) -> int:
        """Take a frame that came from no socket (replay, simulation); returns the core's FrameResult.

        All connections are lines of one stream; numbers beyond those a stream can have begin anew.
        """
        self._follow_clock()
        number = self._first_stream + connection % LINES_MAX
        if self.session.lines.find(number) is None:
            self.session.add_line(number, self._first_stream)
        return self.session.on_frame(frame, frame_ns, number)

    def end_connection(self, connection: int) -> None:
        """Note that nothing more comes from a connection whose frames were injected."""
        number = self._first_stream + connection % LINES_MAX
        if self.session.lines.find(number) is not None:
            self._follow_clock()
            self.session.drop_line(number, self.context.now_ns())

    def inject_snapshot(self, symbol: str, body: bytes) -> bool:
        """Take a snapshot body that came from no request; False if the symbol is not ours."""
        row = self.context.instruments.by_symbol(self.adapter.venue_id, symbol)
        if row is None or symbol not in self._symbols:
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
        while session.notices:
            notice = session.notices.popleft()
            if self.care is not None:
                self.care.on_notice(notice)
            self._tell(f"{name}: notice of {notice.topic} {notice.symbol}".rstrip() + f": {notice.text}")
        self._tell_maintenance()
        if len(session.unknown_symbols) > self._unknown_told:
            for symbol in list(session.unknown_symbols)[self._unknown_told :]:
                self._tell(f"{name}: frames of an unknown symbol: {symbol}")
            self._unknown_told = len(session.unknown_symbols)

    def _operate(self, message: Mapping[str, Any]) -> dict[str, Any] | None:
        """Put an instrument into quarantine or let it go, by an operator's hand; None = it is not ours."""
        number, act, suspects = int(message["instrument_id"]), message["do"], self.session.suspects
        if not self.session.has(number):
            return None
        was_held = suspects.holds(number)
        if act == "quarantine":
            suspects.quarantine(number, self.context.now_ns(), by_hand=True)
        else:
            suspects.release(number)
        symbol, reason = self.context.instruments.get(number).symbol, message.get("reason", "")
        self._tell(f"{self.config.venue}: {symbol}: {act} by hand: {reason}")
        state = self.session.state(number).name
        return {"was_held": was_held, "is_held": suspects.holds(number), "state": state}

    def _tell_maintenance(self) -> None:
        """Say when the venue closes and opens, where an operator and a run's report find it."""
        maintenance = self.session.maintenance
        if bool(self._closed.value) is maintenance.is_closed:
            return
        self._closed.set(int(maintenance.is_closed))
        what = "maintenance, its books are not LIVE" if maintenance.is_closed else "maintenance is over"
        self.context.host.notify({"op": "venue", "text": f"{self.config.venue}: {what}: {maintenance.text}"})

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
            self._counters[key].set(self._base[key] + found.get(key, 0))
        cared = self.care.statistics() if self.care is not None else {}
        for key in CARE_COUNTERS:
            self._counters[key].set(self._base[key] + cared.get(key, 0))
        lines = self.lines.counts() if self.lines is not None else {}
        for key in LINE_COUNTERS:
            self._counters[key].set(self._base[key] + lines.get(key, 0))

    # ---- snapshots ------------------------------------------------------------------------------

    def _ask_reference(self, instrument_id: int) -> None:
        levels = self.session.snapshot_levels(instrument_id)
        if not self._ports.request(instrument_id, self.adapter.venue_id, levels):
            self._refused.inc(1)  # the session asks again when its request times out

    def _on_blob(self, answer: SnapshotAnswer) -> None:
        """Give an answer to who asked: an audit, or the session, or both when one request served them."""
        number, now_ns = answer.instrument_id, self.context.now_ns()
        is_wanted, is_good = self.session.awaits_snapshot(number), 200 <= answer.status < 300
        if self.care is not None:
            take = self.care.on_snapshot if is_good else self.care.on_snapshot_failed
            if take(number, answer.body, now_ns) and not is_wanted:
                return
        if is_good:
            self.session.on_snapshot(number, answer.body, now_ns)
            return
        text = answer.body[:200].decode("utf-8", "replace")
        error = f"status {answer.status}: {text}" if answer.status else text
        self.session.on_snapshot_failed(number, error, now_ns)
