# cython: language_level=3
from libc.stdint cimport int64_t, uint16_t, uint32_t

from shm.journal cimport Journal


cdef class OrderEntries:
    cdef object _journal
    cdef Journal _own
    cdef object _append(self, uint16_t kind, const void* payload, uint32_t size, int64_t now_ns)
