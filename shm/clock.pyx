# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""The clocks of the engine: monotonic nanoseconds for stamps, wall clock for records people read."""

from libc.stdint cimport int64_t


cdef extern from "shm/native/shm_clock.h" nogil:
    int64_t shm_now_ns()
    int64_t shm_utc_ns()


cdef int64_t c_now_ns() noexcept nogil:
    return shm_now_ns()


cdef int64_t c_utc_ns() noexcept nogil:
    return shm_utc_ns()


def now_ns() -> int:
    """Return CLOCK_MONOTONIC in nanoseconds; the same clock in every process of the machine."""
    return shm_now_ns()


def utc_ns() -> int:
    """Return the wall clock in nanoseconds since 1970-01-01 UTC; it may jump."""
    return shm_utc_ns()
