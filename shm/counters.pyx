# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""Counters: single 64-bit values with a label in shared memory, one writer each, readable by any outside
tool."""

from libc.stdint cimport int64_t, uint8_t, uint64_t, uintptr_t

from shm.layout cimport shm_a64, shm_counter

from shm.errors import LayoutError

cdef extern from "shm/native/shm_atomics.h" nogil:
    uint64_t shm_load_relaxed(const shm_a64 *field)
    void shm_store_relaxed(shm_a64 *field, uint64_t value)
    void shm_add_single_writer(shm_a64 *field, uint64_t value)


cdef class Counter:
    """One counter of a metrics segment. Only its one writer may change it; `Metrics.counter` makes it."""

    def __init__(self, uint8_t[::1] payload, offset: int):
        """Attach to the cell at a byte offset.

        Raises:
            LayoutError: no aligned cell stands there.
        """
        if not 0 <= offset <= payload.shape[0] - <Py_ssize_t> sizeof(shm_counter):
            raise LayoutError(f"no counter at byte {offset} of {payload.shape[0]}")
        if <uintptr_t> &payload[<Py_ssize_t> offset] & 7:
            raise LayoutError(f"the counter at byte {offset} is not aligned to 8 bytes")
        self.owner = payload
        self.cell = <shm_counter *> &payload[<Py_ssize_t> offset]

    cdef void c_inc(self, uint64_t n) noexcept nogil:
        shm_add_single_writer(&self.cell.value, n)

    cdef void c_set(self, int64_t value) noexcept nogil:
        shm_store_relaxed(&self.cell.value, <uint64_t> value)

    cdef int64_t c_value(self) noexcept nogil:
        return <int64_t> shm_load_relaxed(&self.cell.value)

    def inc(self, int64_t n=1) -> None:
        """Add to the value."""
        self.c_inc(<uint64_t> n)

    def set(self, int64_t value) -> None:
        """Replace the value; for counters that show a level rather than a sum."""
        self.c_set(value)

    @property
    def value(self) -> int:
        """The value now, signed 64 bits."""
        return self.c_value()

    def __repr__(self) -> str:
        label = bytes(self.cell.label[:56]).split(b'\0')[0].decode()
        return f"Counter({label}: {self.c_value()})"
