"""One venue's market data: frames in; book states, gaps and snapshot requests out.

The session decides what the compiled core can not: it drives the table of `feeds.continuity` for each book,
buffers updates while a book is not proven, asks for snapshots within a budget, joins snapshot and updates,
and keeps what was rejected. It does no I/O and reads no clock: frames, snapshots, connection events and time
are given to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from feeds.adapter import VenueAdapter
from feeds.continuity import REASON, REASON_ALWAYS, TABLE, Action, Event, Join, classify, join
from feeds.core import FeedCore, FrameResult, MessageKind
from feeds.errors import DecodeError, FeedError
from feeds.pump import FramePump
from feeds.resync import BookTrack, Diff, DiffBuffer, SnapshotQueue
from feeds.settings import COUNTS, SECOND_NS, Gap, Rejection, SessionSettings
from feeds.transport.throttle import TokenBucket
from feeds.validation import Severity, Validator
from shm.enums import BookReason, BookState

if TYPE_CHECKING:
    from shm.instruments import Instrument

__all__ = ["FeedSession", "Gap", "Rejection", "SessionSettings"]

SUSPECT_CLEAR_NS = SECOND_NS
DEPTH_RESULTS = (FrameResult.DEPTH_PENDING, FrameResult.GAP, FrameResult.DUPLICATE)
KEPT_FRAME_BYTES = 512
UNKNOWN_SYMBOLS_MAX = 1000


class FeedSession:
    """Keeps the books of one core proven, or says why they are not.

    Args:
        adapter: the venue.
        core: holds the private books; instruments it knows already are taken over, with their streams.
        instruments: rows to look for in the core (an InstrumentTable or any iterable of rows).
        now_ns: clock of the stamps, used only where no time is given.
        request_snapshot: called with an instrument_id when its snapshot shall be fetched; the answer comes
            through `on_snapshot` or `on_snapshot_failed`. What it raises reaches the caller of the event.
        settings: bounds and times.
        request_reconnect: called with a connection that has been silent for `reconnect_silence_ns`.
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
        utc_ns: Callable[[], int] | None = None,
    ) -> None:
        s = settings or SessionSettings()
        self.adapter, self.core, self.settings = adapter, core, s
        self._now_ns, self._utc_ns = now_ns, utc_ns
        self._request_snapshot, self._request_reconnect = request_snapshot, request_reconnect
        self.validator = Validator(s.validation)
        v = s.validation
        self.pump = FramePump(
            core, self, s.connections,
            v.deviation_ns if v.timestamp_severity else 0, v.spread_bps if v.spread_severity else 0.0,
        )  # fmt: skip
        self.queue = SnapshotQueue(
            TokenBucket(s.resync_tokens, s.resync_per_second), s.resync_backoff_ns, s.resync_backoff_max_ns
        )
        self.gaps: deque[Gap] = deque(maxlen=s.gaps_kept)
        self.rejections: deque[Rejection] = deque(maxlen=s.rejections_kept)
        self.control_errors: deque[str] = deque(maxlen=s.rejections_kept)
        self.unknown_symbols: dict[str, int] = {}
        self._tracks: dict[int, BookTrack] = {}
        self._up: dict[int, bool] = {}
        self._silent: set[int] = set()
        self._reconnect_asked: set[int] = set()
        self._last_timer_ns: int | None = None
        self._utc_offset_ns: int | None = None
        self._diff: Diff | None = None
        self._body: bytes = b""
        self._counts: dict[str, int] = dict.fromkeys(COUNTS, 0)
        self._actions: dict[Action, Callable[[BookTrack, int], None]] = {
            Action.BUFFER: self._buffer,
            Action.CLEAR_BUFFER: self._clear_buffer,
            Action.REPORT_GAP: self._report_gap,
            Action.ASK_TOKEN: self._ask_token,
            Action.REQUEST_SNAPSHOT: self._send_request,
            Action.LOAD_SNAPSHOT: self._load_snapshot,
            Action.DROP_SNAPSHOT: self._drop_snapshot,
            Action.RETURN_TOKEN: self._return_token,
        }
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

    def add_instrument(self, instrument: Instrument, stream: int, now_ns: int | None = None) -> None:
        """Add an instrument to core and session; if its connection stands, its snapshot is asked for at once.

        Raises:
            FeedError: as the core's `add_instrument`.
        """
        self.core.add_instrument(instrument, stream)
        self._track(instrument, stream)
        if self._up.get(stream, False):
            self._fire(self._tracks[instrument.instrument_id], Event.SOCKET_UP, self._time(now_ns))

    def state(self, instrument_id: int) -> BookState:
        """State of a book.

        Raises:
            FeedError: the instrument is not in this session.
        """
        return self._find(instrument_id).state

    def _find(self, instrument_id: int) -> BookTrack:
        track = self._tracks.get(instrument_id)
        if track is None:
            raise FeedError(f"instrument {instrument_id} is not in this session")
        return track

    def _time(self, now_ns: int | None) -> int:
        return self._now_ns() if now_ns is None else now_ns

    # ---- frames ------------------------------------------------------------------------------

    def on_frame(self, frame: bytes | bytearray | memoryview, frame_ns: int, connection: int = 0) -> int:
        """Take one frame, as the compiled listener does; returns the core's FrameResult number.

        A frame on a connection that was not announced announces it.
        """
        if not self._up.get(connection, False):
            self.on_connected(connection, frame_ns)
        return self.pump.feed(frame, frame_ns, connection)

    def on_result(self, code: int, frame: bytes, frame_ns: int, connection: int) -> None:
        """Deal with a frame the core left to the session (any code but APPLIED and PUBLISHED)."""
        core = self.core
        if code in DEPTH_RESULTS:
            self._on_depth(self._tracks[core.instrument_id], frame, frame_ns)
        elif code == FrameResult.CROSSED:
            self._counts["crossed"] += 1
            self._fire(self._tracks[core.instrument_id], Event.CROSSED, frame_ns)
        elif code == FrameResult.UNKNOWN_SYMBOL:
            self._on_unknown(core.error)
        elif code == FrameResult.CONTROL:
            self._on_control(frame)
        else:
            self._reject(core.error, frame, frame_ns, connection)
            track = self._tracks.get(core.instrument_id)
            if track is not None and core.message_kind == MessageKind.DEPTH:
                self._counts["bad_levels"] += 1
                self._fire(track, Event.BAD_LEVEL, frame_ns)

    def _on_depth(self, track: BookTrack, frame: bytes, frame_ns: int) -> None:
        core = self.core
        diff = Diff(core.first_sequence, core.last_sequence, core.previous_sequence, frame, frame_ns)
        is_applied = track.state in (BookState.LIVE, BookState.STALE)
        proven = core.proven_sequence(track.instrument_id) if is_applied else track.buffer.last_sequence
        sequences = (diff.first_sequence, diff.last_sequence, diff.previous_sequence)
        # An empty buffer has nothing to compare with: its first update is in sequence by definition.
        event = classify(self.adapter.rule, proven, *sequences) if proven else Event.DEPTH_IN_SEQUENCE
        self._diff = diff
        if event is Event.DEPTH_OLD:
            self._counts["duplicates"] += 1
            if track.count_old(proven) >= self.settings.old_updates_max:
                self._counts["rewinds"] += 1
                event = Event.DEPTH_REWOUND
        if (
            event is Event.DEPTH_IN_SEQUENCE
            and track.state is BookState.STALE
            and not self._apply(track, diff)
        ):
            return
        self._fire(track, event, frame_ns)

    def _apply(self, track: BookTrack, diff: Diff) -> bool:
        """Apply an update outside the core's LIVE path; False = it disproved the book (dealt with)."""
        try:
            self.core.apply_depth(track.instrument_id, diff.frame, diff.frame_ns)
        except DecodeError as error:
            self._reject(str(error), diff.frame, diff.frame_ns, track.stream)
            self._counts["bad_levels"] += 1
            self._fire(track, Event.BAD_LEVEL, diff.frame_ns)
            return False
        return True

    def _on_unknown(self, error: str) -> None:
        self._counts["unknown_symbols"] += 1
        name = error.partition("'")[2].rstrip("'") or error
        if name in self.unknown_symbols or len(self.unknown_symbols) < UNKNOWN_SYMBOLS_MAX:
            self.unknown_symbols[name] = self.unknown_symbols.get(name, 0) + 1

    def _on_control(self, frame: bytes) -> None:
        self._counts["control"] += 1
        event = self.adapter.on_control(frame)
        if event.is_error:
            self._counts["control_errors"] += 1
            self.control_errors.append(f"request {event.request_id}: code {event.code}: {event.text}")

    def take_rejections(self) -> list[Rejection]:
        """Take out the rejections kept since the last call."""
        taken = list(self.rejections)
        self.rejections.clear()
        return taken

    def _reject(self, error: str, frame: bytes, frame_ns: int, connection: int) -> None:
        self._counts["rejected"] += 1
        self.rejections.append(Rejection(frame_ns, connection, error, frame[:KEPT_FRAME_BYTES]))

    # ---- the table ---------------------------------------------------------------------------

    def _fire(self, track: BookTrack, event: Event, now_ns: int, reason: BookReason | None = None) -> None:
        """Take one step of the table. The new state is set before its actions run."""
        step = TABLE[track.state, event]
        why = REASON.get(event, BookReason.NONE) if reason is None else reason
        is_resync = event is Event.TOKEN_GRANTED and track.live_ns is not None
        if step.state is not track.state or event in REASON_ALWAYS or is_resync:
            reached = BookState(self.core.set_state(track.instrument_id, step.state, why, now_ns))
            if reached is not step.state:  # the core refused: a crossed book never becomes LIVE
                self._counts["crossed"] += 1
                self._fire(track, Event.CROSSED, now_ns)
                return
            self._counts["resyncs"] += is_resync
            self.queue.on_state(track, step.state, now_ns)
        for action in step.actions:
            self._actions[action](track, now_ns)

    def _buffer(self, track: BookTrack, now_ns: int) -> None:
        diff = self._diff
        if diff is None:
            return
        if not track.buffer.append(diff):
            self._counts["buffer_overflows"] += 1
            self._counts["buffer_dropped"] += 1
            self._fire(track, Event.BUFFER_OVERFLOW, now_ns)
            return
        self._counts["buffered"] += 1
        if track.state is BookState.SYNCING and track.snapshot_sequence:
            self._replay(track, now_ns)

    def _clear_buffer(self, track: BookTrack, _now_ns: int) -> None:
        self._counts["buffer_dropped"] += track.buffer.clear()

    def _report_gap(self, track: BookTrack, _now_ns: int) -> None:
        diff = self._diff
        if diff is None:
            return
        expected = track.buffer.last_sequence or self.core.proven_sequence(track.instrument_id)
        self._counts["gaps"] += 1
        self.gaps.append(
            Gap(
                track.instrument_id,
                track.symbol,
                expected,
                diff.first_sequence,
                diff.last_sequence,
                diff.previous_sequence,
                diff.frame_ns,
            )
        )

    def _ask_token(self, track: BookTrack, now_ns: int) -> None:
        if not track.waiting and track.needs_snapshot:
            self.queue.ask(track)
            self._grant(now_ns)

    def _grant(self, now_ns: int) -> None:
        while (track := self.queue.take_due(now_ns, self._is_up)) is not None:
            self._fire(track, Event.TOKEN_GRANTED, now_ns)

    def _is_up(self, connection: int) -> bool:
        return self._up.get(connection, False)

    def _send_request(self, track: BookTrack, now_ns: int) -> None:
        self._counts["snapshot_requests"] += 1
        self.queue.on_request(track, now_ns)
        self._request_snapshot(track.instrument_id)

    def _return_token(self, _track: BookTrack, _now_ns: int) -> None:
        self.queue.budget.give_back()

    # ---- snapshots ---------------------------------------------------------------------------

    def on_snapshot(self, instrument_id: int, body: bytes, now_ns: int | None = None) -> None:
        """Take the body of a depth snapshot, asked for or not.

        Raises:
            FeedError: the instrument is not in this session.
        """
        track = self._find(instrument_id)
        track.requested_ns = None
        self._counts["snapshots"] += 1
        if Action.LOAD_SNAPSHOT not in TABLE[track.state, Event.SNAPSHOT].actions:
            self._counts["snapshots_ignored"] += 1
        self._body = body
        self._fire(track, Event.SNAPSHOT, self._time(now_ns))
        self._body = b""

    def on_snapshot_failed(self, instrument_id: int, error: str, now_ns: int | None = None) -> None:
        """Note that a snapshot could not be fetched; it is asked for again after the back-off.

        Raises:
            FeedError: the instrument is not in this session.
        """
        track = self._find(instrument_id)
        self._counts["snapshot_failures"] += 1
        time_ns = self._time(now_ns)
        self.rejections.append(Rejection(time_ns, -1, f"{track.symbol}: snapshot: {error}", b""))
        self._fire(track, Event.SNAPSHOT_FAILED, time_ns)

    def _load_snapshot(self, track: BookTrack, now_ns: int) -> None:
        try:
            track.snapshot_sequence = self.core.load_snapshot(track.instrument_id, self._body, now_ns)
        except DecodeError as error:
            self._counts["snapshot_failures"] += 1
            self._reject(f"snapshot: {error}", self._body, now_ns, -1)
            self._fire(track, Event.SNAPSHOT_FAILED, now_ns)
            return
        track.loaded_ns = now_ns
        self._replay(track, now_ns)

    def _drop_snapshot(self, track: BookTrack, _now_ns: int) -> None:
        track.snapshot_sequence = 0
        track.requested_ns = None

    def _replay(self, track: BookTrack, now_ns: int) -> None:
        """Join the loaded snapshot with the buffered updates; without one to join yet, wait for it."""
        buffer, rule = track.buffer, self.adapter.snapshot_rule
        while len(buffer):
            oldest = next(iter(buffer))
            where = join(
                rule,
                track.snapshot_sequence,
                oldest.first_sequence,
                oldest.last_sequence,
                oldest.previous_sequence,
            )
            if where is Join.JOINS:
                break
            if where is Join.AFTER:
                self._counts["snapshots_too_old"] += 1
                self._fire(track, Event.SNAPSHOT_TOO_OLD, now_ns)
                return
            buffer.pop()
        else:
            self._watch_snapshot(track, now_ns)
            return
        while len(buffer):
            if not self._apply(track, buffer.pop()):
                return
        self._fire(track, Event.PROVEN, now_ns)

    def _watch_snapshot(self, track: BookTrack, now_ns: int) -> None:
        """Give up a snapshot that the stream does not reach in time: its sequence can not be true."""
        limit_ns = self.settings.snapshot_timeout_ns
        if limit_ns and track.buffer.last_sequence and now_ns - track.loaded_ns > limit_ns:
            self.on_snapshot_failed(
                track.instrument_id,
                f"its sequence {track.snapshot_sequence} is still ahead of the stream"
                f" at {track.buffer.last_sequence}",
                now_ns,
            )

    # ---- connections and time ----------------------------------------------------------------

    def on_connected(self, connection: int, now_ns: int | None = None) -> None:
        """Note that a connection stands; books it carries ask for their snapshots if they need one."""
        time_ns = self._time(now_ns)
        self._counts["connects"] += 1
        self._up[connection] = True
        self._silent.discard(connection)
        self._reconnect_asked.discard(connection)
        self.pump.touch(connection, time_ns)
        self.validator.rule(connection).reset()
        self.pump.set_offset(connection, 0, False)
        self._fire_connection(connection, Event.SOCKET_UP, time_ns)
        self._grant(time_ns)

    def on_disconnected(self, connection: int, now_ns: int | None = None) -> None:
        """Note that a connection is lost: LIVE books it carries become STALE."""
        if not self._up.get(connection, False):
            return
        self._counts["disconnects"] += 1
        self._up[connection] = False
        self._fire_connection(connection, Event.SOCKET_LOST, self._time(now_ns))

    def _fire_connection(self, connection: int, event: Event, now_ns: int) -> None:
        for track in list(self._tracks.values()):
            if track.stream == connection:
                self._fire(track, event, now_ns)

    def on_timer(self, now_ns: int) -> None:
        """Do what is due: silence, clock jumps, snapshot timeouts, tokens. Call it several times a second."""
        s = self.settings
        self._watch_clock(now_ns)
        for connection, is_up in list(self._up.items()):
            quiet_ns = now_ns - self.pump.alive_ns(connection)
            if not is_up:
                continue
            if not s.silence_ns or quiet_ns <= s.silence_ns:
                self._silent.discard(connection)
            elif connection not in self._silent:
                self._silent.add(connection)
                self._counts["silences"] += 1
                self._fire_connection(connection, Event.SILENCE, now_ns)
            if s.reconnect_silence_ns and quiet_ns > s.reconnect_silence_ns:
                self._ask_reconnect(connection)
        for track in list(self._tracks.values()):
            asked_ns = track.requested_ns
            if asked_ns is not None and s.snapshot_timeout_ns and now_ns - asked_ns > s.snapshot_timeout_ns:
                self.on_snapshot_failed(
                    track.instrument_id, f"no answer in {(now_ns - asked_ns) // 1_000_000} ms", now_ns
                )
            if track.suspect and now_ns - track.suspect_ns > SUSPECT_CLEAR_NS:
                track.suspect = BookReason.NONE
                self.core.set_state(track.instrument_id, track.state, BookReason.NONE, now_ns)
        self._grant(now_ns)

    def _ask_reconnect(self, connection: int) -> None:
        if self._request_reconnect is not None and connection not in self._reconnect_asked:
            self._reconnect_asked.add(connection)
            self._request_reconnect(connection)

    def _watch_clock(self, now_ns: int) -> None:
        limit = self.settings.clock_jump_ns
        last, self._last_timer_ns = self._last_timer_ns, now_ns
        has_jumped = last is not None and limit > 0 and not 0 <= now_ns - last <= limit
        if self._utc_ns is not None:
            offset = self._utc_ns() - now_ns
            was, self._utc_offset_ns = self._utc_offset_ns, offset
            has_jumped |= was is not None and limit > 0 and abs(offset - was) > limit
        if has_jumped:
            self._counts["clock_jumps"] += 1
            for track in list(self._tracks.values()):
                self._fire(track, Event.CLOCK_JUMP, now_ns)

    # ---- validation --------------------------------------------------------------------------

    def on_sample(self, connection: int, receive_ns: int, venue_utc_ns: int) -> None:
        """Feed one message's times to its stream's measured offset (called by the pump for some frames)."""
        rule = self.validator.rule(connection)
        rule.sample(receive_ns, venue_utc_ns)
        self.pump.set_offset(connection, rule.offset_ns, rule.is_ready)

    def on_suspect(self, reason: int, frame_ns: int, instrument_id: int) -> None:
        """Deal with a message that a rule found implausible (called by the pump)."""
        track = self._tracks.get(instrument_id)
        if track is None:
            return
        found = BookReason(reason)
        self.validator.count(instrument_id, found)
        severity = self.validator.severity(found)
        is_new = track.suspect is not found
        if severity >= Severity.STATUS:
            track.suspect, track.suspect_ns = found, frame_ns
        if severity is Severity.STALE and track.state is BookState.LIVE:
            self._fire(track, Event.IMPLAUSIBLE, frame_ns, found)
        elif severity >= Severity.STATUS and is_new:
            self.core.set_state(instrument_id, track.state, found, frame_ns)

    def on_audit_difference(self, instrument_id: int, now_ns: int | None = None) -> None:
        """Note that an independent snapshot disagrees with a book: it is disproved.

        Raises:
            FeedError: the instrument is not in this session.
        """
        self._fire(self._find(instrument_id), Event.AUDIT_DIFFERENCE, self._time(now_ns))

    def statistics(self) -> dict[str, int]:
        """Counts since the start; findings of the validation rules as `suspect_<reason>`."""
        found = {f"suspect_{reason.name.lower()}": count for reason, count in self.validator.totals.items()}
        return {**self._counts, "waiting_for_token": len(self.queue), **found}

    def states(self) -> dict[str, BookState]:
        """State of every book by symbol."""
        return {track.symbol: track.state for track in self._tracks.values()}
