"""What findings of the validation rules do to books: counted, marked, made STALE, or kept in quarantine.

A book in quarantine is not tradable however well its stream is proven: wherever the table says LIVE it
becomes STALE with reason QUARANTINE. Its updates are applied and looked at all the same; it is let go once it
has been calm for long enough, or by command, and the next good update makes it LIVE.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from feeds.errors import FeedError
from feeds.validation import Severity, Validator
from shm.enums import BookReason, BookState

if TYPE_CHECKING:
    from feeds.core import FeedCore
    from feeds.resync import BookTrack

SUSPECT_CLEAR_NS = 1_000_000_000


class Suspects:
    """Books that a rule found something about.

    Args:
        core: holds the certificates.
        validator: severities, and the counts by reason.
        tracks: what the session knows of each book.
        make_stale: makes a LIVE book STALE for a reason; called with the book's track, the time and the
        reason.
    """

    def __init__(
        self,
        core: FeedCore,
        validator: Validator,
        tracks: Mapping[int, BookTrack],
        make_stale: Callable[[BookTrack, int, BookReason], None],
    ) -> None:
        self._core, self.validator, self._tracks, self._make_stale = core, validator, tracks, make_stale
        self._recent: dict[int, deque[int]] = {}
        self._calm_since_ns: dict[int, int] = {}  # of the books in quarantine
        self._by_hand: set[int] = set()
        self.retired: set[int] = set()  # no event changes their books any more
        self.quarantines = 0
        self.releases = 0

    def holds(self, instrument_id: int) -> bool:
        """Whether a book is in quarantine."""
        return instrument_id in self._calm_since_ns

    @property
    def held(self) -> int:
        """How many books are in quarantine."""
        return len(self._calm_since_ns)

    def on_suspect(self, instrument_id: int, reason: BookReason, now_ns: int) -> None:
        """Deal with one finding; one about an instrument that is not in the session says nothing."""
        track = self._tracks.get(instrument_id)
        if track is None or instrument_id in self.retired:
            return
        self.validator.count(instrument_id, reason)
        severity = self.validator.severity(reason)
        if severity < Severity.STATUS:
            return
        is_new = track.suspect is not reason
        track.suspect, track.suspect_ns = reason, now_ns
        if severity is Severity.QUARANTINE and self._is_enough(instrument_id, now_ns):
            self.quarantine(instrument_id, now_ns)
        elif severity is Severity.STALE and track.state is BookState.LIVE:
            self._make_stale(track, now_ns, reason)
        elif is_new and not self.holds(instrument_id):
            self._core.set_state(instrument_id, track.state, reason, now_ns)

    def _is_enough(self, instrument_id: int, now_ns: int) -> bool:
        """Note a finding; True = it is in quarantine, or shall be."""
        settings = self.validator.settings
        if instrument_id in self._calm_since_ns:
            self._calm_since_ns[instrument_id] = now_ns
            return True
        recent = self._recent.setdefault(instrument_id, deque(maxlen=max(settings.quarantine_findings, 1)))
        recent.append(now_ns)
        is_full = len(recent) == recent.maxlen
        return is_full and now_ns - recent[0] <= settings.quarantine_window_ns

    def quarantine(self, instrument_id: int, now_ns: int, *, by_hand: bool = False) -> None:
        """Put a book into quarantine; one that is there stays for another while.

        Args:
            instrument_id: whose book.
            now_ns: now.
            by_hand: until `release`, however calm it is.

        Raises:
            FeedError: the instrument is not in this session.
        """
        track = self._find(instrument_id)
        is_new = not self.holds(instrument_id)
        if by_hand:
            self._by_hand.add(instrument_id)
        self._calm_since_ns[instrument_id] = now_ns
        if not is_new:
            return
        self.quarantines += 1
        if track.state is BookState.LIVE:
            self._make_stale(track, now_ns, BookReason.QUARANTINE)

    def release(self, instrument_id: int) -> bool:
        """Let a book go; False = it was not in quarantine. Its next good update makes it LIVE."""
        self._by_hand.discard(instrument_id)
        if self._calm_since_ns.pop(instrument_id, None) is None:
            return False
        self._recent.pop(instrument_id, None)
        self.releases += 1
        return True

    def retire(self, instrument_id: int, now_ns: int) -> None:
        """End a book whose instrument is listed no more, or under other terms: DESYNC, DELISTED, for good.

        Raises:
            FeedError: the instrument is not in this session.
        """
        track = self._find(instrument_id)
        if instrument_id in self.retired:
            return
        self.retired.add(instrument_id)
        self._calm_since_ns.pop(instrument_id, None)
        track.buffer.clear()
        track.requested_ns = None
        track.suspect = BookReason.NONE
        track.state = BookState.DESYNC
        self._core.set_state(instrument_id, BookState.DESYNC, BookReason.DELISTED, now_ns)

    def revive(self, instrument_id: int) -> None:
        """Let events change the book of a retired instrument again; an operator's hand still holds it."""
        self.retired.discard(instrument_id)
        if instrument_id in self._by_hand:
            self._calm_since_ns[instrument_id] = 0

    def _find(self, instrument_id: int) -> BookTrack:
        track = self._tracks.get(instrument_id)
        if track is None:
            raise FeedError(f"instrument {instrument_id} is not in this session")
        return track

    def on_timer(self, track: BookTrack, now_ns: int) -> None:
        """Take back a mark that nothing has renewed, and end a quarantine that has been calm."""
        calm_ns = self.validator.settings.quarantine_calm_ns
        since_ns = self._calm_since_ns.get(track.instrument_id)
        if since_ns is not None:
            is_calm = calm_ns and now_ns - since_ns > calm_ns
            if is_calm and track.instrument_id not in self._by_hand:
                self.release(track.instrument_id)
            return
        if track.suspect and now_ns - track.suspect_ns > SUSPECT_CLEAR_NS:
            track.suspect = BookReason.NONE
            self._core.set_state(track.instrument_id, track.state, BookReason.NONE, now_ns)
