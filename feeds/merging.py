"""Make before break: one stream over several connections, merged by sequence, first arrival wins.

A *line* is one of the connections that carry a stream (a group of subscriptions). The compiled core takes
what is next and drops what came before; what remains to decide is an update that is ahead: the one before it
may still come over another line. `TABLE` decides that, `ParkedUpdates` keeps what waits, `Lines`
knows who carries what, `RotationClock` when a line is due to be replaced. No I/O, no clock.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from feeds.core import LINES_MAX
from feeds.errors import FeedError
from feeds.resync import Diff


class Arrival(Enum):
    """What can happen to the depth updates of one book that come over several lines."""

    NEXT = auto()  # an update that follows the last one
    OLD = auto()  # an update that another line brought, or what replaced it
    AHEAD = auto()  # an update behind a hole
    WAIT_OVER = auto()  # the first parked update has waited as long as it may
    LINE_LOST = auto()  # a line of the group is gone or silent
    FULL = auto()  # an update behind a hole, and no room to park it


class Step(Enum):
    """What is done then."""

    TAKE = auto()  # apply it, then what was parked behind it
    DROP = auto()
    PARK = auto()  # keep it until the hole is filled
    GAP = auto()  # the hole is a gap: report it, and go on behind it
    WAIT = auto()  # nothing: what is parked goes on waiting


#: (what happened, may another line still fill the hole) → what is done.
TABLE: dict[tuple[Arrival, bool], Step] = {
    (Arrival.NEXT, False): Step.TAKE,
    (Arrival.NEXT, True): Step.TAKE,
    (Arrival.OLD, False): Step.DROP,
    (Arrival.OLD, True): Step.DROP,
    (Arrival.AHEAD, False): Step.GAP,
    (Arrival.AHEAD, True): Step.PARK,
    (Arrival.WAIT_OVER, False): Step.GAP,
    (Arrival.WAIT_OVER, True): Step.GAP,
    (Arrival.LINE_LOST, False): Step.GAP,
    (Arrival.LINE_LOST, True): Step.WAIT,
    (Arrival.FULL, False): Step.GAP,
    (Arrival.FULL, True): Step.GAP,
}


def may_fill(carried: tuple[int, ...], line: int, proven: int, alive: int) -> bool:
    """Say whether another line may still bring what is missing behind `proven`.

    A line that has brought something behind the hole already brought nothing of it: lines keep the order.

    Args:
        carried: newest sequence each line brought of this book, 0 = it does not carry it.
        line: the line that is ahead (-1 = none is asked about).
        proven: last sequence before the hole.
        alive: bit per line: it stands and is not silent.
    """
    return any(
        0 < newest <= proven
        for number, newest in enumerate(carried)
        if number != line and alive >> number & 1
    )


class Parked(NamedTuple):
    """An update that waits for the one before it."""

    last_sequence: int
    frame_ns: int
    line: int
    diff: Diff


class ParkedUpdates:
    """Updates of one book behind a hole, in order of their sequence, bounded by count and bytes."""

    def __init__(self, frames_max: int, bytes_max: int) -> None:
        self.frames_max, self.bytes_max = frames_max, bytes_max
        self.size_bytes = 0
        self._updates: list[Parked] = []

    def __len__(self) -> int:
        return len(self._updates)

    def __iter__(self) -> Iterator[Parked]:
        return iter(self._updates)

    def has(self, last_sequence: int) -> bool:
        """Say whether an update of this number waits already: another line brought it."""
        return any(one.last_sequence == last_sequence for one in self._updates)

    def park(self, diff: Diff, line: int) -> bool:
        """Keep an update; False = over a bound, and it was not kept."""
        if len(self._updates) >= self.frames_max or self.size_bytes + len(diff.frame) > self.bytes_max:
            return False
        insort(self._updates, Parked(diff.last_sequence, diff.frame_ns, line, diff))
        self.size_bytes += len(diff.frame)
        return True

    def waits_since(self) -> int:
        """Receive time of the one that waits longest; only when there is one."""
        return min(one.frame_ns for one in self._updates)

    def take(self) -> list[Parked]:
        """Take all out, in order."""
        taken, self._updates, self.size_bytes = self._updates, [], 0
        return taken


@dataclass(slots=True)
class Line:
    """One connection of a group."""

    connection: int
    stream: int
    line: int
    is_up: bool = False
    is_silent: bool = False

    @property
    def is_alive(self) -> bool:
        """Whether something can be expected of it."""
        return self.is_up and not self.is_silent


@dataclass(slots=True)
class Lines:
    """Which connection carries which stream; one never added carries the stream of its own number."""

    _by_connection: dict[int, Line] = field(default_factory=dict)

    def add(self, connection: int, stream: int) -> Line:
        """Add a connection as a line of a stream, under the lowest number that is free.

        Raises:
            FeedError: the connection is a line already, or the stream has as many as it may.
        """
        if connection in self._by_connection:
            raise FeedError(f"connection {connection} is a line already")
        taken = {line.line for line in self.of_stream(stream)}
        number = next((n for n in range(LINES_MAX) if n not in taken), -1)
        if number < 0:
            raise FeedError(f"stream {stream} has {LINES_MAX} lines, it can not have more")
        line = self._by_connection[connection] = Line(connection, stream, number)
        return line

    def remove(self, connection: int) -> None:
        """Forget a connection."""
        self._by_connection.pop(connection, None)

    def find(self, connection: int) -> Line | None:
        """Return the line of a connection, if it is one."""
        return self._by_connection.get(connection)

    def get(self, connection: int) -> Line:
        """Return the line of a connection, adding it if it is new."""
        line = self._by_connection.get(connection)
        return self.add(connection, connection) if line is None else line

    def of_stream(self, stream: int) -> list[Line]:
        """Return all lines of a stream."""
        return [line for line in self._by_connection.values() if line.stream == stream]

    def is_up(self, stream: int) -> bool:
        """Say whether any line of a stream stands."""
        return any(line.is_up for line in self._by_connection.values() if line.stream == stream)

    def alive(self, stream: int) -> int:
        """Return a bit for each line of a stream that stands and is not silent."""
        bits = 0
        for line in self._by_connection.values():
            if line.stream == stream and line.is_alive:
                bits |= 1 << line.line
        return bits

    def __iter__(self) -> Iterator[Line]:
        return iter(list(self._by_connection.values()))


class LineCounts(NamedTuple):
    """What one connection brought."""

    connection: int
    stream: int
    line: int
    frames: int
    won: int  # applied or published: it was first
    late: int  # another line was


@dataclass(frozen=True, slots=True)
class RotationClock:
    """When each line of a venue's groups shall be replaced, before the venue ends it.

    The lines of a group, and the groups among themselves, are spread over half of the time that is left after
    the margin, so that a venue never sees them come back together.

    Args:
        life_ns: how long the venue lets a connection live; 0 = for ever.
        margin_ns: how long before that the last one is replaced.
        places: lines in all.
    """

    life_ns: int
    margin_ns: int
    places: int

    def due_ns(self, opened_ns: int, place: int) -> int | None:
        """Return when the line at a place, opened then, is due; None = never."""
        if not self.life_ns:
            return None
        most = max(self.life_ns - self.margin_ns, self.life_ns // 2)
        return opened_ns + most - most * place // (2 * max(self.places, 1))
