# cython: language_level=3
from libc.stdint cimport int64_t, uint32_t, uint64_t

from exec.order cimport Order
from shm.records cimport IntentRecord


cdef class OrderIndex:
    cdef readonly Py_ssize_t terminal_capacity
    cdef dict _by_id
    cdef dict _open
    cdef dict _by_instrument
    cdef dict _by_actor
    cdef dict _by_slot
    cdef readonly object _ended
    cpdef object order(self, object client_order_id)
    cpdef index(self, Order order)
    cpdef retire(self, Order order)
    cpdef add_alias(self, Order order, object client_order_id)
