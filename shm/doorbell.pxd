# cython: language_level=3
from libc.stdint cimport uint64_t

from shm.layout cimport shm_control, shm_worker_slot


cdef class BellSet:
    cdef const unsigned char[::1] _view
    cdef shm_control* raw
    cdef unsigned int signal_mask(self, uint64_t mask) noexcept nogil
    cdef void wake_mask(self, uint64_t mask) noexcept nogil


cdef class Parker:
    cdef const unsigned char[::1] _view
    cdef shm_worker_slot* raw
    cdef readonly int slot
    cdef void c_arm(self) noexcept nogil
    cdef void c_disarm(self) noexcept nogil


cdef int check_slot(int slot) except -1
