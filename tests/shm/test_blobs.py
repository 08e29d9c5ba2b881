"""Blobs: whole bodies or nothing, in order, across a reborn consumer."""

from __future__ import annotations

import struct
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.blobs import CHUNK, Blob, BlobConsumer, BlobProducer
from shm.errors import RingError
from shm.spsc import Producer, SpscRing

SLOT = 64
ROOM = SLOT - CHUNK.size


def fresh(capacity: int = 8) -> tuple[SpscRing, BlobProducer, BlobConsumer]:
    ring = SpscRing.create(bytearray(SpscRing.bytes_needed(capacity, SLOT)), capacity, SLOT)
    return ring, BlobProducer(ring, None, 3), BlobConsumer(ring, None)


@pytest.mark.parametrize("size", [0, 1, ROOM - 1, ROOM, ROOM + 1, 8 * ROOM])
def test_a_body_of_any_size_comes_back_whole(size: int) -> None:
    ring, producer, consumer = fresh()
    body = bytes(range(256)) * 2
    assert producer.offer(2**64 - 1, -404, body[:size])
    assert consumer.pending()
    assert consumer.poll() == [Blob(2**64 - 1, -404, body[:size])]
    assert not consumer.pending()
    assert ring.position == ring.cursor


def test_a_body_that_does_not_fit_now_is_refused_whole() -> None:
    ring, producer, consumer = fresh()
    assert producer.offer(1, 200, b"a" * (5 * ROOM))
    assert not producer.offer(2, 200, b"b" * (4 * ROOM))
    assert (ring.cursor, ring.wanted) == (5, 4)
    assert consumer.poll() == [Blob(1, 200, b"a" * (5 * ROOM))]
    assert producer.offer(2, 200, b"b" * (4 * ROOM))
    assert consumer.poll() == [Blob(2, 200, b"b" * (4 * ROOM))]


def test_a_body_that_never_fits_is_an_error() -> None:
    _, producer, _ = fresh()
    assert producer.body_bytes_max == 8 * ROOM
    with pytest.raises(RingError, match="never fits"):
        producer.offer(1, 200, bytes(8 * ROOM + 1))


def test_slots_without_room_are_refused() -> None:
    ring = SpscRing.create(bytearray(SpscRing.bytes_needed(2, 32)), 2, 32)
    with pytest.raises(RingError):
        BlobProducer(ring, None, 0)
    with pytest.raises(RingError):
        BlobConsumer(ring, None)


def test_a_body_cut_by_the_limit_is_freed_only_when_whole() -> None:
    ring, producer, consumer = fresh()
    producer.offer(1, 200, b"x" * (3 * ROOM))
    producer.offer(2, 200, b"y")
    assert consumer.poll(2) == []
    assert ring.position == 0
    assert consumer.poll(1) == [Blob(1, 200, b"x" * (3 * ROOM))]
    assert ring.position == 3
    assert consumer.poll(1) == [Blob(2, 200, b"y")]


def test_a_reborn_consumer_gets_the_body_its_predecessor_had_not_finished() -> None:
    ring, producer, consumer = fresh()
    producer.offer(1, 200, b"x" * (3 * ROOM))
    assert consumer.poll(2) == []
    assert BlobConsumer(ring, None).poll() == [Blob(1, 200, b"x" * (3 * ROOM))]


@settings(max_examples=60)
@given(st.lists(st.one_of(st.none(), st.integers(1, 5), st.binary(max_size=10 * ROOM)), max_size=40))
def test_the_ring_is_a_queue_of_whole_bodies(steps: list[bytes | int | None]) -> None:
    """None = poll all, a number = poll that many slots, bytes = offer."""
    _, producer, consumer = fresh()
    offered: deque[Blob] = deque()
    polled = []
    for number, step in enumerate(steps):
        if isinstance(step, bytes):
            if len(step) <= producer.body_bytes_max and producer.offer(number, number, step):
                offered.append(Blob(number, number, step))
        else:
            polled += consumer.poll() if step is None else consumer.poll(step)
    polled += consumer.poll()
    assert polled == list(offered)
    assert consumer.broken == 0


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 70), st.integers(0, 70), st.integers(0, 40)), max_size=6
    )
)
def test_chunks_that_do_not_fit_together_are_dropped_and_counted(
    chunks: list[tuple[int, int, int, int]],
) -> None:
    ring, _, consumer = fresh()
    producer = Producer(ring, None, 0)
    for key, total, offset, length in chunks:
        producer.offer(struct.pack("<QqIII4x", key, 200, total, offset, length).ljust(SLOT, b"."))
    for blob in consumer.poll():
        assert blob.body == b"." * len(blob.body)
    good = BlobProducer(ring, None, 0)
    if good.offer(9, 200, b"whole"):
        assert consumer.poll()[-1:] == [Blob(9, 200, b"whole")]
        assert ring.position == ring.cursor
