# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""The compiled loops of `bench rate`: takes as a caller in Cython has them, and their floor, one atomic addition."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from shm.layout cimport shm_a64
from shm.rate_ledger cimport RateLedger

cdef extern from "shm/native/shm_atomics.h" nogil:
    uint64_t shm_add(shm_a64* field, uint64_t value)


def take_each(RateLedger ledger not None, uint32_t bucket, uint32_t lane, int64_t count) -> int:
    """Take one unit `count` times, at a time so late that the bucket is empty again; return how many were granted."""
    cdef int64_t i, granted = 0, now_ns, step_ns
    view = ledger.view(bucket, 0)
    step_ns = view.interval_ns * view.burst
    now_ns = (<int64_t>1 << 50) + (view.granted[lane] + view.granted[0]) * step_ns
    with nogil:
        for i in range(count):
            granted += ledger.take_ptr(bucket, lane, 1, now_ns) == 0
            now_ns += step_ns
    return granted


def refuse_each(RateLedger ledger not None, uint32_t bucket, uint32_t lane, int64_t count) -> int:
    """Ask `count` times at time 0, long before anything taken since has flowed off; return how often in vain."""
    cdef int64_t i, refused = 0
    with nogil:
        for i in range(count):
            refused += ledger.take_ptr(bucket, lane, 1, 0) > 0
    return refused


def add_each(uint8_t[::1] word not None, int64_t count) -> int:
    """Add one to the word at the begin of the buffer `count` times, each an atomic addition that returns the old."""
    cdef int64_t i
    cdef uint64_t seen = 0
    cdef shm_a64* field = <shm_a64*><void*>&word[0]
    with nogil:
        for i in range(count):
            seen = shm_add(field, 1)
    return seen
