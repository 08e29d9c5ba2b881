"""What a feed session is told, and what it reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from feeds.lateness import ClockWatch
from feeds.quiet import QuietSettings
from feeds.validation import ValidationSettings

SECOND_NS = 1_000_000_000

#: What a session counts (`FeedSession.statistics`).
COUNTS = (
    "gaps", "rewinds", "resyncs", "snapshot_requests", "snapshots", "snapshots_ignored", "snapshots_too_old",
    "snapshot_failures", "buffered", "buffer_dropped", "buffer_overflows", "rejected", "duplicates",
    "control", "control_errors", "unknown_symbols", "silences", "clock_jumps", "connects", "disconnects",
    "crossed", "bad_levels", "checksum_errors", "stream_snapshots", "resubscribes", "notices",
    "line_renewals", "parked", "filled", "waits_over", "range_left",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """Bounds and times of a session; 0 switches a time off."""

    silence_ns: int = 3 * SECOND_NS  # no frame on a connection for this long: its books become STALE
    reconnect_silence_ns: int = 15 * SECOND_NS  # ... and for this long: ask for a new connection
    # The timer came this late and a line has brought nothing since, or the wall clock leaped: STALE.
    clock_jump_ns: int = 2 * SECOND_NS
    late_ns: int = (
        SECOND_NS // 4
    )  # the timer came this late: what waits in the sockets is read before it judges
    snapshot_timeout_ns: int = 10 * SECOND_NS
    old_updates_max: int = 3  # so many old updates, none in sequence between, say that the numbers began anew
    resync_tokens: int = 100  # snapshot requests at once ...
    resync_per_second: float = 0.25  # ... and lasting; `feeds.resync.snapshot_budget` has them for a venue
    resync_backoff_ns: int = SECOND_NS // 4
    resync_backoff_max_ns: int = 30 * SECOND_NS
    buffer_frames: int = 20_000
    buffer_bytes: int = 64 * 1024 * 1024
    gaps_kept: int = 10_000
    rejections_kept: int = 100
    connections: int = 64
    merges: bool = False  # lines are merged from the start, also while each stream has one only
    reorder_ns: int = SECOND_NS // 4  # an update behind a hole waits so long for another line to fill it
    reorder_frames: int = 4_096  # of one book, parked at most
    reorder_bytes: int = 8 * 1024 * 1024
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    quiet: QuietSettings = field(default_factory=QuietSettings)  # of single books on a line that goes on

    def clock_watch(self, utc_ns: Callable[[], int] | None) -> ClockWatch:
        """Return a new watch of the clock by these limits."""
        return ClockWatch(self.clock_jump_ns, utc_ns, late_ns=self.late_ns, long_ns=self.reconnect_silence_ns)


class Gap(NamedTuple):
    """A break in a depth stream: what was expected, what came."""

    instrument_id: int
    symbol: str
    expected: int  # last proven (or last buffered) sequence, which the update should have followed
    first_sequence: int
    last_sequence: int
    previous_sequence: int
    frame_ns: int

    def __str__(self) -> str:
        return (
            f"{self.symbol}: gap: expected an update after {self.expected}, got {self.first_sequence}"
            f"..{self.last_sequence} after {self.previous_sequence}"
        )


class Rejection(NamedTuple):
    """A frame or body that was refused, and why; `frame` is cut to its first bytes."""

    frame_ns: int
    connection: int  # -1 = a snapshot body
    error: str
    frame: bytes
