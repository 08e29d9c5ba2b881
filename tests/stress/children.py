"""What the second process of a stress test runs: one function per role, ended by SIGKILL.

Records are checksummed by construction: every word follows from the sequence, so a torn or misplaced
record shows at once.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shm.control import Control
from shm.doorbell import BellSet, Parker
from shm.enums import SegmentKind
from shm.ring import BroadcastRing, Publisher, Subscriber
from shm.segment import RunName, Segment
from shm.snapshot import SeqlockArray
from shm.spsc import Consumer, Producer, SpscRing

ROOT = Path(__file__).resolve().parents[2]
WORDS = 16
SLOT_BYTES = WORDS * 8
_FACTORS = np.arange(1, WORDS + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def records(first: int, count: int) -> NDArray[np.uint64]:
    """Rows of `count` records from sequence `first`: word 0 is the sequence, the others follow from it."""
    sequences = np.arange(first, first + count, dtype=np.uint64)[:, None]
    rows = sequences * _FACTORS[None, :] ^ (sequences >> np.uint64(3))
    rows[:, 0] = sequences[:, 0]
    return np.ascontiguousarray(rows)


def start(role: str, *args: object, pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[str]:
    """Start this module's function `role` in a new process."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.stress import children; children.main()"
    )
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code, role, *map(str, args)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=pass_fds,
    )  # fmt: skip


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def main() -> None:
    # A failed test must leave nobody behind who burns a core.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    role, instance, *args = sys.argv[1:]
    roles: dict[str, Callable[..., None]] = {
        "publish_forever": publish_forever,
        "subscribe_forever": subscribe_forever,
        "offer_forever": offer_forever,
        "consume_forever": consume_forever,
        "store_forever": store_forever,
        "echo": echo,
        "commit_slowly": commit_slowly,
    }
    roles[role](RunName(instance, 1), *args)


def publish_forever(run: RunName, batch: str) -> None:
    ring = BroadcastRing.attach(Segment.attach(run, "ring", SegmentKind.MARKET_RING).payload)
    publisher = Publisher(ring)
    n = int(batch)
    while True:
        for row in np.split(records(ring.cursor + 1, 64 * n), 64):
            if n == 1:
                publisher.publish(row[0])
            else:
                publisher.publish_batch(row, n)


def subscribe_forever(run: RunName) -> None:
    """Check everything; print one line per 1000 records taken, "broken" on the first bad one."""
    ring = BroadcastRing.attach(Segment.attach(run, "ring", SegmentKind.MARKET_RING).payload)
    subscriber = Subscriber(ring)
    taken = reported = 0
    while True:
        n, error = take(subscriber)
        taken += n
        if not n:
            os.sched_yield()
        if error:
            print("broken", error, flush=True)
            return
        if taken - reported >= 1000:
            reported = taken
            print("taken", taken, subscriber.lapped, flush=True)


_OUT = np.zeros((64, WORDS), dtype=np.uint64)


def take(subscriber: Subscriber) -> tuple[int, str]:
    """Poll once and check; return how many came and what was wrong."""
    before, lapped = subscriber.position, subscriber.lapped
    n = subscriber.poll_into(_OUT, 64)
    if subscriber.position - before != n + subscriber.lapped - lapped:
        return (
            n,
            f"position moved {subscriber.position - before}, got {n}, lapped {subscriber.lapped - lapped}",
        )
    if n and not (_OUT[:n] == records(subscriber.position - n + 1, n)).all():
        return n, f"torn or misplaced record before {subscriber.position}: {_OUT[:n]}"
    return n, ""


def offer_forever(run: RunName) -> None:
    ring = SpscRing.attach(Segment.attach(run, "spsc", SegmentKind.INTENT_RING).payload)
    producer = Producer(ring)
    while True:
        count = min(producer.free(), 3)
        if count:
            producer.offer_many(records(ring.cursor + 1, count), count)
        else:
            os.sched_yield()


def consume_forever(run: RunName, path: str) -> None:
    """Append each sequence to a file before committing it; after a restart skip what stands there."""
    ring = SpscRing.attach(Segment.attach(run, "spsc", SegmentKind.INTENT_RING).payload)
    consumer = Consumer(ring)
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    os.ftruncate(fd, os.fstat(fd).st_size // 8 * 8)
    done = os.fstat(fd).st_size // 8
    while True:
        first = consumer.taken_position + 1
        n = consumer.poll_into(_OUT, 16)
        if n == 0:
            os.sched_yield()
            continue
        if not (_OUT[:n] == records(first, n)).all():
            print("broken", first, flush=True)
            return
        fresh = [int(s) for s in _OUT[:n, 0] if s > done]
        if fresh:
            os.write(fd, np.array(fresh, dtype=np.uint64).tobytes())
            done = fresh[-1]
        consumer.commit(n)


def store_forever(run: RunName) -> None:
    array = SeqlockArray.attach(Segment.attach(run, "values", SegmentKind.POSITIONS).payload, 2, SLOT_BYTES)
    n = 1
    while True:
        for i, row in enumerate(records(n, 64)):
            array.store(i % 2, row)
        n += 64
        os.sched_yield()  # where both share a core, the reader looks between two values too


def wait(parker: Parker, pending: object) -> None:
    """Park until the bell is signaled, unless something came meanwhile; no timeout on purpose."""
    parker.arm()
    if pending():  # type: ignore[operator]
        parker.disarm()
        return
    ready, _, _ = select.select([parker.fd, sys.stdin], [], [])
    if parker.fd in ready:
        parker.clear()
    elif sys.stdin.read() == "":
        sys.exit(0)


def echo(run: RunName, slot: str) -> None:
    """Publish on "back" what comes on "there", parking whenever nothing is there."""
    control = Segment.attach(run, "control", SegmentKind.CONTROL)
    bells, parker = BellSet(control.payload), Parker(control.payload, int(slot))
    there = BroadcastRing.attach(Segment.attach(run, "there", SegmentKind.MARKET_RING).payload)
    back = BroadcastRing.attach(Segment.attach(run, "back", SegmentKind.MARKET_RING).payload)
    there.subscribe_slot(int(slot))
    subscriber, publisher = Subscriber(there), Publisher(back, bells)
    print("up", flush=True)
    while True:
        n = subscriber.poll_into(_OUT, 8)
        for i in range(n):
            publisher.publish(_OUT[i])
        if n == 0:
            wait(parker, subscriber.pending)


def commit_slowly(run: RunName, slot: str) -> None:
    """Take one record at a time, parking in between, so that the producer is refused all the time."""
    control = Segment.attach(run, "control", SegmentKind.CONTROL)
    bells, parker = BellSet(control.payload), Parker(control.payload, int(slot))
    ring = SpscRing.attach(Segment.attach(run, "spsc", SegmentKind.INTENT_RING).payload)
    ring.subscribe_slot(int(slot))
    consumer = Consumer(ring, bells)
    expected = 1
    while True:
        if consumer.poll_into(_OUT, 1) == 0:
            wait(parker, consumer.pending)
            continue
        if not (_OUT[:1] == records(expected, 1)).all():
            print("broken", expected, flush=True)
            return
        expected += 1
        consumer.commit(1)
        if expected % 1000 == 1:
            print("taken", expected - 1, flush=True)


def create(run: RunName, short: str, kind: SegmentKind, capacity: int) -> Segment:
    """Create and format a ring segment: broadcast for MARKET_RING, else SPSC."""
    ring = BroadcastRing if kind == SegmentKind.MARKET_RING else SpscRing
    segment = Segment.create(run, short, kind, ring.bytes_needed(capacity, SLOT_BYTES))
    ring.create(segment.payload, capacity, SLOT_BYTES)
    return segment


def create_control(run: RunName, bells: dict[int, int]) -> Segment:
    segment = Segment.create(run, "control", SegmentKind.CONTROL, Control.bytes_needed())
    control = Control.create(segment.payload, run.epoch, os.getpid())
    for slot, fd in bells.items():
        control.slot(slot).bell_fd = fd
    return segment
