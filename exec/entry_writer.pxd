# cython: language_level=3
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

from exec.order cimport Order
from shm.journal cimport Journal
from shm.records cimport IntentRecord


cdef class OrderEntries:
    cdef object _journal
    cdef Journal _own
    cdef object _append(self, uint16_t kind, const void* payload, uint32_t size, int64_t now_ns)
    cpdef object intent(
        self, IntentRecord intent, uint64_t ring_sequence, uint32_t from_slot, uint16_t reason, int64_t now_ns
    )
    cpdef object sent(self, int kind, Order order, int64_t now_ns)
    cpdef object held(self, int kind, Order order, int64_t now_ns)
    cpdef object released(self, int kind, Order order, int64_t now_ns)
    cdef object _command(self, uint16_t what, int kind, Order order, int64_t now_ns)
