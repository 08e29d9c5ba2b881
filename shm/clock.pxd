# cython: language_level=3
from libc.stdint cimport int64_t

cdef int64_t c_now_ns() noexcept nogil
cdef int64_t c_utc_ns() noexcept nogil
