# cython: language_level=3


cdef class HmacSha256:
    cdef object _inner
    cdef object _outer
    cdef object _hashed(self, bytes text)
    cpdef bytes digest(self, bytes text)
    cpdef bytes hex(self, bytes text)
