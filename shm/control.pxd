# cython: language_level=3
from shm.layout cimport shm_control, shm_worker_slot


cdef class WorkerSlot:
    cdef const unsigned char[::1] _view
    cdef shm_worker_slot* raw
    cdef readonly int slot
    cdef readonly bint writable


cdef class Control:
    cdef const unsigned char[::1] _view
    cdef shm_control* raw
    cdef readonly bint writable
    cdef int state_c(self) noexcept nogil
