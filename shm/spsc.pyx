# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""The SPSC ring: one producer, one consumer, lossless; it refuses when it is full.

Protocol and memory order stand in `native/shm_ring.h`. The objects here are used by one thread each.
"""

from cpython.buffer cimport PyBuffer_Release
from libc.stdint cimport int64_t, uint64_t

from shm.doorbell cimport BellSet, check_slot
from shm.layout cimport SHM_RING_SPSC, SHM_WORKER_SLOTS
from shm.ring cimport (
    adopt_ring,
    format_ring,
    ring_bytes,
    shm_add,
    shm_load_acquire,
    shm_load_relaxed,
    shm_spsc_borrow,
    shm_spsc_commit,
    shm_spsc_free,
    shm_spsc_poll,
    shm_spsc_put,
    shm_spsc_put_one,
    shm_spsc_reserve,
    signal_subscribers,
    take_batch,
    take_record,
    take_room,
)

from shm.errors import RingError


cdef class SpscRing(Ring):
    """A lossless ring with one producer and one consumer, which refuses when full.

    The consumer subscribes its worker slot (`subscribe_slot`) to be signaled.
    """

    @staticmethod
    def bytes_needed(capacity: int, slot_bytes: int) -> int:
        """Return the payload bytes of such a ring; RingError if a size is not valid."""
        return ring_bytes(SHM_RING_SPSC, capacity, slot_bytes)

    @staticmethod
    def create(buffer, capacity: int, slot_bytes: int) -> SpscRing:
        """Format `buffer` as an empty ring; arguments and errors as for BroadcastRing.create."""
        cdef SpscRing ring = SpscRing.__new__(SpscRing)
        format_ring(ring, buffer, SHM_RING_SPSC, capacity, slot_bytes)
        return ring

    @staticmethod
    def attach(buffer) -> SpscRing:
        """Attach to a formatted ring; LayoutError if `buffer` holds anything else."""
        cdef SpscRing ring = SpscRing.__new__(SpscRing)
        adopt_ring(ring, buffer, SHM_RING_SPSC)
        return ring

    @property
    def position(self):
        """Sequence up to which the consumer has committed."""
        return shm_load_acquire(&self.raw.position)

    @property
    def refused(self):
        """Offers refused so far because the ring was full."""
        return shm_load_relaxed(&self.raw.refused)

    @property
    def wanted(self):
        """1 + worker slot of a refused producer that waits for progress, 0 = nobody."""
        return shm_load_relaxed(&self.raw.wanted)


cdef inline bint put_and_signal(Producer self, const void* records, uint64_t count) noexcept nogil:
    if not shm_spsc_reserve(self.raw, count, <uint64_t>self.own_slot):
        return False
    shm_spsc_put(self.raw, records, count)
    signal_subscribers(self.bells, self.raw, &self.owes_wake)
    return True


cdef class Producer:
    """The one writer of an SPSC ring."""

    def __cinit__(self, SpscRing ring not None, BellSet bells=None, int own_slot=0):
        """Become the writer; a former one must be dead.

        Args:
            ring: A writable ring.
            bells: Signals the parked consumer; None = nobody parks (replay).
            own_slot: The worker slot that is woken when a refused offer may be tried again.

        Raises:
            RingError: The ring is mapped read-only.
            ValueError: There is no such slot.
        """
        if not ring.writable:
            raise RingError("a producer needs a ring mapped writable")
        self.own_slot = check_slot(own_slot)
        self.ring = ring
        self.bells = bells
        self.raw = ring.raw
        self.owes_wake = shm_add(&ring.raw.producer_epoch, 1) != 0

    cdef void signal(self) noexcept nogil:
        signal_subscribers(self.bells, self.raw, &self.owes_wake)

    cdef bint offer_ptr(self, const void* record) noexcept nogil:
        return put_and_signal(self, record, 1)

    cdef bint offer_many_ptr(self, const void* records, uint64_t count) noexcept nogil:
        return put_and_signal(self, records, count)

    def offer(self, record):
        """Offer one record; False = back-pressured, nothing written.

        A refusal is counted and registers this worker: its bell is written at the next commit, even
        if it is awake then.

        Args:
            record: At most slot_bytes bytes (else RingError); the rest of the slot becomes zero.
        """
        cdef Py_buffer view
        take_record(record, &view, self.ring.slot_bytes)
        cdef bint accepted = shm_spsc_reserve(self.raw, 1, <uint64_t>self.own_slot) != 0
        if accepted:
            shm_spsc_put_one(self.raw, view.buf, <size_t>view.len)
        PyBuffer_Release(&view)
        if accepted:
            signal_subscribers(self.bells, self.raw, &self.owes_wake)
        return accepted

    def offer_many(self, records, Py_ssize_t count):
        """Offer `count` records that stand side by side: all of them or none (False).

        RingError if the buffer is too short, count is below 1 or above the capacity.
        """
        cdef Py_buffer view
        if count > 0 and <uint64_t>count > self.ring.capacity:
            raise RingError(f"{count} records never fit a ring of {self.ring.capacity}")
        take_batch(records, &view, count, self.ring.slot_bytes)
        cdef bint accepted = self.offer_many_ptr(view.buf, <uint64_t>count)
        PyBuffer_Release(&view)
        return accepted

    def free(self):
        """Return how many records could be offered now."""
        return shm_spsc_free(self.raw)


cdef class Consumer:
    """The one reader of an SPSC ring: polls, then commits what it has dealt with."""

    def __cinit__(self, SpscRing ring not None, BellSet bells=None):
        """Become the reader, at the committed position. RingError if the ring is read-only.

        `bells` signals a producer that waits for room; None = nobody parks (replay).
        """
        if not ring.writable:
            raise RingError("a consumer needs a ring mapped writable")
        self.ring = ring
        self.bells = bells
        self.raw = ring.raw
        self.taken = shm_load_acquire(&ring.raw.position)
        shm_add(&ring.raw.consumer_epoch, 1)
        # A predecessor may have died between a commit and its wake of a producer that waits for room.
        self.commit_n(0)

    cdef int poll_ptr(self, void* out, int limit) noexcept nogil:
        return <int>shm_spsc_poll(self.raw, &self.taken, out, <uint64_t>limit)

    cdef int borrow_ptr(self, int limit, uint64_t* first) noexcept nogil:
        cdef int count = <int>shm_spsc_borrow(self.raw, &self.taken, <uint64_t>limit)
        first[0] = self.taken + 1 - <uint64_t>count
        return count

    cdef void commit_n(self, uint64_t count) noexcept nogil:
        cdef uint64_t waiting = shm_spsc_commit(self.raw, count)
        # Unconditional wake: the producer may be awake now and park before it tries again.
        if waiting != 0 and self.bells is not None and waiting <= SHM_WORKER_SLOTS:
            self.bells.wake_mask(<uint64_t>1 << (waiting - 1))

    cdef bint has_pending(self) noexcept nogil:
        return shm_load_acquire(&self.raw.cursor) > self.taken

    def poll_into(self, out, int limit):
        """Copy up to `limit` records not yet polled to `out`, return how many; never waits.

        Their slots stay occupied, and a reborn consumer gets them again, until `commit`.

        Args:
            out: At least limit * slot_bytes bytes (else RingError).
            limit: Most records to take.
        """
        cdef Py_buffer view
        take_room(out, &view, limit, self.ring.slot_bytes)
        cdef int count = self.poll_ptr(view.buf, limit)
        PyBuffer_Release(&view)
        return count

    def commit(self, int64_t count):
        """Free the `count` oldest polled records and wake a producer that waits for room.

        RingError if fewer were polled and not yet committed.
        """
        cdef int64_t open_count = <int64_t>(self.taken - shm_load_relaxed(&self.raw.position))
        if count < 0 or count > open_count:
            raise RingError(f"commit of {count} records, {open_count} are polled and not committed")
        if count > 0:
            self.commit_n(<uint64_t>count)

    def pending(self):
        """Return whether a record exists that was not polled yet."""
        return self.has_pending()

    @property
    def position(self):
        """Sequence up to which records are committed."""
        return shm_load_relaxed(&self.raw.position)

    @property
    def taken_position(self):
        """Sequence up to which records are polled."""
        return self.taken

    @property
    def cursor(self):
        """Sequence of the newest record offered."""
        return shm_load_acquire(&self.raw.cursor)
