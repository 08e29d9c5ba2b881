# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""The control segment: trading state, config generation, and one slot per worker.

Every field that more than one process touches is read and written atomically. The trading state is
one word changed by compare-and-exchange: it latches upwards (ACTIVE, REDUCING, HALTED), whoever asks
first or last, and comes down only by `clear_halt`.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy, memset

from shm.doorbell cimport check_slot
from shm.layout cimport SHM_ROLE_BYTES, SHM_WORKER_SLOTS, shm_a64, shm_control, shm_worker_slot

from shm.enums import TradingState
from shm.errors import LayoutError


cdef extern from "shm/native/shm_atomics.h" nogil:
    uint64_t shm_load_acquire(const shm_a64* field)
    void shm_store_release(shm_a64* field, uint64_t value)
    int shm_compare_exchange(shm_a64* field, uint64_t expected, uint64_t desired)


# The halt word: trading state, reason, number of changes.
cdef enum:
    REASON_SHIFT = 8
    COUNT_SHIFT = 32
    STATE_MASK = 0xFF
    REASON_MASK = 0xFFFFFF


cdef int require_writable(bint writable) except -1:
    if not writable:
        raise LayoutError("the control segment is mapped read-only")
    return 0


cdef int put(shm_a64* field, bint writable, uint64_t value) except -1:
    require_writable(writable)
    shm_store_release(field, value)
    return 0


cdef class Control:
    """Typed face of the control segment of a run."""

    def __init__(self):
        raise TypeError("a Control is made by create or attach")

    @staticmethod
    def bytes_needed() -> int:
        """Return the payload bytes of a control segment."""
        return sizeof(shm_control)

    @staticmethod
    def create(buffer, epoch: int, supervisor_pid: int) -> Control:
        """Format a control segment: everything zero, no worker has a bell or a core.

        Args:
            buffer: Writable payload, kept alive.
            epoch: Epoch of the run.
            supervisor_pid: Process id of the supervisor.

        Raises:
            LayoutError: The buffer is too small, read-only or unaligned.
        """
        cdef Control control = Control.attach(buffer)
        require_writable(control.writable)
        memset(control.raw, 0, sizeof(shm_control))
        for i in range(SHM_WORKER_SLOTS):
            control.raw.workers[i].bell_fd = -1
            control.raw.workers[i].core = -1
        control.raw.epoch = epoch
        control.raw.supervisor_pid = supervisor_pid
        return control

    @staticmethod
    def attach(buffer) -> Control:
        """Attach to a control segment; LayoutError if the buffer is too small or unaligned.

        A read-only buffer will do for reading.
        """
        cdef Control control = Control.__new__(Control)
        control._view = buffer
        control.writable = not memoryview(buffer).readonly
        if <size_t>control._view.shape[0] < sizeof(shm_control):
            raise LayoutError(f"control segment has {control._view.shape[0]} bytes, needs {sizeof(shm_control)}")
        if <size_t>&control._view[0] & 7:
            raise LayoutError("control segment is not aligned to 8 bytes")
        control.raw = <shm_control*><void*>&control._view[0]
        return control

    def slot(self, int number):
        """Return the view of worker slot `number`; ValueError if there is none."""
        check_slot(number)
        cdef WorkerSlot view = WorkerSlot.__new__(WorkerSlot)
        view._view = self._view
        view.raw = &self.raw.workers[number]
        view.slot = number
        view.writable = self.writable
        return view

    cdef int state_c(self) noexcept nogil:
        """The trading state alone, for the gate."""
        return <int>(shm_load_acquire(&self.raw.halt) & STATE_MASK)

    def halt_state(self):
        """Return (trading state, reason number) as one coherent pair."""
        cdef uint64_t word = shm_load_acquire(&self.raw.halt)
        return TradingState(word & STATE_MASK), int(word >> REASON_SHIFT & REASON_MASK)

    @property
    def halt_count(self):
        """How often the trading state changed in this run, or was asked for again."""
        return shm_load_acquire(&self.raw.halt) >> COUNT_SHIFT

    def set_halt(self, int state, int reason, *, bint again=False):
        """Raise the trading state; return whether it changed.

        A state that is not above the present one changes nothing, so nobody can undo a halt by
        asking for less.

        Args:
            state: The wanted TradingState.
            reason: A Reason number, kept with it.
            again: The present state asked for once more counts: a clear that had begun is refused, and
                what is done about a halt is done again.

        Raises:
            ValueError: There is no such state, or the reason has more than 24 bits.
        """
        cdef uint64_t word, wanted
        require_writable(self.writable)
        TradingState(state)
        if not 0 <= reason <= REASON_MASK:
            raise ValueError(f"reason {reason} does not fit 24 bits")
        while True:
            word = shm_load_acquire(&self.raw.halt)
            if (word & STATE_MASK) > <uint64_t>state or (word & STATE_MASK == <uint64_t>state and not again):
                return False
            wanted = (((word >> COUNT_SHIFT) + 1) << COUNT_SHIFT) | (<uint64_t>reason << REASON_SHIFT) | <uint64_t>state
            if shm_compare_exchange(&self.raw.halt, word, wanted):
                return (word & STATE_MASK) != <uint64_t>state

    def clear_halt(self, expected_count=None):
        """Return to ACTIVE; return whether it changed.

        Args:
            expected_count: Clear only while `halt_count` is still this: the second step of a
                two-step clear must not undo a newer halt.
        """
        cdef uint64_t word
        require_writable(self.writable)
        while True:
            word = shm_load_acquire(&self.raw.halt)
            if word & STATE_MASK == 0 or (expected_count is not None and word >> COUNT_SHIFT != expected_count):
                return False
            if shm_compare_exchange(&self.raw.halt, word, ((word >> COUNT_SHIFT) + 1) << COUNT_SHIFT):
                return True

    @property
    def epoch(self):
        """Epoch of the run."""
        return self.raw.epoch

    @property
    def supervisor_pid(self):
        """Process id of the supervisor."""
        return self.raw.supervisor_pid

    @property
    def generation(self):
        """Newest config generation made by the supervisor."""
        return shm_load_acquire(&self.raw.generation)

    @generation.setter
    def generation(self, uint64_t value):
        put(&self.raw.generation, self.writable, value)

    @property
    def stopping(self):
        """1 once an ordered stop began."""
        return shm_load_acquire(&self.raw.stopping)

    @stopping.setter
    def stopping(self, uint64_t value):
        put(&self.raw.stopping, self.writable, value)

    @property
    def supervisor_heartbeat_ns(self):
        """Monotonic time of the supervisor's last sign of life."""
        return shm_load_acquire(&self.raw.supervisor_heartbeat_ns)

    @supervisor_heartbeat_ns.setter
    def supervisor_heartbeat_ns(self, uint64_t value):
        put(&self.raw.supervisor_heartbeat_ns, self.writable, value)

    @property
    def run_started_ns(self):
        """Monotonic time at which the run began."""
        return shm_load_acquire(&self.raw.run_started_ns)

    @run_started_ns.setter
    def run_started_ns(self, uint64_t value):
        put(&self.raw.run_started_ns, self.writable, value)


cdef class WorkerSlot:
    """Typed face of one worker slot; heartbeat to cycle_ns_max are the worker's, the rest the supervisor's."""

    def __init__(self):
        raise TypeError("a WorkerSlot is made by Control.slot")

    @property
    def heartbeat_ns(self):
        """Monotonic time of the worker's last sign of life."""
        return shm_load_acquire(&self.raw.heartbeat_ns)

    @heartbeat_ns.setter
    def heartbeat_ns(self, uint64_t value):
        put(&self.raw.heartbeat_ns, self.writable, value)

    @property
    def cycles(self):
        """Duty cycles done."""
        return shm_load_acquire(&self.raw.cycles)

    @cycles.setter
    def cycles(self, uint64_t value):
        put(&self.raw.cycles, self.writable, value)

    @property
    def generation(self):
        """Config generation in force in the worker."""
        return shm_load_acquire(&self.raw.generation)

    @generation.setter
    def generation(self, uint64_t value):
        put(&self.raw.generation, self.writable, value)

    @property
    def cycle_ns_max(self):
        """Longest duty cycle."""
        return shm_load_acquire(&self.raw.cycle_ns_max)

    @cycle_ns_max.setter
    def cycle_ns_max(self, uint64_t value):
        put(&self.raw.cycle_ns_max, self.writable, value)

    @property
    def wakes(self):
        """Times its doorbell woke the worker."""
        return shm_load_acquire(&self.raw.wakes)

    @property
    def state(self):
        """Life of the process, a WorkerState."""
        return shm_load_acquire(&self.raw.state)

    @state.setter
    def state(self, uint64_t value):
        put(&self.raw.state, self.writable, value)

    @property
    def pid(self):
        """Process id, 0 = none."""
        return shm_load_acquire(&self.raw.pid)

    @pid.setter
    def pid(self, uint64_t value):
        put(&self.raw.pid, self.writable, value)

    @property
    def incarnation(self):
        """1 for the first process in this slot, one more for each restart."""
        return shm_load_acquire(&self.raw.incarnation)

    @incarnation.setter
    def incarnation(self, uint64_t value):
        put(&self.raw.incarnation, self.writable, value)

    @property
    def restarts(self):
        """Restarts so far."""
        return shm_load_acquire(&self.raw.restarts)

    @restarts.setter
    def restarts(self, uint64_t value):
        put(&self.raw.restarts, self.writable, value)

    @property
    def started_ns(self):
        """Monotonic time at which the process was started."""
        return shm_load_acquire(&self.raw.started_ns)

    @started_ns.setter
    def started_ns(self, uint64_t value):
        put(&self.raw.started_ns, self.writable, value)

    @property
    def is_parked(self):
        """Whether the worker sleeps and must be signaled."""
        return shm_load_acquire(&self.raw.parked) != 0

    @property
    def bell_fd(self):
        """Number of the worker's eventfd in every process of the run, -1 = none."""
        return self.raw.bell_fd

    @bell_fd.setter
    def bell_fd(self, int64_t value):
        require_writable(self.writable)
        self.raw.bell_fd = value

    @property
    def core(self):
        """Core the worker is pinned to, -1 = not pinned."""
        return self.raw.core

    @core.setter
    def core(self, int64_t value):
        require_writable(self.writable)
        self.raw.core = value

    @property
    def role(self):
        """Role of the worker, for people."""
        return (<bytes>self.raw.role[:SHM_ROLE_BYTES]).partition(b"\0")[0].decode("utf-8", "replace")

    @role.setter
    def role(self, str value):
        require_writable(self.writable)
        cdef bytes text = value.encode()[:SHM_ROLE_BYTES].ljust(SHM_ROLE_BYTES, b"\0")
        memcpy(self.raw.role, <const char*>text, SHM_ROLE_BYTES)
