# cython: language_level=3
from libc.stdint cimport uint64_t

from shm.doorbell cimport BellSet
from shm.layout cimport shm_ring_header
from shm.ring cimport Ring


cdef class SpscRing(Ring):
    pass


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
    # Up to `limit` records that stand side by side, in place and polled; `first` = sequence of the first.
    cdef int borrow_ptr(self, int limit, uint64_t* first) noexcept nogil
