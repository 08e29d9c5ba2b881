# cython: language_level=3
from libc.stdint cimport int64_t, uint32_t

from shm.layout cimport shm_rate_address, shm_rate_bucket, shm_rate_ledger, shm_rate_rule


cdef class RateLedger:
    cdef const unsigned char[::1] _view
    cdef shm_rate_ledger* raw
    cdef shm_rate_address* addresses
    cdef shm_rate_rule* rules
    cdef shm_rate_bucket* buckets
    cdef readonly bint writable
    cdef readonly uint32_t count
    cdef dict _names

    # 0 = granted, else ns to wait, -1 = never; `bucket` and `lane` must be valid, `weight` 1 or more.
    cdef int64_t take_ptr(self, uint32_t bucket, uint32_t lane, int64_t weight, int64_t now_ns) noexcept nogil
    # The same for `count` buckets at once, each with its weight.
    cdef int64_t take_all_ptr(
        self, const uint32_t* buckets, const int64_t* weights, int count, uint32_t lane, int64_t now_ns
    ) noexcept nogil
    cdef shm_rate_bucket* check(self, int64_t bucket) except NULL


cdef class RateTake:
    cdef readonly RateLedger ledger
    cdef uint32_t buckets[8]
    cdef int64_t weights[8]
    cdef readonly int count
    cdef int64_t take_ptr(self, uint32_t lane, int64_t now_ns) noexcept nogil
