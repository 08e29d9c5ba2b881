"""The table of `feeds.continuity` put to work: a book's state, its buffered updates, its snapshots.

The half of a session that knows books but neither frames nor connections.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from feeds.continuity import REASON, REASON_ALWAYS, TABLE, Action, Event, Join, SnapshotRule, join
from feeds.errors import ChecksumError, DecodeError, FeedError
from feeds.findings import Findings
from feeds.known_range import KnownRange
from feeds.maintenance import Maintenance
from feeds.mute import MuteBooks
from feeds.quiet import QuietWatch
from feeds.resync import BookTrack, CrowdWatch, Diff, SnapshotQueue
from feeds.settings import Gap, Rejection, SessionSettings
from feeds.suspects import Suspects
from feeds.transport.throttle import TokenBucket
from feeds.validation import Validator
from shm.enums import BookReason, BookState

if TYPE_CHECKING:
    from feeds.adapter import VenueAdapter
    from feeds.core import FeedCore


class BookStates(ABC):
    """Takes books from state to state.

    Args:
        adapter: the venue.
        core: holds the private books.
        settings: bounds and times.
        request_snapshot: as `feeds.session.FeedSession`.
        request_resubscribe: as there.
    """

    def __init__(
        self,
        adapter: VenueAdapter,
        core: FeedCore,
        settings: SessionSettings,
        request_snapshot: Callable[[int], None],
        request_resubscribe: Callable[[int], None] | None,
    ) -> None:
        s = settings
        self.adapter, self.core, self.settings = adapter, core, s
        self._request_snapshot, self._request_resubscribe = request_snapshot, request_resubscribe
        self._is_in_stream = adapter.snapshot_rule is SnapshotRule.IN_STREAM
        self.queue = SnapshotQueue(
            TokenBucket(s.resync_tokens, s.resync_per_second), s.resync_backoff_ns, s.resync_backoff_max_ns
        )
        self._crowds = CrowdWatch(s.resync_per_second)
        self.findings = found = Findings(s)
        self.gaps, self.rejections, self.control_errors = found.gaps, found.rejections, found.control_errors
        self.unknown_symbols, self.notices, self._counts = found.unknown_symbols, found.notices, found.counts
        self._reject = found.reject
        self._tracks: dict[int, BookTrack] = {}
        self.maintenance = Maintenance()
        self.validator = Validator(s.validation)
        self.suspects = Suspects(
            core, self.validator, self._tracks,
            lambda track, now_ns, why: self._fire(track, Event.IMPLAUSIBLE, now_ns, why),
        )  # fmt: skip
        self.mutes = MuteBooks(core, QuietWatch(s.quiet), self._fire, self._renew)
        self._diff: Diff | None = None
        self._body: bytes = b""
        self._actions: dict[Action, Callable[[BookTrack, int], None]] = {
            Action.BUFFER: self._buffer,
            Action.CLEAR_BUFFER: self._clear_buffer,
            Action.REPORT_GAP: self._report_gap,
            Action.ASK_TOKEN: self._ask_token,
            Action.REQUEST_SNAPSHOT: self._send_request,
            Action.LOAD_SNAPSHOT: self._load_snapshot,
            Action.LOAD_STREAM_SNAPSHOT: self._load_stream_snapshot,
            Action.DROP_SNAPSHOT: self._drop_snapshot,
            Action.RETURN_TOKEN: self._return_token,
        }

    # ---- what the session knows and this half does not -----------------------------------------

    @abstractmethod
    def _is_up(self, stream: int) -> bool:
        """Say whether any line of a stream stands."""

    @abstractmethod
    def _ask_reconnect(self, stream: int) -> None:
        """Have the lines of a stream made anew."""

    @abstractmethod
    def _standing(self, stream: int) -> list[int]:
        """Return the connections of a stream that stand."""

    @abstractmethod
    def _ask_line(self, connection: int) -> None:
        """Have one connection made anew."""

    @abstractmethod
    def _time(self, now_ns: int | None) -> int:
        """Return the time given, else that of the clock."""

    def state(self, instrument_id: int) -> BookState:
        """State of a book.

        Raises:
            FeedError: the instrument is not in this session.
        """
        return self._find(instrument_id).state

    def has(self, instrument_id: int) -> bool:
        """Whether an instrument is in this session."""
        return instrument_id in self._tracks

    def awaits_snapshot(self, instrument_id: int) -> bool:
        """Whether a snapshot of a book was asked for and has not come."""
        track = self._tracks.get(instrument_id)
        return track is not None and track.requested_ns is not None

    def _find(self, instrument_id: int) -> BookTrack:
        track = self._tracks.get(instrument_id)
        if track is None:
            raise FeedError(f"instrument {instrument_id} is not in this session")
        return track

    # ---- the table ---------------------------------------------------------------------------

    def _fire(self, track: BookTrack, event: Event, now_ns: int, reason: BookReason | None = None) -> None:
        """Take one step of the table. The new state is set before its actions run."""
        if track.instrument_id in self.suspects.retired:
            return
        step = TABLE[track.state, event]
        state, why = step.state, REASON.get(event, BookReason.NONE) if reason is None else reason
        if state is BookState.LIVE and self.maintenance.is_closed:
            state, why = BookState.STALE, BookReason.MAINTENANCE
        elif state is BookState.LIVE and self.suspects.holds(track.instrument_id):
            state, why = BookState.STALE, BookReason.QUARANTINE
        is_resync = event is Event.TOKEN_GRANTED and track.live_ns is not None
        if state is not track.state or event in REASON_ALWAYS or is_resync:
            reached = BookState(self.core.set_state(track.instrument_id, state, why, now_ns))
            if reached is not state:  # the core refused: a crossed book never becomes LIVE
                self._counts["crossed"] += 1
                self._fire(track, Event.CROSSED, now_ns)
                return
            self._counts["resyncs"] += is_resync
            self.queue.on_state(track, state, now_ns)
        for action in step.actions:
            self._actions[action](track, now_ns)

    def _buffer(self, track: BookTrack, now_ns: int) -> None:
        diff = self._diff
        if diff is None:
            return
        if self._is_in_stream:
            # The next snapshot of the stream holds whatever came before it: only the number is kept, to see
            # gaps.
            track.buffer.last_sequence = diff.last_sequence
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
        self.findings.gap(Gap(track.instrument_id, track.symbol, expected, *diff[:3], diff.frame_ns))

    def _ask_token(self, track: BookTrack, now_ns: int) -> None:
        if not track.waiting and track.needs_snapshot:
            self.queue.ask(track)
            self._grant(now_ns)

    def _grant(self, now_ns: int) -> None:
        while (track := self.queue.take_due(now_ns, self._is_up)) is not None:
            self._fire(track, Event.TOKEN_GRANTED, now_ns)

    def _look_at_crowds(self, now_ns: int) -> None:
        """Have one line made anew where more books of a stream wait than resubscriptions mend soon."""
        if not self._is_in_stream or self._request_resubscribe is None or not len(self.queue):
            return
        books = Counter(track.stream for track in self._tracks.values())
        for stream, waiting in self.queue.waiting_by_stream().items():
            standing = self._standing(stream)
            if self._crowds.is_due(stream, waiting, books[stream], len(standing), now_ns):
                self._counts["line_renewals"] += 1
                self._ask_line(standing[0])

    def _send_request(self, track: BookTrack, now_ns: int) -> None:
        self.queue.on_request(track, now_ns)
        if not self._is_in_stream:
            self._counts["snapshot_requests"] += 1
            self._request_snapshot(track.instrument_id)
            return
        self._counts["resubscribes"] += 1
        if self._request_resubscribe is not None:
            self._request_resubscribe(track.instrument_id)
        else:
            self._ask_reconnect(track.stream)

    def _renew(self, track: BookTrack) -> bool:
        """Have a book's depth stream begun anew although it was not disproved; False = not now."""
        is_able = self._request_resubscribe is not None and (
            # There a resubscription is what the budget counts; one for a lost proof comes by itself.
            not self._is_in_stream
            or (track.state is BookState.STALE and self.queue.budget.take(self._time(None)))
        )
        if is_able and self._request_resubscribe is not None:
            self._counts["resubscribes"] += 1
            self._request_resubscribe(track.instrument_id)
        return is_able

    def _return_token(self, _track: BookTrack, _now_ns: int) -> None:
        self.queue.budget.give_back()

    def _apply(self, track: BookTrack, diff: Diff) -> bool:
        """Apply an update outside the core's LIVE path; False = it disproved the book (dealt with)."""
        try:
            self.core.apply_depth(track.instrument_id, diff.frame, diff.frame_ns)
        except ChecksumError as error:
            self._on_checksum(track, str(error), diff.frame, diff.frame_ns)
            return False
        except DecodeError as error:
            self._reject(str(error), diff.frame, diff.frame_ns, track.stream)
            self._counts["bad_levels"] += 1
            self._fire(track, Event.BAD_LEVEL, diff.frame_ns)
            return False
        return True

    def _on_checksum(self, track: BookTrack, error: str, frame: bytes, frame_ns: int) -> None:
        self._counts["checksum_errors"] += 1
        self._reject(error, frame, frame_ns, track.stream)
        self._fire(track, Event.CHECKSUM, frame_ns)

    # ---- the venue's word ---------------------------------------------------------------------

    def on_audit_difference(self, instrument_id: int, now_ns: int | None = None) -> None:
        """Note that an independent snapshot disagrees with a book: it is disproved.

        Raises:
            FeedError: the instrument is not in this session.
        """
        track, time_ns = self._find(instrument_id), self._time(now_ns)
        self.mutes.on_different(track, time_ns)
        self._fire(track, Event.AUDIT_DIFFERENCE, time_ns)

    def on_audit_equal(self, instrument_id: int, now_ns: int | None = None) -> None:
        """Note that an independent snapshot agrees with a book; one that was only too quiet is LIVE again.

        Raises:
            FeedError: the instrument is not in this session.
        """
        self.mutes.on_equal(self._find(instrument_id), self._time(now_ns))

    def known_range(self, instrument_id: int) -> KnownRange:
        """Prices of a book that are known.

        Raises:
            FeedError: the instrument is not in this session.
        """
        return self._find(instrument_id).known

    def snapshot_levels(self, instrument_id: int) -> int:
        """How deep a snapshot of a book should be: 0 = as all, or the deepest if its market moves far."""
        return self.adapter.snapshot_depths[0].levels if self._find(instrument_id).is_restless else 0

    def look_at_range(self, track: BookTrack, now_ns: int) -> None:
        """Begin a LIVE book anew, deeper, once the market has left the prices that its snapshot knew."""
        if track.state is BookState.LIVE and not track.known.covers(*self.core.book(track.instrument_id, 1)):
            self._counts["range_left"] += 1
            track.is_restless = True
            self._fire(track, Event.AUDIT_DIFFERENCE, now_ns, BookReason.RANGE)

    def may_audit(self, instrument_id: int) -> bool:
        """Whether comparing a book with a snapshot says anything: it is LIVE, or only too quiet."""
        track = self._tracks.get(instrument_id)
        return track is not None and self.mutes.may_be_asked_about(track)

    def _close_books(self, now_ns: int) -> None:
        """The venue says that it has closed: no book of it is to be traded on."""
        for track in list(self._tracks.values()):
            self._fire(track, Event.IMPLAUSIBLE, now_ns, BookReason.MAINTENANCE)

    def revive(self, instrument_id: int, now_ns: int | None = None) -> None:
        """Begin the book of an instrument anew that was retired and is listed again under the same terms.

        Raises:
            FeedError: the instrument is not in this session.
        """
        track, time_ns = self._find(instrument_id), self._time(now_ns)
        self.suspects.revive(instrument_id)
        track.state = BookState.SYNCING
        track.attempts, track.not_before_ns, track.snapshot_sequence = 0, 0, 0
        self.core.set_state(instrument_id, BookState.SYNCING, BookReason.START, time_ns)
        if self._is_in_stream:
            track.requested_ns = time_ns  # the subscription asks for the snapshot

    # ---- snapshots ---------------------------------------------------------------------------

    def on_snapshot(self, instrument_id: int, body: bytes, now_ns: int | None = None) -> None:
        """Take the body of a depth snapshot, asked for or not.

        Raises:
            FeedError: the instrument is not in this session.
        """
        track = self._find(instrument_id)
        self._counts["snapshots"] += 1
        if self._is_in_stream:  # no sequence of a body joins such a stream
            self._counts["snapshots_ignored"] += 1
            return
        track.requested_ns = None
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
        track.requested_ns = None
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
        shallow = [depth.levels for depth in self.adapter.snapshot_depths[1:]]
        track.known = KnownRange.of(*self.core.book(track.instrument_id), shallow)
        self._replay(track, now_ns)

    def _load_stream_snapshot(self, track: BookTrack, now_ns: int) -> None:
        diff = self._diff
        track.requested_ns = None
        if diff is None or not self._apply(track, diff):
            return
        self._fire(track, Event.PROVEN, now_ns)

    def _drop_snapshot(self, track: BookTrack, _now_ns: int) -> None:
        track.snapshot_sequence = 0
        track.requested_ns = None

    def _replay(self, track: BookTrack, now_ns: int) -> None:
        """Join the loaded snapshot with the buffered updates; without one to join yet, wait for it."""
        buffer, rule = track.buffer, self.adapter.snapshot_rule
        while len(buffer):
            where = join(rule, track.snapshot_sequence, *next(iter(buffer))[:3])
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
