# cython: language_level=3
from tools.venues.encoding cimport Encoder


cdef class BinanceUsdmEncoder(Encoder):
    pass
