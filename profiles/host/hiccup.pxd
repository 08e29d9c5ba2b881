# cython: language_level=3
"""C face of the measuring loops."""

from libc.stdint cimport int64_t, uint64_t

from shm.layout cimport shm_a64

cdef class WakePair:
    cdef int fd
    cdef uint64_t[::1] _words
    cdef shm_a64 *_cells

cdef class LinePair:
    cdef uint64_t[::1] _words
    cdef shm_a64 *_cells
    cdef bint stamped
    cdef readonly int violations
    cdef readonly int64_t offset_ns
    cdef readonly int64_t round_trip_ns
