# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""Doorbells: wake parked workers through their eventfd; no system call while they are awake.

The protocol stands in `native/shm_doorbell.h`. The eventfd numbers stand in the control segment and
are the same in every process of a run, because the supervisor makes them before the first spawn.
"""

from libc.stdint cimport uint64_t

from shm.layout cimport SHM_WORKER_SLOTS, shm_a64, shm_control, shm_worker_slot

from shm.errors import LayoutError


cdef extern from "shm/native/shm_doorbell.h" nogil:
    void shm_bell_arm(shm_worker_slot* worker)
    void shm_bell_disarm(shm_worker_slot* worker)
    void shm_bell_wake(shm_worker_slot* worker)
    uint64_t shm_bell_clear(shm_worker_slot* worker)
    uint64_t shm_load_relaxed(const shm_a64* field)
    void shm_store_relaxed(shm_a64* field, uint64_t value)


cdef shm_control* control_of(const unsigned char[::1] view, object buffer) except NULL:
    if memoryview(buffer).readonly:
        raise LayoutError("the control segment must be mapped writable to signal or park")
    if <size_t>view.shape[0] < sizeof(shm_control):
        raise LayoutError(f"control segment has {view.shape[0]} bytes, needs {sizeof(shm_control)}")
    if <size_t>&view[0] & 7:
        raise LayoutError("control segment is not aligned to 8 bytes")
    return <shm_control*><void*>&view[0]


cdef class BellSet:
    """The bells of all workers of a run, from the writer's side."""

    def __cinit__(self, control):
        """Args:
            control: Writable payload of the control segment.

        Raises:
            LayoutError: It is read-only, too small or unaligned.
        """
        self._view = control
        self.raw = control_of(self._view, control)

    cdef void wake_mask(self, uint64_t mask) noexcept nogil:
        cdef int slot
        for slot in range(<int>SHM_WORKER_SLOTS):
            if mask >> slot & 1:
                shm_bell_wake(&self.raw.workers[slot])

    def signal(self, int slot):
        """Wake worker `slot` if it is parked; call it after the store it shall see."""
        cdef shm_a64 mask
        shm_store_relaxed(&mask, <uint64_t>1 << check_slot(slot))
        shm_bell_signal(self.raw, &mask)

    def wake(self, int slot):
        """Wake worker `slot` whatever its parked word says.

        For the supervisor after a process died: it may have taken the parked word and died before it
        wrote the bell.
        """
        self.wake_mask(<uint64_t>1 << check_slot(slot))


cdef class Parker:
    """The sleeping side of one worker's bell."""

    def __cinit__(self, control, int slot):
        """Args:
            control: Writable payload of the control segment.
            slot: The worker's own slot.

        Raises:
            LayoutError: The segment is read-only, too small or unaligned.
            ValueError: There is no such slot.
        """
        self._view = control
        self.slot = check_slot(slot)
        self.raw = &control_of(self._view, control).workers[slot]

    cdef void c_arm(self) noexcept nogil:
        shm_bell_arm(self.raw)

    cdef void c_disarm(self) noexcept nogil:
        shm_bell_disarm(self.raw)

    @property
    def fd(self):
        """Number of the eventfd, 0 or -1 if there is none."""
        return self.raw.bell_fd

    @property
    def is_parked(self):
        """Whether the parked word is set."""
        return shm_load_relaxed(&self.raw.parked) != 0

    def arm(self):
        """Announce sleep; then look at every input once more and `disarm` if one has something."""
        shm_bell_arm(self.raw)

    def disarm(self):
        """Take the announcement back."""
        shm_bell_disarm(self.raw)

    def clear(self):
        """Read the eventfd down to zero; return how often it was signaled, 0 if not at all."""
        return shm_bell_clear(self.raw)

    def park(self):
        """Clear, then arm: what a worker does when it has drained everything."""
        shm_bell_clear(self.raw)
        shm_bell_arm(self.raw)


cdef int check_slot(int slot) except -1:
    if slot < 0 or slot >= <int>SHM_WORKER_SLOTS:
        raise ValueError(f"worker slot {slot} is not within 0 .. {SHM_WORKER_SLOTS - 1}")
    return slot
