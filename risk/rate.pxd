# cython: language_level=3
from libc.stdint cimport int64_t


cdef class OrderRate:
    cdef public int64_t interval_ns
    cdef public int64_t tolerance_ns
    cdef public int64_t theoretical_ns
    cpdef bint conforms(self, int64_t now_ns) noexcept
    cpdef int spend(self, int64_t now_ns) noexcept
