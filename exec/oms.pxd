# cython: language_level=3
from libc.stdint cimport int64_t, uint64_t

from exec.applier cimport ReportApplier
from exec.order cimport Order
from shm.records cimport IntentRecord


cdef class Oms(ReportApplier):
    cpdef Order accept_new(self, IntentRecord intent, int64_t gate_ns)
    cpdef mark_sent(self, Order order, int64_t send_ns)
    cpdef not_sent(self, Order order, int64_t now_ns, int reason=*)
    cpdef deny(self, IntentRecord intent, int reason, int64_t now_ns)
    cpdef Order on_cancel(self, IntentRecord intent, int64_t now_ns)
    cpdef refuse_cancel(self, IntentRecord intent, Order order, int reason, int64_t now_ns)
    cpdef bint request_cancel(self, Order order, int64_t now_ns) except -1
    cpdef Order request_replace(self, IntentRecord intent, int64_t now_ns)
    cpdef start_replace(self, Order order, uint64_t new_id, int64_t price_units, int64_t units, int64_t now_ns)
