"""When a book may be trusted: the rules that prove a stream has no gap, and the state machine as one table.

Nothing here does I/O or keeps state. `TABLE` decides every (state, event) pair; `describe()` prints it for
the README, and a test compares both.
"""

from __future__ import annotations

from enum import Enum, IntEnum, auto
from typing import NamedTuple

from shm.enums import BookReason, BookState


class ContinuityRule(IntEnum):
    """How an update proves that it follows the last proven one (numbers are read by the compiled core)."""

    PREVIOUS = 1  # its previous_sequence is the proven one
    NEXT = 2  # its first_sequence is the proven one plus 1


class SnapshotRule(Enum):
    """Which update may be the first one applied on a snapshot with a sequence of its own."""

    INSIDE = auto()  # drop last < id; the first kept has first <= id <= last
    NEXT = auto()  # drop last <= id; the first kept has first <= id + 1 <= last
    IN_STREAM = auto()  # it comes in the stream itself, and the next update follows it


class Join(Enum):
    """Where an update stands against a snapshot."""

    BEFORE = auto()  # the snapshot holds it already
    JOINS = auto()  # it may be the first one applied
    AFTER = auto()  # updates between the two are missing: the snapshot is too old


class Event(Enum):
    """What can happen to a book."""

    DEPTH_IN_SEQUENCE = auto()  # a depth update that follows the last one (applied when LIVE or STALE)
    DEPTH_GAP = auto()  # a depth update that does not follow the last one
    DEPTH_OLD = auto()  # a depth update that is not newer than the last one
    DEPTH_REWOUND = auto()  # old updates went on, none in sequence between: the venue's numbers began anew
    SNAPSHOT = auto()  # a snapshot body arrived
    STREAM_SNAPSHOT = auto()  # a whole book arrived in the stream (applied at once when LIVE)
    PROVEN = auto()  # snapshot and buffered updates joined without a gap
    SNAPSHOT_TOO_OLD = auto()  # updates between the snapshot and the first buffered one are missing
    SNAPSHOT_FAILED = auto()  # the request failed, timed out, or its body was rejected
    SOCKET_UP = auto()
    SOCKET_LOST = auto()
    SILENCE = auto()  # no frame on the carrying stream for longer than allowed
    VOUCHED = auto()  # silent, but an independent snapshot agrees: quiet at the venue too
    CLOCK_JUMP = auto()  # the clock or this process stood still or leaped
    IMPLAUSIBLE = auto()  # a validation rule of severity STALE found something
    BAD_LEVEL = auto()  # an update of this book could not be applied exactly
    CROSSED = auto()  # best bid at or above best ask after an update
    CHECKSUM = auto()  # the book is not what the venue's checksum says
    AUDIT_DIFFERENCE = auto()  # an independent snapshot disagrees
    BUFFER_OVERFLOW = auto()  # more buffered updates than allowed
    TOKEN_GRANTED = auto()  # the resync budget allows one snapshot request


class Action(Enum):
    """What the session does, in order, after the new state is set."""

    BUFFER = auto()
    CLEAR_BUFFER = auto()
    REPORT_GAP = auto()
    ASK_TOKEN = auto()
    REQUEST_SNAPSHOT = auto()
    LOAD_SNAPSHOT = auto()
    LOAD_STREAM_SNAPSHOT = auto()
    DROP_SNAPSHOT = auto()
    RETURN_TOKEN = auto()


class Transition(NamedTuple):
    """Next state and what is done on the way."""

    state: BookState
    actions: tuple[Action, ...]


# Reason written into the certificate when an event changes a book's state.
REASON: dict[Event, BookReason] = {
    Event.DEPTH_IN_SEQUENCE: BookReason.PROVEN,
    Event.DEPTH_GAP: BookReason.GAP,
    Event.DEPTH_OLD: BookReason.GAP,
    Event.DEPTH_REWOUND: BookReason.GAP,
    Event.SNAPSHOT: BookReason.RESYNC_GRANTED,
    Event.STREAM_SNAPSHOT: BookReason.RESYNC_GRANTED,
    Event.PROVEN: BookReason.PROVEN,
    Event.SNAPSHOT_TOO_OLD: BookReason.SNAPSHOT_TOO_OLD,
    Event.SOCKET_LOST: BookReason.SOCKET_LOST,
    Event.SILENCE: BookReason.SILENCE,
    Event.VOUCHED: BookReason.PROVEN,
    Event.CLOCK_JUMP: BookReason.CLOCK,
    Event.IMPLAUSIBLE: BookReason.TIMESTAMP,
    Event.BAD_LEVEL: BookReason.BAD_LEVEL,
    Event.CROSSED: BookReason.CROSSED,
    Event.CHECKSUM: BookReason.CHECKSUM,
    Event.AUDIT_DIFFERENCE: BookReason.AUDIT,
    Event.BUFFER_OVERFLOW: BookReason.BUFFER_OVERFLOW,
    Event.TOKEN_GRANTED: BookReason.RESYNC_GRANTED,
}

# Set even when the state stays, so that a reader sees why a book is still not LIVE.
REASON_ALWAYS = frozenset({Event.SNAPSHOT_TOO_OLD})

STATES = (BookState.SYNCING, BookState.LIVE, BookState.STALE, BookState.DESYNC)


def _table() -> dict[tuple[BookState, Event], Transition]:
    syncing, live, stale, desync = STATES
    a, e = Action, Event
    # A stream that broke is buffered from the update behind the break: a snapshot taken later joins there.
    restart = (a.REPORT_GAP, a.CLEAR_BUFFER, a.BUFFER)
    renew = (*restart, a.ASK_TOKEN)
    # Numbers that began anew: a snapshot loaded before knows the old ones and could never be joined.
    rewound = (a.REPORT_GAP, a.CLEAR_BUFFER, a.DROP_SNAPSHOT, a.BUFFER, a.ASK_TOKEN)
    refetch = (a.DROP_SNAPSHOT, a.ASK_TOKEN)
    disproved = Transition(desync, (a.CLEAR_BUFFER, a.DROP_SNAPSHOT, a.ASK_TOKEN))
    rows: dict[Event, tuple[Transition, Transition, Transition, Transition]] = {}

    def row(event: Event, *cells: Transition) -> None:
        rows[event] = (cells[0], cells[1], cells[2], cells[3])

    def to(state: BookState, *actions: Action) -> Transition:
        return Transition(state, actions)

    # Columns: SYNCING, LIVE, STALE, DESYNC.
    # A snapshot is asked for once an update is buffered: it can then not be older than all of them.
    row(e.DEPTH_IN_SEQUENCE, to(syncing, a.BUFFER, a.ASK_TOKEN), to(live), to(live), to(desync, a.BUFFER))
    row(e.DEPTH_GAP, to(syncing, *renew), to(desync, *renew), to(syncing, *renew), to(desync, *restart))
    # A repeat says nothing against a book that is in sequence; for a STALE one it is no proof, and behind a
    # new socket it is how a venue that restarted its numbers looks.
    row(e.DEPTH_OLD, to(syncing), to(live), to(syncing, *renew), to(desync))
    row(e.DEPTH_REWOUND, to(syncing, *rewound), to(desync, *rewound), to(syncing, *rewound),
        to(desync, *restart))  # fmt: skip
    row(e.SNAPSHOT, to(syncing, a.LOAD_SNAPSHOT), to(live), to(stale), to(syncing, a.LOAD_SNAPSHOT))
    whole = to(syncing, a.LOAD_STREAM_SNAPSHOT)
    row(e.STREAM_SNAPSHOT, whole, to(live), whole, whole)
    row(e.PROVEN, to(live, a.CLEAR_BUFFER, a.DROP_SNAPSHOT), to(live), to(stale), to(desync))
    row(e.SNAPSHOT_TOO_OLD, to(syncing, *refetch), to(live), to(stale), to(desync, *refetch))
    row(e.SNAPSHOT_FAILED, to(syncing, *refetch), to(live), to(stale), to(desync, *refetch))
    row(e.SOCKET_UP, to(syncing), to(live), to(stale), to(desync, a.ASK_TOKEN))
    row(e.SOCKET_LOST, to(syncing, a.CLEAR_BUFFER, a.DROP_SNAPSHOT), to(stale), to(stale),
        to(desync, a.CLEAR_BUFFER, a.DROP_SNAPSHOT, a.ASK_TOKEN))  # fmt: skip
    row(e.VOUCHED, to(syncing), to(live), to(live), to(desync))
    for event in (e.SILENCE, e.CLOCK_JUMP, e.IMPLAUSIBLE):
        row(event, to(syncing), to(stale), to(stale), to(desync))
    for event in (e.BAD_LEVEL, e.CROSSED, e.CHECKSUM):
        row(event, disproved, disproved, disproved, disproved)
    row(e.AUDIT_DIFFERENCE, to(syncing), disproved, disproved, to(desync))
    row(e.BUFFER_OVERFLOW, disproved, to(live), to(stale), to(desync, a.CLEAR_BUFFER))
    row(e.TOKEN_GRANTED, to(syncing, a.REQUEST_SNAPSHOT), to(live, a.RETURN_TOKEN), to(stale, a.RETURN_TOKEN),
        to(syncing, a.REQUEST_SNAPSHOT))  # fmt: skip
    return {
        (state, event): cell
        for event, cells in rows.items()
        for state, cell in zip(STATES, cells, strict=True)
    }


TABLE = _table()


def classify(
    rule: ContinuityRule,
    proven: int,
    first: int,
    last: int,
    previous: int,
    *,
    is_unnumbered: bool = False,
    overlaps: bool = False,
) -> Event:
    """Say whether a depth update follows the last proven sequence.

    Args:
        rule: the venue's continuity rule.
        proven: last proven (or last buffered) sequence.
        first: first sequence of the update (0 where a venue has none, as for `previous`).
        last: its last sequence.
        previous: the last sequence of the update before it, as it claims.
        is_unnumbered: its only number is its time: a checksum proves it, and the time orders.
        overlaps: it came over another line than the one before, and may begin before the proven sequence:
            levels are absolute.

    Returns:
        DEPTH_IN_SEQUENCE, DEPTH_OLD (nothing new in it) or DEPTH_GAP.
    """
    if is_unnumbered:
        return Event.DEPTH_IN_SEQUENCE if last >= proven else Event.DEPTH_OLD
    follows = first == proven + 1 if rule is ContinuityRule.NEXT else previous == proven
    if follows or (overlaps and 0 < previous < proven < last):
        return Event.DEPTH_IN_SEQUENCE
    return Event.DEPTH_OLD if last <= proven else Event.DEPTH_GAP


def join(rule: SnapshotRule, snapshot: int, first: int, last: int, previous: int) -> Join:
    """Say whether an update may be the first one applied on a snapshot.

    An update whose previous_sequence is not beyond the snapshot joins too, even if its first_sequence is:
    numbers are shared by all instruments of a venue, nothing of this one happened in between, and levels are
    absolute.

    Args:
        rule: the venue's snapshot rule.
        snapshot: sequence of the snapshot.
        first: first sequence of the update.
        last: its last sequence.
        previous: the last sequence of the update before it, as it claims (0 where a venue has none).

    Source: "How to manage a local order book correctly" of the venues that publish diffs with REST snapshots.
    """
    if rule is SnapshotRule.INSIDE:
        if last < snapshot:
            return Join.BEFORE
        return Join.JOINS if first <= snapshot or 0 < previous <= snapshot else Join.AFTER
    if rule is SnapshotRule.IN_STREAM:
        return Join.BEFORE  # the next snapshot in the stream holds it
    if last <= snapshot:
        return Join.BEFORE
    return Join.JOINS if first <= snapshot + 1 else Join.AFTER


def describe() -> str:
    """Print the table as Markdown: a row per event, a column per state; `·` where nothing happens."""
    lines = ["| event | " + " | ".join(s.name for s in STATES) + " |", "| --- |" + " --- |" * len(STATES)]
    for event in Event:
        cells = []
        for state in STATES:
            step = TABLE[state, event]
            parts = [f"**→ {step.state.name}**"] if step.state is not state else []
            parts += [", ".join(x.name.lower() for x in step.actions)] if step.actions else []
            cells.append(" ".join(parts) or "·")
        lines.append(f"| {event.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
