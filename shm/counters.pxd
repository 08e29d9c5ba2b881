# cython: language_level=3
"""C face of a counter."""

from libc.stdint cimport int64_t, uint64_t

from shm.layout cimport shm_counter

cdef class Counter:
    cdef object owner
    cdef shm_counter *cell

    cdef void c_inc(self, uint64_t n) noexcept nogil
    cdef void c_set(self, int64_t value) noexcept nogil
    cdef int64_t c_value(self) noexcept nogil
