"""Blobs over an SPSC ring: bodies larger than a slot, cut into chunks, offered whole or not at all.

They carry raw HTTP bodies from the reference actor to the feed worker that needs them. All chunks of a blob
become visible by one store of the cursor, so a producer that dies leaves no half of one.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from shm.errors import RingError
from shm.spsc import Consumer, Producer

if TYPE_CHECKING:
    from shm.doorbell import BellSet
    from shm.spsc import SpscRing

# key, status, bytes of the whole body, offset of this chunk, bytes of this chunk
CHUNK = struct.Struct("<QqIII4x")
BODY_BYTES_MAX = 2**32 - 1
# Slots copied at once by a consumer.
BATCH = 32


class Blob(NamedTuple):
    """One body with the key of what it answers and a status of the producer's choice."""

    key: int
    status: int
    body: bytes


class BlobProducer:
    """The one writer of a blob ring."""

    def __init__(self, ring: SpscRing, bells: BellSet | None, own_slot: int) -> None:
        """Become the writer.

        Args:
            ring: an SPSC ring with slots of more than 32 bytes.
            bells: signals the consumer; None = nobody parks (replay).
            own_slot: worker slot that is signaled when a refused offer may be tried again.

        Raises:
            RingError: the slots are too small.
        """
        check_slots(ring)
        self._producer = Producer(ring, bells, own_slot)
        self._slot_bytes = ring.slot_bytes
        self._capacity = ring.capacity

    @property
    def body_bytes_max(self) -> int:
        """Largest body that fits an empty ring."""
        return min(self._capacity * (self._slot_bytes - CHUNK.size), BODY_BYTES_MAX)

    def offer(self, key: int, status: int, body: bytes) -> bool:
        """Offer one body, whole or not at all.

        Args:
            key: what the body answers, 0 to 2^64 - 1.
            status: of the producer's choice, int64; an HTTP status for instance.
            body: may be empty.

        Returns:
            Whether it was accepted; False = back-pressured, and `own_slot` is signaled on progress.

        Raises:
            RingError: the body would not even fit an empty ring.
        """
        if len(body) > self.body_bytes_max:
            raise RingError(f"a body of {len(body)} bytes never fits a ring for {self.body_bytes_max}")
        room = self._slot_bytes - CHUNK.size
        count = max(1, -(-len(body) // room))
        chunks = bytearray(count * self._slot_bytes)
        for index in range(count):
            part = body[index * room : (index + 1) * room]
            at = index * self._slot_bytes
            CHUNK.pack_into(chunks, at, key, status, len(body), index * room, len(part))
            chunks[at + CHUNK.size : at + CHUNK.size + len(part)] = part
        return self._producer.offer_many(chunks, count)


class BlobConsumer:
    """The one reader of a blob ring."""

    def __init__(self, ring: SpscRing, bells: BellSet | None) -> None:
        """Become the reader, at the first blob that no reader has committed.

        Raises:
            RingError: the slots are too small.
        """
        check_slots(ring)
        self._consumer = Consumer(ring, bells)
        self._slot_bytes = ring.slot_bytes
        self._batch = min(ring.capacity, BATCH)
        self._buffer = bytearray(self._batch * ring.slot_bytes)
        self._slots = memoryview(self._buffer)
        self._key = 0
        self._status = 0
        self._total = 0
        self._body = bytearray()
        self._chunks = 0
        self._broken = 0

    @property
    def broken(self) -> int:
        """Chunks thrown away because they did not continue the body before them."""
        return self._broken

    def pending(self) -> bool:
        """Whether something stands in the ring that was not polled."""
        return self._consumer.pending()

    def poll(self, limit: int = 256) -> list[Blob]:
        """Take the bodies that are complete within the next `limit` slots; never waits.

        A body's slots are freed when it is returned; of a body cut by the limit the rest comes with the next
        poll.
        """
        blobs = []
        while limit > 0:
            count = self._consumer.poll_into(self._buffer, min(limit, self._batch))
            if not count:
                break
            limit -= count
            for index in range(count):
                blob = self._take(self._slots[index * self._slot_bytes : (index + 1) * self._slot_bytes])
                if blob is not None:
                    blobs.append(blob)
        return blobs

    def _take(self, slot: memoryview) -> Blob | None:
        key, status, total, offset, length = CHUNK.unpack_from(slot)
        self._chunks += 1
        if offset == 0:
            # A body before this one that never became whole is gone.
            self._drop(self._chunks - 1)
            self._key, self._status, self._total = key, status, total
            self._body.clear()
        end = offset + length
        if (
            offset != len(self._body)
            or key != self._key
            or end > self._total
            or length > len(slot) - CHUNK.size
        ):
            self._drop(self._chunks)
            return None
        self._body += slot[CHUNK.size : CHUNK.size + length]
        if end < self._total:
            return None
        blob = Blob(self._key, self._status, bytes(self._body))
        self._total = 0
        self._free(self._chunks)
        return blob

    def _drop(self, chunks: int) -> None:
        """Throw chunks away; what follows must begin a new body."""
        self._broken += chunks
        self._total = 0
        self._body.clear()
        self._free(chunks)

    def _free(self, chunks: int) -> None:
        self._consumer.commit(chunks)
        self._chunks -= chunks


def check_slots(ring: SpscRing) -> None:
    """Refuse slots that hold no byte of a body."""
    if ring.slot_bytes <= CHUNK.size:
        raise RingError(
            f"slots of {ring.slot_bytes} bytes hold no body behind {CHUNK.size} bytes of chunk header"
        )
