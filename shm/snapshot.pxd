# cython: language_level=3
from libc.stdint cimport uint64_t

from shm.layout cimport shm_seqlock


cdef class SeqlockArray:
    cdef const unsigned char[::1] _view
    cdef unsigned char* base
    cdef readonly uint64_t count
    cdef readonly uint64_t value_bytes
    cdef readonly bint writable
    cdef uint64_t stride
    cdef bytearray scratch
    cdef shm_seqlock* lock_at(self, uint64_t i) noexcept nogil
    cdef int check(self, Py_ssize_t i) except -1
    # Whole value of value_bytes; the index is not checked.
    cdef void store_ptr(self, uint64_t i, const void* value) noexcept nogil
    # 0 = coherent copy in `out`, 1 = BUSY.
    cdef int load_ptr(self, uint64_t i, void* out) noexcept nogil
