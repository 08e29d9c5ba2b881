# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""Whole batches of records as numpy structured arrays: copied into an array made once, or borrowed in place.

`RecordBatch` copies: what it delivers is whole and stays until its next poll. `SubscriberBorrow` and
`ConsumerBorrow` copy nothing: their arrays are the ring's own memory, read-only, and are true for a stated
time. All are used by the thread that uses the subscriber or consumer. `dtypes.record_dtype` makes the types.
"""

from libc.stdint cimport uint8_t, uint64_t

from shm.ring cimport SHM_BROADCAST_SLOTS_AT, SHM_SPSC_SLOTS_AT, Ring, Subscriber
from shm.spsc cimport Consumer

import numpy as np

from shm.dtypes import slot_dtype
from shm.errors import RingError


cdef enum:
    LIMIT_MAX = 1 << 30


cdef int check_limit(object limit) except -1:
    if not 1 <= limit <= LIMIT_MAX:
        raise RingError(f"a limit of {limit} records is not within 1 .. {LIMIT_MAX}")
    return 0


cdef object slots_of(Ring ring, size_t slots_at, object dtype):
    """All slots of a ring as one read-only array, which keeps the mapping alive."""
    cdef Py_ssize_t size_bytes = <Py_ssize_t>(ring.capacity * ring.slot_bytes)
    memory = memoryview(<object>ring._view).toreadonly()
    raw = np.frombuffer(memory, dtype=np.uint8, count=size_bytes, offset=slots_at)
    return raw.view(slot_dtype(np.dtype(dtype), ring.slot_bytes))


cdef class RecordBatch:
    """An array of records made once and filled by each poll: a poll allocates nothing."""

    def __cinit__(self, reader, dtype, limit=256):
        """Make the array.

        Args:
            reader: A Subscriber or a Consumer; its position moves with each poll.
            dtype: Structured type of a record, at most slot_bytes long.
            limit: Most records of one poll.

        Raises:
            LayoutError: The type does not fit the ring's slots.
            RingError: The limit is below 1.
            TypeError: `reader` is neither of the two.
        """
        check_limit(limit)
        if isinstance(reader, Subscriber):
            self.subscriber = reader
            slot_bytes = self.subscriber.ring.slot_bytes
        elif isinstance(reader, Consumer):
            self.consumer = reader
            slot_bytes = self.consumer.ring.slot_bytes
        else:
            raise TypeError(f"a batch is polled from a Subscriber or a Consumer, not from {type(reader).__name__}")
        self.limit = limit
        self.records = np.zeros(limit, dtype=slot_dtype(np.dtype(dtype), slot_bytes))
        self._memory = self.records.view(np.uint8)

    cdef int poll_c(self) noexcept nogil:
        if self.subscriber is not None:
            self.count = self.subscriber.poll_ptr(&self._memory[0], self.limit)
        else:
            self.count = self.consumer.poll_ptr(&self._memory[0], self.limit)
        return self.count

    def poll(self) -> int:
        """Take up to `limit` records into `records`, return how many; never waits.

        They overwrite those of the poll before, also in arrays taken from `taken`. Laps and commits are as
        for `poll_into` of the reader: a consumer frees the slots with its own `commit`.
        """
        return self.poll_c()

    @property
    def taken(self):
        """The records of the last poll: a view of the first `count` rows of `records`, true until the next."""
        return self.records[:self.count]


cdef class ConsumerBorrow:
    """Records of an SPSC ring in place: a poll without the copy."""

    def __cinit__(self, Consumer consumer not None, dtype):
        """Look at the consumer's ring as an array.

        Args:
            consumer: The ring's reader; its polled position moves with each borrow.
            dtype: Structured type of a record, at most slot_bytes long.

        Raises:
            LayoutError: The type does not fit the ring's slots.
        """
        self.consumer = consumer
        self.slots = slots_of(consumer.ring, SHM_SPSC_SLOTS_AT, dtype)

    def borrow(self, limit: int = 1024):
        """Return up to `limit` records not yet polled as a read-only array over the ring; never waits.

        The array ends at the ring's end, so what is behind the wrap comes with the next call. Its rows stay as
        they are until `commit` frees them: after that the producer overwrites them under the array. A reborn
        consumer gets uncommitted ones again.

        Args:
            limit: Most records, from 1 (else RingError).
        """
        check_limit(limit)
        cdef uint64_t first = 0
        cdef int count = self.consumer.borrow_ptr(limit, &first)
        cdef Py_ssize_t at = <Py_ssize_t>((first - 1) & (self.consumer.ring.capacity - 1)) if count else 0
        return self.slots[at:at + count]

    def commit(self, count: int) -> None:
        """Free the `count` oldest polled records, as `Consumer.commit` does; arrays over them are void now."""
        self.consumer.commit(count)


cdef class SubscriberBorrow:
    """Records of a broadcast ring in place, proven whole afterwards."""

    def __cinit__(self, Subscriber subscriber not None, dtype):
        """Look at the subscriber's ring as an array.

        Args:
            subscriber: Whose position moves with each release; read-only mappings will do.
            dtype: Structured type of a record, at most slot_bytes long.

        Raises:
            LayoutError: The type does not fit the ring's slots.
        """
        self.subscriber = subscriber
        self.slots = slots_of(subscriber.ring, SHM_BROADCAST_SLOTS_AT, dtype)

    def borrow(self, limit: int = 1024):
        """Return up to `limit` new records as a read-only array over the ring; never waits.

        The publisher does not wait either and may overwrite rows while they are read. So compute from them,
        and use the result only if `release` then returns True; until then no value may steer an index, a
        loop or an order. The array ends at the ring's end; what is behind the wrap comes with the next call.
        Nothing is consumed before `release`: borrowing again gives the same records, and maybe more.

        Args:
            limit: Most records, from 1 (else RingError).
        """
        check_limit(limit)
        self.count = self.subscriber.borrow_ptr(limit, &self.first)
        cdef Py_ssize_t at = <Py_ssize_t>((self.first - 1) & (self.subscriber.ring.capacity - 1)) if self.count else 0
        return self.slots[at:at + self.count]

    def release(self) -> bool:
        """End the borrow: True = every row stayed whole up to now, and they count as consumed.

        False = the publisher came round meanwhile: throw away whatever was read. The subscriber has rejoined
        half a ring behind the cursor, and `lapped` counts the borrowed records among the lost. The array is void
        in both cases. Without an open borrow, or after an empty one, it changes nothing and returns True.

        Raises:
            RingError: The subscriber was polled since the borrow.
        """
        cdef int count = self.count
        if count == 0:
            return True
        self.count = 0
        if self.subscriber.own.position + 1 != self.first:
            raise RingError("the subscriber was polled between borrow and release")
        return self.subscriber.release_ptr(self.first, count)
