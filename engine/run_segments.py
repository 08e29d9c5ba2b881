"""Everything of a run that must outlive any worker: its segments and its bells.

One eventfd per worker slot, plus spares, is made before the first spawn and kept for the life of the run,
so that a reborn worker has its bell, under the same number, in every process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress

from actors.runtime.segments import create_segments
from actors.runtime.spec import books_name, control_name, instruments_name, metrics_name, positions_name
from engine.processes import Child
from engine.topology import Topology
from shm.book import BookSlab
from shm.clock import now_ns
from shm.control import Control
from shm.enums import SegmentKind
from shm.instruments import InstrumentTable
from shm.mapping import HUGE_BYTES, huge_bytes
from shm.metrics import Metrics
from shm.positions import PositionTable
from shm.segment import RunName, Segment, clear_dead_runs

NOT_PINNED = -1


class _Maker:
    """Creates the named segments of a run and remembers them, so that a failure in the middle leaves none."""

    def __init__(self, run: RunName, *, huge_pages: bool) -> None:
        self._run = run
        self._huge_pages = huge_pages
        self.made: list[Segment] = []

    def create(self, short: str, kind: int, payload_bytes: int) -> Segment:
        """Create one named segment."""
        segment = Segment.create(
            self._run, short, SegmentKind(kind), payload_bytes, huge_pages=self._huge_pages
        )
        self.made.append(segment)
        return segment

    def remove(self) -> None:
        """Unlink and close all."""
        for segment in self.made:
            segment.unlink()
            segment.close()
        self.made.clear()


class Remembered:
    """The answer to a question that is worth asking only when something has moved."""

    def __init__(self) -> None:
        self._moved: object = None
        self._repeats = 0
        self._answer: dict[str, str] = {}

    def read(self, moved: object, ask: Callable[[], dict[str, str]]) -> dict[str, str]:
        """The answer for the state `moved`, asked for anew while it changes and once more after.

        Counters and what they count are stored at different heartbeats: hence once more.
        """
        self._repeats = self._repeats + 1 if moved == self._moved else 0
        if self._repeats <= 1:
            self._moved, self._answer = moved, ask()
        return self._answer


class RunSegments:
    """The segments and bells of one run, with typed faces for supervisor and report.

    Args:
        run: instance and epoch.
        topology: what to create.
        huge_pages: map what fills one in huge pages, where the kernel gives any.
        near: given a worker slot, a context in which memory comes from that worker's node.

    Raises:
        SegmentError: no space, or a segment exists already; nothing is left behind.
    """

    def __init__(
        self,
        run: RunName,
        topology: Topology,
        *,
        huge_pages: bool = False,
        near: Callable[[int], AbstractContextManager[None]] = lambda _slot: nullcontext(),
    ) -> None:
        self._maker = _Maker(run, huge_pages=huge_pages)
        self.bells: list[int] = []
        self.net = Remembered()
        with ExitStack() as undo:
            undo.callback(self._maker.remove)
            self.by_name: Mapping[str, Segment] = create_segments(self._maker, topology.segments, near)
            self._open_faces(topology)
            undo.pop_all()
        for slot in range(1, 1 + len(topology.workers) + topology.spare_slots):
            bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            self.bells.append(bell)
            self.control.slot(slot).bell_fd = bell
        for worker in topology.workers:
            slot_view = self.control.slot(worker.slot)
            slot_view.role = worker.name
            slot_view.core = NOT_PINNED if worker.core is None else worker.core
        self.control.generation = 1

    def _open_faces(self, topology: Topology) -> None:
        first = topology.workers[0]
        capacity = first.instrument_capacity
        self.control = Control.attach(self._payload(control_name()))
        self.instruments = InstrumentTable.attach(self._payload(instruments_name()))
        slots = [w.slot for w in topology.workers]
        self.metrics = {s: Metrics.attach(self._payload(metrics_name(s))) for s in slots}
        self.positions = {
            g: PositionTable.attach(self._payload(positions_name(g)), capacity) for g in first.gateways
        }
        self.books = {f.slot: BookSlab.attach(self._payload(books_name(f.slot))) for f in first.feeds}

    def _payload(self, short: str) -> memoryview:
        return self.by_name[short].payload

    @staticmethod
    def clear_dead(instance: str, keep_epoch: int) -> list[str]:
        """Remove what dead runs of an instance left; returns the names."""
        return clear_dead_runs(instance, keep_epoch)

    def huge_pages(self) -> tuple[dict[str, int], dict[str, int]]:
        """By short name, of what fills a huge page: sizes, and how many bytes are in huge pages."""
        big = {s.short: s for s in self._maker.made if s.size_bytes >= HUGE_BYTES}
        found = huge_bytes(s.name for s in big.values()) if big else {}
        return {k: s.size_bytes for k, s in big.items()}, {k: found[s.name] for k, s in big.items()}

    def set_state(self, child: Child) -> None:
        """Store a worker's lifecycle state, restarts and incarnation where everybody can read them."""
        if child.slot < 0:
            return
        slot = self.control.slot(child.slot)
        slot.state = int(child.lifecycle.state)

    def set_process(self, child: Child) -> None:
        """Store which process is in a worker's slot, and of which incarnation."""
        if child.slot < 0:
            return
        slot = self.control.slot(child.slot)
        slot.incarnation = child.incarnation
        slot.restarts = child.restarts
        slot.pid = child.pid
        slot.started_ns = now_ns()

    def heartbeat_ns(self, slot: int) -> int:
        """Time of a worker's last heartbeat."""
        return int(self.control.slot(slot).heartbeat_ns)

    def generation(self, slot: int) -> int:
        """Config generation in force in a worker."""
        return int(self.control.slot(slot).generation)

    def wake_workers(self) -> None:
        """Ring every bell once.

        A publisher killed between taking `parked` and writing the bell leaves its subscriber asleep beside a
        full ring; a worker woken for nothing only looks once.
        """
        for bell in self.bells:
            with suppress(BlockingIOError):
                os.eventfd_write(bell, 1)

    def close(self) -> None:
        """Remove every segment and close every bell; the objects made from them are of no use afterwards."""
        del self.control, self.instruments
        self.metrics.clear()
        self.positions.clear()
        self.books.clear()
        self.by_name = {}
        self._maker.remove()
        for bell in self.bells:
            os.close(bell)
        self.bells.clear()
