# cython: language_level=3, initializedcheck=False, freethreading_compatible=False
"""Single 64-bit words of a payload, loaded and stored with a named order, for tables kept in plain Python."""

from libc.stdint cimport int64_t, uint8_t, uint64_t, uintptr_t

from shm.layout cimport shm_a64

from shm.errors import LayoutError

cdef extern from "shm/native/shm_atomics.h" nogil:
    uint64_t shm_load_relaxed(const shm_a64 *field)
    uint64_t shm_load_acquire(const shm_a64 *field)
    void shm_store_relaxed(shm_a64 *field, uint64_t value)
    void shm_store_release(shm_a64 *field, uint64_t value)


cdef shm_a64 *word_at(const uint8_t[::1] view, Py_ssize_t offset) except NULL:
    if offset < 0 or offset + 8 > view.shape[0]:
        raise LayoutError(f"no word at byte {offset} of a payload of {view.shape[0]} bytes")
    cdef char *start = <char *> &view[0]
    if <uintptr_t> (start + offset) & 7:
        raise LayoutError(f"the word at byte {offset} is not aligned to 8 bytes")
    return <shm_a64 *> (start + offset)


def load_acquire(const uint8_t[::1] payload, offset: int) -> int:
    """Load the word at byte `offset` (acquire): what its writer stored before it is visible after.

    Raises:
        LayoutError: no aligned word stands there.
    """
    return shm_load_acquire(word_at(payload, offset))


def store_release(uint8_t[::1] payload, offset: int, value: int) -> None:
    """Store the word at byte `offset` (release): everything written before is visible to who loads it.

    Raises:
        LayoutError: no aligned word stands there.
    """
    shm_store_release(word_at(payload, offset), value)


def load_relaxed(const uint8_t[::1] payload, offset: int) -> int:
    """Load the word at byte `offset` without ordering anything else.

    Raises:
        LayoutError: no aligned word stands there.
    """
    return shm_load_relaxed(word_at(payload, offset))


def store_relaxed(uint8_t[::1] payload, offset: int, value: int) -> None:
    """Store the word at byte `offset` without ordering anything else.

    Raises:
        LayoutError: no aligned word stands there.
    """
    shm_store_relaxed(word_at(payload, offset), value)
