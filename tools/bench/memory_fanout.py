"""What `bench memory` needs other processes for: subscribers that read, a writer that stores meanwhile.

Run as a module it is such a process: `python -P -m tools.bench.memory_fanout KIND ...` (see `Helper`).
It waits for commands on its standard input ("g" = go, "s" = go slowly, "p" = pause), answers each with one
line, and ends at its end.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np

from shm.book import BookReader, BookSlab
from shm.control import Control
from shm.doorbell import BellSet
from shm.enums import SegmentKind
from shm.ring import BroadcastRing, Publisher, Subscriber
from shm.segment import RunName, Segment
from tools.bench import memory_loops as loops
from tools.bench.common import OURS, Measurement
from tools.bench.memory_rigs import BATCH, CAPACITY, DEPTH, INSTRUMENT, RECORD_BYTES, make_levels
from tools.bench.steps import ROUNDS, Step, measured, per_round

SUBSCRIBERS = 8
PUBLISHED = 20 * ROUNDS  # long enough that each of many processes on one core gets its turn
SPINS = 4096
STORES = 256
PACE_NS = 1000
LOADS = 20_000
END_S = 10.0
BARE_AT = 4096


class Helper:
    """A process of this module on another core, paused until told to go.

    Args:
        core: the core it is pinned to.
        arguments: of its command line, the kind first.
    """

    def __init__(self, core: int, *arguments: str) -> None:
        argv = [sys.executable, "-P", "-m", "tools.bench.memory_fanout", *arguments, str(core)]
        self._child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def tell(self, command: bytes) -> int:
        """Send a command and return the number it answers with: what it did since the last one."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(command)
        self._child.stdin.flush()
        answer = self._child.stdout.readline()
        if not answer:
            raise RuntimeError(f"a helper of the bench ended with code {self._child.wait()}")
        return int(answer)

    def close(self) -> None:
        """End it and wait for it."""
        with self._child as child:
            assert child.stdin is not None
            child.stdin.close()
            try:
                child.wait(timeout=END_S)
            except subprocess.TimeoutExpired:
                child.kill()


@contextlib.contextmanager
def at_work(helpers: list[Helper], command: bytes = b"g") -> Iterator[None]:
    """Let helpers run meanwhile; RuntimeError if one of them did nothing."""
    for helper in helpers:
        helper.tell(command)
    yield
    done = [helper.tell(b"p") for helper in helpers]
    if not all(done):
        raise RuntimeError("a process that should have been at work meanwhile did nothing")


class Bed:
    """Segments and helpers of one run of the benchmark; everything is gone after `close`.

    Args:
        core: where the helpers run.
        subscribers: how many of them read the ring.
    """

    def __init__(self, core: int, subscribers: int = SUBSCRIBERS) -> None:
        self.run = RunName(f"bench-{os.getpid()}", 1)
        self._segments: list[Segment] = []
        self._helpers: list[Helper] = []
        control = self._segment("control", SegmentKind.CONTROL, Control.bytes_needed())
        Control.create(control, self.run.epoch, os.getpid())
        payload = self._segment(
            "ring", SegmentKind.MARKET_RING, BroadcastRing.bytes_needed(CAPACITY, RECORD_BYTES)
        )
        self.ring = BroadcastRing.create(payload, CAPACITY, RECORD_BYTES)
        self.publisher = Publisher(self.ring, BellSet(control))
        self.bare = self._segment("bare", SegmentKind.MARKET_RING, BARE_AT + CAPACITY * RECORD_BYTES)
        self.bare_count = 0
        books = self._segment("books", SegmentKind.BOOKS, BookSlab.bytes_needed(DEPTH, 4, 1))
        self.slab = BookSlab.create(books, DEPTH, 4, 1, 0)
        loops.store_books(self.slab, INSTRUMENT, *make_levels(), 1, 1)
        try:
            self.subscribers = [self._helper(core, "subscriber", str(i)) for i in range(subscribers)]
            self.follower = self._helper(core, "follower", "0")
            self.writers = {pace: self._helper(core, "writer", str(pace)) for pace in (PACE_NS, 0)}
        except (OSError, RuntimeError):
            self.close()
            raise

    def _segment(self, short: str, kind: SegmentKind, size_bytes: int) -> memoryview:
        segment = Segment.create(self.run, short, kind, size_bytes)
        self._segments.append(segment)
        return segment.payload

    def _helper(self, core: int, kind: str, detail: str) -> Helper:
        helper = Helper(core, kind, self.run.instance, detail)
        self._helpers.append(helper)
        helper.tell(b"p")
        return helper

    def close(self) -> None:
        """End the helpers and unlink the segments."""
        for helper in self._helpers:
            helper.close()
        for segment in self._segments:
            segment.unlink()

    def published(
        self, readers: int, command: bytes, publish: Callable[[], object], rounds: int
    ) -> Callable[[], float]:
        """A contender: ns per record of `publish` while `readers` subscribers poll as the command says."""
        measure = per_round(publish, rounds)

        def measure_meanwhile() -> float:
            for slot in range(len(self.subscribers)):
                (self.ring.subscribe_slot if slot < readers else self.ring.unsubscribe_slot)(slot)
            with at_work(self.subscribers[:readers], command):
                return measure()

        return measure_meanwhile

    def bare_published(self, record: bytes) -> Callable[[], float]:
        """The floor of fan-out: memcpy and a count, which one process looks at and copies from."""

        def work() -> None:
            loops.floor_publish(self.bare, record, CAPACITY, self.bare_count + 1, PUBLISHED)
            self.bare_count += PUBLISHED

        measure = per_round(work, PUBLISHED)

        def measure_meanwhile() -> float:
            with at_work([self.follower]):
                return measure()

        return measure_meanwhile

    def fan_out_steps(self) -> list[Step]:
        """Publishing with none, one and eight subscribers that read as fast as they can."""
        records = bytes(RECORD_BYTES * BATCH)
        record, rounds, batches = records[:RECORD_BYTES], PUBLISHED, PUBLISHED // BATCH

        def one_by_one() -> None:
            loops.publish_each(self.publisher, record, rounds)

        def in_batches() -> None:
            loops.publish_batches(self.publisher, records, BATCH, batches)

        def from_python() -> None:
            publish = self.publisher.publish
            for _ in range(rounds):
                publish(record)

        every = len(self.subscribers)
        ways = {OURS: (every, b"g"), f"as many, polling every {PACE_NS:,} ns": (every, b"s")}
        ways |= {"one subscriber": (1, b"g"), "no subscriber": (0, b"g")}
        floor = {"floor: copy in C, one reader": self.bare_published(record)}
        return [
            Step(
                f"fan_out_{way}_ns_per_record",
                {name: self.published(*how, f, rounds) for name, how in ways.items()} | floor,
            )
            for way, f in (
                ("cython", one_by_one),
                (f"cython_batch_{BATCH}", in_batches),
                ("python", from_python),
            )
        ]

    def contended_steps(self) -> tuple[Step, Step]:
        """Loads while another process stores the same book: their cost, and how many per cent were BUSY."""
        room = np.zeros((DEPTH, 2), dtype=np.int64), np.zeros((DEPTH, 2), dtype=np.int64)
        reader = BookReader(self.slab, *room)
        busy: dict[str, float] = {}

        def load(name: str, writers: list[Helper]) -> Callable[[], float]:
            result = [0, 0]

            def work() -> None:
                result[:] = loops.check_books(reader, INSTRUMENT, LOADS)

            measure = per_round(work, LOADS)

            def measure_meanwhile() -> float:
                with at_work(writers):
                    spent = measure()
                if result[1]:
                    raise RuntimeError(f"{result[1]} of {result[0]} loaded books were torn")
                busy[name] = 100 - 100 * result[0] / LOADS
                return spent

            return measure_meanwhile

        ways = {
            OURS: [self.writers[PACE_NS]],
            "no writer": [],
            "a writer that never pauses": [self.writers[0]],
        }
        return (
            Step("book_load_contended_ns", {name: load(name, writers) for name, writers in ways.items()}),
            Step("book_load_busy_percent", {name: lambda n=name: busy[n] for name in ways}, "%"),  # type: ignore[misc]
        )


def fan_out(runs: int, core: int) -> tuple[list[Measurement], tuple[str, ...]]:
    """Measure what needs other processes.

    Args:
        runs: how often each contender is measured.
        core: where the other processes run; the caller is pinned to another one if there is one.

    Returns:
        The measurements, and notes for the reader.
    """
    bed = Bed(core)
    try:
        steps = bed.fan_out_steps()
        contended, busy = bed.contended_steps()
        results = [*measured(steps, runs), *measured([contended], runs), *measured([busy], 1)]
    finally:
        bed.close()
    here = sorted(os.sched_getaffinity(0))
    return results, (
        f"fan-out: {SUBSCRIBERS} processes on core {core} poll without a pause while core {here} publishes",
        f"fan-out: polling every {PACE_NS:,} ns is what a worker does whose drain has something to do",
        "fan-out: floor = memcpy and one store that another process looks at without a pause, no protocol",
        "fan-out: none parked; the fence and a look at each worker are paid per publish or per batch",
        f"contended: {OURS} = beside a writer on core {core} that stores the same book every {PACE_NS:,} ns",
        "contended: no loaded book was torn; a BUSY load gave up after its bounded looks, and counts",
    )


def command_waits() -> bool:
    """Whether a command, or the end, stands on the standard input."""
    return bool(select.select([0], [], [], 0)[0])


def serve(work: Callable[[bool], int]) -> None:
    """Obey commands until their end: after "g" or "s" call `work` again and again, until the next one.

    `work` gets whether it is to go slowly and returns how much it did.
    """
    while command := os.read(0, 1):
        done = 0
        if command != b"p":
            os.write(1, b"1\n")
            slow = command == b"s"
            done += work(slow)
            while not command_waits():
                done += work(slow)
            if os.read(0, 1) == b"":
                return
            done += work(slow)  # what came since the last look
        os.write(1, b"%d\n" % done)


def main(argv: list[str]) -> None:
    """Entry of a helper process."""
    kind, instance, detail, core = argv
    os.sched_setaffinity(0, {int(core)})
    run = RunName(instance, 1)
    if kind == "subscriber":
        segment = Segment.attach(run, "ring", SegmentKind.MARKET_RING)
        subscriber = Subscriber(BroadcastRing.attach(segment.payload), worker_slot=int(detail))
        out = bytearray(RECORD_BYTES * BATCH)
        serve(
            lambda slow: loops.spin(
                subscriber, out, BATCH, SPINS // 16 if slow else SPINS, PACE_NS if slow else 0
            )
        )
        return
    if kind == "follower":
        bare = Segment.attach(run, "bare", SegmentKind.MARKET_RING)
        room = bytearray(RECORD_BYTES)
        serve(lambda _slow: loops.floor_follow(bare.payload, room, CAPACITY, SPINS))
        return
    slab = BookSlab.attach(Segment.attach(run, "books", SegmentKind.BOOKS).payload)
    bids, asks = make_levels()
    stored = 0

    def store(_slow: bool) -> int:
        nonlocal stored
        loops.store_books(slab, INSTRUMENT, bids, asks, STORES, stored + 1, int(detail))
        stored += STORES
        return STORES

    serve(store)


if __name__ == "__main__":
    main(sys.argv[1:])
