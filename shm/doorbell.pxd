# cython: language_level=3
from libc.stdint cimport uint64_t

from shm.layout cimport shm_a64, shm_control, shm_worker_slot


cdef extern from "shm/native/shm_doorbell.h" nogil:
    unsigned int shm_bell_signal(shm_control* control, const shm_a64* mask)


cdef class BellSet:
    cdef const unsigned char[::1] _view
    cdef shm_control* raw
    cdef void wake_mask(self, uint64_t mask) noexcept nogil


cdef class Parker:
    cdef const unsigned char[::1] _view
    cdef shm_worker_slot* raw
    cdef readonly int slot
    cdef void c_arm(self) noexcept nogil
    cdef void c_disarm(self) noexcept nogil


cdef int check_slot(int slot) except -1
