# cython: language_level=3, freethreading_compatible=False
"""A timer descriptor: readable at an absolute monotonic time (timerfd_create(2); Python has it from 3.13)."""

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset
from posix.time cimport itimerspec
from posix.unistd cimport close, read

import os

cdef extern from "<sys/timerfd.h>" nogil:
    enum:
        TFD_NONBLOCK
        TFD_CLOEXEC
        TFD_TIMER_ABSTIME
    int timerfd_create(int clock, int flags)
    int timerfd_settime(int fd, int flags, const itimerspec* value, itimerspec* old)

cdef extern from "<time.h>" nogil:
    enum:
        CLOCK_MONOTONIC


cdef class TimerFd:
    """One timer descriptor.

    Raises:
        OSError: the kernel refused the descriptor.
    """

    def __cinit__(self):
        self.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        if self.fd < 0:
            raise OSError(errno, os.strerror(errno))

    def fileno(self):
        """The descriptor, for a loop's add_reader."""
        return self.fd

    def arm(self, int64_t due_ns):
        """Become readable at that monotonic time in ns; 0 = never."""
        cdef itimerspec spec
        memset(&spec, 0, sizeof(spec))
        if due_ns > 0:
            spec.it_value.tv_sec = due_ns // 1000000000
            spec.it_value.tv_nsec = due_ns % 1000000000
        if timerfd_settime(self.fd, TFD_TIMER_ABSTIME, &spec, NULL) != 0:
            raise OSError(errno, os.strerror(errno))

    def clear(self):
        """Read the expirations, so that the descriptor is no longer readable."""
        cdef uint64_t expirations = 0
        read(self.fd, &expirations, sizeof(expirations))

    def close(self):
        """Give the descriptor back; harmless if done already."""
        if self.fd >= 0:
            close(self.fd)
            self.fd = -1

    def __dealloc__(self):
        if self.fd >= 0:
            close(self.fd)
