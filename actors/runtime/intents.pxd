# cython: language_level=3
from libc.stdint cimport int64_t, uint32_t, uint64_t

from shm.counters cimport Counter
from shm.histogram cimport Histogram
from shm.layout cimport shm_certificate_ref, shm_intent_record
from shm.spsc cimport Producer


cdef struct decision_stamps:
    int64_t frame_ns
    int64_t publish_ns
    int64_t drain_ns


cdef class Clock:
    cdef public int64_t virtual_ns
    cdef int64_t now(self) noexcept nogil


cdef class Moment:
    cdef readonly Clock clock
    cdef readonly uint32_t capacity
    cdef public uint32_t instrument_id
    cdef decision_stamps stamps
    cdef shm_certificate_ref* certificates
    cdef object _memory
    cdef void clear(self) noexcept nogil


cdef class IntentPort:
    cdef Producer producer
    cdef Moment moment
    cdef shm_intent_record intent
    cdef OrderIds ids
    cdef Counter sent
    cdef Counter refused
    cdef Histogram decide_ns
    cdef public uint64_t generation
    cdef uint64_t reserve
    cdef object _send(self)
    cdef int _cite(self, object instruments, uint32_t instrument_id) except -1


cdef class OrderIds:
    cdef readonly uint64_t base
    cdef readonly uint64_t counter
