# cython: language_level=3
from libc.stdint cimport int64_t, uint64_t

from exec.order cimport Order

cdef enum:
    PARTS_MAX = 32


cdef class Text:
    cdef char* data
    cdef Py_ssize_t size
    cdef Py_ssize_t room
    cdef int need(self, Py_ssize_t count) except -1
    cdef int put(self, const char* text, Py_ssize_t count) except -1
    cdef int put_number(self, uint64_t value) except -1
    cdef int put_hex(self, uint64_t value, int digits) except -1
    cdef int put_decimal(self, int64_t units, int exponent) except -1
    cdef bytes take(self)


cdef class Form:
    cdef readonly bytes text
    cdef readonly int price_exponent
    cdef readonly int units_exponent
    cdef readonly int64_t later_ms
    cdef int count
    cdef int starts[PARTS_MAX]
    cdef int sizes[PARTS_MAX]
    cdef unsigned char slots[PARTS_MAX]
    cdef int fill(
        self, Text out, Order order, uint64_t request_id, int64_t utc_ms, bytes signature
    ) except -1


cdef class FormBook:
    cdef object _make
    cdef dict _forms
    cdef object find(self, int kind, Order order)


cdef class Composer:
    cdef readonly FormBook book
    cdef Text _text
    cpdef bytes frame(self, int kind, list orders, Form head, Form tail, uint64_t request_id, int64_t utc_ms)


cdef class SigningComposer:
    cdef readonly FormBook book
    cdef Text _text
    cdef object _sign
    cpdef bytes frame(self, int kind, Order order, uint64_t request_id, int64_t utc_ms)
