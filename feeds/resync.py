"""What a book needs while it is not LIVE: buffered updates, and its place in the queue for snapshots."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from feeds.known_range import WHOLE, KnownRange
from feeds.transport.throttle import TokenBucket
from shm.enums import BookReason, BookState


def snapshot_budget(weight_per_minute: int, weight: int) -> tuple[int, float]:
    """Split a venue's request weight into snapshots at once and snapshots a second after that.

    Five sixths of a minute at once and an eighth of it over each minute: the worst minute stays below the
    venue's limit, with room for other requests of the same address.

    Args:
        weight_per_minute: what the venue grants one address.
        weight: of one snapshot request.
    """
    return max(weight_per_minute * 5 // (6 * weight), 1), weight_per_minute / (8 * weight) / 60


CROWD_WAIT_S = 60.0
CROWD_SHARE = 4
CROWD_PAUSE_NS = 20_000_000_000


class CrowdWatch:
    """Says when so many books of one stream wait that a new socket mends them sooner than the budget.

    A budget that grants a resubscription in half a minute mends two hundred books in hours; a new socket
    brings the whole book of each with a few requests. Where another line of the stream stands meanwhile, that
    costs nothing; where none does, the stream's other books are STALE for a moment, so a quarter of them must
    wait.

    Args:
        per_second: resubscriptions that the budget grants, lasting.
    """

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._renewed_ns: dict[int, int] = {}

    def is_due(self, stream: int, waiting: int, books: int, lines: int, now_ns: int) -> bool:
        """Say whether one line of a stream shall be made anew now; True for each at most once in 20 s.

        Args:
            stream: its number.
            waiting: books of it that wait for a token.
            books: all its books.
            lines: how many lines of it stand.
            now_ns: monotonic time.
        """
        is_long = waiting > CROWD_WAIT_S * self._per_second
        is_cheap = lines > 1 or waiting * CROWD_SHARE >= books
        renewed_ns = self._renewed_ns.get(stream)
        is_early = renewed_ns is not None and now_ns - renewed_ns < CROWD_PAUSE_NS
        if not lines or not is_long or not is_cheap or is_early:
            return False
        self._renewed_ns[stream] = now_ns
        return True


class Diff(NamedTuple):
    """One depth update kept as received."""

    first_sequence: int
    last_sequence: int
    previous_sequence: int
    frame: bytes
    frame_ns: int


class SilenceWatch:
    """Says once for each silence that it begins.

    Args:
        limit_ns: how long a connection may bring nothing; 0 = not watched.
    """

    def __init__(self, limit_ns: int) -> None:
        self.limit_ns = limit_ns
        self._silent: set[int] = set()

    def begins(self, connection: int, quiet_ns: int) -> bool:
        """Say whether a connection that was quiet for so long has just become silent."""
        if not self.limit_ns or quiet_ns <= self.limit_ns:
            self._silent.discard(connection)
            return False
        is_new = connection not in self._silent
        self._silent.add(connection)
        return is_new

    def end(self, connection: int) -> None:
        """Note that a connection stands anew."""
        self._silent.discard(connection)


class DiffBuffer:
    """Depth updates in order, bounded by count and by bytes."""

    def __init__(self, frames_max: int, bytes_max: int) -> None:
        self.frames_max = frames_max
        self.bytes_max = bytes_max
        self._diffs: deque[Diff] = deque()
        self.size_bytes = 0
        self.last_sequence = 0  # of the newest update seen, also after it was taken out

    def __len__(self) -> int:
        return len(self._diffs)

    def __iter__(self) -> Iterator[Diff]:
        return iter(self._diffs)

    def append(self, diff: Diff) -> bool:
        """Keep an update; False = over a bound, and it was not kept."""
        if len(self._diffs) >= self.frames_max or self.size_bytes + len(diff.frame) > self.bytes_max:
            return False
        self._diffs.append(diff)
        self.size_bytes += len(diff.frame)
        self.last_sequence = diff.last_sequence
        return True

    def pop(self) -> Diff:
        """Take the oldest update out."""
        diff = self._diffs.popleft()
        self.size_bytes -= len(diff.frame)
        return diff

    def clear(self) -> int:
        """Forget everything; returns how many updates were dropped."""
        dropped = len(self._diffs)
        self._diffs.clear()
        self.size_bytes = 0
        self.last_sequence = 0
        return dropped


@dataclass(slots=True)
class BookTrack:
    """What the session knows of one book, beside what the core holds."""

    instrument_id: int
    symbol: str
    stream: int
    buffer: DiffBuffer
    state: BookState = BookState.SYNCING
    snapshot_sequence: int = 0  # of a loaded snapshot that waits for its first update; 0 = none
    requested_ns: int | None = None  # when the snapshot now awaited was asked for
    waiting: bool = False  # in the queue for a token
    attempts: int = 0  # requests since the book was last LIVE for long
    live_ns: int | None = None  # when it last became LIVE
    not_before_ns: int = 0  # no request earlier than this
    loaded_ns: int = 0  # when that snapshot was loaded
    old_after: int = -1  # last sequence behind which old updates came ...
    old_updates: int = 0  # ... and how many, none in sequence between
    suspect: BookReason = BookReason.NONE  # finding of a validation rule that stands
    suspect_ns: int = 0
    mute_ns: int | None = None  # since when nothing comes of it on a line that stands; None = it is not mute
    asked_ns: int = 0  # when the venue was last asked about it for that ...
    renewed_ns: int = 0  # ... when its stream was last begun anew ...
    renewals: int = 0  # ... and how often
    known: KnownRange = WHOLE  # prices that its snapshot knew ...
    is_restless: bool = False  # ... and whether the market left such a range before

    @property
    def needs_snapshot(self) -> bool:
        """Whether a snapshot would help: the book is not proven, and none is loaded or under way."""
        is_unproven = self.state in (BookState.SYNCING, BookState.DESYNC)
        return is_unproven and self.requested_ns is None and not self.snapshot_sequence

    def count_old(self, last: int) -> int:
        """Count an update that is not newer than `last`; returns how many came since `last` was reached."""
        self.old_updates = self.old_updates + 1 if last == self.old_after else 1
        self.old_after = last
        return self.old_updates


@dataclass(slots=True)
class SnapshotQueue:
    """Who may ask for a snapshot now: first come first served, within a budget, with back-off per book.

    The budget keeps a busy moment from becoming a storm of requests; the back-off keeps one book that never
    heals from using up the budget of all others.
    """

    budget: TokenBucket
    backoff_ns: int
    backoff_max_ns: int
    _waiting: deque[BookTrack] = field(default_factory=deque)

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, track: BookTrack) -> None:
        """Queue a book for a token, once."""
        if not track.waiting:
            track.waiting = True
            self._waiting.append(track)

    def waiting_by_stream(self) -> Counter[int]:
        """How many books of each stream wait for a token."""
        return Counter(track.stream for track in self._waiting if track.needs_snapshot)

    def take_due(self, now_ns: int, is_up: Callable[[int], bool]) -> BookTrack | None:
        """Take the first book whose socket stands and whose back-off is over, together with a token."""
        for index, track in enumerate(self._waiting):
            if not track.needs_snapshot:
                del self._waiting[index]
                track.waiting = False
                return self.take_due(now_ns, is_up)
            if is_up(track.stream) and track.not_before_ns <= now_ns:
                if not self.budget.take(now_ns):
                    return None
                del self._waiting[index]
                track.waiting = False
                return track
        return None

    def on_state(self, track: BookTrack, state: BookState, now_ns: int) -> None:
        """Set a book's state; one that was LIVE as long as the longest back-off starts afresh."""
        if state is BookState.LIVE and track.state is not BookState.LIVE:
            track.live_ns = now_ns
            track.suspect = BookReason.NONE
            track.mute_ns = None
        elif track.state is BookState.LIVE and state is not BookState.LIVE:
            was_long = track.live_ns is not None and now_ns - track.live_ns >= self.backoff_max_ns
            track.attempts = 0 if was_long else track.attempts
        track.state = state

    def on_request(self, track: BookTrack, now_ns: int) -> None:
        """Note a request; the next one of this book waits twice as long as this one did."""
        track.requested_ns = now_ns
        wait_ns = min(self.backoff_ns << min(track.attempts, 40), self.backoff_max_ns)
        track.not_before_ns = now_ns + wait_ns
        track.attempts += 1
