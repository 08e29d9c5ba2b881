# cython: language_level=3, freethreading_compatible=False
"""The floors that the ring is held against: an eventfd and one stamped slot, and nothing else.

`FloorRing` has no parked word, no lap detection and no check: the least that brings 64 bytes to another process and
wakes it. `send_paced` and `receive` are the C to C floor; `put` and `take_into` are the floor below a Python handler.
"""

from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

from shm.clock cimport c_now_ns
from shm.layout cimport shm_a64


cdef extern from "shm/native/shm_atomics.h" nogil:
    uint64_t shm_load_acquire(const shm_a64* field)
    uint64_t shm_load_relaxed(const shm_a64* field)
    void shm_store_release(shm_a64* field, uint64_t value)

cdef extern from "unistd.h" nogil:
    ssize_t c_read "read"(int fd, void* into, size_t count)
    ssize_t c_write "write"(int fd, const void* data, size_t count)

cdef extern from "sched.h" nogil:
    int sched_yield()

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data_t:
        int fd
    cdef struct epoll_event:
        unsigned int events
        epoll_data_t data
    int EPOLLIN, EPOLL_CTL_ADD, EPOLL_CLOEXEC
    int epoll_create1(int flags)
    int epoll_ctl(int epoll_fd, int what, int fd, epoll_event* event)
    int epoll_wait(int epoll_fd, epoll_event* events, int room, int timeout_ms)
    int close(int fd)

cdef enum:
    SLOTS = 4096
    SLOT_BYTES = 64
    SLOTS_AT = 128
    BYTES_NEEDED = SLOTS_AT + SLOTS * SLOT_BYTES
    LAST_NS = 2_000

FLOOR_BYTES = BYTES_NEEDED


cdef class FloorRing:
    """One producer, one consumer, 64-byte records, woken by every put; whoever is 4096 records behind reads garbage."""

    def __cinit__(self, unsigned char[::1] buffer not None, int fd):
        """Args:
            buffer: at least FLOOR_BYTES writable bytes shared by both processes, zero at first.
            fd: a non-blocking eventfd shared by both.

        Raises:
            ValueError: the buffer is too short.
        """
        if buffer.shape[0] < BYTES_NEEDED:
            raise ValueError(f"a floor ring needs {BYTES_NEEDED} bytes, got {buffer.shape[0]}")
        self._view = buffer
        self.cursor = <shm_a64*>&buffer[0]
        self.slots = &buffer[SLOTS_AT]
        self.position = shm_load_acquire(self.cursor)
        self.fd = fd

    cdef void put_ptr(self, const void* record) noexcept nogil:
        cdef uint64_t sequence = shm_load_relaxed(self.cursor)
        cdef uint64_t one = 1
        memcpy(self.slots + (sequence % SLOTS) * SLOT_BYTES, record, SLOT_BYTES)
        shm_store_release(self.cursor, sequence + 1)
        c_write(self.fd, &one, sizeof(one))

    cdef int take_ptr(self, unsigned char* out, int limit) noexcept nogil:
        cdef uint64_t rung, cursor
        cdef int count = 0
        c_read(self.fd, &rung, sizeof(rung))
        cursor = shm_load_acquire(self.cursor)
        while count < limit and self.position < cursor:
            memcpy(out + count * SLOT_BYTES, self.slots + (self.position % SLOTS) * SLOT_BYTES, SLOT_BYTES)
            self.position += 1
            count += 1
        return count

    def put(self, bytes record not None):
        """Store one record of 64 bytes and write the eventfd; ValueError if it has another size."""
        if len(record) != SLOT_BYTES:
            raise ValueError(f"a floor record has {SLOT_BYTES} bytes, not {len(record)}")
        self.put_ptr(<const char*>record)

    def take_into(self, unsigned char[::1] out not None, int limit):
        """Read the eventfd, copy up to `limit` records to `out` and return how many.

        Raises:
            ValueError: `out` has less than 64 * limit bytes.
        """
        if limit < 1 or out.shape[0] < limit * SLOT_BYTES:
            raise ValueError(f"{limit} records do not fit in {out.shape[0]} bytes")
        return self.take_ptr(&out[0], limit)

    def send_paced(self, int64_t first_due_ns, int64_t interval_ns, int64_t count):
        """Put `count` records in C, each when it is due; its first word is the time it was due."""
        cdef int64_t[8] record = [0, 0, 0, 0, 0, 0, 0, 0]
        cdef int64_t i
        with nogil:
            for i in range(count):
                record[0] = first_due_ns + i * interval_ns
                hold_until(record[0])
                self.put_ptr(&record[0])

    def receive(self, int64_t[::1] ages_ns not None):
        """Wait in C on epoll until `ages_ns` is full: how old each record was, counted from when it was due.

        Raises:
            OSError: epoll failed.
        """
        cdef int64_t[8 * 64] records
        cdef int64_t filled = 0, total = ages_ns.shape[0], now
        cdef int taken, i, ready
        cdef epoll_event event
        cdef int epoll_fd = epoll_create1(EPOLL_CLOEXEC)
        event.events = EPOLLIN
        event.data.fd = self.fd
        if epoll_fd < 0 or epoll_ctl(epoll_fd, EPOLL_CTL_ADD, self.fd, &event) != 0:
            raise OSError(errno, "epoll")
        try:
            while filled < total:
                with nogil:
                    ready = epoll_wait(epoll_fd, &event, 1, -1)
                    taken = self.take_ptr(<unsigned char*>&records[0], 64)
                    now = c_now_ns()
                if ready < 0 and errno != EINTR:
                    raise OSError(errno, "epoll_wait")
                for i in range(min(taken, total - filled)):
                    ages_ns[filled] = now - records[i * 8]
                    filled += 1
        finally:
            close(epoll_fd)


cdef void hold_until(int64_t due_ns) noexcept nogil:
    while c_now_ns() < due_ns - LAST_NS:
        sched_yield()
    while c_now_ns() < due_ns:
        pass


def wait_until(int64_t due_ns):
    """Wait on the processor until the monotonic clock says `due_ns`, without the GIL.

    Until the last two microseconds any other thread of this core may run at once: the helper threads of a peer are
    not starved by its own load generator.
    """
    with nogil:
        hold_until(due_ns)
