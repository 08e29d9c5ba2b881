# cython: language_level=3
"""C face of a histogram: record without Python."""

from libc.stdint cimport int64_t

from shm.layout cimport shm_histogram

cdef class Histogram:
    cdef object owner
    cdef shm_histogram *cell

    cdef void record_ns(self, int64_t value) noexcept nogil
