# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""An array of seqlocked values: one writer, many readers, no torn read, nobody waits.

Protocol in `native/shm_seqlock.h`. Each value stands on cache lines of its own, so that the writer of
one does not disturb the readers of another.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint64_t
from libc.string cimport memset

from shm.layout cimport SHM_CACHE_LINE, shm_seqlock

from shm.errors import LayoutError


cdef extern from "shm/native/shm_seqlock.h" nogil:
    void shm_seqlock_store(shm_seqlock* lock, const void* value, size_t bytes)
    void shm_seqlock_store_padded(shm_seqlock* lock, const void* value, size_t length, size_t bytes)
    int shm_seqlock_load(const shm_seqlock* lock, void* out, size_t bytes)


cdef uint64_t stride_of(uint64_t value_bytes) noexcept nogil:
    return (sizeof(shm_seqlock) + value_bytes + SHM_CACHE_LINE - 1) // SHM_CACHE_LINE * SHM_CACHE_LINE


def _check_sizes(count: int, value_bytes: int) -> None:
    if not 1 <= count <= 1 << 24:
        raise LayoutError(f"{count} values: not within 1 .. {1 << 24}")
    if not 8 <= value_bytes <= 1 << 20 or value_bytes % 8:
        raise LayoutError(f"a value of {value_bytes} bytes is not a multiple of 8 from 8 to {1 << 20}")


cdef class SeqlockArray:
    """`count` values of `value_bytes` each, each under its own seqlock."""

    def __init__(self):
        raise TypeError("a SeqlockArray is made by create or attach")

    @staticmethod
    def bytes_needed(count: int, value_bytes: int) -> int:
        """Return the payload bytes; LayoutError if a size is not valid."""
        _check_sizes(count, value_bytes)
        return count * <object>stride_of(value_bytes)

    @staticmethod
    def create(buffer, count: int, value_bytes: int) -> SeqlockArray:
        """Format `buffer`: all values zero.

        Args:
            buffer: Writable payload, kept alive.
            count: Values.
            value_bytes: Bytes of one value, a multiple of 8.

        Raises:
            LayoutError: A size is not valid, or the buffer is too small, read-only or unaligned.
        """
        cdef SeqlockArray array = SeqlockArray.attach(buffer, count, value_bytes)
        if not array.writable:
            raise LayoutError("values can not be created in a read-only payload")
        memset(array.base, 0, array.count * array.stride)
        return array

    @staticmethod
    def attach(buffer, count: int, value_bytes: int) -> SeqlockArray:
        """Attach to values of known number and size; errors as `create`, read-only buffers will do."""
        cdef SeqlockArray array = SeqlockArray.__new__(SeqlockArray)
        needed = SeqlockArray.bytes_needed(count, value_bytes)
        array._view = buffer
        array.writable = not memoryview(buffer).readonly
        if array._view.shape[0] < needed:
            raise LayoutError(f"{count} values of {value_bytes} bytes need {needed} bytes, not {array._view.shape[0]}")
        if <size_t>&array._view[0] & 7:
            raise LayoutError("seqlocked values must be aligned to 8 bytes")
        array.base = <unsigned char*><void*>&array._view[0]
        array.count = count
        array.value_bytes = value_bytes
        array.stride = stride_of(value_bytes)
        array.scratch = bytearray(value_bytes)
        return array

    cdef shm_seqlock* lock_at(self, uint64_t i) noexcept nogil:
        return <shm_seqlock*><void*>(self.base + i * self.stride)

    cdef void store_ptr(self, uint64_t i, const void* value) noexcept nogil:
        shm_seqlock_store(self.lock_at(i), value, self.value_bytes)

    cdef int load_ptr(self, uint64_t i, void* out) noexcept nogil:
        return shm_seqlock_load(self.lock_at(i), out, self.value_bytes)

    def store(self, Py_ssize_t i, value):
        """Store value `i`; the caller is its only writer. Repairs what a killed writer left.

        Args:
            i: Index.
            value: At most value_bytes bytes; the rest becomes zero.

        Raises:
            IndexError: There is no value `i`.
            LayoutError: The value is too long, or the mapping is read-only.
        """
        self.check(i)
        if not self.writable:
            raise LayoutError("values mapped read-only can not be stored")
        cdef Py_buffer view
        PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
        cdef size_t length = view.len
        if length <= self.value_bytes:
            shm_seqlock_store_padded(self.lock_at(i), view.buf, length, self.value_bytes)
        PyBuffer_Release(&view)
        if length > self.value_bytes:
            raise LayoutError(f"a value of {length} bytes does not fit in {self.value_bytes}")

    def load(self, Py_ssize_t i):
        """Return a coherent copy of value `i`, or None = BUSY after a bounded number of tries.

        Raises:
            IndexError: There is no value `i`.
        """
        self.check(i)
        if self.load_ptr(i, <void*><char*>self.scratch) != 0:
            return None
        return bytes(self.scratch)

    cdef int check(self, Py_ssize_t i) except -1:
        if i < 0 or <uint64_t>i >= self.count:
            raise IndexError(f"value {i} is not within 0 .. {self.count - 1}")
        return 0
