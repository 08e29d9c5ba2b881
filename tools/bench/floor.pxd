# cython: language_level=3
from libc.stdint cimport int64_t, uint64_t

from shm.layout cimport shm_a64


cdef class FloorRing:
    cdef unsigned char[::1] _view
    cdef shm_a64* cursor
    cdef unsigned char* slots
    cdef uint64_t position
    cdef int fd
    cdef void put_ptr(self, const void* record) noexcept nogil
    cdef int take_ptr(self, unsigned char* out, int limit) noexcept nogil


cdef void hold_until(int64_t due_ns) noexcept nogil
