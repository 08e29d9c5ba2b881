# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""Latency histograms in shared memory: recording costs a few nanoseconds, reading takes nothing from the
writer.

Log-linear after HdrHistogram: 64 sub-buckets an octave, so a percentile is at most 1.6 % above the true
value.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t

from shm.layout cimport SHM_HISTOGRAM_BUCKETS, SHM_HISTOGRAM_MAX_BITS, shm_a64, shm_histogram

from fractions import Fraction

import numpy as np

from shm.errors import LayoutError

cdef extern from "shm/native/shm_histogram.h" nogil:
    uint64_t shm_load_relaxed(const shm_a64 *field)
    uint64_t shm_load_acquire(const shm_a64 *field)
    uint32_t shm_histogram_index(uint64_t value)
    uint64_t shm_histogram_upper(uint32_t index)
    uint64_t shm_histogram_lower(uint32_t index)
    void shm_histogram_record(shm_histogram *h, int64_t value)

BUCKETS = SHM_HISTOGRAM_BUCKETS
VALUE_MAX = (<uint64_t> 1 << SHM_HISTOGRAM_MAX_BITS) - 1


def bucket_of(value: int) -> int:
    """Index of the bucket a value from 0 falls into; values above 2^40 - 1 share the last."""
    return shm_histogram_index(value)


def bucket_lower(index: int) -> int:
    """Smallest value of a bucket; IndexError outside the histogram."""
    if not 0 <= index < BUCKETS:
        raise IndexError(index)
    return shm_histogram_lower(index)


def bucket_upper(index: int) -> int:
    """Largest value of a bucket; IndexError outside the histogram."""
    if not 0 <= index < BUCKETS:
        raise IndexError(index)
    return shm_histogram_upper(index)


class HistogramSnapshot:
    """What a histogram held at one moment, or in one interval; values in the unit recorded, mostly ns.

    Attributes:
        counts: int64 array of shape (BUCKETS,).
        count: number of values; the sum of `counts`.
        sum, min, max: over all values; 0 when there are none.
        overflow: values above 2^40 - 1, also counted in the last bucket.
    """

    __slots__ = ("counts", "count", "sum", "min", "max", "overflow")

    def __init__(self, counts, total: int = 0, least: int = 0, most: int = 0, overflow: int = 0):
        self.counts = counts
        self.count = int(counts.sum())
        self.sum = total
        self.min = least
        self.max = most
        self.overflow = overflow

    @classmethod
    def empty(cls):
        """A snapshot of no values, to merge into."""
        return cls(np.zeros(BUCKETS, dtype=np.int64))

    @property
    def mean(self) -> float:
        """Arithmetic mean, 0.0 when there are no values."""
        return self.sum / self.count if self.count else 0.0

    def percentile(self, q: float) -> int:
        """The value that `q` percent of all values do not exceed, at most 1.6 % too high.

        Args:
            q: percent, 0 to 100: `percentile(99.9)`, not 0.999.

        Returns:
            The upper bound of the bucket of the value of rank ceil(q / 100 × count), never above `max`; 0
            when there are no values.

        Raises:
            ValueError: q is outside 0 to 100.
        """
        if not 0 <= q <= 100:
            raise ValueError(f"percentile {q} is outside 0 to 100")
        if not self.count:
            return 0
        exact = Fraction(repr(q)) * self.count / 100
        rank = -(-exact.numerator // exact.denominator) or 1
        index = int(np.searchsorted(np.cumsum(self.counts), rank))
        # The last bucket also holds values beyond its bound.
        return self.max if index == BUCKETS - 1 else min(shm_histogram_upper(index), self.max)

    def merge(self, other):
        """A snapshot of the values of both."""
        mins = [part.min for part in (self, other) if part.count]
        return HistogramSnapshot(
            self.counts + other.counts, self.sum + other.sum, min(mins, default=0), max(self.max, other.max),
            self.overflow + other.overflow,
        )

    def minus(self, earlier):
        """The values recorded since an earlier snapshot of the same histogram.

        `min` and `max` of an interval are known to their bucket only: its lower bound and its upper bound
        (not beyond the whole's).

        Raises:
            ValueError: the other snapshot is not an earlier one of this histogram.
        """
        counts = self.counts - earlier.counts
        if counts.size and int(counts.min()) < 0:
            raise ValueError("not an earlier snapshot of the same histogram")
        used = np.flatnonzero(counts)
        if not used.size:
            return HistogramSnapshot.empty()
        first, last = int(used.min()), int(used.max())
        top = self.max if last == BUCKETS - 1 else min(shm_histogram_upper(last), self.max)
        return HistogramSnapshot(
            counts, self.sum - earlier.sum, max(shm_histogram_lower(first), self.min), top,
            self.overflow - earlier.overflow,
        )

    def __repr__(self) -> str:
        return (
            f"HistogramSnapshot(count={self.count}, p50={self.percentile(50)}, p99={self.percentile(99)},"
            f" max={self.max})"
        )


cdef class Histogram:
    """One histogram of a metrics segment. Only its one writer may record; `Metrics.histogram` makes it."""

    def __init__(self, const uint8_t[::1] payload, offset: int):
        """Attach to the histogram at a byte offset.

        Raises:
            LayoutError: no aligned histogram stands there.
        """
        if not 0 <= offset <= payload.shape[0] - <Py_ssize_t> sizeof(shm_histogram):
            raise LayoutError(f"no histogram at byte {offset} of {payload.shape[0]}")
        cdef char *start = <char *> &payload[0]
        if <uintptr_t> (start + <Py_ssize_t> offset) & 7:
            raise LayoutError(f"the histogram at byte {offset} is not aligned to 8 bytes")
        self.owner = payload
        self.cell = <shm_histogram *> (start + <Py_ssize_t> offset)

    cdef void record_ns(self, int64_t value) noexcept nogil:
        shm_histogram_record(self.cell, value)

    def record(self, int64_t value) -> None:
        """Count one value; a negative one counts as 0. The payload must be writable."""
        shm_histogram_record(self.cell, value)

    @property
    def count(self) -> int:
        """Number of values recorded."""
        return shm_load_acquire(&self.cell.count)

    def snapshot(self):
        """Copy what stands in the histogram now; a value being recorded meanwhile may be in part of it."""
        counts = np.empty(BUCKETS, dtype=np.int64)
        cdef int64_t[::1] to = counts
        cdef Py_ssize_t i
        for i in range(SHM_HISTOGRAM_BUCKETS):
            to[i] = <int64_t> shm_load_relaxed(&self.cell.buckets[i])
        low = shm_load_relaxed(&self.cell.min)
        return HistogramSnapshot(
            counts, shm_load_relaxed(&self.cell.sum), low - 1 if low else 0, shm_load_relaxed(&self.cell.max),
            shm_load_relaxed(&self.cell.overflow),
        )
