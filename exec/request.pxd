# cython: language_level=3


cdef class Request:
    cdef readonly object request_id
    cdef readonly object kind
    cdef readonly object lane
    cdef readonly object way
    cdef readonly tuple order_ids
    cdef readonly object instrument_id
    cdef readonly bytes frame
    cdef readonly str method
    cdef readonly str path
    cdef readonly bytes body
    cdef readonly tuple headers
    cdef readonly tuple rates
    cdef tuple _fields(self)
