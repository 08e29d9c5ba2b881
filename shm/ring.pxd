# cython: language_level=3
from libc.stdint cimport int64_t, uint64_t

from shm.doorbell cimport BellSet
from shm.layout cimport shm_a64, shm_ring_header


cdef extern from "shm/native/shm_ring.h" nogil:
    ctypedef struct shm_subscriber:
        uint64_t position
        uint64_t lapped
        uint64_t laps

    uint64_t shm_broadcast_publish(shm_ring_header* ring, const void* records, uint64_t count)
    uint64_t shm_broadcast_publish_one(shm_ring_header* ring, const void* record, size_t length)
    uint64_t shm_broadcast_oldest(const shm_ring_header* ring)
    uint64_t shm_subscriber_poll(const shm_ring_header* ring, shm_subscriber* own, void* out, uint64_t limit)
    int shm_subscriber_pending(const shm_ring_header* ring, const shm_subscriber* own)
    uint64_t shm_spsc_free(const shm_ring_header* ring)
    int shm_spsc_reserve(shm_ring_header* ring, uint64_t count, uint64_t own_slot)
    uint64_t shm_spsc_put(shm_ring_header* ring, const void* records, uint64_t count)
    uint64_t shm_spsc_put_one(shm_ring_header* ring, const void* record, size_t length)
    uint64_t shm_spsc_poll(const shm_ring_header* ring, uint64_t* taken, void* out, uint64_t limit)
    uint64_t shm_spsc_commit(shm_ring_header* ring, uint64_t count)
    uint64_t shm_load_relaxed(const shm_a64* field)
    uint64_t shm_load_acquire(const shm_a64* field)
    void shm_store_relaxed(shm_a64* field, uint64_t value)
    void shm_fence_release()
    uint64_t shm_add(shm_a64* field, uint64_t value)
    uint64_t shm_or(shm_a64* field, uint64_t bits)
    uint64_t shm_and(shm_a64* field, uint64_t bits)


cdef class _Ring:
    cdef const unsigned char[::1] _view
    cdef shm_ring_header* raw
    cdef readonly uint64_t capacity
    cdef readonly uint64_t slot_bytes
    cdef readonly bint writable


cdef class BroadcastRing(_Ring):
    pass


cdef class SpscRing(_Ring):
    pass


cdef class Publisher:
    cdef readonly BroadcastRing ring
    cdef readonly BellSet bells
    cdef shm_ring_header* raw
    cdef uint64_t chunk
    cdef bint owes_wake
    # One record of slot_bytes; returns its sequence and signals.
    cdef uint64_t publish_ptr(self, const void* record) noexcept nogil
    # The same without the signal: call signal() once behind a batch.
    cdef uint64_t publish_quiet_ptr(self, const void* record) noexcept nogil
    # `count` records of slot_bytes each; returns the last sequence and signals.
    cdef uint64_t publish_many_ptr(self, const void* records, uint64_t count) noexcept nogil
    cdef void signal(self) noexcept nogil


cdef class Subscriber:
    cdef readonly BroadcastRing ring
    cdef const shm_ring_header* raw
    cdef shm_subscriber own
    cdef int poll_ptr(self, void* out, int limit) noexcept nogil
    cdef bint has_pending(self) noexcept nogil


cdef class Producer:
    cdef readonly SpscRing ring
    cdef readonly BellSet bells
    cdef readonly int own_slot
    cdef shm_ring_header* raw
    cdef bint owes_wake
    # 1 = accepted, 0 = back-pressured (counted, `wanted` set).
    cdef bint offer_ptr(self, const void* record) noexcept nogil
    # All `count` records or none.
    cdef bint offer_many_ptr(self, const void* records, uint64_t count) noexcept nogil
    cdef void signal(self) noexcept nogil


cdef class Consumer:
    cdef readonly SpscRing ring
    cdef readonly BellSet bells
    cdef shm_ring_header* raw
    cdef uint64_t taken
    cdef int poll_ptr(self, void* out, int limit) noexcept nogil
    # `count` must not exceed what was polled and not yet committed.
    cdef void commit_n(self, uint64_t count) noexcept nogil
    cdef bint has_pending(self) noexcept nogil
