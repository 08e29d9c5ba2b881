# cython: language_level=3


cdef class TimerFd:
    cdef int fd
