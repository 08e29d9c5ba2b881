# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""The broadcast ring: one publisher, many subscribers, overwrites; and what every ring shares.

The lossless ring is in `spsc`. Protocol and memory order stand in `native/shm_ring.h`. Every ring lives in the payload of one
segment; the objects here hold that payload and are used by one thread each.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_CheckExact, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from shm.doorbell cimport BellSet, check_slot, shm_bell_signal
from shm.layout cimport (
    SHM_RING_BROADCAST,
    SHM_RING_SPSC,
    SHM_WORKER_SLOTS,
    shm_ring_header,
    shm_ring_reader,
)

from shm.errors import LayoutError, RingError


cdef enum:
    MAX_SLOT_BYTES = 1 << 20


cdef object ring_bytes(int kind, object capacity, object slot_bytes):
    if not 2 <= capacity <= 1 << 40 or capacity & (capacity - 1):
        raise RingError(f"ring capacity {capacity} is not a power of two from 2 up")
    if not 8 <= slot_bytes <= MAX_SLOT_BYTES or slot_bytes % 8:
        raise RingError(f"slot size {slot_bytes} is not a multiple of 8 from 8 to {MAX_SLOT_BYTES}")
    at = SHM_BROADCAST_SLOTS_AT if kind == <int>SHM_RING_BROADCAST else SHM_SPSC_SLOTS_AT
    return <Py_ssize_t>at + capacity * slot_bytes


cdef class Ring:
    """What both kinds of ring share: the header and its checks."""

    def __init__(self):
        raise TypeError("a ring is made by create or attach")

    @property
    def cursor(self):
        """Sequence of the newest published record, 0 = none yet."""
        return shm_load_acquire(&self.raw.cursor)

    @property
    def writer_epoch(self):
        """How many writers have attached so far."""
        return shm_load_acquire(&self.raw.producer_epoch)

    @property
    def doorbells(self):
        """Sleepers that writers of this ring woke: one system call each."""
        return shm_load_relaxed(&self.raw.doorbells)

    @property
    def subscriber_mask(self):
        """Worker slots whose bell is signaled, bit i = slot i."""
        return shm_load_relaxed(&self.raw.subscriber_mask)

    def subscribe_slot(self, int worker_slot):
        """Let the writer signal worker `worker_slot` from now on; ValueError if there is no such slot.

        Subscribe before the look at the cursor that precedes the first sleep, as a parked worker does.
        """
        self._change_mask(worker_slot, True)

    def unsubscribe_slot(self, int worker_slot):
        """Stop signaling worker `worker_slot`."""
        self._change_mask(worker_slot, False)

    def _change_mask(self, int worker_slot, bint on):
        check_slot(worker_slot)
        if not self.writable:
            raise RingError("a ring mapped read-only can not be subscribed to with a bell")
        if on:
            shm_or(&self.raw.subscriber_mask, <uint64_t>1 << worker_slot)
        else:
            shm_and(&self.raw.subscriber_mask, ~(<uint64_t>1 << worker_slot))


cdef int bind_ring(Ring ring, object buffer, size_t needed) except -1:
    ring._view = buffer
    ring.writable = not memoryview(buffer).readonly
    if <size_t>ring._view.shape[0] < needed:
        raise LayoutError(f"a ring needs {needed} bytes, the payload has {ring._view.shape[0]}")
    if <size_t>&ring._view[0] & 7:
        raise LayoutError("a ring must be aligned to 8 bytes")
    ring.raw = <shm_ring_header*><void*>&ring._view[0]
    return 0


cdef int format_ring(Ring ring, object buffer, int kind, object capacity, object slot_bytes) except -1:
    cdef size_t needed = ring_bytes(kind, capacity, slot_bytes)
    bind_ring(ring, buffer, needed)
    if not ring.writable:
        raise LayoutError("a ring can not be created in a read-only payload")
    memset(ring.raw, 0, SHM_BROADCAST_SLOTS_AT if kind == <int>SHM_RING_BROADCAST else SHM_SPSC_SLOTS_AT)
    ring.capacity = ring.raw.capacity = capacity
    ring.slot_bytes = slot_bytes
    ring.raw.slot_bytes = slot_bytes
    shm_fence_release()
    ring.raw.kind = kind
    return 0


cdef int adopt_ring(Ring ring, object buffer, int kind) except -1:
    bind_ring(ring, buffer, sizeof(shm_ring_header))
    if ring.raw.kind != <unsigned int>kind:
        names = {0: "nothing (not formatted)", 1: "a broadcast ring", 2: "an SPSC ring"}
        found = names.get(ring.raw.kind, f"unknown kind {ring.raw.kind}")
        raise LayoutError(f"payload holds {found}, not {names[kind]}")
    try:
        needed = ring_bytes(kind, ring.raw.capacity, ring.raw.slot_bytes)
    except RingError as error:
        raise LayoutError(f"ring header is damaged: {error}") from None
    if ring._view.shape[0] < needed:
        raise LayoutError(f"ring header states {needed} bytes, the payload has {ring._view.shape[0]}")
    ring.capacity = ring.raw.capacity
    ring.slot_bytes = ring.raw.slot_bytes
    return 0


cdef class BroadcastRing(Ring):
    """A ring with one publisher and many subscribers, which overwrites and never waits."""

    @staticmethod
    def bytes_needed(capacity: int, slot_bytes: int) -> int:
        """Return the payload bytes of such a ring; RingError if a size is not valid."""
        return ring_bytes(SHM_RING_BROADCAST, capacity, slot_bytes)

    @staticmethod
    def create(buffer, capacity: int, slot_bytes: int) -> BroadcastRing:
        """Format `buffer` as an empty ring.

        Args:
            buffer: Writable payload of a segment, kept alive.
            capacity: Slots, a power of two.
            slot_bytes: Bytes of a record, a multiple of 8.

        Raises:
            RingError: A size is not valid.
            LayoutError: The buffer is too small, read-only or unaligned.
        """
        cdef BroadcastRing ring = BroadcastRing.__new__(BroadcastRing)
        format_ring(ring, buffer, SHM_RING_BROADCAST, capacity, slot_bytes)
        return ring

    @staticmethod
    def attach(buffer) -> BroadcastRing:
        """Attach to a formatted ring; LayoutError if `buffer` holds anything else."""
        cdef BroadcastRing ring = BroadcastRing.__new__(BroadcastRing)
        adopt_ring(ring, buffer, SHM_RING_BROADCAST)
        return ring

    @property
    def intent(self):
        """Highest sequence whose slot the publisher may be overwriting."""
        return shm_load_acquire(&self.raw.intent)

    def readers(self):
        """Return what the subscribers with a worker slot show: {slot: (position, lapped, laps)}."""
        cdef shm_ring_reader* cells = <shm_ring_reader*>(self.raw + 1)
        cdef uint64_t mask = shm_load_relaxed(&self.raw.subscriber_mask)
        cdef int i
        return {
            i: (shm_load_relaxed(&cells[i].position), shm_load_relaxed(&cells[i].lapped),
                shm_load_relaxed(&cells[i].laps))
            for i in range(<int>SHM_WORKER_SLOTS) if mask >> i & 1
        }


cdef void signal_subscribers(BellSet bells, shm_ring_header* raw, bint* owes_wake) noexcept nogil:
    if bells is None:
        return
    cdef unsigned int woken
    if owes_wake[0]:
        owes_wake[0] = False
        bells.wake_mask(shm_load_relaxed(&raw.subscriber_mask))
        return
    woken = shm_bell_signal(bells.raw, &raw.subscriber_mask)
    if woken:
        shm_add_single_writer(&raw.doorbells, woken)


# Buffers are taken with PyObject_GetBuffer: a typed memoryview argument costs 100 ns more a call. The two plain
# kinds are opened by hand, without an export: the caller's reference and the interpreter's lock keep them as
# they are until the call returns. PyBuffer_Release does nothing then.
cdef int open_for_reading(object source, Py_buffer* view) except -1:
    if PyBytes_CheckExact(source):
        memset(view, 0, sizeof(Py_buffer))
        view.buf = PyBytes_AS_STRING(source)
        view.len = PyBytes_GET_SIZE(source)
        return 0
    PyObject_GetBuffer(source, view, PyBUF_SIMPLE)
    return 0


cdef int open_for_writing(object target, Py_buffer* view) except -1:
    if PyByteArray_CheckExact(target):
        memset(view, 0, sizeof(Py_buffer))
        view.buf = PyByteArray_AS_STRING(target)
        view.len = PyByteArray_GET_SIZE(target)
        return 0
    PyObject_GetBuffer(target, view, PyBUF_WRITABLE)
    return 0


cdef int take_record(object record, Py_buffer* view, uint64_t slot_bytes) except -1:
    open_for_reading(record, view)
    if <uint64_t>view.len > slot_bytes:
        PyBuffer_Release(view)
        raise RingError(f"record of {view.len} bytes does not fit a slot of {slot_bytes}")
    return 0


cdef int take_batch(object records, Py_buffer* view, Py_ssize_t count, uint64_t slot_bytes) except -1:
    open_for_reading(records, view)
    if count < 1 or <uint64_t>view.len // slot_bytes < <uint64_t>count:
        PyBuffer_Release(view)
        raise RingError(f"{count} records of {slot_bytes} bytes do not stand in {view.len} bytes")
    return 0


cdef int take_room(object out, Py_buffer* view, int limit, uint64_t slot_bytes) except -1:
    open_for_writing(out, view)
    if limit < 0 or <uint64_t>view.len // slot_bytes < <uint64_t>limit:
        PyBuffer_Release(view)
        raise RingError(f"{limit} records of {slot_bytes} bytes do not fit in {view.len} bytes")
    return 0


cdef class Publisher:
    """The one writer of a broadcast ring."""

    def __cinit__(self, BroadcastRing ring not None, BellSet bells=None):
        """Become the writer; a former one must be dead. RingError if the ring is read-only.

        `bells` signals parked subscribers; None = nobody parks (replay).
        """
        if not ring.writable:
            raise RingError("a publisher needs a ring mapped writable")
        self.ring = ring
        self.bells = bells
        self.raw = ring.raw
        self.chunk = ring.capacity // 4 or 1
        # A predecessor may have died between taking a parked word and writing the bell.
        self.owes_wake = shm_add(&ring.raw.producer_epoch, 1) != 0

    cdef void signal(self) noexcept nogil:
        signal_subscribers(self.bells, self.raw, &self.owes_wake)

    cdef uint64_t publish_ptr(self, const void* record) noexcept nogil:
        cdef uint64_t sequence = shm_broadcast_publish(self.raw, record, 1)
        signal_subscribers(self.bells, self.raw, &self.owes_wake)
        return sequence

    cdef uint64_t publish_many_ptr(self, const void* records, uint64_t count) noexcept nogil:
        cdef const unsigned char* at = <const unsigned char*>records
        cdef uint64_t part, sequence = shm_load_relaxed(&self.raw.cursor)
        while count > 0:
            part = count if count < self.chunk else self.chunk
            sequence = shm_broadcast_publish(self.raw, at, part)
            at += part * self.ring.slot_bytes
            count -= part
        signal_subscribers(self.bells, self.raw, &self.owes_wake)
        return sequence

    def publish(self, record):
        """Publish one record, signal parked subscribers and return its sequence.

        Args:
            record: At most slot_bytes bytes (else RingError); the rest of the slot becomes zero.
        """
        cdef Py_buffer view
        take_record(record, &view, self.ring.slot_bytes)
        cdef uint64_t sequence = shm_broadcast_publish_one(self.raw, view.buf, <size_t>view.len)
        PyBuffer_Release(&view)
        signal_subscribers(self.bells, self.raw, &self.owes_wake)
        return sequence

    def publish_batch(self, records, Py_ssize_t count):
        """Publish `count` records that stand side by side, signal once, return the last sequence.

        Args:
            records: At least count * slot_bytes bytes (else RingError).
            count: Records, from 1.
        """
        cdef Py_buffer view
        take_batch(records, &view, count, self.ring.slot_bytes)
        cdef uint64_t sequence = self.publish_many_ptr(view.buf, <uint64_t>count)
        PyBuffer_Release(&view)
        return sequence


cdef class Subscriber:
    """One reader of a broadcast ring, with its own position."""

    def __cinit__(self, BroadcastRing ring not None, *, bint from_oldest=False, int worker_slot=-1):
        """Join at the newest record, so that the next one is the first to be polled.

        Args:
            ring: The ring; read-only mappings will do.
            from_oldest: Join at the oldest record that is still whole instead.
            worker_slot: Show the position in the cell of this worker slot, for tools outside; -1 = not.

        Raises:
            RingError: A worker slot is given and the ring is read-only.
            ValueError: There is no such slot.
        """
        self.shown = NULL
        if worker_slot >= 0:
            if not ring.writable:
                raise RingError("a subscriber of a ring mapped read-only has no reader cell")
            self.shown = <shm_ring_reader*>(ring.raw + 1) + check_slot(worker_slot)
        self.ring = ring
        self.raw = ring.raw
        self.own.position = shm_broadcast_oldest(self.raw) if from_oldest else shm_load_acquire(&self.raw.cursor)
        if self.shown != NULL:
            shm_subscriber_show(self.shown, &self.own)

    cdef int poll_ptr(self, void* out, int limit) noexcept nogil:
        cdef int count = <int>shm_subscriber_poll(self.raw, &self.own, out, <uint64_t>limit)
        if self.shown != NULL:
            shm_subscriber_show(self.shown, &self.own)
        return count

    cdef bint has_pending(self) noexcept nogil:
        return shm_subscriber_pending(self.raw, &self.own) != 0

    cdef int borrow_ptr(self, int limit, uint64_t* first) noexcept nogil:
        return <int>shm_subscriber_borrow(self.raw, &self.own, <uint64_t>limit, first)

    cdef bint release_ptr(self, uint64_t first, int count) noexcept nogil:
        cdef bint whole = shm_subscriber_release(self.raw, &self.own, first, <uint64_t>count) != 0
        if self.shown != NULL:
            shm_subscriber_show(self.shown, &self.own)
        return whole

    def poll_into(self, out, int limit):
        """Copy up to `limit` records to `out`, return how many; never waits.

        After a lap it rejoins half a ring behind the cursor and counts what was lost. 0 means nothing
        new, or that it was lapped again at each attempt; `pending` tells which.

        Args:
            out: At least limit * slot_bytes bytes (else RingError).
            limit: Most records to take.
        """
        cdef Py_buffer view
        take_room(out, &view, limit, self.ring.slot_bytes)
        cdef int count = self.poll_ptr(view.buf, limit)
        PyBuffer_Release(&view)
        return count

    def pending(self):
        """Return whether a record newer than the position exists."""
        return self.has_pending()

    @property
    def position(self):
        """Sequence of the last record consumed or lost."""
        return self.own.position

    @property
    def lapped(self):
        """Records lost because the publisher overtook this subscriber."""
        return self.own.lapped

    @property
    def laps(self):
        """Times it was overtaken."""
        return self.own.laps

    @property
    def lag(self):
        """Records published and not yet polled."""
        return shm_load_acquire(&self.raw.cursor) - self.own.position

    def behind(self):
        """Return whether the lag has passed half the capacity: it will soon be lapped."""
        return self.lag > self.ring.capacity // 2
