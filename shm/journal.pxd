# cython: language_level=3
"""C face of the journal: append without a Python object for the payload."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef class Journal:
    cdef readonly object directory
    cdef readonly str instance
    cdef readonly uint64_t epoch
    cdef readonly uint64_t sequence
    cdef readonly uint64_t file_bytes
    cdef readonly uint32_t file_index
    cdef readonly object path
    cdef uint64_t offset
    cdef uint64_t warm
    cdef uint64_t size
    cdef uint64_t room
    cdef uint32_t chain
    cdef unsigned char *start
    cdef uint8_t[::1] view
    cdef object mapping
    cdef object spare
    cdef int lock_fd

    # The sequence, or 0 when the rest of the file is too small or the journal is closed: `append` can rotate.
    cdef uint64_t append_ptr(
        self, uint16_t kind, const void *payload, uint32_t length, int64_t now_ns
    ) noexcept nogil
    cdef int use(self, object path, object mapping) except -1
    cdef int resume(self) except -1
    cdef int rotate(self) except -1
