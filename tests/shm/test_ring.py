"""Rings: one suite run against the naive twin and the real thing, then what only the real one has."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shm.control import Control
from shm.doorbell import BellSet, Parker
from shm.enums import SegmentKind
from shm.errors import LayoutError, RingError
from shm.ring import BroadcastRing, Publisher, Subscriber
from shm.segment import Segment
from shm.spsc import Consumer, Producer, SpscRing
from tests.kit.naive_ring import NaiveBroadcast, NaiveSpsc, NaiveSubscriber

SLOT = 16


class RealSubscriber:
    """The real subscriber behind the naive one's face: records as a list of bytes."""

    def __init__(self, ring: BroadcastRing, from_oldest: bool) -> None:
        self.inner = Subscriber(ring, from_oldest=from_oldest)

    def poll(self, limit: int) -> list[bytes]:
        out = bytearray(limit * SLOT)
        n = self.inner.poll_into(out, limit)
        return [bytes(out[i * SLOT : (i + 1) * SLOT]) for i in range(n)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class RealBroadcast:
    def __init__(self, capacity: int, slot_bytes: int) -> None:
        buffer = bytearray(BroadcastRing.bytes_needed(capacity, slot_bytes))
        self.ring = BroadcastRing.create(buffer, capacity, slot_bytes)
        self.publisher = Publisher(BroadcastRing.attach(buffer))
        self.capacity = capacity

    @property
    def cursor(self) -> int:
        return self.ring.cursor

    def publish(self, record: bytes) -> int:
        return self.publisher.publish(record)

    def publish_batch(self, records: list[bytes]) -> int:
        return self.publisher.publish_batch(b"".join(r.ljust(SLOT, b"\0") for r in records), len(records))

    def subscribe(self, *, from_oldest: bool = False) -> RealSubscriber:
        return RealSubscriber(self.ring, from_oldest)


class RealSpsc:
    def __init__(self, capacity: int, slot_bytes: int) -> None:
        self.buffer = bytearray(SpscRing.bytes_needed(capacity, slot_bytes))
        self.ring = SpscRing.create(self.buffer, capacity, slot_bytes)
        self.producer = Producer(self.ring)
        self.consumer = Consumer(SpscRing.attach(self.buffer))
        self.capacity = capacity

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ring, name)

    def free(self) -> int:
        return self.producer.free()

    def offer(self, record: bytes) -> bool:
        return self.producer.offer(record)

    def offer_many(self, records: list[bytes]) -> bool:
        return self.producer.offer_many(b"".join(r.ljust(SLOT, b"\0") for r in records), len(records))

    def poll(self, limit: int) -> list[bytes]:
        out = bytearray(limit * SLOT)
        n = self.consumer.poll_into(out, limit)
        return [bytes(out[i * SLOT : (i + 1) * SLOT]) for i in range(n)]

    def commit(self, count: int) -> None:
        self.consumer.commit(count)

    def consumer_reborn(self) -> None:
        self.consumer = Consumer(SpscRing.attach(self.buffer))


def record(i: int) -> bytes:
    return i.to_bytes(8, "little") + (i * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8, "little")


@pytest.fixture(params=[NaiveBroadcast, RealBroadcast])
def broadcast(request: pytest.FixtureRequest) -> Any:
    return request.param(8, SLOT)


@pytest.fixture(params=[NaiveSpsc, RealSpsc])
def spsc(request: pytest.FixtureRequest) -> Any:
    return request.param(8, SLOT)


# ---- conformance: broadcast --------------------------------------------------------------------


def test_first_sequence_is_one_and_zero_means_nothing(broadcast: Any) -> None:
    assert broadcast.cursor == 0
    assert broadcast.publish(record(1)) == 1
    assert broadcast.cursor == 1


def test_subscriber_joins_at_the_newest_record(broadcast: Any) -> None:
    broadcast.publish(record(1))
    subscriber = broadcast.subscribe()
    assert not subscriber.pending()
    assert subscriber.poll(4) == []
    broadcast.publish(record(2))
    assert subscriber.pending()
    assert subscriber.poll(4) == [record(2)]


def test_each_subscriber_gets_every_record_in_order(broadcast: Any) -> None:
    first, second = broadcast.subscribe(), broadcast.subscribe()
    for i in range(1, 7):
        broadcast.publish(record(i))
    assert first.poll(100) == [record(i) for i in range(1, 7)]
    assert [second.poll(2) for _ in range(4)] == [
        [record(1), record(2)], [record(3), record(4)], [record(5), record(6)], [],
    ]  # fmt: skip


def test_a_full_ring_is_no_lap_but_one_more_is(broadcast: Any) -> None:
    subscriber = broadcast.subscribe()
    for i in range(1, 9):
        broadcast.publish(record(i))
    assert subscriber.poll(100) == [record(i) for i in range(1, 9)]
    for i in range(9, 18):
        broadcast.publish(record(i))
    assert subscriber.poll(100) == [record(i) for i in range(14, 18)]
    assert (subscriber.lapped, subscriber.laps, subscriber.position) == (5, 1, 17)


def test_from_oldest_joins_at_the_oldest_whole_record(broadcast: Any) -> None:
    for i in range(1, 21):
        broadcast.publish(record(i))
    subscriber = broadcast.subscribe(from_oldest=True)
    assert subscriber.poll(100) == [record(i) for i in range(13, 21)]
    assert subscriber.lapped == 0


def test_short_records_are_zero_filled(broadcast: Any) -> None:
    subscriber = broadcast.subscribe()
    for _ in range(10):
        broadcast.publish(b"\xff" * SLOT)
    subscriber = broadcast.subscribe()
    for text in (b"", b"a", b"12345678", b"123456789"):
        broadcast.publish(text)
    assert subscriber.poll(9) == [t.ljust(SLOT, b"\0") for t in (b"", b"a", b"12345678", b"123456789")]


# ---- conformance: SPSC -------------------------------------------------------------------------


def test_offer_is_refused_when_full_and_loses_nothing(spsc: Any) -> None:
    assert [spsc.offer(record(i)) for i in range(1, 11)] == [True] * 8 + [False] * 2
    assert (spsc.refused, spsc.free()) == (2, 0)
    assert spsc.poll(100) == [record(i) for i in range(1, 9)]
    assert not spsc.offer(record(11)), "polled is not committed"
    spsc.commit(3)
    assert spsc.free() == 3
    assert spsc.offer(record(11))


def test_offer_many_takes_all_or_nothing(spsc: Any) -> None:
    assert spsc.offer_many([record(i) for i in range(6)])
    assert not spsc.offer_many([record(i) for i in range(3)])
    assert spsc.cursor == 6
    assert spsc.offer_many([record(i) for i in range(2)])


def test_reborn_consumer_gets_again_what_was_not_committed(spsc: Any) -> None:
    for i in range(1, 6):
        spsc.offer(record(i))
    assert len(spsc.poll(4)) == 4
    spsc.commit(2)
    spsc.consumer_reborn()
    assert spsc.poll(100) == [record(i) for i in range(3, 6)]


# ---- naive and real side by side ---------------------------------------------------------------

BROADCAST_OPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(1, 30)),
        st.tuples(st.just("batch"), st.integers(1, 30)),
        st.tuples(st.just("poll"), st.integers(0, 20)),
        st.tuples(st.just("join"), st.booleans()),
    ),
    max_size=60,
)


@given(st.sampled_from([2, 4, 8, 16]), BROADCAST_OPS)
def test_broadcast_agrees_with_its_naive_twin(capacity: int, ops: list[tuple[str, int]]) -> None:
    naive, real = NaiveBroadcast(capacity, SLOT), RealBroadcast(capacity, SLOT)
    pairs: list[tuple[NaiveSubscriber, RealSubscriber]] = [(naive.subscribe(), real.subscribe())]
    made = 0
    for op, n in ops:
        if op in ("publish", "batch"):
            records = [record(made + i) for i in range(1, n + 1)]
            made += n
            if op == "batch":
                assert naive.publish_batch(records) == real.publish_batch(records)
            else:
                assert [naive.publish(r) for r in records] == [real.publish(r) for r in records]
        elif op == "join":
            pairs.append((naive.subscribe(from_oldest=bool(n)), real.subscribe(from_oldest=bool(n))))
        else:
            for a, b in pairs:
                assert a.poll(n) == b.poll(n) or n == 0
        if op != "poll" or n:
            for a, b in pairs:
                assert a.pending() == b.pending()
    for a, b in pairs:
        assert a.poll(1000) == b.poll(1000)
        assert (a.position, a.lapped, a.laps) == (b.position, b.lapped, b.laps)


SPSC_OPS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.integers(1, 12)),
        st.tuples(st.just("many"), st.integers(1, 8)),
        st.tuples(st.just("poll"), st.integers(1, 12)),
        st.tuples(st.just("commit"), st.integers(0, 12)),
        st.tuples(st.just("reborn"), st.just(0)),
    ),
    max_size=80,
)


@given(SPSC_OPS)
def test_spsc_agrees_with_its_naive_twin(ops: list[tuple[str, int]]) -> None:
    naive, real = NaiveSpsc(8, SLOT), RealSpsc(8, SLOT)
    for op, n in ops:
        records = [record(naive.cursor + i) for i in range(1, n + 1)]
        if op == "offer":
            assert [naive.offer(r) for r in records] == [real.offer(r) for r in records]
        elif op == "many":
            assert naive.offer_many(records) == real.offer_many(records)
        elif op == "poll":
            assert naive.poll(n) == real.poll(n)
        elif op == "commit":
            count = min(n, naive.taken - naive.position)
            naive.commit(count)
            real.commit(count)
        else:
            naive.consumer_reborn()
            real.consumer_reborn()
        state = (naive.cursor, naive.position, naive.refused, naive.free())
        assert state == (real.cursor, real.position, real.refused, real.free())


# ---- the real ring only ------------------------------------------------------------------------


def broadcast_buffer(capacity: int = 8, slot_bytes: int = SLOT) -> bytearray:
    buffer = bytearray(BroadcastRing.bytes_needed(capacity, slot_bytes))
    BroadcastRing.create(buffer, capacity, slot_bytes)
    return buffer


def poke(buffer: bytearray, offset: int, value: int) -> None:
    buffer[offset : offset + 8] = value.to_bytes(8, "little")


CURSOR, INTENT = 128, 136


def test_a_slot_claimed_by_a_killed_publisher_is_never_delivered() -> None:
    buffer = broadcast_buffer()
    ring = BroadcastRing.attach(buffer)
    publisher = Publisher(ring)
    subscriber = Subscriber(ring)
    for i in range(1, 9):
        publisher.publish(record(i))
    # Killed inside publish of record 9: intent raised, slot of record 1 half overwritten.
    poke(buffer, INTENT, 9)
    poke(buffer, 512, 0xDEAD)
    out = bytearray(8 * SLOT)
    n = subscriber.poll_into(out, 8)
    assert bytes(out[: n * SLOT]) == b"".join(record(i) for i in range(5, 9))
    assert subscriber.lapped == 4


def test_a_reborn_publisher_continues_the_sequence_and_keeps_intent() -> None:
    buffer = broadcast_buffer()
    publisher = Publisher(BroadcastRing.attach(buffer))
    for i in range(1, 9):
        publisher.publish(record(i))
    poke(buffer, INTENT, 10)  # killed in a batch of two
    ring = BroadcastRing.attach(buffer)
    reborn = Publisher(ring)
    subscriber = Subscriber(ring, from_oldest=True)
    assert subscriber.position == 2
    assert reborn.publish(record(9)) == 9
    assert (ring.intent, ring.cursor) == (10, 9)
    assert reborn.publish_batch(record(10) + record(11), 2) == 11
    assert ring.intent == 11


def test_a_large_batch_is_published_in_parts_that_lap_nobody_in_one_go() -> None:
    buffer = broadcast_buffer(capacity=8)
    ring = BroadcastRing.attach(buffer)
    assert Publisher(ring).publish_batch(b"".join(record(i) for i in range(1, 101)), 100) == 100
    subscriber = Subscriber(ring, from_oldest=True)
    out = bytearray(8 * SLOT)
    assert subscriber.poll_into(out, 8) == 8
    assert out[:SLOT] == record(93)


def test_lag_and_behind_tell_a_slow_subscriber() -> None:
    ring = BroadcastRing.attach(broadcast_buffer())
    publisher, subscriber = Publisher(ring), Subscriber(ring)
    for i in range(4):
        publisher.publish(record(i))
    assert (subscriber.lag, subscriber.behind()) == (4, False)
    publisher.publish(record(5))
    assert subscriber.behind()


def test_numpy_records_go_in_and_out() -> None:
    ring = BroadcastRing.attach(broadcast_buffer())
    publisher, subscriber = Publisher(ring), Subscriber(ring)
    rows = np.arange(8, dtype=np.int64).reshape(4, 2)
    publisher.publish_batch(rows, 4)
    out = np.zeros((4, 2), dtype=np.int64)
    assert subscriber.poll_into(out, 4) == 4
    assert (out == rows).all()


@pytest.mark.parametrize(
    ("capacity", "slot_bytes", "text"),
    [
        (0, 8, "capacity 0"),
        (3, 8, "capacity 3"),
        (1, 8, "capacity 1"),
        (8, 12, "slot size 12"),
        (8, 0, "slot size 0"),
    ],
)
def test_wrong_sizes_are_named(capacity: int, slot_bytes: int, text: str) -> None:
    with pytest.raises(RingError, match=text):
        BroadcastRing.bytes_needed(capacity, slot_bytes)


def test_attach_says_what_is_wrong() -> None:
    spsc = bytearray(SpscRing.bytes_needed(8, SLOT))
    with pytest.raises(LayoutError, match="nothing"):
        SpscRing.attach(spsc)
    SpscRing.create(spsc, 8, SLOT)
    with pytest.raises(LayoutError, match="an SPSC ring, not a broadcast ring"):
        BroadcastRing.attach(spsc)
    with pytest.raises(LayoutError, match="states 640 bytes, the payload has 600"):
        SpscRing.attach(memoryview(spsc)[:600])
    with pytest.raises(LayoutError, match="needs 512 bytes"):
        SpscRing.attach(bytearray(100))
    poke(spsc, 8, 7)
    with pytest.raises(LayoutError, match=r"damaged.*capacity 7"):
        SpscRing.attach(spsc)


def test_a_read_only_mapping_may_subscribe_and_nothing_else() -> None:
    buffer = broadcast_buffer()
    ring = BroadcastRing.attach(memoryview(buffer).toreadonly())
    subscriber = Subscriber(ring)
    Publisher(BroadcastRing.attach(buffer)).publish(record(1))
    assert subscriber.poll_into(bytearray(SLOT), 1) == 1
    with pytest.raises(RingError, match="writable"):
        Publisher(ring)
    with pytest.raises(RingError, match="read-only"):
        ring.subscribe_slot(1)


def test_rings_without_memory_can_not_be_made() -> None:
    for ring in (BroadcastRing, SpscRing):
        with pytest.raises(TypeError, match="create or attach"):
            ring()


def test_misuse_is_refused_before_anything_is_written() -> None:
    ring = BroadcastRing.attach(broadcast_buffer())
    publisher = Publisher(ring)
    with pytest.raises(RingError, match="17 bytes"):
        publisher.publish(bytes(17))
    with pytest.raises(RingError, match="3 records"):
        publisher.publish_batch(bytes(40), 3)
    with pytest.raises(RingError, match="0 records"):
        publisher.publish_batch(bytes(40), 0)
    with pytest.raises(RingError, match="do not fit in 31 bytes"):
        Subscriber(ring).poll_into(bytearray(31), 2)
    with pytest.raises(BufferError):
        Subscriber(ring).poll_into(bytes(32), 2)
    assert ring.cursor == 0
    spsc = SpscRing.create(bytearray(SpscRing.bytes_needed(8, SLOT)), 8, SLOT)
    with pytest.raises(RingError, match="never fit"):
        Producer(spsc).offer_many(bytes(9 * SLOT), 9)
    with pytest.raises(RingError, match="1 records, 0 are polled"):
        Consumer(spsc).commit(1)


class Bells:
    """A control segment with one eventfd for slot 5 and one for slot 6."""

    def __init__(self) -> None:
        self.segment = Segment.anonymous("control", SegmentKind.CONTROL, Control.bytes_needed())
        control = Control.create(self.segment.payload, 1, os.getpid())
        self.fds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
        for slot, fd in zip((5, 6), self.fds, strict=True):
            control.slot(slot).bell_fd = fd
        self.set = BellSet(self.segment.payload)

    def parker(self, slot: int) -> Parker:
        return Parker(self.segment.payload, slot)

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)


@pytest.fixture
def bells() -> Any:
    made = Bells()
    yield made
    made.close()


def test_publish_signals_parked_subscribers_once(bells: Bells) -> None:
    ring = BroadcastRing.attach(broadcast_buffer())
    publisher, parker, stranger = Publisher(ring, bells.set), bells.parker(5), bells.parker(6)
    ring.subscribe_slot(5)
    parker.arm()
    stranger.arm()
    publisher.publish(record(1))
    publisher.publish(record(2))
    assert parker.clear() == 1
    assert not parker.is_parked
    assert stranger.clear() == 0, "not a subscriber of this ring"
    ring.unsubscribe_slot(5)
    parker.arm()
    publisher.publish(record(3))
    assert parker.clear() == 0


def test_a_reborn_writer_wakes_whom_its_predecessor_may_have_left_asleep(bells: Bells) -> None:
    """The predecessor took `parked` and was killed before it wrote the eventfd."""
    ring = BroadcastRing.attach(broadcast_buffer())
    ring.subscribe_slot(5)
    Publisher(ring, bells.set)
    Publisher(ring, bells.set).publish(record(1))
    assert bells.parker(5).clear() == 1


def test_commit_wakes_a_refused_producer_even_if_it_is_awake(bells: Bells) -> None:
    ring = SpscRing.create(bytearray(SpscRing.bytes_needed(2, SLOT)), 2, SLOT)
    producer, consumer = Producer(ring, bells.set, 6), Consumer(ring, bells.set)
    for i in range(2):
        assert producer.offer(record(i))
    consumer.poll_into(bytearray(2 * SLOT), 2)
    consumer.commit(1)
    assert bells.parker(6).clear() == 0, "nobody was refused"
    assert producer.offer(record(3))
    assert not producer.offer(record(4))
    assert ring.wanted == 7
    consumer.commit(1)
    assert (ring.wanted, bells.parker(6).clear()) == (0, 1)
