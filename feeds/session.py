"""One venue's market data: frames in; book states, gaps and snapshot requests out.

The session decides what the compiled core can not: it drives the table of `feeds.continuity` for each book,
buffers updates while a book is not proven, asks for snapshots within a budget, joins snapshot and updates,
parks what is ahead while another line may bring what is missing, and keeps what was rejected. It does no I/O
and reads no clock: frames, snapshots, connection events and time are given to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from feeds.adapter import VenueAdapter
from feeds.book_states import BookStates
from feeds.continuity import Event, classify
from feeds.core import FeedCore, FrameResult, MessageKind
from feeds.errors import FeedError
from feeds.merging import TABLE as MERGE_TABLE
from feeds.merging import Arrival, Line, LineCounts, Lines, ParkedUpdates, Step, may_fill
from feeds.pump import FramePump
from feeds.resync import BookTrack, Diff, DiffBuffer, SilenceWatch
from feeds.settings import SECOND_NS, Gap, Rejection, SessionSettings
from shm.enums import BookReason, BookState

if TYPE_CHECKING:
    from shm.instruments import Instrument

__all__ = ["FeedSession", "Gap", "Rejection", "SessionSettings"]

TRACKS_NS = SECOND_NS // 4  # between two looks at every instrument: what they look for takes seconds
DEPTH_RESULTS = (FrameResult.DEPTH_PENDING, FrameResult.GAP, FrameResult.DUPLICATE)
# In the place of a line's number: an update that was parked, and one whose wait is over.
TAKEN_UP, GIVEN_UP = -1, -2


class FeedSession(BookStates):
    """Keeps the books of one core proven, or says why they are not.

    A connection carries the stream of its own number, unless `add_line` says which: several lines of one
    stream are merged, and its books stay LIVE while one of them stands.

    Args:
        adapter: the venue.
        core: holds the private books; instruments it knows already are taken over, with their streams.
        instruments: rows to look for in the core (an InstrumentTable or any iterable of rows).
        now_ns: clock of the stamps, used only where no time is given.
        request_snapshot: called with an instrument_id when its snapshot shall be fetched; the answer comes
            through `on_snapshot` or `on_snapshot_failed`. What it raises reaches the caller of the event.
        settings: bounds and times.
        request_reconnect: called with a connection that has been silent for `reconnect_silence_ns`.
        request_resubscribe: called with an instrument_id when its depth stream shall be ended and begun anew
            (`adapter.resubscribe`), where snapshots come in the stream; None = its connection is asked to
            reconnect instead.
        utc_ns: wall clock, to see it leap; None = not watched.
    """

    def __init__(
        self,
        adapter: VenueAdapter,
        core: FeedCore,
        instruments: Iterable[Instrument],
        *,
        now_ns: Callable[[], int],
        request_snapshot: Callable[[int], None],
        settings: SessionSettings | None = None,
        request_reconnect: Callable[[int], None] | None = None,
        request_resubscribe: Callable[[int], None] | None = None,
        utc_ns: Callable[[], int] | None = None,
    ) -> None:
        s = settings or SessionSettings()
        super().__init__(adapter, core, s, request_snapshot, request_resubscribe)
        self._now_ns = now_ns
        self._clock, self._utc_ns = s.clock_watch(utc_ns), utc_ns
        self._request_reconnect = request_reconnect
        v = s.validation
        self.pump = FramePump(
            core, self, s.connections,
            v.deviation_ns if v.timestamp_severity else 0, v.spread_bps if v.spread_severity else 0.0,
            v.watched(),
        )  # fmt: skip
        self.lines = Lines()
        self._parked: dict[int, ParkedUpdates] = {}
        self._silence = SilenceWatch(s.silence_ns)
        self._looked_ns = -TRACKS_NS
        self._reconnect_asked: set[int] = set()
        if s.merges:
            self._merge()
        for row in instruments:
            self._adopt(row)

    # ---- instruments -------------------------------------------------------------------------

    def _adopt(self, row: Instrument) -> None:
        try:
            certificate = self.core.certificate(row.instrument_id)
        except FeedError:
            return  # another feed's instrument
        self._track(row, certificate.stream if certificate is not None else 0)

    def _track(self, row: Instrument, stream: int) -> None:
        s = self.settings
        buffer = DiffBuffer(s.buffer_frames, s.buffer_bytes)
        self._tracks[row.instrument_id] = BookTrack(row.instrument_id, row.symbol, stream, buffer)
        self.mutes.watch.add(row.instrument_id, row.symbol)
        index = self.adapter.index_symbol(row)
        if index:
            self.core.add_index(row.instrument_id, index)
        self.pump.watch(row.instrument_id, row.tick_size)

    def add_instrument(self, instrument: Instrument, stream: int, now_ns: int | None = None) -> None:
        """Add an instrument to core and session; if its connection stands, its snapshot is asked for at once.

        Raises:
            FeedError: as the core's `add_instrument`.
        """
        self.core.add_instrument(instrument, stream)
        self._track(instrument, stream)
        if self._is_up(stream):
            self._fire(self._tracks[instrument.instrument_id], Event.SOCKET_UP, self._time(now_ns))

    def _time(self, now_ns: int | None) -> int:
        return self._now_ns() if now_ns is None else now_ns

    # ---- frames ------------------------------------------------------------------------------

    def on_frame(self, frame: bytes | bytearray | memoryview, frame_ns: int, connection: int = 0) -> int:
        """Take one frame, as the compiled listener does; returns the core's FrameResult number.

        A frame on a connection that was not announced announces it.
        """
        if not self.lines.get(connection).is_up:
            self.on_connected(connection, frame_ns)
        return self.pump.feed(frame, frame_ns, connection)

    def on_result(self, code: int, frame: bytes, frame_ns: int, connection: int) -> None:
        """Deal with a frame the core left to the session (any code but APPLIED, PUBLISHED and LATE)."""
        self._deal(code, frame, frame_ns, connection, self.lines.get(connection).line)

    def _deal(self, code: int, frame: bytes, frame_ns: int, connection: int, line: int) -> None:
        core = self.core
        if code in DEPTH_RESULTS:
            self._on_depth(self._tracks[core.instrument_id], code, frame, frame_ns, line)
        elif code == FrameResult.CROSSED:
            self._counts["crossed"] += 1
            self._fire(self._tracks[core.instrument_id], Event.CROSSED, frame_ns)
        elif code == FrameResult.CHECKSUM:
            self._on_checksum(self._tracks[core.instrument_id], core.error, frame, frame_ns)
        elif code == FrameResult.UNKNOWN_SYMBOL:
            self.findings.unknown(core.error)
        elif code == FrameResult.CONTROL:
            for notice in self.findings.control(self.adapter.on_control(frame), connection):
                if self.maintenance.take(notice) and self.maintenance.is_closed:
                    self._close_books(frame_ns)
        else:
            self._reject(core.error, frame, frame_ns, connection)
            track = self._tracks.get(core.instrument_id)
            if track is not None and core.message_kind == MessageKind.DEPTH:
                self._counts["bad_levels"] += 1
                self._fire(track, Event.BAD_LEVEL, frame_ns)

    def _on_depth(self, track: BookTrack, code: int, frame: bytes, frame_ns: int, line: int) -> None:
        core = self.core
        diff = Diff(core.first_sequence, core.last_sequence, core.previous_sequence, frame, frame_ns)
        is_applied = track.state in (BookState.LIVE, BookState.STALE)
        proven = core.proven_sequence(track.instrument_id) if is_applied else track.buffer.last_sequence
        if core.is_snapshot:
            self._diff = diff
            # To a LIVE book it comes here only when it is older than what the book holds.
            self._counts["duplicates" if track.state is BookState.LIVE else "stream_snapshots"] += 1
            self._fire(track, Event.STREAM_SNAPSHOT, frame_ns)
            self._take_up(track)
            return
        # An empty buffer has nothing to compare with: its first update is in sequence by definition.
        event = Event.DEPTH_IN_SEQUENCE
        if code == FrameResult.DUPLICATE:
            event = Event.DEPTH_OLD
        elif proven:
            event = classify(
                self.adapter.rule, proven, *diff[:3],
                is_unnumbered=core.is_unnumbered, overlaps=core.allows_overlap and core.is_late,
            )  # fmt: skip
        if event is Event.DEPTH_GAP and line != GIVEN_UP and self._parks(track, diff, line, proven):
            return
        self._diff = diff
        if event is Event.DEPTH_OLD:
            self._counts["duplicates"] += 1
            if core.is_late and track.state is BookState.STALE and self._is_carried(track):
                return  # of the slower line: the faster one heals the book
            if (
                not self._is_late(track, is_applied)
                and track.count_old(proven) >= self.settings.old_updates_max
            ):
                self._counts["rewinds"] += 1
                event = Event.DEPTH_REWOUND
        if (
            event is Event.DEPTH_IN_SEQUENCE
            and track.state is BookState.STALE
            and not self._apply(track, diff)
        ):
            return
        self._fire(track, event, frame_ns)
        if line >= 0 and event is Event.DEPTH_IN_SEQUENCE:
            self._take_up(track)

    def _is_late(self, track: BookTrack, is_applied: bool) -> bool:
        """Whether the old update under way came late over another line; numbers that began anew did not."""
        core = self.core
        return core.is_late or (
            is_applied and (core.is_unnumbered or core.venue_utc_ns < self._venue_utc_ns(track))
        )

    def _venue_utc_ns(self, track: BookTrack) -> int:
        certificate = self.core.certificate(track.instrument_id)
        return 0 if certificate is None else certificate.venue_utc_ns

    def take_rejections(self) -> list[Rejection]:
        """Take out the rejections kept since the last call."""
        taken = list(self.rejections)
        self.rejections.clear()
        return taken

    # ---- lines: what waits for what ------------------------------------------------------------

    def add_line(self, connection: int, stream: int) -> Line:
        """Say that a connection carries a stream that others may carry too; they are merged from now on.

        Raises:
            FeedError: it is a line already, or the stream has as many lines as it may.
        """
        line = self.lines.add(connection, stream)
        self.pump.set_line(connection, stream, line.line)
        if line.line:
            self._merge()
        return line

    def drop_line(self, connection: int, now_ns: int | None = None) -> None:
        """Forget a connection for good: another one carries its stream, or nobody does."""
        self.on_disconnected(connection, now_ns)
        self.lines.remove(connection)

    def is_line_proven(self, connection: int) -> bool:
        """Whether a connection stands and brings, in sequence, every book that others brought meanwhile."""
        line = self.lines.get(connection)
        has_frames = self.pump.frames(connection) > 0
        return line.is_alive and has_frames and not self.core.lacking(line.stream, line.line)

    def line_counts(self) -> list[LineCounts]:
        """What each connection brought, and how often it was first."""
        return [
            LineCounts(line.connection, line.stream, line.line, *self.pump.arrivals(line.connection))
            for line in self.lines
        ]

    def _merge(self) -> None:
        if not self.core.is_merging:
            self.core.merge_lines()
            self.core.allows_overlap = self.adapter.allows_overlap

    def _is_carried(self, track: BookTrack) -> bool:
        """Whether a line that is alive has shown that it brings this book."""
        alive = self.lines.alive(track.stream)
        carried = self.core.carried(track.instrument_id)
        return any(newest and alive >> number & 1 for number, newest in enumerate(carried))

    def _may_fill(self, track: BookTrack, line: int, proven: int) -> bool:
        carried = self.core.carried(track.instrument_id)
        return may_fill(carried, line, proven, self.lines.alive(track.stream))

    def _parks(self, track: BookTrack, diff: Diff, line: int, proven: int) -> bool:
        """Park an update that is ahead; False = it shows a gap."""
        if not self.core.is_merging:
            return False
        number, s = track.instrument_id, self.settings
        parked = self._parked.get(number)
        fills = self._may_fill(track, line, proven)
        step = MERGE_TABLE[Arrival.AHEAD, fills]
        if step is Step.PARK:
            if parked is None:
                parked = self._parked[number] = ParkedUpdates(s.reorder_frames, s.reorder_bytes)
            if parked.has(diff.last_sequence):
                return True
            if parked.park(diff, line):
                self._counts["parked"] += line >= 0
                self.core.set_parked(number, len(parked))
                return True
            step = MERGE_TABLE[Arrival.FULL, fills]
        if parked is None:
            return False
        # The same hole is before all of them: they go on behind it in their order.
        number_of = {one.last_sequence: (one.diff.frame, one.frame_ns) for one in parked}
        number_of[diff.last_sequence] = (diff.frame, diff.frame_ns)
        self._unpark(track)
        self._give_up(track, [number_of[last] for last in sorted(number_of)])
        return True

    def _unpark(self, track: BookTrack) -> list[tuple[bytes, int]]:
        parked = self._parked.pop(track.instrument_id, None)
        if parked is None:
            return []
        self.core.set_parked(track.instrument_id, 0)
        return [(one.diff.frame, one.frame_ns) for one in parked.take()]

    def _take_up(self, track: BookTrack) -> None:
        """Apply what was parked as far as it follows; what is still ahead is parked again."""
        for frame, frame_ns in self._unpark(track):
            code = self.pump.take_up(frame, frame_ns)
            if code == FrameResult.APPLIED:
                self._counts["filled"] += 1
            elif code not in (FrameResult.LATE, FrameResult.DUPLICATE):
                self._deal(code, frame, frame_ns, track.stream, TAKEN_UP)

    def _give_up(self, track: BookTrack, updates: list[tuple[bytes, int]]) -> None:
        """Go on behind a hole that nobody fills: the first update reports it as a gap."""
        for frame, frame_ns in updates:
            code = self.pump.take_up(frame, frame_ns)
            if code not in (FrameResult.APPLIED, FrameResult.LATE, FrameResult.DUPLICATE):
                self._deal(code, frame, frame_ns, track.stream, GIVEN_UP)

    def on_advanced(self, instrument_id: int, frame_ns: int) -> None:  # noqa: ARG002
        """Note an update that the core applied before parked ones of its book (called by the pump)."""
        self._take_up(self._tracks[instrument_id])

    def _look_at_parked(self, now_ns: int) -> None:
        for number, parked in list(self._parked.items()):
            track = self._tracks[number]
            if len(parked) and now_ns - parked.waits_since() > self.settings.reorder_ns:
                self._counts["waits_over"] += 1
                self._give_up(track, self._unpark(track))

    def _on_line_lost(self, stream: int, event: Event, now_ns: int) -> None:
        """A line is lost or silent: books that no other line brings are no longer fresh."""
        for track in list(self._tracks.values()):
            if track.stream != stream:
                continue
            if not self._is_carried(track):
                track.mute_ns = None  # more than this book is silent: only an update heals it
                self._fire(track, event, now_ns)
            if track.instrument_id in self._parked:
                is_applied = track.state in (BookState.LIVE, BookState.STALE)
                proven = (
                    self.core.proven_sequence(track.instrument_id)
                    if is_applied
                    else track.buffer.last_sequence
                )
                step = MERGE_TABLE[Arrival.LINE_LOST, self._may_fill(track, TAKEN_UP, proven)]
                if step is Step.GAP:
                    self._give_up(track, self._unpark(track))

    # ---- connections and time ----------------------------------------------------------------

    def on_connected(self, connection: int, now_ns: int | None = None) -> None:
        """Note that a connection stands; books it carries ask for their snapshots if they need one."""
        time_ns = self._time(now_ns)
        line = self.lines.get(connection)
        self._counts["connects"] += 1
        line.is_up, line.is_silent = True, False
        self.core.restart_line(line.stream, line.line)
        self._silence.end(connection)
        self._reconnect_asked.discard(connection)
        self.pump.touch(connection, time_ns)
        self.validator.rule(connection).reset()
        self.pump.set_offset(connection, 0, False)
        if self._is_in_stream:
            # The subscription has asked for the snapshot: one that does not come is asked for again.
            for track in self._tracks.values():
                if track.stream == line.stream and track.state is not BookState.LIVE:
                    track.requested_ns = time_ns
        self._fire_stream(line.stream, Event.SOCKET_UP, time_ns)
        self._grant(time_ns)

    def on_disconnected(self, connection: int, now_ns: int | None = None) -> None:
        """Note that a connection is lost: LIVE books that no other line carries become STALE."""
        line = self.lines.find(connection)
        if line is None or not line.is_up:
            return
        self._counts["disconnects"] += 1
        line.is_up = False
        self.core.restart_line(line.stream, line.line)
        self._on_line_lost(line.stream, Event.SOCKET_LOST, self._time(now_ns))

    def _is_up(self, stream: int) -> bool:
        return self.lines.is_up(stream)

    def _standing(self, stream: int) -> list[int]:
        return [line.connection for line in self.lines.of_stream(stream) if line.is_up]

    def _fire_stream(self, stream: int, event: Event, now_ns: int) -> None:
        for track in list(self._tracks.values()):
            if track.stream == stream:
                self._fire(track, event, now_ns)

    def on_timer(self, now_ns: int) -> None:
        """Do what is due: silence, clock jumps, snapshot timeouts, tokens. Call it several times a second."""
        look = self._clock.look(now_ns)
        self._counts["clock_jumps"] += look.has_leaped or look.stood_still
        if look.has_leaped or look.doubt_since_ns is not None:
            self._doubt(now_ns, look.doubt_since_ns)
        if self._utc_ns is not None and self.maintenance.is_closed:
            self.maintenance.on_time(self._utc_ns())
        if not look.is_early:
            self._look_at_lines(now_ns)
            self._look_at_parked(now_ns)
            if now_ns - self._looked_ns >= TRACKS_NS:
                self._looked_ns = now_ns
                self._look_at_tracks(now_ns)
        self._grant(now_ns)

    def _doubt(self, now_ns: int, since_ns: int | None) -> None:
        """Make books STALE, but for those whose streams have brought something since then (None: all)."""
        fresh = set()
        if since_ns is not None:
            alive = (one for one in self.lines if one.is_up and self.pump.alive_ns(one.connection) > since_ns)
            fresh = {line.stream for line in alive}
        for track in list(self._tracks.values()):
            if track.stream not in fresh:
                self._fire(track, Event.CLOCK_JUMP, now_ns)

    def _look_at_lines(self, now_ns: int) -> None:
        s = self.settings
        for line in self.lines:
            if not line.is_up:
                continue
            quiet_ns = now_ns - self.pump.alive_ns(line.connection)
            line.is_silent = 0 < s.silence_ns < quiet_ns
            if self._silence.begins(line.connection, quiet_ns):
                self._counts["silences"] += 1
                self._on_line_lost(line.stream, Event.SILENCE, now_ns)
            if s.reconnect_silence_ns and quiet_ns > s.reconnect_silence_ns:
                self._ask_line(line.connection)

    def _look_at_tracks(self, now_ns: int) -> None:
        s = self.settings
        self._look_at_crowds(now_ns)
        if self.mutes.is_due(now_ns):
            for track in list(self._tracks.values()):
                if self.lines.alive(track.stream):
                    self.mutes.look(track, now_ns)
        is_any_held = bool(self.suspects.held)
        for track in list(self._tracks.values()):
            asked_ns = track.requested_ns
            if asked_ns is not None and s.snapshot_timeout_ns and now_ns - asked_ns > s.snapshot_timeout_ns:
                self.on_snapshot_failed(
                    track.instrument_id, f"no answer in {(now_ns - asked_ns) // 1_000_000} ms", now_ns
                )
                if track.state is BookState.STALE:  # its socket was made anew, but its stream was not
                    self._ask_reconnect(track.stream)
            if track.known.is_shallow and not track.is_restless:
                self.look_at_range(track, now_ns)
            if track.suspect or is_any_held:  # a call per instrument is what an idle feed would spend most on
                self.suspects.on_timer(track, now_ns)

    def _ask_reconnect(self, stream: int) -> None:
        for line in self.lines.of_stream(stream):
            self._ask_line(line.connection)

    def _ask_line(self, connection: int) -> None:
        if self._request_reconnect is not None and connection not in self._reconnect_asked:
            self._reconnect_asked.add(connection)
            self._request_reconnect(connection)

    # ---- validation --------------------------------------------------------------------------

    def on_sample(self, connection: int, receive_ns: int, venue_utc_ns: int) -> None:
        """Feed one message's times to its stream's measured offset (called by the pump for some frames)."""
        rule = self.validator.rule(connection)
        rule.sample(receive_ns, venue_utc_ns)
        self.pump.set_offset(connection, rule.offset_ns, rule.is_ready)

    def on_suspect(self, reason: int, frame_ns: int, instrument_id: int) -> None:
        """Deal with a message that a rule found implausible (called by the pump)."""
        self.suspects.on_suspect(instrument_id, BookReason(reason), frame_ns)

    def statistics(self) -> dict[str, int]:
        """Counts since the start; findings of the validation rules as `suspect_<reason>`."""
        found = {f"suspect_{reason.name.lower()}": count for reason, count in self.validator.totals.items()}
        held = {"quarantines": self.suspects.quarantines, "quarantined": self.suspects.held}
        mute = {"mutes": self.mutes.mutes, "vouched": self.mutes.vouched, "renewals": self.mutes.renewals}
        mute["closures"] = self.maintenance.closures
        return {**self._counts, "waiting_for_token": len(self.queue), **held, **mute, **found}

    def states(self) -> dict[str, BookState]:
        """State of every book by symbol."""
        return {track.symbol: track.state for track in self._tracks.values()}
