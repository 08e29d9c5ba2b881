"""Batches and borrowed arrays: every way of reading gives the same records, and a lap is never whole."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.dtypes import record_dtype, slot_dtype
from shm.errors import LayoutError, RingError
from shm.layout import STRUCTS
from shm.record_fields import FIELD_NAMES
from shm.records import IntentRecord, MarketRecord, ReportRecord
from shm.ring import BroadcastRing, Publisher, Subscriber
from shm.spsc import Consumer, Producer, SpscRing
from shm.views import ConsumerBorrow, RecordBatch, SubscriberBorrow
from tests.kit.naive_ring import NaiveBroadcast, NaiveSpsc

SLOT = 16
PAIR = np.dtype([("number", "<u8"), ("check", "<u8")])
INTENT_AT = 136  # by hand: byte of `intent` in the ring's header


def record(i: int) -> bytes:
    return struct.pack("<QQ", i, i * 0x9E3779B97F4A7C15 % 2**64)


def broadcast(capacity: int = 8, slot_bytes: int = SLOT) -> tuple[bytearray, BroadcastRing, Publisher]:
    buffer = bytearray(BroadcastRing.bytes_needed(capacity, slot_bytes))
    ring = BroadcastRing.create(buffer, capacity, slot_bytes)
    ring.subscribe_slot(3)  # with a subscriber the publisher fetches slots ahead, around the ring's end too
    return buffer, ring, Publisher(ring)


def spsc(capacity: int = 8) -> tuple[SpscRing, Producer, Consumer]:
    ring = SpscRing.create(bytearray(SpscRing.bytes_needed(capacity, SLOT)), capacity, SLOT)
    return ring, Producer(ring), Consumer(ring)


# ---- types -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(STRUCTS))
def test_a_record_type_has_the_offsets_of_the_layout(name: str) -> None:
    dtype, described = record_dtype(name), STRUCTS[name]
    assert dtype.itemsize == described.size_bytes
    assert dtype.fields is not None
    places = {field: (info[0].itemsize, info[1]) for field, info in dtype.fields.items()}
    assert places == {f.name: (f.size_bytes, f.offset) for f in described.fields}


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (MarketRecord, "shm_market_record"),
        (IntentRecord, "shm_intent_record"),
        (ReportRecord, "shm_report_record"),
    ],
)
def test_a_record_type_reads_what_the_record_class_wrote(cls: Any, name: str) -> None:
    written = cls()
    for number, field in enumerate(FIELD_NAMES[cls.__name__], start=1):
        setattr(written, field, number)
    row = np.frombuffer(written.to_bytes(), record_dtype(name))[0]
    common = [field for field in FIELD_NAMES[cls.__name__] if field in (row.dtype.names or ())]
    assert len(common) >= 10
    assert [int(row[field]) for field in common] == [getattr(written, field) for field in common]


def test_arrays_and_nested_structs_keep_their_shape() -> None:
    intent: Any = np.zeros(3, record_dtype("shm_intent_record"))
    assert intent["certificates"].shape == (3, 4)
    assert intent["certificates"]["last_sequence"].dtype == np.int64
    market: Any = np.zeros(2, record_dtype("shm_market_record"))
    assert market["value"].shape == (2, 4)
    assert record_dtype("shm_counter")["label"] == np.dtype("S56")


def test_types_that_do_not_fit_are_refused() -> None:
    with pytest.raises(LayoutError, match="no struct"):
        record_dtype("shm_nonsense")
    assert slot_dtype(PAIR, 64).itemsize == 64
    bads: list[Any] = [np.dtype("<u8"), np.dtype("(4,)<u8")]
    for bad in bads:
        with pytest.raises(LayoutError, match="do not stand in slots"):
            slot_dtype(bad, SLOT)
    with pytest.raises(LayoutError, match="Python objects"):
        slot_dtype(cast("Any", np.dtype(object)), 8)


# ---- every way of reading, beside the naive twin ------------------------------------------------


def read_poll(subscriber: Any, limit: int) -> list[bytes]:
    out = bytearray(limit * SLOT)
    return [bytes(out[i * SLOT : (i + 1) * SLOT]) for i in range(subscriber.poll_into(out, limit))]


def rows(array: np.ndarray[Any, Any]) -> list[bytes]:
    return [row.tobytes() for row in array]


def read_batch(reader: Any, limit: int) -> list[bytes]:
    batch = RecordBatch(reader, PAIR, limit)
    count = batch.poll()
    assert count == batch.count == len(batch.taken)
    return rows(batch.records[:count])


def read_borrowed(subscriber: Subscriber, limit: int) -> list[bytes]:
    """As a poll of `limit` would: what is behind the wrap comes with the next borrow."""
    borrow = SubscriberBorrow(subscriber, PAIR)
    found: list[bytes] = []
    while len(found) < limit:
        part = rows(borrow.borrow(limit - len(found)))
        if not part:
            break
        assert borrow.release()
        found += part
    return found


def take_borrowed(consumer: Consumer, limit: int) -> list[bytes]:
    borrow = ConsumerBorrow(consumer, PAIR)
    found: list[bytes] = []
    while len(found) < limit and (part := rows(borrow.borrow(limit - len(found)))):
        found += part
    return found


OPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(1, 30)), st.tuples(st.just("read"), st.integers(1, 20))
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(st.sampled_from([2, 4, 8, 16]), OPS)
def test_all_ways_of_reading_a_broadcast_ring_agree(capacity: int, ops: list[tuple[str, int]]) -> None:
    naive = NaiveBroadcast(capacity, SLOT)
    _, ring, publisher = broadcast(capacity)
    expected = naive.subscribe()
    readers = [(read, Subscriber(ring)) for read in (read_poll, read_batch, read_borrowed)]
    for op, n in ops:
        if op == "publish":
            for i in range(n):
                naive.publish(record(naive.cursor + 1))
                publisher.publish(record(publisher.ring.cursor + 1))
            continue
        records = expected.poll(n)
        for read, subscriber in readers:
            assert read(subscriber, n) == records
            assert (subscriber.position, subscriber.lapped) == (expected.position, expected.lapped)
            assert subscriber.laps == expected.laps


@settings(max_examples=60)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("offer"), st.integers(1, 8)),
            st.tuples(st.just("read"), st.integers(1, 12)),
            st.tuples(st.just("commit"), st.integers(0, 12)),
        ),
        max_size=40,
    )
)
def test_all_ways_of_reading_an_spsc_ring_agree(ops: list[tuple[str, int]]) -> None:
    naive = NaiveSpsc(8, SLOT)
    real = [(read, *spsc()[1:]) for read in (read_poll, read_batch, take_borrowed)]
    for op, n in ops:
        if op == "offer":
            for _ in range(n):
                one = record(naive.cursor + 1)
                accepted = naive.offer(one)
                assert [producer.offer(one) for _, producer, _ in real] == [accepted] * 3
        elif op == "read":
            records = naive.poll(n)
            assert [read(consumer, n) for read, _, consumer in real] == [records] * 3
        else:
            count = min(n, naive.taken - naive.position)
            naive.commit(count)
            for _, _, consumer in real:
                consumer.commit(count)
                assert consumer.position == naive.position


# ---- what a borrow promises --------------------------------------------------------------------


def test_a_borrow_consumes_nothing_until_it_is_released() -> None:
    _, ring, publisher = broadcast()
    subscriber = Subscriber(ring)
    borrow = SubscriberBorrow(subscriber, PAIR)
    publisher.publish(record(1))
    assert borrow.borrow()["number"].tolist() == [1]
    publisher.publish(record(2))
    assert borrow.borrow()["number"].tolist() == [1, 2]
    assert subscriber.position == 0
    assert borrow.release()
    assert subscriber.position == 2
    assert len(borrow.borrow()) == 0
    assert borrow.release()


@pytest.mark.parametrize("borrowed", [1, 3])
def test_a_borrow_is_whole_until_its_first_slot_is_claimed(borrowed: int) -> None:
    """The exact edge: one publish less than a round leaves the first row alone, one more does not."""
    for published, whole in ((8 - borrowed, True), (8 - borrowed + 1, False)):
        _, ring, publisher = broadcast(8)
        subscriber = Subscriber(ring)
        borrow = SubscriberBorrow(subscriber, PAIR)
        for i in range(borrowed):
            publisher.publish(record(i + 1))
        assert borrow.borrow(borrowed)["number"].tolist() == list(range(1, borrowed + 1))
        for i in range(borrowed, borrowed + published):
            publisher.publish(record(i + 1))
        assert borrow.release() is whole
        if whole:
            assert (subscriber.position, subscriber.lapped) == (borrowed, 0)
        else:
            # Rejoined half a ring behind the cursor; the borrowed records count among the lost.
            assert (subscriber.position, subscriber.lapped, subscriber.laps) == (5, 5, 1)
            assert read_poll(subscriber, 8) == [record(i) for i in range(6, 10)]


def test_a_publisher_killed_while_it_overwrites_makes_the_borrow_void() -> None:
    buffer, ring, publisher = broadcast(8)
    subscriber = Subscriber(ring)
    borrow = SubscriberBorrow(subscriber, PAIR)
    for i in range(8):
        publisher.publish(record(i + 1))
    assert len(borrow.borrow()) == 8
    # It raised the intent to 9 and died somewhere in slot 1.
    assert struct.unpack_from("<Q", buffer, INTENT_AT) == (8,)
    struct.pack_into("<Q", buffer, INTENT_AT, 9)
    assert not borrow.release()
    assert subscriber.lapped >= 1
    assert record(1) not in read_poll(subscriber, 8)


def test_polling_between_borrow_and_release_is_refused() -> None:
    _, ring, publisher = broadcast()
    subscriber = Subscriber(ring)
    borrow = SubscriberBorrow(subscriber, PAIR)
    publisher.publish(record(1))
    borrow.borrow()
    assert read_poll(subscriber, 1) == [record(1)]
    with pytest.raises(RingError, match="polled between"):
        borrow.release()
    assert borrow.release(), "the failed release ended the borrow"


def test_borrowed_arrays_are_the_ring_itself_and_read_only() -> None:
    buffer, ring, publisher = broadcast()
    borrow = SubscriberBorrow(Subscriber(ring), PAIR)
    publisher.publish(record(1))
    array = borrow.borrow()
    assert np.shares_memory(array, np.frombuffer(buffer, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        array["number"] = 5
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True
    with pytest.raises(ValueError, match="WRITEABLE"):
        borrow.slots.flags.writeable = True


def test_a_borrowed_array_keeps_the_memory_of_its_ring() -> None:
    memory = mmap.mmap(-1, BroadcastRing.bytes_needed(8, SLOT))
    publisher = Publisher(BroadcastRing.create(memory, 8, SLOT))
    borrow = SubscriberBorrow(Subscriber(BroadcastRing.attach(memory)), PAIR)
    publisher.publish(record(7))
    array = borrow.borrow()
    del borrow, publisher
    with pytest.raises(BufferError):
        memory.close()
    assert array["number"].tolist() == [7]


def test_borrowed_spsc_records_stay_until_they_are_committed() -> None:
    _, producer, consumer = spsc(4)
    borrow = ConsumerBorrow(consumer, PAIR)
    for i in range(1, 5):
        assert producer.offer(record(i))
    array = borrow.borrow()
    assert not producer.offer(record(5)), "borrowed is not committed"
    borrow.commit(2)
    assert [producer.offer(record(i)) for i in (5, 6, 7)] == [True, True, False]
    assert array["number"].tolist() == [5, 6, 3, 4], "what was committed is the producer's again"
    with pytest.raises(RingError, match="commit of 3"):
        borrow.commit(3)


def test_a_batch_is_made_once_and_overwritten_by_each_poll() -> None:
    _, ring, publisher = broadcast(8, 64)
    batch = RecordBatch(Subscriber(ring), PAIR, 4)
    array = batch.records
    assert array.itemsize == 64
    for i in range(1, 7):
        publisher.publish(record(i))
    assert (batch.poll(), array["number"].tolist()) == (4, [1, 2, 3, 4])
    assert (batch.poll(), array["number"].tolist()) == (2, [5, 6, 3, 4])
    assert batch.taken["number"].tolist() == [5, 6]
    assert (batch.poll(), len(batch.taken)) == (0, 0)
    assert batch.records is array


def test_bad_arguments_are_refused() -> None:
    _, ring, _ = broadcast()
    subscriber = Subscriber(ring)
    for limit in (0, -1, 2**31):
        with pytest.raises(RingError, match="limit"):
            RecordBatch(subscriber, PAIR, limit)
        with pytest.raises(RingError, match="limit"):
            SubscriberBorrow(subscriber, PAIR).borrow(limit)
        with pytest.raises(RingError, match="limit"):
            ConsumerBorrow(spsc()[2], PAIR).borrow(limit)
    with pytest.raises(LayoutError, match="slots"):
        SubscriberBorrow(subscriber, record_dtype("shm_market_record"))
    with pytest.raises(TypeError, match="Subscriber or a Consumer"):
        RecordBatch(ring, PAIR)  # type: ignore[arg-type]


# ---- a publisher in another process that never waits --------------------------------------------


@contextmanager
def publisher_process(memory: mmap.mmap, records: np.ndarray[Any, Any], batch: int) -> Iterator[int]:
    pid = os.fork()
    if pid == 0:
        publisher = Publisher(BroadcastRing.attach(memory))
        for at in range(0, len(records), batch):
            publisher.publish_batch(records[at : at + batch], batch)
        os._exit(0)
    try:
        yield pid
    finally:
        assert os.waitpid(pid, 0)[1] == 0


def test_borrowed_batches_under_a_publisher_that_laps_are_whole_or_void() -> None:
    total, batch, capacity, words = 64_000, 8, 64, 16
    numbers = np.arange(1, total + 1, dtype=np.uint64)
    records = numbers[:, None] * np.arange(1, words + 1, dtype=np.uint64)
    memory = mmap.mmap(-1, BroadcastRing.bytes_needed(capacity, words * 8))
    ring = BroadcastRing.create(memory, capacity, words * 8)
    subscriber = Subscriber(ring)
    borrow = SubscriberBorrow(subscriber, np.dtype([("words", "<u8", (words,))]))
    whole = 0
    with publisher_process(memory, records, batch):
        while subscriber.position < total:
            seen = borrow.borrow()["words"].copy()
            if len(seen) and borrow.release():
                first = subscriber.position - len(seen)
                assert np.array_equal(seen, records[first : first + len(seen)])
                whole += len(seen)
    assert whole + subscriber.lapped == total
    assert whole >= capacity // 2, "after the last record nobody laps"
