"""Rings, seqlocks and doorbells between processes that are killed at arbitrary instructions."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from shm.doorbell import BellSet, Parker
from shm.enums import SegmentKind
from shm.ring import BroadcastRing, Publisher, Subscriber
from shm.segment import SHM_DIRECTORY, RunName, Segment
from shm.snapshot import SeqlockArray
from shm.spsc import Consumer, Producer, SpscRing
from tests.stress.children import SLOT_BYTES, WORDS, create, create_control, kill, records, start, take

pytestmark = pytest.mark.stress

# Kill campaigns set more.
ROUNDS = int(os.environ.get("RINGLANE_KILL_ROUNDS", "4"))
PING_PONGS = int(os.environ.get("RINGLANE_PING_PONGS", "5000"))


@pytest.fixture
def run() -> Iterator[RunName]:
    name = RunName(f"stress-{os.getpid()}", 1)
    yield name
    for path in SHM_DIRECTORY.glob(f"ringlane.{name.instance}.*"):
        path.unlink()


@pytest.mark.parametrize("batch", [1, 3])
def test_publisher_is_killed_and_reborn_under_a_subscriber(run: RunName, batch: int) -> None:
    """16 slots: the subscriber is lapped all the time, and reads slots while they are overwritten."""
    with create(run, "ring", SegmentKind.MARKET_RING, 16) as segment:
        ring = BroadcastRing.attach(segment.payload)
        subscriber = Subscriber(ring)
        total = 0
        for _ in range(ROUNDS):
            process = start("publish_forever", run.instance, batch)
            goal = total + 3000
            while total < goal:
                assert process.poll() is None
                n, error = take(subscriber)
                assert not error
                total += n
                if not n:
                    os.sched_yield()  # where both share a core, the publisher is waited for
            kill(process)
        while (n := take(subscriber)[0]) or subscriber.pending():
            total += n
        assert ring.writer_epoch == ROUNDS
        assert subscriber.position == ring.cursor
        assert total + subscriber.lapped == ring.cursor
        assert subscriber.laps > 0, "the test must have exercised laps"


def test_a_killed_subscriber_disturbs_nobody(run: RunName) -> None:
    with create(run, "ring", SegmentKind.MARKET_RING, 16) as segment:
        own = Subscriber(BroadcastRing.attach(segment.payload))
        publisher = start("publish_forever", run.instance, 1)
        for _ in range(ROUNDS):
            victim = start("subscribe_forever", run.instance)
            assert victim.stdout is not None
            line = victim.stdout.readline()
            assert line.startswith("taken")
            kill(victim)
            before = own.position
            while own.position < before + 1000:
                assert publisher.poll() is None
                n, error = take(own)
                assert not error
                if not n:
                    os.sched_yield()
        kill(publisher)


def test_spsc_loses_and_doubles_nothing_when_both_sides_are_killed(run: RunName, tmp_path: Path) -> None:
    """The consumer notes each sequence before it commits; a reborn one skips what is noted."""
    notes = tmp_path / "notes"
    notes.touch()
    with create(run, "spsc", SegmentKind.INTENT_RING, 16) as segment:
        ring = SpscRing.attach(segment.payload)
        producer = start("offer_forever", run.instance)
        consumer = start("consume_forever", run.instance, notes)
        for i in range(2 * ROUNDS):
            goal = notes.stat().st_size + 8 * 2000
            while notes.stat().st_size < goal:
                assert producer.poll() is None
                assert consumer.poll() is None
                os.sched_yield()
            if i % 2:
                kill(producer)
                producer = start("offer_forever", run.instance)
            else:
                kill(consumer)
                consumer = start("consume_forever", run.instance, notes)
        kill(producer)
        kill(consumer)
        noted = np.frombuffer(notes.read_bytes()[: notes.stat().st_size // 8 * 8], dtype=np.uint64)
        assert (noted == np.arange(1, len(noted) + 1, dtype=np.uint64)).all()
        last = Consumer(ring)
        assert last.position <= len(noted) <= ring.cursor
        out = np.zeros((16, WORDS), dtype=np.uint64)
        n = last.poll_into(out, 16)
        assert n == ring.cursor - last.position
        assert (out[:n] == records(ring.position + 1, n)).all()


def test_seqlock_readers_never_see_a_torn_value_and_never_hang(run: RunName) -> None:
    needed = SeqlockArray.bytes_needed(2, SLOT_BYTES)
    with Segment.create(run, "values", SegmentKind.POSITIONS, needed) as segment:
        array = SeqlockArray.create(segment.payload, 2, SLOT_BYTES)
        for _ in range(ROUNDS):
            seen = 0
            newest = [0, 0]
            writer = start("store_forever", run.instance)
            while seen < 2000:
                assert writer.poll() is None
                before = seen
                for i in range(2):
                    value = array.load(i)
                    if value is None or value == bytes(SLOT_BYTES):
                        continue
                    row = np.frombuffer(value, dtype=np.uint64)
                    assert (row == records(int(row[0]), 1)[0]).all(), "torn read"
                    seen += int(row[0]) != newest[i]
                    newest[i] = int(row[0])
                if seen == before:
                    os.sched_yield()
            kill(writer)
            for i in range(2):
                array.load(i)  # BUSY or a value, never a hang
                array.store(i, records(7, 1))
                assert array.load(i) == records(7, 1).tobytes()


def test_no_wake_up_is_lost_between_two_parking_processes(run: RunName) -> None:
    """Ping-pong where each side parks without a timeout: one lost wake-up and it stands still forever."""
    bells = {1: os.eventfd(0, os.EFD_NONBLOCK), 2: os.eventfd(0, os.EFD_NONBLOCK)}
    for fd in bells.values():
        os.set_inheritable(fd, True)
    with (
        create_control(run, bells) as control,
        create(run, "there", SegmentKind.MARKET_RING, 8) as there_segment,
        create(run, "back", SegmentKind.MARKET_RING, 8) as back_segment,
    ):
        there, back = BroadcastRing.attach(there_segment.payload), BroadcastRing.attach(back_segment.payload)
        back.subscribe_slot(1)
        publisher, subscriber = Publisher(there, BellSet(control.payload)), Subscriber(back)
        parker = Parker(control.payload, 1)
        other = start("echo", run.instance, 2, pass_fds=tuple(bells.values()))
        assert other.stdout is not None
        assert other.stdout.readline() == "up\n"
        out = np.zeros((8, WORDS), dtype=np.uint64)
        parked = 0
        for i in range(1, PING_PONGS + 1):
            publisher.publish(records(i, 1))
            while subscriber.poll_into(out, 8) == 0:
                parker.arm()
                if subscriber.pending():
                    parker.disarm()
                    continue
                os.set_blocking(parker.fd, True)
                assert parker.clear() > 0  # blocks until signaled
                parked += 1
            assert int(out[0, 0]) == i
        kill(other)
        assert parked > 0
    for fd in bells.values():
        os.close(fd)


def test_a_back_pressured_producer_is_always_woken(run: RunName) -> None:
    bells = {1: os.eventfd(0, os.EFD_NONBLOCK), 2: os.eventfd(0, os.EFD_NONBLOCK)}
    for fd in bells.values():
        os.set_inheritable(fd, True)
    with create_control(run, bells) as control, create(run, "spsc", SegmentKind.INTENT_RING, 2) as segment:
        ring = SpscRing.attach(segment.payload)
        producer, parker = Producer(ring, BellSet(control.payload), 1), Parker(control.payload, 1)
        other = start("commit_slowly", run.instance, 2, pass_fds=tuple(bells.values()))
        assert other.stdout is not None
        os.set_blocking(bells[1], True)
        rows = records(1, PING_PONGS)
        for row in rows:
            while not producer.offer(row):
                parker.arm()
                if producer.free() > 0:
                    parker.disarm()
                    continue
                parker.clear()  # blocks until the consumer made room
        goal = PING_PONGS // 1000 * 1000
        while (line := other.stdout.readline()) and line != f"taken {goal}\n":
            assert line.startswith("taken"), line
        assert line, "the consumer ended"
        assert ring.refused > 0
        kill(other)
    for fd in bells.values():
        os.close(fd)


def test_children_are_this_interpreter() -> None:
    """The suite must stress the interpreter it runs on, not whichever comes first on the path."""
    process = start("nobody", "x")
    process.communicate()
    assert process.args[0] == sys.executable  # type: ignore[index]
    assert process.returncode == 1
