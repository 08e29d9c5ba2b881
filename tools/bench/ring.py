"""Ring → Python handler in another process, beside a Unix datagram through the same event loop.

Latency is open loop: the producer sends each message when it is due (10,000/s) and the consumer
subtracts the *due* time, so a wait that the producer caused is counted too (no coordinated omission).
The consumer sleeps between messages. Throughput uses the lossless ring, so nothing may be dropped.

Run as a module it is the consumer: `python -P -m tools.bench.ring KIND ...` (started by `bench_ring`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

import numpy as np
import uvloop

from engine.pm_qos import PmQos
from profiles.machine import machine_facts
from shm.clock import now_ns
from shm.control import Control
from shm.doorbell import BellSet, Parker
from shm.enums import SegmentKind
from shm.ring import BroadcastRing, Publisher, Subscriber
from shm.segment import RunName, Segment
from shm.spsc import Consumer, Producer, SpscRing
from tools.bench.common import BenchResult, Measurement

SLOT_BYTES = 64
CAPACITY = 1 << 14
RATE_PER_S = 10_000
MESSAGES = 20_000
WARM_UP = 1_000
BULK = 2_000_000
BULK_DATAGRAM = 300_000
BATCH = 64
CONSUMER_SLOT = 1
NOTES = (
    f"latency: {MESSAGES:,} messages of {SLOT_BYTES} bytes at {RATE_PER_S:,}/s from the time each was due",
    f"throughput: ringlane hands over batches of {BATCH}, a datagram is one call each",
)
CONSUMER_END_S = 10.0


class Collector:
    """The Python handler both ways end in: it takes one message and notes its age."""

    def __init__(self, expected: int, done: Callable[[], None]) -> None:
        self.ages = np.zeros(expected, dtype=np.int64)
        self.count = 0
        self.expected = expected
        self.done = done

    def on_message(self, message: memoryview | bytes) -> None:
        """Note how old the message is, counted from when it was due."""
        now = now_ns()
        self.ages[self.count] = now - int.from_bytes(message[:8], "little")
        self.count += 1
        if self.count == self.expected:
            self.done()


def consume_ring(loop: asyncio.AbstractEventLoop, run: RunName, handler: Collector) -> None:
    """Wake by doorbell, take batches from the broadcast ring, call the handler for each record."""
    control = Segment.attach(run, "control", SegmentKind.CONTROL)
    segment = Segment.attach(run, "ring", SegmentKind.MARKET_RING)
    subscriber = Subscriber(BroadcastRing.attach(segment.payload))
    parker = Parker(control.payload, CONSUMER_SLOT)
    buffer = bytearray(SLOT_BYTES * 256)
    view = memoryview(buffer)

    def drain() -> None:
        parker.clear()
        while True:
            taken = subscriber.poll_into(buffer, 256)
            for i in range(taken):
                handler.on_message(view[i * SLOT_BYTES : (i + 1) * SLOT_BYTES])
            if not taken:
                parker.arm()
                if not subscriber.pending():
                    return
                parker.disarm()

    loop.add_reader(parker.fd, drain)
    loop.call_soon(drain)


class DatagramConsumer(asyncio.DatagramProtocol):
    """The peer: one datagram, one call."""

    def __init__(self, handler: Collector) -> None:
        self._handler = handler

    def datagram_received(self, data: bytes, _addr: object) -> None:
        """Hand the datagram to the handler."""
        self._handler.on_message(data)


async def run_consumer(kind: str, run: RunName, path: str, expected: int, report_fd: int) -> None:
    """Consume `expected` messages of one kind and write percentiles and end time to `report_fd`."""
    loop = asyncio.get_running_loop()
    finished = asyncio.Event()
    handler = Collector(expected, finished.set)
    if kind == "ring":
        consume_ring(loop, run, handler)
    elif kind == "bulk-ring":
        consume_bulk(loop, run, expected, finished)
    else:
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        receiver.bind(path)
        await loop.create_datagram_endpoint(lambda: DatagramConsumer(handler), sock=receiver)
    os.write(report_fd, b"ready\n")
    await finished.wait()
    end = now_ns()
    ages = np.sort(handler.ages[min(WARM_UP, expected // 2) :])
    p50, p99 = (int(ages[int(len(ages) * q)]) for q in (0.50, 0.99))
    os.write(report_fd, f"{p50} {p99} {end}\n".encode())


def consume_bulk(
    loop: asyncio.AbstractEventLoop, run: RunName, expected: int, finished: asyncio.Event
) -> None:
    """Take whole batches from the lossless ring: the handler gets a batch, as the engine's drain does."""
    control = Segment.attach(run, "control", SegmentKind.CONTROL)
    segment = Segment.attach(run, "spsc", SegmentKind.INTENT_RING)
    consumer = Consumer(SpscRing.attach(segment.payload), BellSet(control.payload))
    parker = Parker(control.payload, CONSUMER_SLOT)
    buffer = bytearray(SLOT_BYTES * 1024)
    stamps = np.frombuffer(buffer, dtype=np.int64).reshape(-1, SLOT_BYTES // 8)
    seen = 0

    def on_batch(batch: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> None:
        nonlocal seen
        seen += len(batch)
        if seen == expected:
            finished.set()

    def drain() -> None:
        parker.clear()
        while True:
            taken = consumer.poll_into(buffer, 1024)
            if taken:
                on_batch(stamps[:taken])
                consumer.commit(taken)
                continue
            parker.arm()
            if not consumer.pending():
                return
            parker.disarm()

    loop.add_reader(parker.fd, drain)
    loop.call_soon(drain)


class Bed:
    """Segments, a bell and cores for one measurement; everything is gone afterwards."""

    def __init__(self) -> None:
        self.run = RunName(f"bench-{os.getpid()}", 1)
        self.bell = os.eventfd(0, os.EFD_NONBLOCK)
        cores = sorted(os.sched_getaffinity(0))
        self.producer_core, self.consumer_core = cores[0], cores[-1]
        self.control = Segment.create(self.run, "control", SegmentKind.CONTROL, Control.bytes_needed())
        control = Control.create(self.control.payload, self.run.epoch, os.getpid())
        control.slot(CONSUMER_SLOT).bell_fd = self.bell
        self.ring = Segment.create(
            self.run, "ring", SegmentKind.MARKET_RING, BroadcastRing.bytes_needed(CAPACITY, SLOT_BYTES)
        )
        BroadcastRing.create(self.ring.payload, CAPACITY, SLOT_BYTES).subscribe_slot(CONSUMER_SLOT)
        self.spsc = Segment.create(
            self.run, "spsc", SegmentKind.INTENT_RING, SpscRing.bytes_needed(CAPACITY, SLOT_BYTES)
        )
        SpscRing.create(self.spsc.payload, CAPACITY, SLOT_BYTES).subscribe_slot(CONSUMER_SLOT)
        self.bells = BellSet(self.control.payload)

    def close(self) -> None:
        """Unlink the segments and close the bell."""
        os.close(self.bell)
        for segment in (self.control, self.ring, self.spsc):
            segment.unlink()

    @contextlib.contextmanager
    def consumer(self, kind: str, path: str, expected: int) -> Iterator[Callable[[], list[str]]]:
        """Start a consumer process, wait until it listens, yield a reader of its result line."""
        read_fd, write_fd = os.pipe()
        argv = [sys.executable, "-P", "-m", "tools.bench.ring", kind, self.run.instance, path, str(expected)]
        child = subprocess.Popen(
            [*argv, str(write_fd), str(self.consumer_core)], pass_fds=(write_fd, self.bell)
        )
        os.close(write_fd)
        with os.fdopen(read_fd) as lines:
            if lines.readline() != "ready\n":
                raise RuntimeError(f"the {kind} consumer ended with code {child.wait()}")
            try:
                yield lambda: lines.readline().split()
            finally:
                try:
                    child.wait(timeout=CONSUMER_END_S)
                except subprocess.TimeoutExpired:
                    child.kill()  # it never saw the last message: the run has failed and says so
                    child.wait()


def paced(send: Callable[[bytes], object], count: int) -> None:
    """Send `count` messages, each when it is due, spinning in between."""
    interval = 1_000_000_000 // RATE_PER_S
    due = now_ns() + 50_000_000
    pad = bytes(SLOT_BYTES - 8)
    for _ in range(count):
        while now_ns() < due:
            pass
        send(due.to_bytes(8, "little") + pad)
        due += interval


def datagram_sender(path: str) -> tuple[socket.socket, Callable[[bytes], object]]:
    """A connected datagram socket that waits (by poll) when the receiver is behind."""
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.connect(path)
    writable = select.poll()
    writable.register(sender, select.POLLOUT)

    def send(message: bytes) -> None:
        while True:
            try:
                sender.send(message)
                return
            except BlockingIOError:
                writable.poll(100)

    return sender, send


def one_latency(bed: Bed, kind: str, folder: str) -> tuple[int, int]:
    """p50 and p99 in ns of one paced run of one kind."""
    path = f"{folder}/latency"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with bed.consumer(kind, path, MESSAGES) as result:
        if kind == "ring":
            paced(Publisher(BroadcastRing.attach(bed.ring.payload), bed.bells).publish, MESSAGES)
        else:
            sender, send = datagram_sender(path)
            with sender:
                paced(send, MESSAGES)
        p50, p99, _ = (int(word) for word in result())
    return p50, p99


def one_throughput(bed: Bed, kind: str, folder: str) -> float:
    """Messages per second of one bulk run of one kind, from first send to last handled."""
    path = f"{folder}/bulk"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    count = BULK if kind == "bulk-ring" else BULK_DATAGRAM
    with bed.consumer(kind, path, count) as result:
        start = now_ns()
        if kind == "bulk-ring":
            producer = Producer(SpscRing.attach(bed.spsc.payload), bed.bells, 0)
            batch = bytes(SLOT_BYTES * BATCH)
            sent = 0
            while sent < count:
                if producer.offer_many(batch, BATCH):
                    sent += BATCH
        else:
            sender, send = datagram_sender(path)
            with sender:
                message = bytes(SLOT_BYTES)
                for _ in range(count):
                    send(message)
        end = int(result()[2])
    return count * 1e9 / (end - start)


def bench_ring(runs: int) -> BenchResult:
    """Measure the ring and the datagram alternately.

    Args:
        runs: how often each way is measured.
    """
    cores = os.sched_getaffinity(0)
    qos = PmQos()
    qos.hold()
    with tempfile.TemporaryDirectory() as folder:
        bed = Bed()
        os.sched_setaffinity(0, {bed.producer_core})
        rows: dict[tuple[str, str], list[float]] = {}
        try:
            for _ in range(runs):
                for kind, name in (("ring", "ringlane"), ("datagram", "unix-datagram")):
                    p50, p99 = one_latency(bed, kind, folder)
                    rows.setdefault((name, "latency_ns_p50"), []).append(p50)
                    rows.setdefault((name, "latency_ns_p99"), []).append(p99)
                    per_s = one_throughput(bed, f"bulk-{kind}", folder)
                    rows.setdefault((name, "throughput_per_s"), []).append(per_s)
        finally:
            os.sched_setaffinity(0, cores)
            bed.close()
            facts = machine_facts(pm_qos=qos.describe())
            qos.release()
        units = {"throughput_per_s": "1/s"}
        results = [
            Measurement(name, metric, units.get(metric, "ns"), values)
            for (name, metric), values in rows.items()
        ]
        return BenchResult("ring", facts, results, NOTES)


def main(argv: list[str]) -> None:
    """Entry of the consumer process."""
    kind, instance, path, expected, report_fd, core = argv
    os.sched_setaffinity(0, {int(core)})
    uvloop.run(run_consumer(kind, RunName(instance, 1), path, int(expected), int(report_fd)))


if __name__ == "__main__":
    main(sys.argv[1:])
