# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""The loops that measure a machine: how long a core is away, how late a sleeper wakes, what a call costs.

All of them run without the interpreter lock, in a thread that the caller has pinned. None can hang: where one
side waits for the other it gives up after `PATIENCE_NS` and says so by a short count.
"""

from libc.stdint cimport int64_t, uint64_t
from posix.time cimport CLOCK_MONOTONIC, TIMER_ABSTIME, clock_nanosleep, timespec
from posix.unistd cimport getppid, read, write

from shm.histogram cimport Histogram
from shm.layout cimport shm_a64, shm_histogram

import os

import numpy as np

cdef extern from "shm/native/shm_clock.h" nogil:
    int64_t shm_now_ns()

cdef extern from "shm/native/shm_atomics.h" nogil:
    uint64_t shm_load_acquire(const shm_a64 *field)
    void shm_store_release(shm_a64 *field, uint64_t value)

cdef extern from "<sys/prctl.h>" nogil:
    int prctl(int option, unsigned long argument, ...)
    int PR_SET_TIMERSLACK
    int PR_GET_TIMERSLACK

cdef extern from "<sys/timex.h>" nogil:
    int STA_NANO
    int STA_UNSYNC

    struct timex:
        unsigned int modes
        long offset
        long maxerror
        long esterror
        int status

    int adjtimex(timex *buffer)

PATIENCE_NS = 5_000_000_000
cdef int64_t PATIENCE = PATIENCE_NS


def new_histogram() -> Histogram:
    """Make an empty histogram in private memory."""
    return Histogram(np.zeros(sizeof(shm_histogram) // 8, dtype=np.uint64).view(np.uint8), 0)


def spin(Histogram into not None, int64_t duration_ns) -> int:
    """Read the clock without pause and record every gap between two reads, in ns.

    A core that is never taken away shows gaps of the clock's own cost; a long gap is time in which a handler
    on this core would not have run.

    Args:
        into: receives the gaps; one writer.
        duration_ns: how long.

    Returns:
        The time the whole loop took, in ns.
    """
    cdef int64_t start, last, now
    with nogil:
        start = last = shm_now_ns()
        while last - start < duration_ns:
            now = shm_now_ns()
            into.record_ns(now - last)
            last = now
    return last - start


def timer_lateness(Histogram into not None, int64_t interval_ns, int count) -> int:
    """Sleep `count` times to an absolute time and record how late each sleep ended, in ns.

    Returns:
        How many sleeps were made.
    """
    cdef int64_t due
    cdef timespec at
    cdef int done = 0
    with nogil:
        while done < count:
            due = shm_now_ns() + interval_ns
            at.tv_sec = due // 1_000_000_000
            at.tv_nsec = due % 1_000_000_000
            if clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == 0:
                into.record_ns(shm_now_ns() - due)
            done += 1
    return done


def set_timer_slack(unsigned long slack_ns) -> int:
    """Set the timer slack of the calling thread; 0 gives back the process's default.

    Returns:
        What it was, in ns.
    """
    cdef int before = prctl(PR_GET_TIMERSLACK, 0)
    prctl(PR_SET_TIMERSLACK, slack_ns)
    return before


def clock_cost_ns(int count = 200_000) -> float:
    """Mean cost of one read of the monotonic clock."""
    cdef int64_t start, end = 0
    cdef int i
    with nogil:
        start = shm_now_ns()
        for i in range(count):
            end = shm_now_ns()
    return (end - start) / <double>count


def syscall_cost_ns(int count = 100_000) -> float:
    """Mean cost of the cheapest system call (getppid, which the C library does not cache)."""
    cdef int64_t start, end
    cdef int i
    cdef int64_t sink = 0
    with nogil:
        start = shm_now_ns()
        for i in range(count):
            sink += getppid()
        end = shm_now_ns()
    return (end - start) / <double>count if sink >= 0 else 0.0


def clock_state() -> dict[str, int]:
    """What the kernel knows of the wall clock's discipline (adjtimex without a change; needs no rights).

    Returns:
        state (5 = not synchronized), unsynchronized (0 or 1), offset_ns still to be slewed, max_error_ns.
        Source: adjtimex(2).

    Raises:
        OSError: the call is refused here.
    """
    cdef timex buffer
    buffer.modes = 0
    cdef int state = adjtimex(&buffer)
    if state < 0:
        raise OSError("adjtimex is refused here")
    return {
        "state": state,
        "unsynchronized": int(buffer.status & STA_UNSYNC != 0),
        "offset_ns": buffer.offset * (1 if buffer.status & STA_NANO else 1000),
        "max_error_ns": buffer.maxerror * 1000,
    }


cdef class WakePair:
    """One thread sleeps in a read of an eventfd, another wakes it: the floor of every doorbell."""

    def __cinit__(self):
        """Make the eventfd (blocking)."""
        self.fd = -1
        self._words = np.zeros(32, dtype=np.uint64)
        self._cells = <shm_a64 *><void *>&self._words[0]
        self.fd = os.eventfd(0, os.EFD_CLOEXEC)

    def __dealloc__(self):
        if self.fd >= 0:
            os.close(self.fd)

    def receive(self, Histogram into not None) -> int:
        """Sleep until woken, record the age of each signal in ns; ends when the sender does.

        Returns:
            How many signals came.
        """
        cdef uint64_t rung
        cdef int64_t now
        cdef int got = 0
        with nogil:
            # 0: stamp of the signal, 0 = the end; 8: how many were taken.
            while read(self.fd, &rung, 8) == 8:
                now = shm_now_ns()
                if shm_load_acquire(&self._cells[0]) == 0:
                    break
                into.record_ns(now - <int64_t>shm_load_acquire(&self._cells[0]))
                got += 1
                shm_store_release(&self._cells[8], <uint64_t>got)
        return got

    def send(self, int count, int64_t gap_ns) -> int:
        """Wake the sleeper `count` times, each time after spinning for `gap_ns`, so that it is asleep again.

        Returns:
            How many signals were taken; fewer than `count` when the receiver did not answer in time.
        """
        cdef uint64_t one = 1
        cdef int64_t now, begin
        cdef int sent = 0
        with nogil:
            while sent < count:
                begin = shm_now_ns()
                while shm_now_ns() - begin < gap_ns:
                    pass
                now = shm_now_ns()
                shm_store_release(&self._cells[0], <uint64_t>now)
                if write(self.fd, &one, 8) != 8:
                    break
                sent += 1
                while shm_load_acquire(&self._cells[8]) < <uint64_t>sent:
                    if shm_now_ns() - now > PATIENCE:
                        break
                if shm_load_acquire(&self._cells[8]) < <uint64_t>sent:
                    sent -= 1
                    break
            shm_store_release(&self._cells[0], 0)
            write(self.fd, &one, 8)
        return sent


cdef class LinePair:
    """Two threads hand a number back and forth through two cache lines."""

    def __cinit__(self, bint stamped = True):
        """Args:
            stamped: both sides read the clock at every turn, which tells their clocks apart but costs time.
        """
        self._words = np.zeros(64, dtype=np.uint64)
        self._cells = <shm_a64 *><void *>&self._words[0]
        self.stamped = stamped
        self.violations = 0
        self.offset_ns = 0
        self.round_trip_ns = 0

    def answer(self, int count) -> int:
        """Return every number; returns how many came."""
        cdef int done = 0
        with nogil:
            while done < count:
                if not wait_for(&self._cells[0], <uint64_t>(done + 1)):
                    break
                done += 1
                if self.stamped:
                    shm_store_release(&self._cells[32], <uint64_t>shm_now_ns())
                shm_store_release(&self._cells[16], <uint64_t>done)
        return done

    def ask(self, int count) -> int:
        """Send `count` numbers and wait for each to come back.

        Afterwards `round_trip_ns` is the shortest (stamped) or mean (not stamped) round trip, `offset_ns` the
        other core's clock minus this one's at the shortest, and `violations` how often a later event bore an
        earlier time.

        Returns:
            How many came back.
        """
        cdef int done = 0
        cdef int64_t first, sent, back = 0, theirs, best = PATIENCE
        with nogil:
            first = sent = shm_now_ns()
            while done < count:
                if self.stamped:
                    sent = shm_now_ns()
                shm_store_release(&self._cells[0], <uint64_t>(done + 1))
                if not wait_for(&self._cells[16], <uint64_t>(done + 1)):
                    break
                done += 1
                if self.stamped:
                    back = shm_now_ns()
                    theirs = <int64_t>shm_load_acquire(&self._cells[32])
                    self.violations += theirs < sent or back < theirs
                    if back - sent < best:
                        best = back - sent
                        self.offset_ns = theirs - sent - best // 2
            if not self.stamped:
                best = (shm_now_ns() - first) // (done if done else 1)
        self.round_trip_ns = best
        return done


cdef bint wait_for(shm_a64 *cell, uint64_t value) noexcept nogil:
    """Spin until the cell holds `value`; 0 when that takes too long."""
    cdef int64_t begin = 0
    cdef int spins = 0
    while shm_load_acquire(cell) != value:
        spins += 1
        # The clock is looked at rarely: a read costs as much as the round trip that is measured.
        if spins & 0xFFFF == 0:
            if begin == 0:
                begin = shm_now_ns()
            elif shm_now_ns() - begin > PATIENCE:
                return False
    return True
