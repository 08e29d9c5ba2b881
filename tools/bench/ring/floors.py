"""The floors: the least that the kernel and uvloop ask for."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from shm.enums import SegmentKind
from shm.segment import RunName, Segment
from tools.bench.floor import FLOOR_BYTES, FloorRing
from tools.bench.ring.contender import MESSAGE_BYTES, Contender, InheritedFd, Place, Sink, run_loop

TAKE_LIMIT = 64


class _Floor(Contender):
    """One shared slot array and one eventfd."""

    bulk_count = 0

    def __init__(self, place: Place, *, bulk: bool) -> None:
        super().__init__(place, bulk=bulk)
        self.run = RunName(place.instance, 1)
        self.bell = -1

    def open(self) -> Any:
        """Make the slots and the eventfd."""
        self.bell = os.eventfd(0, os.EFD_NONBLOCK)
        self.segment = Segment.create(self.run, "floor", SegmentKind.MARKET_RING, FLOOR_BYTES)
        self.ring = FloorRing(self.segment.payload, self.bell)
        return InheritedFd(self.bell)

    def attach(self, handle: Any) -> tuple[FloorRing, int]:
        """Consumer: the same ring and the number of the eventfd."""
        fd = handle.detach()
        segment = Segment.attach(self.run, "floor", SegmentKind.MARKET_RING)
        self.segment = segment
        return FloorRing(segment.payload, fd), fd

    def sender(self) -> Callable[[bytes], object]:
        """Store the record and write the eventfd."""
        return self.ring.put

    def close(self) -> None:
        """Unlink the segment and close the eventfd."""
        self.segment.unlink()
        os.close(self.bell)


class FloorC(_Floor):
    """eventfd → epoll_wait, both sides in C."""

    name = "floor-c-eventfd"
    how = "a slot, a cursor and an eventfd; both loops in C, no Python handler"

    def listen(self, handle: Any, sink: Sink) -> None:
        """Wait in C until every message came."""
        ring, _fd = self.attach(handle)
        sink.ready()
        ages = np.frombuffer(sink.ages_ns, dtype=np.int64)
        ring.receive(ages)
        sink.on_batch(ages)

    def send_paced(self, first_due_ns: int, interval_ns: int, count: int) -> None:
        """Send in C."""
        self.ring.send_paced(first_due_ns, interval_ns, count)


class FloorUvloop(_Floor):
    """eventfd → uvloop → the Python handler, with no ring protocol."""

    name = "floor-uvloop-eventfd"
    how = "a slot, a cursor and an eventfd written for each message; add_reader calls the Python handler"

    def listen(self, handle: Any, sink: Sink) -> None:
        """Take what is there on each wake-up."""
        ring, fd = self.attach(handle)
        buffer = bytearray(MESSAGE_BYTES * TAKE_LIMIT)
        whole = memoryview(buffer)
        records = [whole[i * MESSAGE_BYTES : (i + 1) * MESSAGE_BYTES] for i in range(TAKE_LIMIT)]
        take_into, on_message = ring.take_into, sink.on_message

        def on_bell() -> None:
            taken = TAKE_LIMIT
            while taken == TAKE_LIMIT:
                taken = take_into(buffer, TAKE_LIMIT)
                for i in range(taken):
                    on_message(records[i])

        def start(loop: asyncio.AbstractEventLoop) -> None:
            loop.add_reader(fd, on_bell)

        run_loop(sink, start)
