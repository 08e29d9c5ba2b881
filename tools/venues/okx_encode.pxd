# cython: language_level=3
from tools.venues.encoding cimport Encoder


cdef class OkxEncoder(Encoder):
    cdef bint with_checksum
