# cython: language_level=3
"""C face of the batch: poll without Python."""

from libc.stdint cimport uint8_t, uint64_t

from shm.ring cimport Subscriber
from shm.spsc cimport Consumer


cdef class RecordBatch:
    cdef Subscriber subscriber
    cdef Consumer consumer
    cdef uint8_t[::1] _memory
    cdef readonly object records
    cdef readonly int limit
    # Records of the last poll.
    cdef readonly int count
    cdef int poll_c(self) noexcept nogil


cdef class ConsumerBorrow:
    cdef readonly Consumer consumer
    # All slots of the ring, read-only.
    cdef readonly object slots


cdef class SubscriberBorrow:
    cdef readonly Subscriber subscriber
    cdef readonly object slots
    cdef uint64_t first
    cdef int count
