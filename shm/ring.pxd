# cython: language_level=3
from libc.stdint cimport int64_t, uint64_t

from shm.doorbell cimport BellSet
from shm.layout cimport shm_a64, shm_ring_header, shm_ring_reader


cdef extern from "shm/native/shm_ring.h" nogil:
    ctypedef struct shm_subscriber:
        uint64_t position
        uint64_t lapped
        uint64_t laps

    uint64_t shm_broadcast_publish(shm_ring_header* ring, const void* records, uint64_t count)
    uint64_t shm_broadcast_publish_one(shm_ring_header* ring, const void* record, size_t length)
    uint64_t shm_broadcast_oldest(const shm_ring_header* ring)
    uint64_t shm_subscriber_poll(const shm_ring_header* ring, shm_subscriber* own, void* out, uint64_t limit)
    uint64_t shm_subscriber_borrow(const shm_ring_header* ring, shm_subscriber* own, uint64_t limit, uint64_t* first)
    int shm_subscriber_release(const shm_ring_header* ring, shm_subscriber* own, uint64_t first, uint64_t count)
    int shm_subscriber_pending(const shm_ring_header* ring, const shm_subscriber* own)
    uint64_t shm_spsc_free(const shm_ring_header* ring)
    int shm_spsc_reserve(shm_ring_header* ring, uint64_t count, uint64_t own_slot)
    uint64_t shm_spsc_put(shm_ring_header* ring, const void* records, uint64_t count)
    uint64_t shm_spsc_put_one(shm_ring_header* ring, const void* record, size_t length)
    uint64_t shm_spsc_poll(const shm_ring_header* ring, uint64_t* taken, void* out, uint64_t limit)
    uint64_t shm_spsc_borrow(const shm_ring_header* ring, uint64_t* taken, uint64_t limit)
    uint64_t shm_spsc_commit(shm_ring_header* ring, uint64_t count)
    const size_t SHM_BROADCAST_SLOTS_AT
    const size_t SHM_SPSC_SLOTS_AT
    void shm_subscriber_show(shm_ring_reader* cell, const shm_subscriber* own)
    void shm_add_single_writer(shm_a64* field, uint64_t value)
    uint64_t shm_load_relaxed(const shm_a64* field)
    uint64_t shm_load_acquire(const shm_a64* field)
    void shm_store_relaxed(shm_a64* field, uint64_t value)
    void shm_fence_release()
    uint64_t shm_add(shm_a64* field, uint64_t value)
    uint64_t shm_or(shm_a64* field, uint64_t bits)
    uint64_t shm_and(shm_a64* field, uint64_t bits)


cdef class Ring:
    cdef const unsigned char[::1] _view
    cdef shm_ring_header* raw
    cdef readonly uint64_t capacity
    cdef readonly uint64_t slot_bytes
    cdef readonly bint writable


cdef class BroadcastRing(Ring):
    pass


cdef class Publisher:
    cdef readonly BroadcastRing ring
    cdef readonly BellSet bells
    cdef shm_ring_header* raw
    cdef uint64_t chunk
    cdef bint owes_wake
    # One record of slot_bytes; returns its sequence and signals.
    cdef uint64_t publish_ptr(self, const void* record) noexcept nogil
    # `count` records of slot_bytes each; returns the last sequence and signals.
    cdef uint64_t publish_many_ptr(self, const void* records, uint64_t count) noexcept nogil
    cdef void signal(self) noexcept nogil


cdef class Subscriber:
    cdef readonly BroadcastRing ring
    cdef const shm_ring_header* raw
    cdef shm_subscriber own
    cdef shm_ring_reader* shown
    cdef int poll_ptr(self, void* out, int limit) noexcept nogil
    cdef bint has_pending(self) noexcept nogil
    # Up to `limit` whole records that stand side by side, in place; `first` = sequence of the first.
    cdef int borrow_ptr(self, int limit, uint64_t* first) noexcept nogil
    # True = `count` records from `first` on stayed whole and are consumed; False = use none of them.
    cdef bint release_ptr(self, uint64_t first, int count) noexcept nogil


# What both kinds of ring share.
cdef object ring_bytes(int kind, object capacity, object slot_bytes)
cdef int format_ring(Ring ring, object buffer, int kind, object capacity, object slot_bytes) except -1
cdef int adopt_ring(Ring ring, object buffer, int kind) except -1
cdef void signal_subscribers(BellSet bells, shm_ring_header* raw, bint* owes_wake) noexcept nogil
cdef int take_record(object record, Py_buffer* view, uint64_t slot_bytes) except -1
cdef int take_batch(object records, Py_buffer* view, Py_ssize_t count, uint64_t slot_bytes) except -1
cdef int take_room(object out, Py_buffer* view, int limit, uint64_t slot_bytes) except -1
