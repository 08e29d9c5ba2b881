# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, freethreading_compatible=False
"""Shifts the times inside a recorded JSON payload in place: same length, every other byte as recorded."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t


cdef Py_ssize_t find_number(const char* p, Py_ssize_t size, Py_ssize_t start, char key) noexcept nogil:
    # index of the first digit of top-level member `key` of the object that opens at `start`; -1 when there is none
    cdef Py_ssize_t i = start
    cdef Py_ssize_t opened
    cdef int level = 0
    cdef bint in_key = False
    while i < size:
        if p[i] == c'"':
            opened = i + 1
            i += 1
            while i < size and p[i] != c'"':
                i += 2 if p[i] == c'\\' else 1
            if (in_key and level == 1 and i - opened == 1 and p[opened] == key and i + 2 < size and p[i + 1] == c':'
                    and c'0' <= p[i + 2] <= c'9'):
                return i + 2
            in_key = False
        elif p[i] == c'{' or p[i] == c'[':
            level += 1
            in_key = p[i] == c'{'
        elif p[i] == c'}' or p[i] == c']':
            level -= 1
            if level == 0:
                return -1
        elif p[i] == c',':
            in_key = level == 1
        i += 1
    return -1


cdef Py_ssize_t read_number(const char* p, Py_ssize_t size, Py_ssize_t at, int64_t* out) noexcept nogil:
    cdef Py_ssize_t i = at
    cdef int64_t value = 0
    while i < size and c'0' <= p[i] <= c'9' and i - at < 18:
        value = value * 10 + (p[i] - c'0')
        i += 1
    out[0] = value
    return i - at


def first_time(bytes frame not None, Py_ssize_t start, bytes key not None):
    """Return the integer under one-letter member `key` of the object that opens at `start`; -1 when there is none."""
    cdef const char* p = PyBytes_AS_STRING(frame)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(frame)
    cdef int64_t value
    if len(key) != 1 or not 0 <= start <= size:
        raise ValueError("key must be one letter and start inside the frame")
    cdef Py_ssize_t at = find_number(p, size, start, key[0])
    if at < 0:
        return -1
    read_number(p, size, at, &value)
    return value


def shift_times(bytes frame not None, Py_ssize_t start, bytes keys not None, int64_t delta):
    """Return a copy of `frame` with `delta` added to the one-letter members `keys` of the object opening at `start`.

    A member that is absent is skipped. None when a shifted number would need another count of digits.
    """
    cdef Py_ssize_t size = PyBytes_GET_SIZE(frame)
    if not 0 <= start <= size:
        raise ValueError("start must lie inside the frame")
    cdef bytes out = PyBytes_FromStringAndSize(PyBytes_AS_STRING(frame), size)
    cdef char* p = PyBytes_AS_STRING(out)
    cdef Py_ssize_t at, digits, i, j
    cdef int64_t value
    cdef char key
    for i in range(len(keys)):
        key = keys[i]
        at = find_number(p, size, start, key)
        if at < 0:
            continue
        digits = read_number(p, size, at, &value)
        value += delta
        if value < 0:
            return None
        for j in range(digits):
            p[at + digits - 1 - j] = <char> (c'0' + value % 10)
            value //= 10
        if value or (digits > 1 and p[at] == c'0'):
            return None
    return out
