"""Every ring of a run, with who writes it, who reads it and how far behind the readers are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from shm.enums import SegmentKind
from shm.layout import STRUCTS, WORKER_SLOTS
from shm.ring import BroadcastRing
from shm.spsc import SpscRing
from shm.words import load_acquire
from tools.outside.rates import Rates
from tools.outside.view import RunView
from tools.outside.workers import Machine, WorkerRow

Kind = Literal["market", "intents", "reports", "requests", "blobs"]


class RingKind(NamedTuple):
    """What the name of a ring says: which records it carries and what is in its two numbers.

    Attributes:
        name: for people.
        segment: kind of the segment.
        stamp: byte offset in a record of the time it was written, None = its records bear none.
    """

    name: Kind
    segment: SegmentKind
    stamp: int | None


RING_KINDS: dict[str, RingKind] = {
    "md": RingKind("market", SegmentKind.MARKET_RING, STRUCTS["shm_market_record"].offset("publish_ns")),
    "intents": RingKind("intents", SegmentKind.INTENT_RING, STRUCTS["shm_intent_record"].offset("decide_ns")),
    "reports": RingKind("reports", SegmentKind.REPORT_RING, STRUCTS["shm_report_record"].offset("report_ns")),
    "requests": RingKind("requests", SegmentKind.BLOB_RING, None),
    "blobs": RingKind("blobs", SegmentKind.BLOB_RING, None),
}
SPSC_SLOTS_AT = STRUCTS["shm_ring_header"].size_bytes
BROADCAST_SLOTS_AT = SPSC_SLOTS_AT + WORKER_SLOTS * STRUCTS["shm_ring_reader"].size_bytes


@dataclass(frozen=True, slots=True)
class ReaderRow:
    """One reader of a ring.

    Attributes:
        worker, worker_state: name and state of its worker.
        position: sequence consumed up to.
        lag: records not consumed yet.
        lag_ns: age of the oldest of these; 0 = none, None = its age can not be told.
        lapped, laps: records lost, times overtaken; 0 for ever on a lossless ring.
        lapped_now: lost since the last look.
        is_behind: more than half the capacity behind: it will soon be lapped, or the writer refused.
        wakes_per_s: wake-ups of the worker by its doorbell, from whatever ring.
    """

    slot: int
    worker: str
    worker_state: str
    is_alive: bool
    position: int
    lag: int
    lag_ns: int | None
    lapped: int
    laps: int
    lapped_now: int
    is_behind: bool
    wakes_per_s: float | None


@dataclass(frozen=True, slots=True)
class RingRow:
    """One ring.

    Attributes:
        ring: short name of its segment.
        priority: 1 critical … 4 experimental, None if the ring has none.
        use: share of the capacity that the slowest reader has not consumed, 0 to 1.
        refused: offers refused because it was full, None on a ring that never refuses.
        waits: whether a refused producer waits for room.
        doorbells: sleepers its writer woke, one system call each.
    """

    ring: str
    kind: Kind
    priority: int | None
    writer_slot: int
    writer: str
    writer_state: str
    writer_is_alive: bool
    capacity: int
    slot_bytes: int
    cursor: int
    rate_per_s: float | None
    use: float
    doorbells: int
    doorbells_per_s: float | None
    refused: int | None
    refused_per_s: float | None
    waits: bool
    readers: tuple[ReaderRow, ...]

    @property
    def lag(self) -> int:
        """Lag of the slowest reader in records."""
        return max((reader.lag for reader in self.readers), default=0)


class Place(NamedTuple):
    """Where a ring stands in the graph, read from its name."""

    kind: RingKind
    priority: int | None
    writer: int
    reader: int | None


def place_of(base: str, numbers: Sequence[int]) -> Place | None:
    """Kind, writer slot and reader slot of the ring `base.N.N`, None if that is no ring's name."""
    kind = RING_KINDS.get(base)
    if kind is None or len(numbers) != 2 or max(numbers) >= WORKER_SLOTS:
        return None
    first, second = numbers
    # A market ring is `md.<feed>.<priority>` and has any readers; the others are `<kind>.<from>.<to>`.
    return Place(kind, second, first, None) if base == "md" else Place(kind, None, first, second)


class _Reading(NamedTuple):
    """What is read of one reader before the cursor is."""

    slot: int
    position: int
    lapped: int
    laps: int


def stamp_of(payload: memoryview, ring: BroadcastRing | SpscRing, sequence: int, stamp: int) -> int | None:
    """The time in the record of a sequence, None if it was overwritten before or while it was read.

    Args:
        payload: of the ring's segment.
        ring: its face.
        sequence: from 1 to the cursor.
        stamp: byte offset in the record.
    """
    is_broadcast = isinstance(ring, BroadcastRing)
    start = BROADCAST_SLOTS_AT if is_broadcast else SPSC_SLOTS_AT
    value = load_acquire(payload, start + (sequence - 1 & ring.capacity - 1) * ring.slot_bytes + stamp)
    # The load above is an acquire: what is looked at now is not older than what was read.
    if isinstance(ring, BroadcastRing):
        return value if ring.intent < sequence + ring.capacity else None
    return value if ring.position < sequence else None


def lag_ns_of(
    payload: memoryview,
    ring: BroadcastRing | SpscRing,
    position: int,
    cursor: int,
    stamp: int,
    machine: Machine,
) -> int | None:
    """Age of the oldest record behind `position`, 0 if there is none, None if its age can not be told.

    For a reader that is overrun already it is the age of the oldest record that still stands.
    """
    if cursor <= position:
        return 0
    sequence = position + 1
    if isinstance(ring, BroadcastRing):
        sequence = max(sequence, ring.intent - ring.capacity + 1)
        if sequence > cursor:
            return None
    written = stamp_of(payload, ring, sequence, stamp)
    # 0 stands in a record of a writer that stamps nothing.
    return max(machine.now_ns() - written, 0) if written else None


class RingReader:
    """Looks at all rings of one run again and again.

    Args:
        view: the run.
        rates: keeps the counters between looks.
        machine: clock.
    """

    def __init__(self, view: RunView, rates: Rates, machine: Machine) -> None:
        self._view = view
        self._rates = rates
        self._machine = machine
        self._lapped: dict[tuple[str, int], int] = {}

    def look(self, workers: Mapping[int, WorkerRow]) -> list[RingRow]:
        """Read every ring that exists now; one that can not be read is among the view's problems."""
        rows = []
        for base in RING_KINDS:
            for short, numbers in self._view.numbered(base):
                place = place_of(base, numbers)
                row = None if place is None else self._ring(short, place, workers)
                if row is not None:
                    rows.append(row)
        return rows

    def _ring(self, short: str, place: Place, workers: Mapping[int, WorkerRow]) -> RingRow | None:
        kind = place.kind
        ring: BroadcastRing | SpscRing | None
        if place.reader is None:
            ring = self._view.face(short, kind.segment, BroadcastRing.attach)
        else:
            ring = self._view.face(short, kind.segment, SpscRing.attach)
        if ring is None:
            return None
        # Positions first: they only rise, so a lag is never told smaller than it was.
        if isinstance(ring, BroadcastRing):
            readings = [_Reading(slot, *cell) for slot, cell in ring.readers().items()]
        else:
            readings = [_Reading(place.reader or 0, ring.position, 0, 0)]
        cursor, doorbells = ring.cursor, ring.doorbells
        now = self._machine.now_ns()
        refused = None if isinstance(ring, BroadcastRing) else ring.refused
        payload = self._view.payload(short, kind.segment)
        readers = tuple(self._reader(short, ring, payload, cursor, r, kind, workers) for r in readings)
        writer = workers.get(place.writer)
        lag = max((reader.lag for reader in readers), default=0)
        return RingRow(
            ring=short,
            kind=kind.name,
            priority=place.priority,
            writer_slot=place.writer,
            writer=f"slot-{place.writer}" if writer is None else writer.name,
            writer_state="NONE" if writer is None else writer.state,
            writer_is_alive=writer is not None and writer.is_alive,
            capacity=ring.capacity,
            slot_bytes=ring.slot_bytes,
            cursor=cursor,
            rate_per_s=self._rates.per_s((short, "cursor"), cursor, now),
            use=min(lag / ring.capacity, 1.0),
            doorbells=doorbells,
            doorbells_per_s=self._rates.per_s((short, "doorbells"), doorbells, now),
            refused=refused,
            refused_per_s=None if refused is None else self._rates.per_s((short, "refused"), refused, now),
            waits=isinstance(ring, SpscRing) and ring.wanted != 0,
            readers=readers,
        )

    def _reader(
        self,
        short: str,
        ring: BroadcastRing | SpscRing,
        payload: memoryview,
        cursor: int,
        reading: _Reading,
        kind: RingKind,
        workers: Mapping[int, WorkerRow],
    ) -> ReaderRow:
        worker = workers.get(reading.slot)
        lag = max(cursor - reading.position, 0)
        age = 0 if not lag else None
        if lag and kind.stamp is not None and kind.stamp + 8 <= ring.slot_bytes:
            age = lag_ns_of(payload, ring, reading.position, cursor, kind.stamp, self._machine)
        before = self._lapped.get((short, reading.slot), reading.lapped)
        self._lapped[short, reading.slot] = reading.lapped
        return ReaderRow(
            slot=reading.slot,
            worker=f"slot-{reading.slot}" if worker is None else worker.name,
            worker_state="NONE" if worker is None else worker.state,
            is_alive=worker is not None and worker.is_alive,
            position=reading.position,
            lag=lag,
            lag_ns=age,
            lapped=reading.lapped,
            laps=reading.laps,
            lapped_now=max(reading.lapped - before, 0),
            is_behind=lag > ring.capacity // 2,
            wakes_per_s=None if worker is None else worker.wakes_per_s,
        )


def sort_rings(rows: list[RingRow], by: str) -> list[RingRow]:
    """Rows by `name`, or the largest `lag` (in records of the slowest reader) or `rate` first."""
    if by == "lag":
        return sorted(rows, key=lambda row: (-row.lag, row.ring))
    if by == "rate":
        return sorted(rows, key=lambda row: (-(row.rate_per_s or 0.0), row.ring))
    return rows
